"""`conduit verify` tells what a destination does not share with its source, and nothing else."""

from __future__ import annotations

import csv
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

import conduit
from conduit.checking import comparison, ranges
from conduit.checking.canonical import checksums
from conduit.checking.differing import Differing, Heap
from conduit.checking.ranges import Sums
from conduit.checking.verify import Extent, ResourceCheck, verify
from conduit.connectors.sqlite.source import SqliteSource
from conduit.contract import Read
from tests.support.ends import NAMES, end
from tests.support.postgres import Database
from tests.support.project import Project, pipeline

SHOP = {"type": "sqlite", "database": "shop.db"}
OUT = {"type": "sqlite", "database": "out.sqlite"}
BY_ID = {"column": "id"}


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def shop(project: Project, rows: int = 100) -> None:
    """A table of `rows` orders."""
    sql(
        project.folder / "shop.db",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, key INTEGER NOT NULL, amount INTEGER, text TEXT)",
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) "
        "INSERT INTO orders SELECT i, i % 7, i * 3, 'row ' || i FROM n",
    )


def loaded(project: Project, destination: dict[str, Any], **resource: Any) -> None:
    """Write the file and run it."""
    if not {"table", "query"} & resource.keys():
        resource["table"] = "orders"
    keys = {"into": "t", "incremental": {"column": "id"}, **resource}
    project.write(pipeline(SHOP, destination, **keys))
    run(project)


def run(project: Project) -> None:
    report = conduit.run(project.folder / "ingest.yml")
    assert report.exit_code == 0, report["r"].error


def check(project: Project, **extent: Any) -> ResourceCheck:
    found = verify(project.folder / "ingest.yml", extent=Extent(**extent))[0]
    assert found.exit_code in (0, 6), found.error
    return found


def told(found: ResourceCheck) -> set[tuple[str, str]]:
    return {(one.kind, one.row) for one in found.differences}


# --- every destination ----------------------------------------------------------------------------------


def spoil(name: str, folder: Path, request: pytest.FixtureRequest) -> None:
    """By means of its own take row 7 out of a destination, give row 9 another amount, and add a row -1."""
    changes = (
        "DELETE FROM t WHERE id = 7", "UPDATE t SET amount = 28 WHERE id = 9",
        "INSERT INTO t VALUES (-1, 1, 1, 'no order')",
    )  # fmt: skip
    if name == "postgresql":
        for change in changes:
            request.getfixturevalue("database").execute(change)
    elif name == "sqlite":
        sql(folder / "out.sqlite", *changes)
    elif name == "duckdb":
        with closing(duckdb.connect(str(folder / "out.duckdb"))) as connection:
            for change in changes:
                connection.execute(change)
    elif name == "iceberg":
        with closing(SqlCatalog("iceframe", uri=f"sqlite:///{folder / 'catalog.db'}")) as catalog:
            table = catalog.load_table("default.t")
            rows = table.scan().to_arrow()
            table.overwrite(spoiled(rows))
    elif name == "parquet":
        place = next((folder / "out").glob("**/*.parquet"))
        pq.write_table(spoiled(pq.read_table(place)), place)
    else:
        place = next((folder / "out").glob("**/*.csv"))
        lines = [line for line in csv.reader(place.read_text().splitlines()) if line[0] != "7"]
        lines = [[*line[:2], "28", line[3]] if line[0] == "9" else line for line in lines]
        with place.open("w", newline="") as file:
            csv.writer(file).writerows([*lines, ["-1", "1", "1", "no order"]])


def spoiled(rows: pa.Table) -> pa.Table:
    kept = [row for row in rows.to_pylist() if row["id"] != 7]
    changed = [{**row, "amount": 28} if row["id"] == 9 else row for row in kept]
    return pa.Table.from_pylist([*changed, {"id": -1, "key": 1, "amount": 1, "text": "no order"}], schema=rows.schema)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("csv-file", "json")])
def test_one_missing_one_extra_and_one_wrong_value_are_told(
    project: Project, name: str, request: pytest.FixtureRequest
) -> None:
    database = request.getfixturevalue("database") if name == "postgresql" else None
    shop(project)
    loaded(project, end(name, project.folder, database).keys)
    assert (check(project).status, check(project).through) == ("same", 100)
    spoil(name, project.folder, request)
    found = check(project)
    assert told(found) == {("missing", "id = 7"), ("changed", "id = 9"), ("extra", "id = -1")}
    assert (found.missing, found.changed, found.extra, found.exit_code) == (1, 1, 1, 6)


