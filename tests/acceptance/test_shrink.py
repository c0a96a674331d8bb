"""A replace that would take away more rows than it may stops before its commit, on every destination."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pyarrow as pa
import pytest

import conduit
from conduit.report import ResourceReport
from tests.support.ends import NAMES, End, end
from tests.support.postgres import Database
from tests.support.project import Project, pipeline

PYTHON = {"type": "python"}
INCREMENTAL = {"column": "id", "safety": "none"}


def orders(*ids: int) -> pa.Table:
    columns = [
        pa.array(ids, pa.int64()),
        pa.array([0] * len(ids)),
        pa.array([0] * len(ids)),
        pa.array(["t"] * len(ids)),
    ]
    return pa.table(columns, names=["id", "key", "amount", "text"])


def ids(found: End) -> list[int]:
    return sorted(row[0] for row in found.read().elements())


def run(project: Project, rows: pa.Table, **how: Any) -> ResourceReport:
    return conduit.run(project.folder / "ingest.yml", sources={"src": rows}, **how)["r"]


@pytest.fixture(params=NAMES)
def target(request: pytest.FixtureRequest, project: Project) -> End:
    database = request.getfixturevalue("database") if request.param == "postgresql" else None
    return end(request.param, project.folder, database)


def mark(project: Project) -> Any:
    return project.conduit("state", "show", "--output", "json").ok().json[0]["mark"]


def test_a_replace_that_would_shrink_the_table_changes_nothing(project: Project, target: End) -> None:
    project.write(pipeline(PYTHON, target.keys, into="t", mode="replace"))
    assert run(project, orders(*range(1, 11))).exit_code == 0
    before = mark(project)
    report = run(project, orders(1, 2, 3))
    assert (report.status, report.exit_code, report.commits, report.read, report.written) == ("failed", 4, 0, 0, 0)
    assert "r: table t has 10 rows and would have 3; more than 10 % of them would be gone" in report.error
    assert "`--allow-shrink 0.7`" in report.error
    assert ids(target) == list(range(1, 11))
    assert mark(project) == before
    assert run(project, orders()).exit_code == 4
    assert ids(target) == list(range(1, 11))
    assert run(project, orders(*range(2, 11))).exit_code == 0
    assert run(project, orders(1, 2, 3), allow_shrink=0.7).exit_code == 0
    assert ids(target) == [1, 2, 3]
    assert run(project, orders(), allow_shrink=1).exit_code == 0
    assert run(project, orders()).exit_code == 0
    assert ids(target) == []


def test_a_full_refresh_that_would_shrink_the_table_keeps_rows_and_mark(project: Project, target: End) -> None:
    project.write(pipeline(PYTHON, target.keys, into="t", incremental=INCREMENTAL))
    assert run(project, orders(*range(1, 11))).exit_code == 0
    before = mark(project)
    report = run(project, orders(1), full_refresh=["r"])
    assert (report.exit_code, report.commits) == (4, 0)
    assert ids(target) == list(range(1, 11))
    assert mark(project) == before
    assert project.state == {"r": 10}
    assert run(project, orders(*range(5, 15))).written == 4
    assert run(project, orders(1), full_refresh=["r"], allow_shrink=0.95).exit_code == 0
    assert ids(target) == [1]
    assert project.state == {"r": 1}


def test_the_resource_says_that_its_table_shrinks_by_nature_and_the_command_wins(project: Project) -> None:
    target = end("sqlite", project.folder, None)
    project.write(pipeline(PYTHON, target.keys, into="t", mode="replace", allow_shrink=0.5))
    assert run(project, orders(1, 2, 3, 4)).exit_code == 0
    assert run(project, orders(1)).exit_code == 4
    assert run(project, orders(1, 2), allow_shrink=0.49).exit_code == 4
    assert run(project, orders(1, 2), allow_shrink=float("nan")).exit_code == 4
    assert run(project, orders(1, 2)).exit_code == 0
    assert run(project, orders(), allow_shrink=1).exit_code == 0


def test_rows_of_others_in_the_table_count(project: Project) -> None:
    target = end("sqlite", project.folder, None)
    with closing(sqlite3.connect(project.folder / "out.sqlite")) as opened:
        opened.execute("CREATE TABLE t (id INTEGER, key INTEGER, amount INTEGER, text TEXT)")
        opened.executemany("INSERT INTO t VALUES (?, 0, 0, '')", [(i,) for i in range(20)])
        opened.commit()
    project.write(pipeline(PYTHON, target.keys, into="t", mode="replace"))
    assert "has 20 rows and would have 1;" in run(project, orders(7)).error
    assert ids(target) == list(range(20))


def test_what_a_transform_makes_is_what_counts(project: Project) -> None:
    target = end("duckdb", project.folder, None)
    project.write(
        pipeline(PYTHON, target.keys, into="t", mode="replace", transform="SELECT * FROM batch WHERE id % 2 = 0")
    )
    assert run(project, orders(*range(10))).written == 5
    assert run(project, orders(0, 2, 4, 6, 8)).exit_code == 0
    assert "has 5 rows and would have 0;" in run(project, orders(1, 3, 5, 7, 9)).error
    assert ids(target) == [0, 2, 4, 6, 8]


def test_rows_that_are_cast_on_their_way_into_postgresql_count_too(project: Project, database: Database) -> None:
    """They go through a temporary table, and the old rows are deleted last."""
    database.execute("CREATE TABLE t (v inet); INSERT INTO t SELECT '10.0.0.1' FROM generate_series(1, 9)")
    project.write(pipeline(PYTHON, database.keys, into="t", mode="replace"))
    given = pa.table({"v": pa.array(["10.0.0.2"])})
    assert "has 9 rows and would have 1;" in run(project, given).error
    assert database.execute("SELECT count(*) FROM t WHERE v = '10.0.0.1'") == [(9,)]
    assert run(project, given, allow_shrink=0.9).written == 1
    assert database.execute("SELECT host(v) FROM t") == [("10.0.0.2",)]


# --- the command line -----------------------------------------------------------------------------------


@pytest.fixture
def shop(project: Project) -> Callable[[int], None]:
    """Sets how many rows the source has."""

    def rows(count: int) -> None:
        with closing(sqlite3.connect(project.folder / "shop.db")) as opened:
            opened.execute("CREATE TABLE IF NOT EXISTS e (id INTEGER PRIMARY KEY)")
            opened.execute("DELETE FROM e")
            opened.executemany("INSERT INTO e VALUES (?)", [(i,) for i in range(count)])
            opened.commit()

    return rows


@pytest.mark.parametrize("name", ["postgresql", "sqlite", "duckdb", "parquet", "iceberg"])
def test_a_plan_tells_that_a_run_would_be_refused(
    project: Project, shop: Callable[[int], None], request: pytest.FixtureRequest, name: str
) -> None:
    database = request.getfixturevalue("database") if name == "postgresql" else None
    keys = end(name, project.folder, database).keys
    project.write(pipeline({"type": "sqlite", "database": "shop.db"}, keys, table="e", into="t", mode="replace"))
    shop(10)
    project.run()
    assert "DESTRUCTIVE: all rows of t are replaced: 10 there, 10 then" in project.conduit("plan").ok().out
    shop(3)
    refused = project.conduit("plan")
    assert refused.code == 4
    assert "table t has 10 rows and would have 3" in refused.out
    assert project.conduit("run").code == 4
    assert "10 there, 3 then" in project.conduit("plan", "--allow-shrink", "0.7").ok().out
    assert "10 there, 3 then" in project.conduit("run", "--dry-run", "--allow-shrink", "0.7").ok().out
    assert "read 3 = written 3" in project.conduit("run", "--allow-shrink", "0.7").ok().out


def test_a_plan_of_large_tables_says_what_it_guesses(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 2000) g; ANALYZE t")
    database.execute("CREATE TABLE e AS SELECT g AS id FROM generate_series(1, 10) g; ANALYZE e")
    project.write(pipeline(database.keys, database.keys, table="e", into="t", mode="replace"))
    monkeypatch.setattr("conduit.connectors.postgresql.catalogue.COUNT_UP_TO", 100)
    [planned] = conduit.plan(project.folder / "ingest.yml")
    assert (planned.exit_code, planned.destructive) == (0, ["all rows of t are replaced: about 2,000 there, 10 then"])
    assert "more than 10 % of the rows would go: a run may need `--allow-shrink 1`" in planned.notes


def test_a_plan_does_without_rows_that_it_may_not_read(project: Project, database: Database) -> None:
    role = f"writer_{secrets.token_hex(4)}"
    database.execute(f"CREATE TABLE t AS SELECT 1 AS id; CREATE ROLE {role} LOGIN; GRANT INSERT, DELETE ON t TO {role}")
    project.write(
        pipeline(database.keys, database.keys | {"user": role}, query="SELECT 2 AS id", into="t", mode="replace")
    )
    assert "all rows of t are replaced\n" in project.conduit("plan").ok().out
    database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize("share", ["-0.1", "1.1", "half"])
def test_a_share_is_a_number_from_0_to_1(project: Project, share: str) -> None:
    project.write(pipeline({"type": "sqlite", "database": "s"}, PYTHON, table="t", mode="replace"))
    ran = project.conduit("run", "--allow-shrink", share)
    assert ran.code == 2
    assert "--allow-shrink" in ran.err
