"""A SQLite source reads what is there, as what it is, in one snapshot. The raw side is Python's own sqlite3."""

from __future__ import annotations

import datetime as dt
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from conduit.connectors.sqlite.config import SqliteConnection
from conduit.connectors.sqlite.source import SqliteSource
from conduit.contract import (
    CURSOR_TEXT,
    Described,
    Estimate,
    Read,
    Split,
    SupportsEstimate,
    Until,
)
from conduit.errors import ConduitError, ConfigError, ConnectionFailed, DataError, StateConflict
from conduit.positions import cursor


def database(folder: Path, script: str, *, wal: bool = False, name: str = "s.db") -> None:
    opened = sqlite3.connect(folder / name)
    if wal:
        opened.execute("PRAGMA journal_mode = WAL")
    opened.executescript(script)
    opened.commit()
    opened.close()


def source(folder: Path) -> SqliteSource:
    return SqliteSource("shop", SqliteConnection(database="s.db"), folder)


def read(folder: Path, **request: Any) -> pa.Table:
    with source(folder).open(Read(resource="r", **request)) as session:
        described = session.describe()
        batches = [batch for split in session.splits() for batch in session.read(split)]
    schema = described.schema
    if batches and CURSOR_TEXT in batches[0].schema.names:
        schema = schema.append(pa.field(CURSOR_TEXT, pa.string()))
    return pa.Table.from_batches(batches, schema)


def describe(folder: Path, **request: Any) -> tuple[Described, Until]:
    with source(folder).open(Read(resource="r", **request)) as session:
        return session.describe(), session.until()


TYPES = """
CREATE TABLE t (
  i INTEGER PRIMARY KEY, big BIGINT, b BOOLEAN, r DOUBLE, s VARCHAR(10), bl BLOB, d DATE, ts DATETIME, tp TIMESTAMP(6),
  tz TIMESTAMP WITH TIME ZONE, tz2 TIMESTAMPTZ, de DECIMAL(10,2), dt DECIMAL_TEXT(38,10), n NUMERIC, u UUID, j JSON,
  tm TIME, untyped, ns TIMESTAMP_NS
);
INSERT INTO t VALUES (1, 3000000000, 1, 1.5, '00501', x'00ff', '2024-01-31', '2024-01-01 00:00:00.123456', '2024-01-01',
  '2024-01-01T02:00:00+02:00', '2024-01-01 00:00:00Z', 1.1, '1234567890123456789012345678.1234567890', 1.5,
  '0E37DF36-f698-11e6-8dd4-cb9ced3df976', '{"a": 1.10}', '12:00:01.5', 7, '2024-01-01 00:00:00.123456789');
INSERT INTO t (i, s, r) VALUES (2, '', 'inf');
UPDATE t SET r = 9e999 WHERE i = 2;
"""


def test_every_declared_type_is_read_as_what_it_says(tmp_path: Path) -> None:
    database(tmp_path, TYPES)
    rows = read(tmp_path, table="t")
    first, second = rows.slice(0, 1), rows.slice(1).to_pylist()[0]
    assert {name: str(first.schema.field(name).type) for name in first.schema.names} == {
        "i": "int64", "big": "int64", "b": "bool", "r": "double", "s": "string", "bl": "binary", "d": "date32[day]",
        "ts": "timestamp[us]", "tp": "timestamp[us]", "tz": "timestamp[us, tz=UTC]", "tz2": "timestamp[us, tz=UTC]",
        "de": "decimal128(10, 2)", "dt": "decimal128(38, 10)", "n": "string", "u": "extension<arrow.uuid>",
        "j": "extension<arrow.json>", "tm": "time64[us]", "untyped": "int64", "ns": "timestamp[ns]",
    }  # fmt: skip
    assert first.drop_columns(["ns"]).to_pylist() == [{
        "i": 1, "big": 3_000_000_000, "b": True, "r": 1.5, "s": "00501", "bl": b"\x00\xff", "d": dt.date(2024, 1, 31),
        "ts": dt.datetime(2024, 1, 1, 0, 0, 0, 123456), "tp": dt.datetime(2024, 1, 1),
        "tz": dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "tz2": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        "de": Decimal("1.10"), "dt": Decimal("1234567890123456789012345678.1234567890"), "n": "1.5",
        "u": UUID("0e37df36-f698-11e6-8dd4-cb9ced3df976"), "j": '{"a": 1.10}', "tm": dt.time(12, 0, 1, 500000),
        "untyped": 7,
    }]  # fmt: skip
    assert first["ns"].cast(pa.int64()).to_pylist() == [1_704_067_200_123_456_789]
    assert second["s"] == ""
    assert second["r"] == float("inf")
    assert [name for name, value in second.items() if value is None] == [
        name for name in first.schema.names if name not in ("i", "s", "r")
    ]


