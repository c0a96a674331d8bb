"""Corners where a row could be lost, altered or doubled in silence."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import conduit
from conduit.report import ResourceReport
from tests.support.postgres import Database
from tests.support.project import Project, pipeline

PYTHON = {"type": "python"}


def run(project: Project, **more: Any) -> ResourceReport:
    return conduit.run(project.folder / "ingest.yml", **more)["r"]


def test_an_iterator_that_was_half_read_is_never_read_on(database: Database, project: Project) -> None:
    project.write(pipeline(PYTHON, database.keys, into="t", incremental_column="id"))
    cut = threading.Event()

    def watch(event: conduit.Event) -> None:
        if event.rows and not cut.is_set():
            cut.set()
            database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY %%'")

    rows = ({"id": n, "v": "x" * 50} for n in range(200_000))
    report = run(project, sources={"src": rows}, watch=watch)
    assert cut.is_set()
    assert report.exit_code == 5
    assert "can be read once" in report.error
    assert database.execute("SELECT count(*) FROM t") == [(0,)]


def test_a_function_is_called_again_after_a_lost_connection(database: Database, project: Project) -> None:
    project.write(pipeline(PYTHON, database.keys, into="t", incremental_column="id"))
    cut = threading.Event()

    def watch(event: conduit.Event) -> None:
        if event.rows and not cut.is_set():
            cut.set()
            database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY %%'")

    def rows(last: object) -> Any:
        assert last is None
        return ({"id": n, "v": "x" * 50} for n in range(200_000))

    report = run(project, sources={"src": rows}, watch=watch)
    assert (report.exit_code, report.written) == (0, 200_000)


def test_batches_of_an_iterator_are_matched_by_the_names_of_their_columns(database: Database, project: Project) -> None:
    project.write(pipeline(PYTHON, database.keys, into="t", incremental_column="id"))
    first, second = pa.table({"id": [1], "v": ["a"]}), pa.table({"v": ["b"], "id": [2]})
    assert run(project, sources={"src": [first, second]}).written == 2
    assert database.execute("SELECT id, v FROM t ORDER BY id") == [(1, "a"), (2, "b")]
    for other in (pa.table({"id": [3], "w": ["c"]}), pa.table({"id": ["3"], "v": ["c"]}), pa.table({"id": [3]})):
        report = run(project, sources={"src": [pa.table({"id": [9], "v": ["a"]}), other]})
        assert report.exit_code == 5, report


@pytest.mark.parametrize("type_", ["postgresql", "sqlite", "duckdb"])
def test_a_merge_without_a_cursor_reads_everything_and_changes_what_differs(
    database: Database, project: Project, type_: str
) -> None:
    source: dict[str, Any] = {"type": type_, "database": f"in.{type_}"}
    if type_ == "postgresql":
        source = database.keys
    seed = "CREATE TABLE e (id bigint PRIMARY KEY, v text)"
    execute(project, database, type_, seed, "INSERT INTO e VALUES (1, 'a'), (2, 'b')")
    destination = {"type": "sqlite", "database": "out.sqlite"}
    project.write(pipeline(source, destination, table="e", into="t", mode="merge", primary_key="id"))
    assert run(project).inserted == 2
    again = run(project)
    assert (again.status, again.exit_code, again.commits, again.already_present) == ("nothing new", 0, 0, 2), (
        again.error
    )
    execute(project, database, type_, "UPDATE e SET v = 'c' WHERE id = 2")
    assert run(project).updated == 1


def execute(project: Project, database: Database, type_: str, *statements: str) -> None:
    for statement in statements:
        if type_ == "postgresql":
            database.execute(statement)
        elif type_ == "sqlite":
            with closing(sqlite3.connect(project.folder / "in.sqlite")) as connection, connection:
                connection.execute(statement)
        else:
            with closing(duckdb.connect(str(project.folder / "in.duckdb"))) as opened:
                opened.execute(statement)


def test_a_look_back_that_finds_nothing_makes_no_commit(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY); INSERT INTO e VALUES (1), (2)")
    project.write(
        pipeline(database.keys, database.keys, table="e", into="t", incremental={"column": "id", "safety": "lag"})
    )
    run(project)
    before = database.execute("SELECT mark, xmin::text FROM _conduit_state")
    report = run(project)
    assert (report.status, report.commits, report.already_present) == ("nothing new", 0, 2)
    assert database.execute("SELECT mark, xmin::text FROM _conduit_state") == before


def test_adding_to_the_target_without_a_cursor_is_refused(database: Database, project: Project) -> None:
    more = {"mode": "merge", "primary_key": "id", "update": {"n": "target.n + source.n"}}
    project.write(pipeline(database.keys, database.keys, table="e", into="t", **more))
    with pytest.raises(conduit.ConduitError, match="every run would add all rows again"):
        run(project)


def test_domains_are_copied_as_the_type_they_stand_on(database: Database, project: Project) -> None:
    database.execute("CREATE DOMAIN positive AS integer CHECK (VALUE > 0); CREATE DOMAIN very_positive AS positive")
    database.execute("CREATE DOMAIN price AS numeric(10,2)")
    database.execute(
        "CREATE TABLE e (id bigint PRIMARY KEY, n very_positive, p price); INSERT INTO e VALUES (1, 5, 1.25)"
    )
    database.execute("CREATE TABLE into_domains (id bigint PRIMARY KEY, n very_positive, p price)")
    for table in ("t", "into_domains"):
        project.write(pipeline(database.keys, database.keys, table="e", into=table, mode="replace"))
        report = run(project)
        assert report.exit_code == 0, report.error
        assert [str(v) for v in database.execute(f"SELECT * FROM {table}")[0]] == ["1", "5", "1.25"]


def test_a_numeric_of_negative_scale_is_copied(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY, n numeric(5,-2)); INSERT INTO e VALUES (1, 12345)")
    project.write(pipeline(database.keys, database.keys, table="e", into="t", mode="replace"))
    report = run(project)
    assert report.exit_code == 0, report.error
    assert database.execute("SELECT n FROM t") == database.execute("SELECT n FROM e")


@pytest.mark.parametrize("value", ["'[5:6]={1,2}'", "'[0:1]={1,2}'", "'{{1,2},{3,4}}'"])
def test_an_array_that_is_no_plain_list_is_refused_by_name(database: Database, project: Project, value: str) -> None:
    database.execute(f"CREATE TABLE e (id bigint PRIMARY KEY, parts int[]); INSERT INTO e VALUES (1, {value})")
    project.write(pipeline(database.keys, {"type": "parquet", "path": "lake/"}, table="e", into="t", mode="replace"))
    report = run(project)
    assert report.exit_code == 5
    assert "parts" in report.error


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("timestamptz", "'infinity'"),
        ("timestamp", "'-infinity'"),
        ("date", "'0044-03-15 BC'"),
        ("time", "'24:00:00'"),
        ("numeric(10,2)", "'NaN'"),
    ],
)
def test_a_value_that_arrow_cannot_hold_is_refused_by_name(
    database: Database, project: Project, type_: str, value: str
) -> None:
    database.execute(f"CREATE TABLE e (id bigint PRIMARY KEY, odd {type_}); INSERT INTO e VALUES (1, {value})")
    project.write(pipeline(database.keys, {"type": "parquet", "path": "lake/"}, table="e", into="t", mode="replace"))
    report = run(project)
    assert report.exit_code == 5, report
    assert "odd" in report.error


def test_a_generated_column_of_the_target_is_told(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY, twice bigint); INSERT INTO e VALUES (1, 2)")
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY, twice bigint GENERATED ALWAYS AS (id * 2) STORED)")
    project.write(pipeline(database.keys, database.keys, table="e", into="t", incremental_column="id"))
    report = run(project)
    assert report.exit_code == 2
    assert "twice" in report.error


def test_a_mark_that_cannot_be_read_stops_the_run(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY); INSERT INTO e VALUES (1)")
    project.write(pipeline(database.keys, database.keys, table="e", into="t", incremental_column="id"))
    run(project)
    database.execute("UPDATE _conduit_state SET mark = '{}'")
    report = run(project)
    assert report.exit_code == 4
    assert "_conduit_state" in report.error


def test_an_unlogged_target_is_refused(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY); CREATE UNLOGGED TABLE t (id bigint PRIMARY KEY)")
    database.execute("INSERT INTO e VALUES (1)")
    project.write(pipeline(database.keys, database.keys, table="e", into="t", incremental_column="id"))
    report = run(project)
    assert (report.exit_code, "SET LOGGED" in report.error) == (2, True)


def test_a_load_that_somebody_removed_is_missed(project: Project) -> None:
    project.write(pipeline(PYTHON, {"type": "parquet", "path": "lake/"}, into="t", incremental_column="id"))
    for number in (1, 2, 3):
        run(project, sources={"src": pa.table({"id": [number]})})
    shutil.rmtree(project.folder / "lake" / "t" / "load-000001")
    report = run(project, sources={"src": pa.table({"id": [4]})})
    assert report.exit_code == 4
    assert "load-000001" in report.error


def test_a_batch_size_bounds_the_batches_of_every_source(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE e AS SELECT g::bigint AS id FROM generate_series(1, 1000) g")
    sizes: list[int] = []
    incremental = {"column": "id", "safety": "none"}
    to = {"type": "parquet", "path": "lake/"}
    project.write(pipeline(database.keys, to, table="e", into="t", incremental=incremental, batch_size=100))
    report = run(project, watch=lambda event: sizes.append(event.rows))
    assert report.written == 1000
    assert max(sizes) == 100


def test_a_lag_that_cannot_work_is_refused(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE e (name text PRIMARY KEY); INSERT INTO e VALUES ('a')")
    incremental = {"column": "name", "lag": "5"}
    project.write(pipeline(database.keys, database.keys, table="e", into="t", incremental=incremental))
    report = run(project)
    assert (report.exit_code, "no distance" in report.error) == (2, True)
    incremental = {"column": "name", "lag": "5", "safety": "none"}
    project.write(pipeline(database.keys, database.keys, table="e", into="t", incremental=incremental))
    with pytest.raises(conduit.ConduitError, match="does not look back"):
        run(project)


def test_strict_times_without_a_key_are_told(project: Project) -> None:
    with closing(sqlite3.connect(project.folder / "in.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE e (at TIMESTAMP, v TEXT)")
        connection.execute("INSERT INTO e VALUES ('2024-01-01 00:00:00', 'a')")
    source, destination = {"type": "sqlite", "database": "in.sqlite"}, {"type": "sqlite", "database": "out.sqlite"}
    project.write(pipeline(source, destination, table="e", into="t", incremental_column="at"))
    assert "primary_key" in " ".join(run(project).notes)


def test_a_readable_env_file_is_told_in_the_report(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY)")
    env = project.folder / ".env"
    env.write_text("PG_PASSWORD=x\n")
    env.chmod(0o644)
    project.write(
        pipeline(dict(database.keys) | {"password": "${PG_PASSWORD}"}, database.keys, table="e", mode="replace")
    )
    assert ".env" in project.conduit("run").ok().out
    env.chmod(0o600)
    assert ".env" not in project.conduit("run").ok().out


def test_a_role_without_the_right_to_create_is_told_by_check(database: Database, project: Project) -> None:
    role = f"poor_{database.name}"
    database.execute(f"CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA public TO {role}")
    try:
        keys = dict(database.keys) | {"user": role}
        project.write(pipeline(database.keys, keys, table="e", mode="replace"))
        ran = project.conduit("check")
        assert ran.code == 3
        assert "may not create tables" in ran.out
    finally:
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
