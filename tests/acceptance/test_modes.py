"""Append, merge and replace; schema changes; what stays when a commit fails; a run of several resources."""

from __future__ import annotations

import csv
import json
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

import conduit
from conduit.report import ResourceReport
from tests.support.ends import NAMES
from tests.support.postgres import Database
from tests.support.project import Project, pipeline


def keys(name: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The connection of a destination by its test name."""
    if name == "postgresql":
        return dict(request.getfixturevalue("database").keys)
    return {
        "sqlite": {"type": "sqlite", "database": "out.sqlite"},
        "duckdb": {"type": "duckdb", "database": "out.duckdb"},
        "parquet": {"type": "parquet", "path": "out/"},
        "csv": {"type": "csv", "path": "out/"},
        "csv-file": {"type": "csv", "path": "out.csv"},
        "json": {"type": "json", "path": "out.ndjson"},
        "iceberg": {"type": "iceberg"},
    }[name]


def frame(*rows: tuple[int, str]) -> pa.Table:
    """Rows (id, v) as a Python object for `conduit.run`."""
    return pa.table(
        {"id": pa.array([i for i, _ in rows], pa.int64()), "v": pa.array([v for _, v in rows], pa.string())}
    )


def run(project: Project, rows: Any, **more: Any) -> ResourceReport:
    return conduit.run(project.folder / "ingest.yml", sources={"src": rows}, **more)["r"]


def content(project: Project, name: str, request: pytest.FixtureRequest) -> list[tuple[int, str]]:
    """What is in the destination, read back through a pipeline of our own into memory-free Python: DuckDB."""
    folder = project.folder
    if name == "postgresql":
        database: Database = request.getfixturevalue("database")
        return sorted(database.execute("SELECT id, v FROM t"))
    if name == "sqlite":
        with closing(sqlite3.connect(folder / "out.sqlite")) as connection:
            return sorted(connection.execute("SELECT id, v FROM t").fetchall())
    if name == "duckdb":
        with duckdb.connect(str(folder / "out.duckdb"), read_only=True) as opened:
            return sorted(opened.execute("SELECT id, v FROM t").fetchall())
    if name == "iceberg":
        with closing(SqlCatalog("iceframe", uri=f"sqlite:///{folder}/.iceframe/catalog.db")) as catalog:
            found = catalog.load_table("default.t").scan().to_arrow()
        return sorted((row["id"], row["v"]) for row in found.to_pylist())
    if name == "parquet":
        tables = [pq.read_table(path) for path in folder.glob("out/**/*.parquet")]
        return sorted((row["id"], row["v"]) for table in tables for row in table.to_pylist())
    if name == "json":
        lines = (folder / "out.ndjson").read_text().splitlines() if (folder / "out.ndjson").exists() else []
        return sorted((row["id"], row["v"]) for row in map(json.loads, lines))
    paths = folder.glob("out/**/*.csv") if name == "csv" else [folder / "out.csv"]
    rows = [row for path in paths for row in csv.DictReader(path.read_text().splitlines())]
    return sorted((int(row["id"]), row["v"]) for row in rows)


PYTHON = {"type": "python"}


@pytest.mark.parametrize("name", NAMES)
def test_replace_leaves_only_the_new_rows_even_when_there_are_none(
    project: Project, request: pytest.FixtureRequest, name: str
) -> None:
    project.write(pipeline(PYTHON, keys(name, request), into="t", mode="replace", allow_shrink=0.5))
    assert run(project, frame((1, "a"), (2, "b"))).written == 2
    assert content(project, name, request) == [(1, "a"), (2, "b")]
    assert run(project, frame((2, "c"))).written == 1
    assert content(project, name, request) == [(2, "c")]
    assert run(project, frame(), allow_shrink=1).exit_code == 0
    assert content(project, name, request) == []


@pytest.mark.parametrize("name", NAMES)
def test_append_adds_what_is_new(project: Project, request: pytest.FixtureRequest, name: str) -> None:
    project.write(pipeline(PYTHON, keys(name, request), into="t", incremental_column="id"))
    assert run(project, frame((1, "a"), (2, "b"))).written == 2
    assert run(project, frame((1, "a"), (2, "b"), (3, "c"))).written == 1
    assert run(project, frame((1, "a"), (2, "b"), (3, "c"))).status == "nothing new"
    assert content(project, name, request) == [(1, "a"), (2, "b"), (3, "c")]


@pytest.mark.parametrize("name", NAMES)
def test_a_full_refresh_forgets_the_mark_and_replaces_the_table(
    project: Project, request: pytest.FixtureRequest, name: str
) -> None:
    project.write(pipeline(PYTHON, keys(name, request), into="t", incremental_column="id"))
    run(project, frame((1, "a"), (9, "b")))
    assert run(project, frame((1, "x"), (2, "y")), full_refresh=["r"]).exit_code == 0
    assert content(project, name, request) == [(1, "x"), (2, "y")]
    assert project.state == {"r": 2}
    assert run(project, frame((3, "z"))).written == 1


@pytest.mark.parametrize("name", ["postgresql", "sqlite", "duckdb"])
def test_merge_updates_and_inserts_and_the_highest_cursor_wins(
    project: Project, request: pytest.FixtureRequest, name: str
) -> None:
    project.write(pipeline(PYTHON, keys(name, request), into="t", mode="merge", primary_key="id"))
    run(project, frame((1, "a"), (2, "b")))
    report = run(project, frame((2, "c"), (3, "d"), (3, "e")))
    assert (report.inserted, report.updated, report.superseded) == (1, 1, 1)
    assert content(project, name, request) == [(1, "a"), (2, "c"), (3, "e")]
    again = run(project, frame((2, "c"), (3, "e")))
    assert (again.inserted, again.updated, again.already_present) == (0, 0, 2)


@pytest.mark.parametrize("name", ["parquet", "csv", "csv-file", "json"])
def test_a_merge_into_files_is_refused_when_the_file_is_read(
    project: Project, request: pytest.FixtureRequest, name: str
) -> None:
    project.write(pipeline(PYTHON, keys(name, request), into="t", mode="merge", primary_key="id"))
    with pytest.raises(conduit.ConduitError, match="merge") as caught:
        run(project, frame((1, "a")))
    assert caught.value.exit_code == 2


def test_a_merge_works_without_a_unique_index(project: Project, database: Database) -> None:
    database.execute("CREATE TABLE t (id bigint, v text)")
    database.execute("INSERT INTO t VALUES (1, 'old')")
    project.write(pipeline(PYTHON, database.keys, into="t", mode="merge", primary_key="id"))
    assert run(project, frame((1, "new"), (2, "b"))).updated == 1
    assert sorted(database.execute("SELECT * FROM t")) == [(1, "new"), (2, "b")]


@pytest.mark.parametrize("name", ["postgresql", "sqlite", "duckdb"])
def test_update_expressions_add_to_what_is_there(project: Project, request: pytest.FixtureRequest, name: str) -> None:
    update = {"n": "target.n + source.n"}
    project.write(pipeline(PYTHON, keys(name, request), into="t", mode="merge", primary_key="id", update=update))
    counts = pa.table({"id": pa.array([1, 2]), "v": pa.array(["a", "b"]), "n": pa.array([10, 20])})
    run(project, counts)
    run(project, counts)
    twice = pa.table({"id": pa.array([1, 1]), "v": pa.array(["a", "b"]), "n": pa.array([1, 1])})
    report = run(project, twice)
    assert report.exit_code == 5
    assert "id" in report.error
    assert [v for _, v in content(project, name, request)] == ["a", "b"]


def test_adding_to_the_target_refuses_to_look_back(project: Project, database: Database) -> None:
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY, n bigint)")
    database.execute("INSERT INTO e VALUES (1, 1)")
    more = {"into": "t", "mode": "merge", "primary_key": "id", "update": {"n": "target.n + source.n"}}
    project.write(pipeline(database.keys, database.keys, table="e", incremental_column="id", **more))
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 2
    assert "safety: none" in report.error


def test_a_row_that_breaks_a_constraint_leaves_nothing_behind(project: Project, database: Database) -> None:
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY, v text CONSTRAINT v_is_short CHECK (length(v) < 5))")
    project.write(pipeline(PYTHON, database.keys, into="t", incremental_column="id"))
    run(project, frame((1, "a")))
    rows = [(i, "far too long" if i == 1500 else "ok") for i in range(2, 3000)]
    report = run(project, frame(*rows))
    assert report.exit_code == 5
    assert "v_is_short" in report.error
    assert "1500" in report.error
    assert database.execute("SELECT count(*) FROM t") == [(1,)]
    assert project.state == {"r": 1}


@pytest.mark.parametrize("name", ["postgresql", "sqlite", "duckdb", "parquet"])
def test_a_new_column_is_added_ignored_or_refused_before_a_row_is_written(
    project: Project, request: pytest.FixtureRequest, name: str
) -> None:
    wider = frame((2, "b")).append_column("extra", pa.array(["x"], pa.string()))
    for policy, code in (("fail", 5), ("ignore", 0), ("add", 0)):
        folder = Project(project.folder / policy)
        folder.folder.mkdir()
        into = f"t_{policy}"
        more = {"into": into, "incremental_column": "id", "schema_changes": policy}
        folder.write(pipeline(PYTHON, keys(name, request), **more))
        assert run(folder, frame((1, "a"))).exit_code == 0
        report = run(folder, wider)
        assert report.exit_code == code, report.error
        if code:
            assert "extra" in report.error
        else:
            assert report.written == 1


@pytest.mark.parametrize(
    ("declared", "value"), [("integer", 2**40), ("smallint", 70_000), ("text", None), ("numeric(5,2)", None)]
)
def test_a_value_that_does_not_fit_its_column_is_named(
    project: Project, database: Database, declared: str, value: int | None
) -> None:
    database.execute(f"CREATE TABLE t (id bigint, v {declared})")
    values = pa.array([b"\x00"], pa.binary()) if value is None else pa.array([value], pa.int64())
    project.write(pipeline(PYTHON, database.keys, into="t", incremental_column="id"))
    report = run(project, pa.table({"id": pa.array([1]), "v": values}))
    assert report.exit_code == 5
    assert "column v" in report.error
    assert database.execute("SELECT count(*) FROM t") == [(0,)]


def test_metadata_columns_say_which_run_loaded_a_row(project: Project, database: Database) -> None:
    project.write(pipeline(PYTHON, database.keys, into="t", incremental_column="id", metadata_columns=True))
    first = conduit.run(project.folder / "ingest.yml", sources={"src": frame((1, "a"))})
    second = conduit.run(project.folder / "ingest.yml", sources={"src": frame((2, "b"))})
    found = database.execute("SELECT id, _conduit_run_id, _conduit_loaded_at IS NOT NULL FROM t ORDER BY id")
    assert found == [(1, first.run_id, True), (2, second.run_id, True)]


def test_one_failing_resource_does_not_stop_the_others(project: Project, database: Database) -> None:
    database.execute("CREATE TABLE a (id bigint PRIMARY KEY)")
    database.execute("INSERT INTO a VALUES (1), (2)")
    resources = [
        {
            "name": name,
            "source": "src",
            "destination": "dst",
            "table": table,
            "incremental_column": "id",
            "into": f"c_{name}",
        }
        for name, table in (("one", "a"), ("two", "missing"), ("three", "a"))
    ]
    ends = {"sources": [{"name": "src", **database.keys}], "destinations": [{"name": "dst", **database.keys}]}
    project.write({**ends, "resources": resources})
    ran = project.conduit("run", "ingest.yml", "--output", "json")
    assert ran.code == 2
    assert [one["status"] for one in ran.json["resources"]] == ["loaded", "failed", "loaded"]
    assert "missing" in ran.json["resources"][1]["error"]
    text = project.conduit("run", "ingest.yml", "two")
    assert "1 failed" in text.out
    assert "Traceback" not in text.err


def test_a_wrong_password_is_told_at_once_with_the_connections_name(project: Project, database: Database) -> None:
    database.execute("DROP ROLE IF EXISTS locked_out")
    database.execute("CREATE ROLE locked_out LOGIN PASSWORD 'right'")
    nowhere = {
        "type": "postgresql",
        "host": "127.0.0.1",
        "port": 1,
        "database": "x",
        "user": "u",
        "password": "hunter2!",
    }
    project.write(pipeline(nowhere, {"type": "sqlite", "database": "o.sqlite"}, table="t", incremental_column="id"))
    began = time.monotonic()
    ran = project.conduit("check")
    assert ran.code == 3
    assert "src" in ran.out
    assert "hunter2!" not in ran.out + ran.err
    missing = dict(database.keys) | {"database": "no_such_database"}
    project.write(pipeline(missing, {"type": "sqlite", "database": "o.sqlite"}, table="t", incremental_column="id"))
    ran = project.conduit("run", "ingest.yml")
    assert ran.code == 3
    assert "no_such_database" in ran.out
    assert time.monotonic() - began < 6
    database.execute("DROP ROLE locked_out")


@pytest.mark.parametrize("name", NAMES)
def test_a_dry_run_shows_the_statement_and_changes_nothing(
    project: Project, request: pytest.FixtureRequest, name: str
) -> None:
    with closing(sqlite3.connect(project.folder / "in.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE e (id INTEGER PRIMARY KEY, v TEXT)")
        connection.executemany("INSERT INTO e VALUES (?, ?)", [(1, "a"), (2, "b")])
    query = "SELECT id, v FROM e WHERE id > :last_value ORDER BY id"
    source = {"type": "sqlite", "database": "in.sqlite"}
    project.write(pipeline(source, keys(name, request), query=query, into="t", incremental_column="id"))
    before = tree(project.folder)
    shown = project.conduit("run", "ingest.yml", "--dry-run", "--output", "json").ok().json[0]
    assert (shown["rows"], shown["mode"], shown["table"]) == (2, "append", "t")
    assert shown["changes"][0].startswith("create table t (id int64")
    assert tree(project.folder) == before
    if name == "postgresql":
        database: Database = request.getfixturevalue("database")
        assert database.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    project.run()
    after = tree(project.folder)
    assert project.conduit("plan").ok().out.count("nothing new") == 1
    assert tree(project.folder) == after


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by content; a database's shared memory apart."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(("-shm", ".out", ".err"))
    }


def test_a_plan_says_what_is_destructive(project: Project, database: Database) -> None:
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY); INSERT INTO e VALUES (1)")
    project.write(pipeline(database.keys, database.keys, table="e", into="t", mode="replace"))
    project.run()
    assert "DESTRUCTIVE: all rows of t are replaced" in project.conduit("plan").ok().out


def test_a_preview_shows_rows_and_writes_nothing(project: Project, database: Database) -> None:
    database.execute(
        "CREATE TABLE e (id bigint PRIMARY KEY, v text); INSERT INTO e SELECT g, 'v' FROM generate_series(1, 50) g"
    )
    project.write(pipeline(database.keys, database.keys, table="e", into="t", incremental_column="id"))
    ran = project.conduit("run", "ingest.yml", "r", "--limit", "3").ok()
    assert "3 rows; nothing was written" in ran.out
    assert database.execute("SELECT to_regclass('t')") == [(None,)]


def test_python_objects_of_many_kinds_are_sources(project: Project, database: Database) -> None:
    project.write(pipeline(PYTHON, database.keys, into="t", incremental_column="id"))
    rows: list[Any] = [
        pl.DataFrame({"id": [1], "v": ["a"]}),
        frame((2, "b")),
        iter([{"id": 3, "v": "c"}, {"id": 4, "v": "d"}]),
        (batch for batch in frame((5, "e")).to_batches()),
        lambda last: [{"id": last + 1, "v": "f"}],
        [pl.DataFrame({"id": [7], "v": ["g"]}), pl.DataFrame({"id": [8], "v": ["h"]})],
    ]
    for given in rows:
        report = run(project, given)
        assert report.exit_code == 0, report.error
    assert [row[0] for row in database.execute("SELECT id FROM t ORDER BY id")] == [1, 2, 3, 4, 5, 6, 7, 8]