@pytest.mark.parametrize("name", NAMES)
def test_what_was_just_loaded_is_the_same(project: Project, name: str, request: pytest.FixtureRequest) -> None:
    database = request.getfixturevalue("database") if name == "postgresql" else None
    sql(
        project.folder / "shop.db",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, n DOUBLE, d DECIMAL(20,6), at TIMESTAMP, day DATE, s TEXT, "
        "b BOOLEAN)",
        "INSERT INTO orders VALUES (1, 0.1, '1.500000', '2026-01-01 10:00:00.123456', '2026-01-01', '', 1)",
        "INSERT INTO orders VALUES (2, -0.0, '100', '1969-12-31 23:59:59.999999', '1900-02-28', NULL, 0)",
        "INSERT INTO orders VALUES (3, 1e300, NULL, NULL, NULL, 'NULL', NULL)",
    )
    loaded(project, end(name, project.folder, database).keys)
    found = check(project)
    assert (found.status, found.source_rows, found.target_rows) == ("same", 3, 3)


# --- values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "before", "after"),
    [
        ("text", "''", "NULL"),
        ("text", "'a'", "'a '"),
        ("text", "'\u00e9'", "'e\u0301'"),
        ("double precision", "0.1", "0.10000000000000002"),
        ("numeric(30,10)", "0.0000000001", "0.0000000002"),
        ("timestamptz", "'2026-01-01 10:00:00.123456+00'", "'2026-01-01 10:00:00.123457+00'"),
        ("bigint", "9007199254740992", "9007199254740993"),
        ("bytea", "'\\x00ff'", "'\\x00fe'"),
        ("uuid", "'00000000-0000-0000-0000-000000000001'", "'00000000-0000-0000-0000-000000000002'"),
        ("jsonb", """'{"a": 1}'""", """'{"a": 2}'"""),
    ],
)
def test_the_smallest_change_of_a_value_shows(
    project: Project, database: Database, column: str, before: str, after: str
) -> None:
    database.execute(f"CREATE TABLE v (id bigint PRIMARY KEY, v {column})")
    database.execute(f"INSERT INTO v VALUES (1, {before}), (2, NULL)")
    project.write(pipeline(database.keys, database.keys, table="v", into="w", incremental=BY_ID))
    run(project)
    assert check(project).status == "same"
    database.execute(f"UPDATE w SET v = {after} WHERE id = 1")
    assert told(check(project)) == {("changed", "id = 1")}


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.array([Decimal("1.50")]), pa.array([Decimal("1.5")])),
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([float("nan")]), pa.array([-float("nan")])),
        (pa.array(["a"]), pa.array(["a"], pa.large_string())),
        (pa.array(["a"]), pa.array(["a"]).dictionary_encode()),
        (pa.array([1], pa.int32()).cast(pa.int64()), pa.array([1], pa.int64())),
    ],
)
def test_equal_values_have_one_checksum_whatever_form_they_come_in(left: Any, right: Any) -> None:
    sums = [[one.to_list() for one in checksums(pa.record_batch({"v": side}), ["v"])] for side in (left, right)]
    assert sums[0] == sums[1]


def test_values_that_change_places_between_rows_or_columns_show() -> None:
    def total(rows: list[tuple[int, int]]) -> list[Any]:
        batch = pa.record_batch({"x": [x for x, _ in rows], "y": [y for _, y in rows]})
        return [one.sum() for one in checksums(batch, ["x", "y"])]

    assert len({tuple(total(rows)) for rows in ([(1, 2), (3, 4)], [(1, 4), (3, 2)], [(2, 1), (4, 3)])}) == 3
    assert total([(1, 2), (3, 4)]) == total([(3, 4), (1, 2)])
    assert total([(1, 2), (1, 2)]) != total([(3, 4), (3, 4)]) != [0, 0]


# --- rows -----------------------------------------------------------------------------------------------


