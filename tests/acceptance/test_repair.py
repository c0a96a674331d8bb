"""`conduit repair` makes a destination the same as its source again, in one commit or not at all."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

import conduit
from conduit import remember
from conduit.checking import repair as repairing
from conduit.checking.repair import Repair, repair
from conduit.checking.replacement import replacement
from conduit.checking.verify import verify
from conduit.config.load import load
from conduit.connectors.iceberg.removal import Removal
from conduit.history import History
from conduit.state import FILE_NAME
from tests.support.ends import NAMES, End, Rows, end
from tests.support.project import Project, pipeline
from tests.support.zygote import Zygote

SHOP = {"type": "sqlite", "database": "shop.db"}
DATABASES = ("postgresql", "sqlite", "duckdb")
REPAIRABLE = (*DATABASES, "iceberg")
BY_ID = {"column": "id", "safety": "none"}


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def source(project: Project) -> Rows:
    with closing(sqlite3.connect(project.folder / "shop.db")) as connection:
        return Counter(connection.execute("SELECT id, key, amount, text FROM orders").fetchall())


class Table:
    """A destination that holds the 100 rows of a shop, and statements on it by its own driver."""

    def __init__(self, project: Project, name: str, request: pytest.FixtureRequest, **resource: Any) -> None:
        self.project, self.name = project, name
        self.database = request.getfixturevalue("database") if name == "postgresql" else None
        self.end: End = end(name, project.folder, self.database)
        sql(
            project.folder / "shop.db",
            "CREATE TABLE orders (id INTEGER, key INTEGER NOT NULL, amount INTEGER, text TEXT)",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100) "
            "INSERT INTO orders SELECT i, i % 7, i * 3, 'row ' || i FROM n",
        )
        keys = {"table": "orders", "into": "t", "incremental": BY_ID, **resource}
        project.write(pipeline(SHOP, self.end.keys, **keys))
        assert conduit.run(project.folder / "ingest.yml").exit_code == 0

    def change(self, *statements: str) -> None:
        if self.database is not None:
            for statement in statements:
                self.database.execute(statement)
        elif self.name == "sqlite":
            sql(self.project.folder / "out.sqlite", *statements)
        else:
            with closing(duckdb.connect(str(self.project.folder / "out.duckdb"))) as connection:
                for statement in statements:
                    connection.execute(statement)

    def spoil(self) -> None:
        """One row is missing, one has another value, one is there twice, one has no order."""
        if self.name == "iceberg":
            self.respoil()
            return
        self.change(
            "DELETE FROM t WHERE id = 7",
            "UPDATE t SET amount = 28 WHERE id = 9",
            "INSERT INTO t SELECT * FROM t WHERE id = 11",
            "INSERT INTO t VALUES (-1, 1, 1, 'no order')",
        )

    def respoil(self) -> None:
        """The same to an Iceberg table, by pyiceberg."""
        with self.lake() as catalog:
            table = catalog.load_table("default.t")
            found = table.scan().to_arrow()
            rows = {row["id"]: row for row in found.to_pylist() if row["id"] != 7}
            rows[9]["amount"] = 28
            more = [rows[11], {"id": -1, "key": 1, "amount": 1, "text": "no order"}]
            table.overwrite(pa.Table.from_pylist([*rows.values(), *more], schema=found.schema))

    def lake(self) -> closing[SqlCatalog]:
        return closing(SqlCatalog("iceframe", uri=f"sqlite:///{self.project.folder / 'catalog.db'}"))

    def mark(self) -> Any:
        project = load(self.project.folder / "ingest.yml")
        return remember.show(project, project.resources[0]).mark


def put_right(project: Project, **options: Any) -> Repair:
    return repair(project.folder / "ingest.yml", "r", **options)


@pytest.mark.parametrize("key", ["a key", "no key"])
@pytest.mark.parametrize("name", REPAIRABLE)
def test_missing_extra_changed_and_doubled_rows_are_put_right_in_one_commit(
    project: Project, name: str, key: str, request: pytest.FixtureRequest
) -> None:
    table = Table(project, name, request, **({"primary_key": "id"} if key == "a key" else {}))
    table.spoil()
    before = table.mark()
    done = put_right(project)
    assert (done.status, done.removed, done.inserted) == ("repaired", 4, 3), done.error
    assert table.end.read() == source(project)
    after = table.mark()
    assert after.position == before.position
    assert after.run_id == done.run_id != before.run_id
    assert verify(project.folder / "ingest.yml")[0].status == "same"
    assert put_right(project).status == "nothing to repair"
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.status == "nothing new"


@pytest.mark.parametrize("name", REPAIRABLE)
@pytest.mark.parametrize("point", ["load.begun", "load.staged", "load.marked", "load.committed"])
def test_a_repair_that_is_killed_has_changed_nothing_or_all(
    project: Project, zygote: Zygote, name: str, point: str, request: pytest.FixtureRequest
) -> None:
    table = Table(project, name, request)
    table.spoil()
    spoilt = table.end.read()
    assert zygote.conduit(project.folder, "repair", "r", crash_at=point).code == -9
    assert table.end.read() == (source(project) if point == "load.committed" else spoilt)
    zygote.conduit(project.folder, "repair", "r").ok()
    assert table.end.read() == source(project)


@pytest.mark.parametrize("mode", ["copy-on-write", "merge-on-read"])
def test_an_iceberg_table_is_put_right_in_one_snapshot_with_the_mark(
    project: Project, mode: str, request: pytest.FixtureRequest
) -> None:
    table = Table(project, "iceberg", request, primary_key="id")
    with table.lake() as catalog:
        catalog.load_table("default.t").transaction().set_properties({"write.merge.mode": mode}).commit_transaction()
    table.spoil()
    with table.lake() as catalog:
        before = [one.snapshot_id for one in catalog.load_table("default.t").snapshots()]
    done = put_right(project)
    assert (done.status, done.removed, done.inserted) == ("repaired", 4, 3), done.error
    with table.lake() as catalog:
        lake = catalog.load_table("default.t")
        made = [one for one in lake.snapshots() if one.snapshot_id not in before]
        summaries = [one.summary for one in made if one.summary]
        assert [(one.operation.value, one["conduit.run"]) for one in summaries] == [("overwrite", done.run_id)]
        assert any(task.delete_files for task in lake.scan().plan_files()) == (mode == "merge-on-read")
    assert table.end.read() == source(project)
    assert conduit.run(project.folder / "ingest.yml")["r"].status == "nothing new"


def test_a_repair_of_an_iceberg_table_that_others_changed_meanwhile_has_changed_nothing(
    project: Project, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(project, "iceberg", request)
    table.spoil()
    real = Removal.with_rows
    calls: list[int] = []

    def late(self: Removal, head: Any, added: Any) -> Any:
        found = real(self, head, added)
        calls.append(1)
        if len(calls) == 1:  # between the plan and the commit: one more row with a key that goes
            with table.lake() as catalog:
                other = catalog.load_table("default.t")
                rows = other.scan(row_filter="id == 9").to_arrow()
                other.append(rows)
        return found

    monkeypatch.setattr(Removal, "with_rows", late)
    done = put_right(project)
    assert (done.status, done.exit_code) == ("failed", 75)
    assert table.end.read()[(9, 2, 28, "row 9")] == 2
    monkeypatch.undo()
    assert put_right(project).status == "repaired"
    assert table.end.read() == source(project)


def test_a_plan_changes_nothing_and_says_what_would_be(project: Project, request: pytest.FixtureRequest) -> None:
    table = Table(project, "sqlite", request)
    table.spoil()
    spoilt, mark = table.end.read(), table.mark()
    ran = project.conduit("repair", "r", "--plan").ok()
    assert "2 missing, 3 extra, 0 changed" in ran.out  # without a key a changed row is a missing and an extra one
    assert "4 rows of t would be removed, 3 inserted" in ran.out
    assert (table.end.read(), table.mark()) == (spoilt, mark)


def test_a_repair_that_would_take_too_much_away_is_refused(project: Project, request: pytest.FixtureRequest) -> None:
    table = Table(project, "sqlite", request)
    sql(project.folder / "shop.db", "DELETE FROM orders WHERE id BETWEEN 10 AND 40")
    done = put_right(project)
    assert done.exit_code == 4
    assert "31 of 100 rows (31.0%)" in done.error
    assert sum(table.end.read().values()) == 100
    assert put_right(project, allow_shrink=0.31).status == "repaired"
    assert table.end.read() == source(project)


def test_rows_of_the_next_run_stay_as_they_are(project: Project, request: pytest.FixtureRequest) -> None:
    table = Table(project, "sqlite", request, mode="merge", primary_key="key", incremental=BY_ID)
    sql(
        project.folder / "shop.db",
        "DELETE FROM orders WHERE id < 94",
        "UPDATE orders SET id = id + 100, text = 'new' WHERE key = 1",
    )
    before = table.end.read()
    table.change("UPDATE t SET amount = -1 WHERE key = 2")
    done = put_right(project)
    assert (done.changed, done.missing, done.extra, done.status) == (1, 0, 0, "repaired"), done.error
    assert table.end.read() == before
    assert conduit.run(project.folder / "ingest.yml").exit_code == 0
    assert table.end.read() == source(project)


def test_a_source_that_changes_between_the_looks_stops_the_repair(
    project: Project, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table(project, "sqlite", request)
    table.spoil()
    spoilt = table.end.read()

    def later(*arguments: Any) -> Any:
        sql(project.folder / "shop.db", "UPDATE orders SET text = 'changed now' WHERE id = 9")
        return replacement(*arguments)

    monkeypatch.setattr(repairing, "replacement", later)
    done = put_right(project)
    assert (done.exit_code, done.status) == (75, "failed")
    assert table.end.read() == spoilt


def test_values_that_are_not_loaded_are_never_lost(project: Project, request: pytest.FixtureRequest) -> None:
    table = Table(project, "sqlite", request, primary_key="id")
    table.change("ALTER TABLE t ADD COLUMN note TEXT", "UPDATE t SET note = 'mine', amount = 0 WHERE id = 5")
    assert "columns that are not loaded (note)" in put_right(project).error
    table.change("UPDATE t SET amount = 15 WHERE id = 5", "DELETE FROM t WHERE id = 6")
    assert put_right(project).status == "repaired"
    assert table.end.read() == source(project)


def test_the_record_knows_the_repair_and_the_state_file_does_not(
    project: Project, request: pytest.FixtureRequest
) -> None:
    table = Table(project, "duckdb", request)
    table.spoil()
    before = (project.folder / FILE_NAME).read_text()
    done = put_right(project)
    last: Any = History(project.folder / ".conduit").runs()[-1]
    assert (last["inserted"], last["since"], last["until"]) == (3, 100, 100)
    assert last["notes"] == ["repair: 4 rows removed, 3 inserted"]
    assert done.run_id
    assert (project.folder / FILE_NAME).read_text() == before


@pytest.mark.parametrize("name", [name for name in NAMES if name not in REPAIRABLE])
def test_destinations_that_cannot_remove_rows_say_what_can_be_done(
    project: Project, name: str, request: pytest.FixtureRequest
) -> None:
    Table(project, name, request)
    done = put_right(project)
    assert done.exit_code == 2
    assert "conduit run ingest.yml r --full-refresh r" in done.error


@pytest.mark.parametrize("cursor", ["timestamptz", "numeric", "text", "uuid", "date"])
def test_rows_without_a_key_are_found_by_a_cursor_of_any_type(
    project: Project, cursor: str, request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue("database")
    values = {
        "timestamptz": "timestamptz '2026-01-01 00:00:00.000001+00' + i * interval '1 hour'",
        "numeric": "(i || '.50')::numeric",
        "text": "lpad(i::text, 5, '0')",
        "uuid": "lpad(i::text, 32, '0')::uuid",
        "date": "date '2026-01-01' + i",
    }
    database.execute(f"CREATE TABLE a AS SELECT {values[cursor]} AS c, i AS v FROM generate_series(1, 50) i")
    keys = {"table": "a", "into": "b", "incremental": {"column": "c", "safety": "none"}}
    project.write(pipeline(database.keys, database.keys, **keys))
    assert conduit.run(project.folder / "ingest.yml").exit_code == 0
    database.execute("DELETE FROM b WHERE v = 3")
    database.execute("UPDATE b SET v = 0 WHERE v = 5")
    database.execute("INSERT INTO b SELECT * FROM b WHERE v = 10")
    done = put_right(project)
    assert (done.status, done.removed, done.inserted) == ("repaired", 3, 3), done.error
    assert database.execute("SELECT * FROM a EXCEPT ALL SELECT * FROM b") == []
    assert database.execute("SELECT count(*) FROM b") == [(50,)]