@pytest.mark.parametrize(
    ("declared", "value", "shown"),
    [
        ("INTEGER", "'abc'", "'abc' is text"),
        ("INTEGER", "1.5", "1.5 is real"),
        ("BOOLEAN", "2", "2 is integer"),
        ("BOOLEAN", "'yes'", "'yes' is text"),
        ("REAL", "'abc'", "'abc' is text"),
        ("TEXT", "x'6162'", "X'6162' is blob"),
        ("BLOB", "'text'", "'text' is text"),
        ("DATETIME", "1704067200", "1704067200 is integer"),
        ("DATE", "2460310.5", "2460310.5 is real"),
        ("DATE", "'31.01.2024'", "'31.01.2024'"),
        ("DATETIME", "'2024-01-01 00:00:00Z'", "'2024-01-01 00:00:00Z'"),
        ("TIMESTAMPTZ", "'2024-01-01 00:00:00'", "'2024-01-01 00:00:00'"),
        ("TIME", "'25:00:00'", "25:00:00"),
        ("DECIMAL(10,2)", "1.005", "'1.005'"),
        ("DECIMAL(4,2)", "'x'", "'x'"),
        ("UUID", "'0e37df36'", "'0e37df36'"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_an_error_that_names_column_and_value(
    tmp_path: Path, declared: str, value: str, shown: str
) -> None:
    many = "WITH RECURSIVE g(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM g WHERE v < 20000)"
    database(tmp_path, f"CREATE TABLE t (id INTEGER, v {declared}); {many} INSERT INTO t SELECT v, NULL FROM g;")
    for place in ("(0, {})", "(1000000, {})"):
        database(tmp_path, f"DELETE FROM t WHERE v IS NOT NULL; INSERT INTO t VALUES {place.format(value)}")
        with pytest.raises(DataError) as error:
            read(tmp_path, table="t")
        assert "column v" in str(error.value)
        assert shown in str(error.value)
        assert "columns: {v: " in str(error.value)


def test_an_integer_that_a_double_cannot_hold_is_an_error_in_a_float_column(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (v); INSERT INTO t VALUES (0.5), (2), (9007199254740993)")
    with pytest.raises(DataError, match="9007199254740993 is integer"):
        read(tmp_path, table="t")
    assert read(tmp_path, query="SELECT v FROM t WHERE v < 3")["v"].to_pylist() == [0.5, 2.0]


def test_texts_that_are_not_utf8_are_an_error(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (v TEXT); INSERT INTO t VALUES ('good'), (CAST(x'ff41' AS TEXT))")
    with pytest.raises(DataError, match="column v: Invalid UTF8"):
        read(tmp_path, table="t")


def test_columns_of_the_resource_decide_the_type(tmp_path: Path) -> None:
    database(
        tmp_path,
        "CREATE TABLE t (n NUMERIC, e DATETIME, x TEXT, y, u TEXT);"
        "INSERT INTO t VALUES (1.5, 1704067200, '7.50', 5, '0e37df36-f698-11e6-8dd4-cb9ced3df976')",
    )
    wanted = {"n": "decimal(5,2)", "e": "bigint", "x": "decimal(4,2)", "y": "text", "u": "uuid"}
    assert read(tmp_path, table="t", columns=wanted).to_pylist() == [{
        "n": Decimal("1.50"), "e": 1704067200, "x": Decimal("7.50"), "y": "5",
        "u": UUID("0e37df36-f698-11e6-8dd4-cb9ced3df976"),
    }]  # fmt: skip
    with pytest.raises(ConfigError, match="`columns:` names z"):
        read(tmp_path, table="t", columns={"z": "text"})


def test_expressions_have_the_type_of_their_values(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER, s TEXT); INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    query = "SELECT count(*) AS n, max(id) / 4.0 AS q, upper(s) AS u, CASE WHEN id = 1 THEN 'x' ELSE 2.5 END AS m, "
    rows = read(tmp_path, query=query + "CAST(id AS TEXT) AS c, x'01' AS b, NULL AS empty FROM t GROUP BY id")
    assert [str(field.type) for field in rows.schema] == [
        "int64", "double", "string", "string", "string", "binary", "null",
    ]  # fmt: skip
    assert rows["m"].to_pylist() == ["x", "2.5"]
    notes = describe(tmp_path, query=query + "1 AS one FROM t GROUP BY id")[0].notes
    assert [note for note in notes if "column m: values of several kinds is read as text" in note]


def test_the_query_is_not_answered_again_when_it_gives_nothing(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER, s TEXT); INSERT INTO t VALUES (1, 'a')")
    request = {"query": "SELECT id, id * 1.5 AS x FROM t WHERE id > :last_value", "cursor": "id"}
    assert read(tmp_path, **request, since=cursor("1", "int")).schema == read(tmp_path, **request).schema


def test_a_table_with_many_columns_is_read(tmp_path: Path) -> None:
    names = [f"c{place}" for place in range(1500)]
    database(tmp_path, f"CREATE TABLE t ({' TEXT, '.join(names)} TEXT); INSERT INTO t (c7) VALUES ('x')")
    table = read(tmp_path, table="t")
    assert (table.num_columns, table["c7"].to_pylist(), table["c8"].to_pylist()) == (1500, ["x"], [None])


# --- order, bounds, keys --------------------------------------------------------------------------------


def test_the_order_of_the_cursor_is_kept_over_many_batches(tmp_path: Path) -> None:
    shuffled = "WITH RECURSIVE g(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM g WHERE v < 30000)"
    insert = "INSERT INTO t SELECT (v * 7919) % 30001, 'x' || ((v * 7919) % 30001) FROM g"
    database(tmp_path, f"CREATE TABLE t (id INTEGER NOT NULL, s TEXT NOT NULL); {shuffled} {insert};")
    queries = [
        {"table": "t", "cursor": "id"},
        {"query": "SELECT * FROM t WHERE id > :last_value ORDER BY id", "cursor": "id"},
        {"query": "SELECT id, s FROM t -- all of it", "cursor": "id"},
    ]
    for request in queries:
        rows = read(tmp_path, ordered=True, batch_size=5000, **request)
        assert rows["id"].num_chunks > 3
        assert rows["id"].to_pylist() == list(range(1, 30001))
        assert describe(tmp_path, ordered=True, **request)[0].ordered
    texts = read(tmp_path, table="t", cursor="s", ordered=True, batch_size=5000)["s"].to_pylist()
    assert texts == sorted(f"x{n}" for n in range(1, 30001))


def test_only_rows_above_the_watermark_are_read(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (-5), (0), (1), (2), (3)")
    for request in (
        {"table": "t"},
        {"query": "SELECT id FROM t WHERE id > :last_value"},
        {"query": "SELECT id FROM t"},
    ):
        assert read(tmp_path, cursor="id", **request)["id"].to_pylist() == [-5, 0, 1, 2, 3]
        assert read(tmp_path, cursor="id", since=cursor("1", "int"), **request)["id"].to_pylist() == [2, 3]
        assert read(tmp_path, cursor="id", initial_value="0", through="2", **request)["id"].to_pylist() == [1, 2]
    described, until = describe(tmp_path, table="t", cursor="id", since=cursor("3", "int"))
    assert (described.cursor_type, described.bound, described.key) == ("int", "3", ("id",))
    assert until == Until(nothing_new=True, position=cursor("3", "int"))
    assert describe(tmp_path, table="t", cursor="id")[1] == Until(position=cursor("3", "int"))
    assert describe(tmp_path, query="SELECT id FROM t", cursor="id")[1] == Until()
    assert describe(tmp_path, query="SELECT id FROM t", cursor="id", since=cursor("2", "int"))[1] == Until()
    assert describe(tmp_path, query="SELECT id FROM t", cursor="id", since=cursor("3", "int"))[1].nothing_new


def test_a_placeholder_outside_of_a_condition_gets_a_minimum_and_the_run_says_so(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (-9223372036854775808), (5)")
    request = {"query": "SELECT id FROM t WHERE id > :last_value OR id IS NULL", "cursor": "id"}
    assert read(tmp_path, **request).num_rows == 2
    assert "minimum" in describe(tmp_path, **request)[0].notes[0]


def test_a_time_is_compared_as_the_text_that_it_is(tmp_path: Path) -> None:
    stamps = ["2024-01-01 00:00:00", "2024-01-01 00:00:00.5", "2024-01-01T00:00:00"]
    values = ", ".join(f"('{stamp}')" for stamp in stamps)
    database(tmp_path, f"CREATE TABLE t (ts DATETIME NOT NULL); INSERT INTO t VALUES {values}")
    described, until = describe(tmp_path, table="t", cursor="ts")
    assert (described.cursor_type, until.position) == ("timestamp-text", cursor(stamps[2], "timestamp-text"))
    rows = read(tmp_path, table="t", cursor="ts", since=cursor(stamps[0], "timestamp-text"))
    assert rows[CURSOR_TEXT].to_pylist() == stamps[1:]
    assert read(tmp_path, table="t", cursor="ts", since=cursor(stamps[2], "timestamp-text")).num_rows == 0


def test_a_uuid_cursor_is_compared_as_the_text_that_it_is(tmp_path: Path) -> None:
    values = ", ".join(f"('{UUID(int=number)}')" for number in (5, 2**127, 2**100))
    database(tmp_path, f"CREATE TABLE t (u UUID NOT NULL); INSERT INTO t VALUES {values}")
    rows = read(tmp_path, table="t", cursor="u", since=cursor(str(UUID(int=5)), "text"), ordered=True)
    assert rows["u"].to_pylist() == [UUID(int=2**100), UUID(int=2**127)]
    assert rows[CURSOR_TEXT].to_pylist() == [str(UUID(int=2**100)), str(UUID(int=2**127))]


def test_a_text_cursor_is_ordered_by_its_bytes_whatever_the_collation_of_its_column(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (s TEXT COLLATE NOCASE); INSERT INTO t VALUES ('a'), ('B'), ('É'), ('c')")
    rows = read(tmp_path, table="t", cursor="s", ordered=True)
    assert rows["s"].to_pylist() == ["B", "a", "c", "É"]
    assert describe(tmp_path, table="t", cursor="s")[1].position == cursor("É", "text")
    assert read(tmp_path, table="t", cursor="s", since=cursor("a", "text"), ordered=True)["s"].to_pylist() == ["c", "É"]


def test_a_watermark_from_a_hostile_text_is_a_value_and_nothing_else(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE victim (x); CREATE TABLE t (s TEXT NOT NULL); INSERT INTO t VALUES ('a'), ('z')")
    evil = cursor("b'; DROP TABLE victim; -- \0", "text")
    for request in ({"table": "t"}, {"query": "SELECT s FROM t WHERE s > :last_value"}):
        assert read(tmp_path, cursor="s", since=evil, **request)["s"].to_pylist() == ["z"]
    opened = sqlite3.connect(tmp_path / "s.db")
    assert opened.execute("SELECT count(*) FROM victim").fetchone() == (0,)
    opened.close()


def test_rows_without_a_cursor_are_counted_and_read_when_they_are_wanted(tmp_path: Path) -> None:
    database(
        tmp_path, "CREATE TABLE t (id INTEGER, ts DATE); INSERT INTO t VALUES (1, '2024-01-01'), (2, NULL), (3, NULL)"
    )
    requests: list[dict[str, Any]] = [{"table": "t"}, {"query": "SELECT id, ts FROM t"}]
    for request in requests:
        with source(tmp_path).open(Read(resource="r", cursor="ts", on_null="include", **request)) as session:
            assert session.describe().null_cursors == 2
            assert [split.name for split in session.splits()] == ["rows", "null cursors"]
            read_ids = [[i for b in session.read(split) for i in b["id"].to_pylist()] for split in session.splits()]
            assert read_ids == [[1], [2, 3]]
        with source(tmp_path).open(Read(resource="r", cursor="ts", on_null="exclude", **request)) as session:
            assert session.splits() == [Split("rows")]


def test_a_number_among_texts_is_refused_before_it_would_be_lost(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (ts DATETIME); INSERT INTO t VALUES ('2024-01-01'), (1704067200)")
    since = cursor("2024-01-01", "timestamp-text")
    for request in ({"table": "t"}, {"query": "SELECT ts FROM t WHERE ts > :last_value"}):
        with pytest.raises(DataError, match="1704067200 is a number"):
            describe(tmp_path, cursor="ts", since=since, **request)


@pytest.mark.parametrize("declared", ["REAL", "DECIMAL(10,2)", "BOOLEAN", "BLOB", "JSON", "TIME"])
def test_a_column_without_an_exact_order_is_no_cursor(tmp_path: Path, declared: str) -> None:
    database(tmp_path, f"CREATE TABLE t (v {declared})")
    with pytest.raises(ConfigError, match="incremental_column v"):
        describe(tmp_path, table="t", cursor="v")


def test_the_cursor_must_be_selected(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER, s TEXT)")
    with pytest.raises(ConfigError, match="resource r: incremental_column id is not among the columns s"):
        describe(tmp_path, query="SELECT s FROM t", cursor="id")


@pytest.mark.parametrize(
    ("table", "query", "key"),
    [
        ("id INTEGER PRIMARY KEY, s TEXT", None, ("id",)),
        ("id INTEGER PRIMARY KEY, s TEXT", "SELECT s, id FROM t", ("id",)),
        ("id INTEGER PRIMARY KEY, s TEXT", "SELECT * FROM t WHERE id > 5", ("id",)),
        ("id INTEGER PRIMARY KEY, s TEXT", "SELECT id + 1 AS id FROM t", ()),
        ("id INTEGER PRIMARY KEY, s TEXT", "SELECT s AS id FROM t", ()),
        ("id INTEGER PRIMARY KEY, s TEXT", "SELECT t.id FROM t JOIN t AS o ON t.s = o.s", ()),
        ("id TEXT PRIMARY KEY, s TEXT", None, ()),
        ("id TEXT NOT NULL PRIMARY KEY, s TEXT", None, ("id",)),
        ("a INTEGER, b TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID; --", None, ("b", "a")),
        ("a INTEGER NOT NULL UNIQUE, s TEXT", None, ("a",)),
        ("a INTEGER UNIQUE, s TEXT", None, ()),
        ("d DATE NOT NULL PRIMARY KEY", None, ()),
    ],
)
def test_a_key_is_what_the_catalogue_proves(tmp_path: Path, table: str, query: str | None, key: tuple[str]) -> None:
    database(tmp_path, f"CREATE TABLE t ({table}\n)" if "--" not in table else f"CREATE TABLE t ({table}")
    request = {"query": query} if query else {"table": "t"}
    assert describe(tmp_path, **request)[0].key == key


def test_a_fingerprint_names_the_relation_and_the_cursor_but_no_path(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER)")
    assert describe(tmp_path, table="main.t", cursor="id")[0].fingerprint == "sqlite:t:id"
    assert describe(tmp_path, query="SELECT id FROM t")[0].fingerprint == "sqlite:(query):-"


def test_the_rows_of_a_plan_are_counted(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (5), (9)")
    for request in ({"table": "t"}, {"query": "SELECT id FROM t WHERE id > :last_value ORDER BY id"}):
        for since, rows in ((None, 3), (cursor("1", "int"), 2)):
            wanted: dict[str, Any] = {"cursor": "id", "since": since} | request
            with source(tmp_path).open(Read(resource="r", **wanted)) as session:
                assert isinstance(session, SupportsEstimate)
                assert session.estimate() == Estimate(rows, exact=True)


# --- snapshot and refusals ------------------------------------------------------------------------------

WRITER = """
import sqlite3, sys
opened = sqlite3.connect(sys.argv[1], timeout=0.2)
try:
    opened.execute("DELETE FROM t WHERE id < 100")
    opened.execute("INSERT INTO t VALUES (1000000)")
    opened.commit()
except sqlite3.OperationalError as error:
    print(error)
"""


@pytest.mark.parametrize("wal", [True, False])
def test_a_writer_in_another_process_changes_nothing_of_an_open_session(tmp_path: Path, wal: bool) -> None:
    fill = (
        "WITH RECURSIVE g(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM g WHERE v < 50000) INSERT INTO t SELECT v FROM g"
    )
    database(tmp_path, f"CREATE TABLE t (id INTEGER PRIMARY KEY); {fill};", wal=wal)
    with source(tmp_path).open(Read(resource="r", table="t", cursor="id", batch_size=1000)) as session:
        batches = session.read(session.splits()[0])
        first = next(batches)
        written = subprocess.run(
            [sys.executable, "-c", WRITER, str(tmp_path / "s.db")], capture_output=True, text=True, check=True
        )
        assert written.stdout == ("" if wal else "database is locked\n")
        assert session.until().position == cursor("50000", "int")
        ids = [i for batch in (first, *batches) for i in batch["id"].to_pylist()]
    assert ids == list(range(1, 50001))


def test_reading_changes_nothing(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1)")
    before = (tmp_path / "s.db").read_bytes()
    assert source(tmp_path).check() == f"{tmp_path / 's.db'}: 1 tables and views"
    read(tmp_path, table="t")
    assert (tmp_path / "s.db").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["s.db"]


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        ({"table": "nope"}, ConfigError, "there is no table nope"),
        ({"table": "raw.t"}, ConfigError, "SQLite has no schemas"),
        ({"query": "SELECT nope FROM t"}, ConfigError, "no such column: nope"),
        ({"query": "SELECT id FROM t WHERE id = ?"}, ConfigError, "parameters are not allowed"),
        ({"query": "SELECT a.id, b.id FROM t a JOIN t b"}, ConfigError, "two columns of the query are named id"),
        ({"query": "DELETE FROM t"}, ConfigError, "must be a SELECT"),
        ({"query": "SELECT abs(-9223372036854775808) AS x FROM t"}, ConduitError, "integer overflow"),
        ({"table": "t", "cursor": "id", "initial_value": "x"}, ConfigError, "initial_value: 'x' is not an integer"),
        ({"table": "t", "cursor": "id", "since": cursor(str(2**63), "int")}, StateConflict, "outside of SQLite's"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(
    tmp_path: Path, request_: dict[str, Any], kind: type[ConduitError], words: str
) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1)")
    with pytest.raises(kind) as error:
        read(tmp_path, **request_)
    assert words in str(error.value)


def test_a_file_that_is_missing_or_no_database_is_a_failed_connection(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="shop: there is no file"):
        source(tmp_path).check()
    (tmp_path / "s.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConnectionFailed, match="file is not a database"):
        source(tmp_path).check()
    assert not (tmp_path / "t.db").exists()


def test_odd_names_are_names(tmp_path: Path) -> None:
    odd = 'we"ird; DROP'
    quoted = '"' + odd.replace('"', '""') + '"'
    database(
        tmp_path, f"CREATE TABLE {quoted} ({quoted} INTEGER, \"sel'ect\" TEXT); INSERT INTO {quoted} VALUES (1, 'x')"
    )
    (tmp_path / "s.db").rename(tmp_path / "a %41?#.db")
    opened = SqliteSource("shop", SqliteConnection(database="a %41?#.db"), tmp_path)
    with opened.open(Read(resource="r", table=odd, cursor=odd, since=cursor("0", "int"))) as session:
        assert [batch.to_pylist() for batch in session.read(Split("rows"))] == [[{odd: 1, "sel'ect": "x"}]]