def test_a_doubled_row_is_extra_although_its_twin_is_right(project: Project) -> None:
    shop(project)
    loaded(project, OUT, incremental={"column": "id", "safety": "none"})
    sql(
        project.folder / "out.sqlite",
        "INSERT INTO t SELECT * FROM t WHERE id = 5",
        "INSERT INTO t SELECT * FROM t WHERE id = 6",
    )
    assert told(check(project)) == {("extra", "id = 5"), ("extra", "id = 6")}


def test_all_are_counted_and_some_are_named(project: Project) -> None:
    shop(project, 5000)
    loaded(project, OUT)
    sql(project.folder / "out.sqlite", "DELETE FROM t WHERE id > 1000")
    found = check(project, limit=3)
    assert (found.missing, len(found.differences), found.differences[0].row) == (4000, 3, "id = 1001")
    ran = project.conduit("verify", "ingest.yml", "--limit", "3")
    assert ran.code == 6
    assert "and 3,997 more" in ran.out


def test_three_of_200_000_rows_are_found_by_reading_each_side_a_few_times(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(project, 200_000)
    loaded(project, OUT)
    sql(
        project.folder / "out.sqlite",
        "DELETE FROM t WHERE id = 77777",
        "UPDATE t SET text = '' WHERE id = 3",
        "INSERT INTO t VALUES (-4, 1, 1, NULL)",
    )
    opened: list[Read] = []
    real = SqliteSource.open

    def counted(self: SqliteSource, read: Read) -> Any:
        opened.append(read)
        return real(self, read)

    monkeypatch.setattr(SqliteSource, "open", counted)
    found = check(project)
    assert told(found) == {("missing", "id = 77777"), ("changed", "id = 3"), ("extra", "id = -4")}
    assert len(opened) <= 6


@pytest.mark.parametrize("cursor", ["id", "at"])
def test_many_rows_in_differing_ranges_are_divided_before_they_are_looked_at(
    project: Project, monkeypatch: pytest.MonkeyPatch, cursor: str
) -> None:
    monkeypatch.setattr(comparison, "FEW", 5)
    monkeypatch.setattr(ranges, "RANGES", 16)
    shop(project, 10_000)
    sql(
        project.folder / "shop.db",
        "ALTER TABLE orders ADD COLUMN at TIMESTAMP",
        "UPDATE orders SET at = datetime('2026-01-01', id || ' minutes')",
    )
    loaded(project, OUT, incremental={"column": cursor})
    sql(project.folder / "out.sqlite", "DELETE FROM t WHERE id IN (7000, 7001)", "UPDATE t SET key = 8 WHERE id = 20")
    added: list[int] = []
    real = Differing.add

    def counted(self: Differing, heap: Heap, rows: pl.DataFrame) -> None:
        added.append(rows.height)
        real(self, heap, rows)

    monkeypatch.setattr(Differing, "add", counted)
    found = check(project)
    assert told(found) == {("missing", "id = 7000"), ("missing", "id = 7001"), ("changed", "id = 20")}
    assert sum(added) < 20


def test_rows_of_a_new_file_are_not_missing_and_those_of_a_loaded_one_are(project: Project) -> None:
    (project.folder / "in").mkdir()
    (project.folder / "in" / "a.csv").write_text("x,y\n1,a\n2,b\n2,b\n")
    project.write(pipeline({"type": "csv", "path": "in/"}, OUT, into="t", mode="append"))
    run(project)
    (project.folder / "in" / "b.csv").write_text("x,y\n2,b\n3,c\n")
    found = check(project)
    assert (found.status, found.next_run) == ("same", 2)
    sql(project.folder / "out.sqlite", "DELETE FROM t WHERE x = 2")
    found = check(project)
    assert (found.missing, found.differences[0].rows, found.differences[0].row) == (2, 2, "x = 2, y = b")


def test_what_an_iceberg_table_got_after_its_snapshot_is_not_missing(project: Project) -> None:
    shop(project)
    lake = {"type": "iceberg"}
    content = pipeline(SHOP, lake, table="orders", into="t", incremental=BY_ID)
    content["sources"].append({"name": "lake", **lake})
    content["destinations"].append({"name": "copy", **OUT})
    content["resources"].append(
        {"name": "s", "source": "lake", "destination": "copy", "table": "t", "into": "u", "mode": "append"}
    )
    project.write(content)
    run(project)
    sql(project.folder / "shop.db", "INSERT INTO orders VALUES (101, 1, 1, 'new')")
    assert conduit.run(project.folder / "ingest.yml", ["r"]).exit_code == 0
    found = verify(project.folder / "ingest.yml", ["s"])[0]
    assert (found.status, found.next_run, found.target_rows) == ("same", 1, 100), found.error


def test_without_a_key_or_a_cursor_rows_are_compared_as_a_whole(project: Project) -> None:
    shop(project)
    loaded(
        project,
        {"type": "parquet", "path": "out/"},
        query="SELECT key, text FROM orders",
        incremental=None,
        mode="replace",
    )
    assert check(project).status == "same"
    sql(project.folder / "shop.db", "UPDATE orders SET text = 'other' WHERE id = 50")
    assert told(check(project)) == {("missing", "key = 1, text = other"), ("extra", "key = 1, text = row 50")}


# --- what is not a difference ---------------------------------------------------------------------------


def test_rows_above_the_mark_and_without_a_cursor_are_not_missing(project: Project) -> None:
    sql(
        project.folder / "shop.db",
        "CREATE TABLE orders (id INTEGER, text TEXT)",
        "INSERT INTO orders VALUES (1, 'a'), (2, 'b'), (NULL, 'c')",
    )
    loaded(project, OUT, incremental={"column": "id", "on_null": "exclude"})
    sql(project.folder / "shop.db", "INSERT INTO orders VALUES (3, 'd'), (NULL, 'e')")
    found = check(project)
    assert (found.status, found.source_rows, found.through) == ("same", 2, 2)


def test_a_row_that_the_next_run_updates_is_no_difference(project: Project) -> None:
    sql(
        project.folder / "shop.db",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, text TEXT, at INTEGER)",
        "INSERT INTO orders VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3)",
    )
    loaded(
        project,
        OUT,
        incremental={"column": "at"},
        mode="merge",
        primary_key="id",
    )
    sql(project.folder / "shop.db", "UPDATE orders SET text = 'A', at = 4 WHERE id = 1")
    found = check(project)
    assert (found.status, found.next_run) == ("same", 1)
    sql(project.folder / "out.sqlite", "UPDATE t SET text = 'x' WHERE id = 2")
    assert told(check(project)) == {("changed", "id = 2")}


