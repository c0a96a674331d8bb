"""PostgreSQL to PostgreSQL as binary COPY: which values pass, when it is not used, what a failure on one side does."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import conduit
from conduit.connectors.duckdb.destination import DuckdbDestination
from conduit.connectors.postgresql import load, wire
from conduit.contract import Load, Write
from conduit.report import ResourceReport
from tests.support.postgres import Database, Server
from tests.support.project import Project, pipeline
from tests.support.proxy import proxy


class Counted(wire.Inflow):
    """What went through; cleared for every test."""

    used = 0

    def __init__(self, *given: Any) -> None:
        Counted.used += 1
        super().__init__(*given)


@pytest.fixture(autouse=True)
def inflows(monkeypatch: pytest.MonkeyPatch) -> None:
    Counted.used = 0
    monkeypatch.setattr(load, "Inflow", Counted)


@pytest.fixture
def other(postgres_server: Server) -> Iterator[Database]:
    with postgres_server.database() as database:
        yield database


def run(project: Project, source: Database, target: Database, **resource: Any) -> ResourceReport:
    project.write(pipeline(source.keys, target.keys, **({"into": "copy"} | resource)))
    return conduit.run(project.folder / "ingest.yml")["r"]


def same(source: Database, target: Database, columns: str = "*") -> bool:
    """The same rows, as PostgreSQL itself prints them."""
    texts = [
        [row[0] for row in one.execute(f"SELECT q::text FROM (SELECT {columns} FROM {table}) AS q ORDER BY 1")]
        for one, table in ((source, "t"), (target, "copy"))
    ]
    return texts[0] == texts[1]


# --- which values pass ----------------------------------------------------------------------------------

VALUES = {
    "numeric": ["1.50", "-0", "'NaN'", "1e-30", "12345678901234567890123456789012345678901234567890.5"],
    "numeric(12,2)": ["1.5", "'NaN'", "-9999999999.99"],
    "float8": ["'NaN'", "'-Infinity'", "-0.0", "0.1", "5e-324"],
    "float4": ["'NaN'", "3.4e38"],
    "timestamptz": ["'infinity'", "'-infinity'", "'0044-03-15 BC'", "'2024-02-29 23:59:59.999999+05:30'"],
    "timestamp": ["'infinity'", "'294276-12-31 23:59:59.999999'"],
    "date": ["'infinity'", "'0044-03-15 BC'", "'9999-12-31'"],
    "time": ["'24:00'", "'00:00:00.000001'"],
    "timetz": ["'12:00+05:45'"],
    "interval": ["'1 year 2 days 03:04:05.000006'", "'-1 mon'"],
    "text": ["''", "'NULL'", "E'\\\\N'", "E'a\\nb\\t\"c'", "'é and é and 🦆'", "repeat('x', 3000000)"],
    "varchar(5)": ["'abc'", "'  '"],
    "char(4)": ["'a'"],
    "bytea": ["'\\x'", "'\\x00ff0a'"],
    "jsonb": ['\'{"a": 1.10, "b": [null]}\''],
    "json": ['\'{"a":  1.10, "a": 2}\''],
    "uuid": ["'00000000-0000-0000-0000-000000000001'"],
    "int[]": ["'{{1,2},{3,4}}'", "'[5:6]={1,NULL}'", "'{}'"],
    "numeric(6,2)[]": ["'{1.10,NaN}'"],
    "inet": ["'10.0.0.1/8'", "'::1'"],
    "macaddr": ["'08:00:2b:01:02:03'"],
    "bit varying(8)": ["B'101'"],
    "tstzrange": ["'[2024-01-01,)'"],
    "int4range": ["'empty'"],
    "point": ["'(1,2)'"],
    "boolean": ["true"],
}


def test_every_value_passes_as_it_is(project: Project, database: Database, other: Database) -> None:
    columns = [f"c{place} {type_}" for place, type_ in enumerate(VALUES)]
    for one, table in ((database, "t"), (other, "copy")):
        one.execute(f"CREATE TABLE {table} (id bigint PRIMARY KEY, {', '.join(columns)})")
    for place, values in enumerate(VALUES.values()):
        for number, value in enumerate(values):
            database.execute(f"INSERT INTO t (id, c{place}) VALUES ({place * 100 + number}, {value})")
    report = run(project, database, other, table="t", incremental_column="id")
    assert (report.error, report.exit_code) == ("", 0)
    assert Counted.used == 1
    assert same(database, other)
    assert report.until == database.execute("SELECT max(id) FROM t")[0][0]


def test_a_table_that_conduit_makes_takes_the_same_types(project: Project, database: Database, other: Database) -> None:
    columns = ", ".join(f"c{place} {type_}" for place, type_ in enumerate(VALUES))
    database.execute(f"CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id bigint, how mood, {columns})")
    database.execute("INSERT INTO t (id, how) VALUES (1, 'ok'), (2, NULL)")
    assert run(project, database, other, table="t", mode="replace").written == 2
    assert Counted.used == 1
    assert same(database, other)


# --- when it is not used --------------------------------------------------------------------------------

UNLIKE = {
    "a wider integer": ("v int", "v bigint", "7"),
    "another scale": ("v numeric(10,3)", "v numeric(10,2)", "1.250"),
    "a longer text": ("v varchar(5)", "v varchar(6)", "'abc'"),
    "another kind of time": ("v timestamptz", "v timestamp", "'2024-01-01 00:00+00'"),
    "text for a number": ("v int", "v text", "7"),
}


@pytest.mark.parametrize("how", UNLIKE)
def test_columns_that_differ_in_anything_are_looked_at(
    project: Project, database: Database, other: Database, how: str
) -> None:
    source, target, value = UNLIKE[how]
    database.execute(f"CREATE TABLE t (id int, {source}); INSERT INTO t VALUES (1, {value})")
    other.execute(f"CREATE TABLE copy (id int, {target})")
    run(project, database, other, table="t", mode="replace")
    assert Counted.used == 0


def test_columns_are_matched_by_name_not_by_place(project: Project, database: Database, other: Database) -> None:
    database.execute("CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 2)")
    other.execute("CREATE TABLE copy (b int, a int)")
    assert run(project, database, other, table="t", mode="replace").written == 1
    assert Counted.used == 1
    assert other.execute("SELECT a, b FROM copy") == [(1, 2)]


def test_rows_without_a_cursor_are_looked_at(project: Project, database: Database, other: Database) -> None:
    database.execute("CREATE TABLE t (id int, n int UNIQUE); INSERT INTO t VALUES (1, 5), (2, NULL)")
    nulls = {"column": "n", "on_null": "exclude", "safety": "none"}
    report = run(project, database, other, table="t", incremental=nulls)
    assert (report.read, report.written, report.filtered, Counted.used) == (2, 1, 1, 0)
    database.execute("DELETE FROM t WHERE n IS NULL; INSERT INTO t VALUES (3, 6)")
    report = run(project, database, other, table="t", incremental=nulls)
    assert (report.written, report.until, Counted.used) == (1, 6, 1)


def test_texts_of_a_database_in_another_encoding_arrive_as_texts(
    project: Project, postgres_server: Server, other: Database
) -> None:
    with postgres_server.database(encoding="LATIN1") as latin:
        latin.execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, chr(233))")
        assert run(project, latin, other, table="t", mode="replace").written == 1
        assert Counted.used == 1
        assert other.execute("SELECT v FROM copy") == [("é",)]
        odd = latin.keys | {"options": {"client_encoding": "LATIN1"}}
        project.write(pipeline(odd, other.keys, table="t", into="copy", mode="replace"))
        assert conduit.run(project.folder / "ingest.yml")["r"].exit_code == 2


# --- the watermark --------------------------------------------------------------------------------------

CURSORS = {
    "bigint": (["-5", "3", "2"], 3),
    "numeric": (["1.10", "12345678901234567890.12", "2"], "12345678901234567890.12"),
    "date": (["'2024-01-02'", "'2024-02-01'"], "2024-02-01"),
    "timestamp": (["'2024-01-02 00:00:00.123456'", "'2023-02-01'"], "2024-01-02T00:00:00.123456"),
    "timestamptz": (["'2024-01-02 00:00:00.123456+05'", "'2023-02-01'"], "2024-01-01T19:00:00.123456+00:00"),
    "text": (["'B'", "'a'", "'Z'"], "a"),
    "uuid": (["'ffffffff-0000-0000-0000-000000000001'", "gen_random_uuid()"], None),
}


@pytest.mark.parametrize("ordered", ["", "ORDER BY c", 'ORDER BY c COLLATE "C" -- the end'])
@pytest.mark.parametrize("type_", CURSORS)
def test_the_watermark_is_the_highest_cursor_that_passed(
    project: Project, database: Database, other: Database, type_: str, ordered: str
) -> None:
    values, until = CURSORS[type_]
    if "COLLATE" in ordered and type_ != "text":
        ordered = "ORDER BY 1 DESC"
    database.execute(f"CREATE TABLE t (c {type_} NOT NULL, id bigserial PRIMARY KEY)")
    database.execute(f"INSERT INTO t VALUES {', '.join(f'({value})' for value in values)}")
    query = f"SELECT c, id FROM t WHERE c > :last_value {ordered}"
    incremental = {"column": "c", "safety": "none"}
    report = run(project, database, other, query=query, incremental=incremental)
    assert (report.error, report.written, Counted.used) == ("", len(values), 1)
    assert until is None or report.until == until
    again = run(project, database, other, query=query, incremental=incremental)
    assert (again.error, again.status) == ("", "nothing new")


def test_a_watermark_that_never_ends_is_refused_by_name(project: Project, database: Database, other: Database) -> None:
    database.execute(
        "CREATE TABLE t (at timestamptz NOT NULL, id int PRIMARY KEY); INSERT INTO t VALUES ('infinity', 1)"
    )
    report = run(project, database, other, query="SELECT * FROM t WHERE at > :last_value", incremental_column="at")
    assert report.exit_code == 5
    assert "at is infinity" in report.error
    assert other.execute("SELECT to_regclass('copy')") == [(None,)]


def test_no_row_is_no_commit_and_no_table(project: Project, database: Database, other: Database) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY)")
    for _ in range(2):
        query = "SELECT id FROM t WHERE id > :last_value"
        report = run(project, database, other, query=query, incremental={"column": "id", "safety": "none"})
        assert (report.status, report.commits, Counted.used) == ("nothing new", 0, 0)
        assert other.execute("SELECT to_regclass('copy')") == [(None,)]


def test_a_query_of_several_tables_is_not_run_twice_for_its_maximum(
    project: Project, database: Database, other: Database
) -> None:
    database.execute("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2)")
    query = "SELECT a.id FROM t a JOIN t b ON a.id = b.id WHERE a.id > :last_value"
    report = run(project, database, other, query=query, incremental={"column": "id", "safety": "none"})
    assert (report.written, report.until, Counted.used) == (2, 2, 0)


def test_a_merge_and_an_append_by_key_pass_through_the_stage(
    project: Project, database: Database, other: Database
) -> None:
    database.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text, j json); INSERT INTO t VALUES (1, 'a', '1'), (2, 'b', '2')"
    )
    merge = {"table": "t", "incremental_column": "id", "mode": "merge", "primary_key": "id"}
    assert run(project, database, other, **merge).inserted == 2
    database.execute("UPDATE t SET v = 'A' WHERE id = 1; INSERT INTO t VALUES (3, 'c', '3')")
    report = run(project, database, other, **merge)
    assert (report.inserted, report.updated, Counted.used) == (1, 1, 2)
    assert same(database, other)
    (project.folder / ".conduit_state.json").unlink()
    report = run(project, database, other, table="t", incremental_column="id", into="copy2")
    assert (report.error, report.written) == ("", 3)
    database.execute("UPDATE t SET v = 'B' WHERE id = 2; INSERT INTO t VALUES (4, 'd', '4')")
    report = run(project, database, other, table="t", incremental_column="id", into="copy2")
    assert (report.written, report.already_present, Counted.used) == (1, 1, 4)


# --- failures -------------------------------------------------------------------------------------------


def test_a_source_that_dies_while_it_sends_is_no_success(project: Project, database: Database, other: Database) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 200) AS v FROM generate_series(1, 100000) AS i")
    keys = database.keys
    with proxy(keys["host"], keys["port"]) as between:
        between.cut_after = 3_000_000
        project.write(pipeline(keys | {"port": between.port}, other.keys, table="t", into="copy", mode="replace"))
        report = conduit.run(project.folder / "ingest.yml")["r"]
        assert (report.exit_code, Counted.used) == (3, 3)
        assert "src: send rows" in report.error
        assert other.execute("SELECT count(*) FROM copy") == [(0,)]
    assert run(project, database, other, table="t", mode="replace").written == 100_000


def test_a_row_that_the_target_refuses_names_the_constraint(
    project: Project, database: Database, other: Database
) -> None:
    database.execute("CREATE TABLE t AS SELECT i AS id, repeat('x', 200) AS v FROM generate_series(1, 100000) AS i")
    other.execute("CREATE TABLE copy (id int CONSTRAINT small CHECK (id <> 1500), v text)")
    report = run(project, database, other, table="t", mode="replace")
    assert (report.exit_code, Counted.used) == (5, 1)
    assert "small" in report.error
    assert "(1500, " in report.error
    assert other.execute("SELECT count(*) FROM copy") == [(0,)]
    assert [one for one in threading.enumerate() if one.name == "conduit-send"] == []


def test_a_load_that_takes_rows_as_arrow_only_is_begun_once(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Write] = []
    begin = DuckdbDestination.begin

    def counted(destination: DuckdbDestination, write: Write) -> Load:
        begun.append(write)
        return begin(destination, write)

    monkeypatch.setattr(DuckdbDestination, "begin", counted)
    database.execute("CREATE TABLE t (id bigint PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3)")
    project.write(
        pipeline(database.keys, {"type": "duckdb", "database": "d.duckdb"}, table="t", incremental_column="id")
    )
    assert conduit.run(project.folder / "ingest.yml")["r"].written == 3
    assert len(begun) == 1