def test_rows_held_back_by_an_open_transaction_are_not_missing(project: Project, database: Database) -> None:
    database.execute("CREATE TABLE orders (id bigint PRIMARY KEY, text text)")
    with closing(database.connect()) as late, closing(database.connect()) as early:
        late.autocommit = early.autocommit = False
        with late.cursor() as one, early.cursor() as two:
            one.execute("INSERT INTO orders VALUES (1, 'late')")
            two.execute("INSERT INTO orders VALUES (2, 'held back')")
            early.commit()
            project.write(
                pipeline(
                    database.keys,
                    OUT,
                    table="orders",
                    into="t",
                    incremental=BY_ID,
                )
            )
            database.execute("INSERT INTO orders VALUES (3, 'held back too')")
            run(project)
            late.commit()
    database.execute("INSERT INTO orders VALUES (4, 'new')")
    run(project)
    assert check(project).status == "same"
    database.execute("INSERT INTO orders VALUES (0, 'below the mark, and to come')")
    found = check(project)
    assert (found.status, found.next_run) == ("same", 1)
    with closing(sqlite3.connect(project.folder / "out.sqlite")) as connection:
        connection.execute("DELETE FROM t WHERE id = 2")
        connection.commit()
    assert told(check(project)) == {("missing", "id = 2")}


def test_writers_at_work_cause_no_false_alarm(project: Project, database: Database) -> None:
    database.execute("CREATE TABLE orders (id bigserial PRIMARY KEY, text text)")
    database.execute("INSERT INTO orders (text) SELECT 'x' || i FROM generate_series(1, 2000) i")
    project.write(pipeline(database.keys, OUT, table="orders", incremental=BY_ID))
    run(project)
    with writing(database):
        for _ in range(4):
            found = check(project)
            assert (found.missing, found.extra, found.changed) == (0, 0, 0)


@contextmanager
def writing(database: Database) -> Iterator[None]:
    """Rows are inserted, some of them below the mark of a run, until the block ends."""
    stop = Event()

    def insert() -> None:
        with closing(database.connect()) as connection, connection.cursor() as cur:
            for place in range(100_000):
                if stop.is_set():
                    return
                cur.execute("INSERT INTO orders (text) VALUES ('new')")
                cur.execute("INSERT INTO orders VALUES (%s, 'low')", (-place,))

    thread = Thread(target=insert)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_columns_that_are_not_loaded_are_not_compared(project: Project) -> None:
    shop(project)
    loaded(project, {"type": "sqlite", "database": "out.sqlite", "metadata_columns": True, "schema_changes": "ignore"})
    sql(project.folder / "shop.db", "ALTER TABLE orders ADD COLUMN later TEXT", "UPDATE orders SET later = 'x'")
    found = check(project)
    assert (found.status, found.notes) == ("same", ["column later is not loaded, so it is not compared"])


# --- extent, record, refusals ---------------------------------------------------------------------------


def test_a_sample_says_which_ranges_it_took_and_takes_the_same_again(project: Project) -> None:
    shop(project, 20_000)
    loaded(project, OUT)
    sql(project.folder / "out.sqlite", "UPDATE t SET amount = -1 WHERE id % 100 = 0")
    some, again, others = check(project, sample=0.1), check(project, sample=0.1), check(project, sample=0.1, seed=1)
    assert 0 < some.changed < 60
    assert some.differences == again.differences != others.differences
    assert "a sample (seed 0)" in some.notes[0]


def test_since_leaves_out_what_is_below(project: Project) -> None:
    shop(project)
    loaded(project, OUT)
    sql(project.folder / "out.sqlite", "DELETE FROM t WHERE id IN (50, 51)")
    found = check(project, since="50")
    assert (found.source_rows, told(found)) == (50, {("missing", "id = 51")})


def test_how_far_a_destination_is_right_is_remembered(project: Project) -> None:
    shop(project)
    loaded(project, OUT)
    assert project.conduit("state", "show", "--output", "json").json[0]["verified"] is None
    assert project.conduit("verify").code == 0
    verified = project.conduit("state", "show", "--output", "json").json[0]["verified"]
    assert (verified["through"], verified["rows"]) == ("100", 100)
    assert "verified through 100" in project.conduit("state", "show").out


@pytest.mark.parametrize(
    ("resource", "why"),
    [
        ({"mode": "merge", "primary_key": "id", "update": {"amount": "target.amount + source.amount"}}, "`update:`"),
        ({"transform": "SELECT id, text FROM batch"}, "`transform:`"),
    ],
)
def test_what_is_not_the_source_as_it_is_cannot_be_compared(project: Project, resource: Any, why: str) -> None:
    shop(project)
    loaded(project, OUT, **resource)
    ran = project.conduit("verify")
    assert ran.code == 2
    assert why in ran.out


def test_a_table_of_two_resources_and_one_that_was_never_loaded_are_refused(project: Project) -> None:
    shop(project)
    keys = pipeline(SHOP, OUT, table="orders", into="t", incremental=BY_ID)
    keys["resources"].append({**keys["resources"][0], "name": "second"})
    project.write(keys)
    assert project.conduit("verify").code == 4
    conduit.run(project.folder / "ingest.yml")
    found = verify(project.folder / "ingest.yml")
    assert [one.exit_code for one in found] == [2, 2]
    assert "second (pipeline default) writes into t too" in found[0].error


# --- ranges ---------------------------------------------------------------------------------------------


def test_ranges_stay_few_and_fit_each_other_whatever_order_the_rows_come_in() -> None:
    places = [*range(100_000), -(2**62), 2**62, None]
    sides = []
    for seed in (1, 2):
        random.Random(seed).shuffle(places)
        sums = Sums()
        for start in range(0, len(places), 7_919):
            part = pl.DataFrame({"place": pl.Series(places[start : start + 7_919], dtype=pl.Int64)})
            hashed = part["place"].hash(seed=1)
            sums.add(part.with_columns(hashed.alias("a"), (hashed // 3).alias("b")))
        sides.append(sums)
    both = sides[0].against(sides[1])
    assert (len(both.differing()), both.rows) == (0, 100_003)
    assert 1000 < len(both) <= 4096
