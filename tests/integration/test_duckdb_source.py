"""A DuckDB source reads what is there, as what it is, in one snapshot. The raw side is a plain duckdb connection."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest

from conduit.connectors.duckdb.config import DuckdbConnection
from conduit.connectors.duckdb.destination import DuckdbDestination
from conduit.connectors.duckdb.source import DuckdbSource
from conduit.contract import Described, Estimate, Read, Split, SupportsEstimate, Until
from conduit.errors import Busy, ConduitError, ConfigError, ConnectionFailed, DataError
from conduit.positions import CursorType, cursor
from tests.support.commits import commit, mark, rows, write


def database(folder: Path, *statements: str) -> list[tuple[Any, ...]]:
    opened = duckdb.connect(str(folder / "s.duckdb"))
    found: list[tuple[Any, ...]] = []
    for statement in statements:
        found = opened.execute(statement).fetchall()
    opened.close()
    return found


def source(folder: Path, **keys: Any) -> DuckdbSource:
    return DuckdbSource("shop", DuckdbConnection(database="s.duckdb", **keys), folder)


def read(folder: Path, **request: Any) -> pa.Table:
    with source(folder).open(Read(resource="r", **request)) as session:
        described = session.describe()
        batches = [batch for split in session.splits() for batch in session.read(split)]
    return pa.Table.from_batches(batches, described.schema)


def describe(folder: Path, **request: Any) -> tuple[Described, Until]:
    with source(folder).open(Read(resource="r", **request)) as session:
        return session.describe(), session.until()


VALUES: list[tuple[str, str, str, Any]] = [
    ("TINYINT", "-128", "int8", -128),
    ("UTINYINT", "255", "uint8", 255),
    ("INTEGER", "5", "int32", 5),
    ("BIGINT", "9223372036854775807", "int64", 2**63 - 1),
    ("UBIGINT", "18446744073709551615", "uint64", 2**64 - 1),
    ("HUGEINT", "-1234567890123456789012345678", "decimal128(38, 0)", Decimal(-1234567890123456789012345678)),
    ("UHUGEINT", "7", "decimal128(38, 0)", Decimal(7)),
    ("FLOAT", "1.5", "float", 1.5),
    ("DOUBLE", "'-inf'", "double", float("-inf")),
    ("BOOLEAN", "true", "bool", True),
    ("VARCHAR", "'00501'", "string", "00501"),
    ("BLOB", "'\\x00\\xFF'::BLOB", "binary", b"\0\xff"),
    ("DATE", "'0001-01-01'", "date32[day]", dt.date(1, 1, 1)),
    ("TIME", "'12:00:01.5'", "time64[us]", dt.time(12, 0, 1, 500000)),
    ("TIMETZ", "'12:00:00+05:30'", "string", "12:00:00+05:30"),
    ("TIMESTAMP", "'2024-01-01 00:00:00.123456'", "timestamp[us]", dt.datetime(2024, 1, 1, 0, 0, 0, 123456)),
    ("TIMESTAMP_S", "'2024-01-01'", "timestamp[s]", dt.datetime(2024, 1, 1)),
    ("TIMESTAMP_MS", "'2024-01-01'", "timestamp[ms]", dt.datetime(2024, 1, 1)),
    ("TIMESTAMPTZ", "'2024-01-01 02:00:00+02'", "timestamp[us, tz=UTC]", dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
    ("UUID", f"'{UUID(int=2**127 + 1)}'", "extension<arrow.uuid>", UUID(int=2**127 + 1)),
    ("JSON", "'{\"a\": 1.10}'", "extension<arrow.json>", '{"a": 1.10}'),
    ("DECIMAL(12,2)", "1.1", "decimal128(12, 2)", Decimal("1.10")),
    ("INTERVAL", "INTERVAL '1 month 2 days'", "string", "1 month 2 days"),
    ("BIT", "'101'", "string", "101"),
    ("ENUM('a','b')", "'a'", "string", "a"),
    ("INTEGER[]", "[1, NULL]", "list<l: int32>", [1, None]),
    ("STRUCT(a INTEGER, b VARCHAR)", "{'a': 1, 'b': 'x'}", "struct<a: int32, b: string>", {"a": 1, "b": "x"}),
    ("MAP(VARCHAR, INTEGER)", "MAP {'k': 1}", "map<string, int32>", [("k", 1)]),
    ("UNION(n INTEGER, s VARCHAR)", "union_value(n := 1)", "string", "1"),
    ("INTERVAL[]", "[INTERVAL '1 day']", "string", "[1 day]"),
]  # fmt: skip


@pytest.mark.parametrize(("type_", "literal", "arrow", "value"), VALUES)
def test_a_value_is_read_as_it_is(tmp_path: Path, type_: str, literal: str, arrow: str, value: Any) -> None:
    database(tmp_path, f"CREATE TABLE t (v {type_})", f"INSERT INTO t VALUES ({literal}), (NULL)")
    table = read(tmp_path, table="t")
    assert str(table.schema.field("v").type) == arrow
    assert table["v"].to_pylist() == [value, None]


def test_nanoseconds_are_kept(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t AS SELECT '2024-01-01 00:00:00.123456789'::TIMESTAMP_NS AS v")
    assert read(tmp_path, table="t")["v"].cast(pa.int64()).to_pylist() == [1_704_067_200_123_456_789]


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("170141183460469231731687303715884105727::HUGEINT", "Could not cast value 1701411834604692317316873"),
        ("'infinity'::TIMESTAMP", "column v: a timestamp[us] is infinite or outside of the years"),
        ("'-infinity'::DATE", "column v: a date32[day] is infinite"),
        ("TIMESTAMPTZ '0044-03-15 (BC) 00:00:00+00'", "outside of the years 1 to 9999"),
    ],
)
def test_a_value_that_arrow_cannot_carry_is_an_error(tmp_path: Path, select: str, words: str) -> None:
    database(tmp_path, f"CREATE TABLE t AS SELECT {select} AS v")
    with pytest.raises(DataError) as error:
        read(tmp_path, table="t")
    assert words in str(error.value)
    assert read(tmp_path, table="t", columns={"v": "text"}).num_rows == 1


def test_columns_of_the_resource_decide_the_type_and_round_nothing(tmp_path: Path) -> None:
    database(
        tmp_path,
        "CREATE TABLE t (i VARCHAR, d DOUBLE, u VARCHAR, b VARCHAR, ts TIMESTAMP)",
        "INSERT INTO t VALUES ('5', 1.25, '0e37df36-f698-11e6-8dd4-cb9ced3df976', 'a\\x41', '2024-01-01')",
    )
    wanted = {"i": "integer", "d": "decimal(5,2)", "u": "uuid", "b": "binary", "ts": "text"}
    assert read(tmp_path, table="t", columns=wanted).to_pylist() == [{
        "i": 5, "d": Decimal("1.25"), "u": UUID("0e37df36-f698-11e6-8dd4-cb9ced3df976"), "b": b"a\\x41",
        "ts": "2024-01-01 00:00:00",
    }]  # fmt: skip
    for column, type_ in (("d", "decimal(5,1)"), ("d", "integer"), ("ts", "timestamptz")):
        with pytest.raises(DataError, match=f"column {column}"):
            read(tmp_path, table="t", columns={column: type_})
    with pytest.raises(ConfigError, match="`columns:` names z"):
        read(tmp_path, table="t", columns={"z": "text"})


# --- order, bounds, keys --------------------------------------------------------------------------------


def test_the_order_of_the_cursor_is_kept_over_many_batches(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t AS SELECT (i * 7919) % 300007 AS id FROM range(300007) r(i) ORDER BY random()")
    requests = [
        {"table": "t"},
        {"query": "SELECT * FROM t WHERE id > :last_value ORDER BY id"},
        {"query": "SELECT id FROM t -- all"},
    ]
    for request in requests:
        table = read(tmp_path, cursor="id", ordered=True, batch_size=20_000, **request)
        assert table["id"].num_chunks > 3
        assert table["id"].to_pylist() == list(range(300_007))
        assert describe(tmp_path, cursor="id", ordered=True, **request)[0].ordered


def test_only_rows_above_the_watermark_are_read(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (-5), (0), (1), (2), (3)")
    requests = [{"table": "t"}, {"query": "SELECT id FROM t WHERE id > :last_value"}, {"query": "SELECT id FROM t"}]
    for request in requests:
        assert set(read(tmp_path, cursor="id", **request)["id"].to_pylist()) == {-5, 0, 1, 2, 3}
        assert set(read(tmp_path, cursor="id", since=cursor("1", "int"), **request)["id"].to_pylist()) == {2, 3}
        found = read(tmp_path, cursor="id", initial_value="0", through="2", **request)
        assert set(found["id"].to_pylist()) == {1, 2}
    described, until = describe(tmp_path, table="t", cursor="id", since=cursor("3", "int"))
    assert (described.cursor_type, described.bound, described.key) == ("int", "3", ("id",))
    assert until == Until(nothing_new=True, position=cursor("3", "int"))
    assert describe(tmp_path, query="SELECT id FROM t", cursor="id")[1] == Until()
    assert describe(tmp_path, query="SELECT id FROM t", cursor="id", since=cursor("2", "int"))[1] == Until()
    assert describe(tmp_path, query="SELECT id FROM t", cursor="id", since=cursor("3", "int"))[1].nothing_new


DAY, ZONE = "2024-01-01T00:00:00", "+00:00"
CURSORS: list[tuple[str, CursorType, str, list[str]]] = [
    ("BIGINT", "int", "", ["-5", "0", "9223372036854775807"]),
    ("UBIGINT", "int", "", ["0", "1", "18446744073709551615"]),
    ("HUGEINT", "decimal", "", ["-5", "0", "12345678901234567890123456789012345678"]),
    ("DECIMAL(22,2)", "decimal", "", ["-0.01", "1.10", "12345678901234567890.12"]),
    ("DATE", "date", "", ["2023-12-31", "2024-01-01", "2024-01-02"]),
    ("TIMESTAMP", "timestamp", "us", [f"{DAY}.000000", f"{DAY}.123456", f"{DAY}.123457"]),
    ("TIMESTAMP_S", "timestamp", "s", [DAY, "2024-01-01T00:00:01", "2025-01-01T00:00:00"]),
    ("TIMESTAMP_NS", "timestamp", "ns", [f"{DAY}.000000000", f"{DAY}.123456788", f"{DAY}.123456789"]),
    ("TIMESTAMPTZ", "timestamptz", "us", [f"{DAY}.000000{ZONE}", f"{DAY}.123456{ZONE}", f"{DAY}.123457{ZONE}"]),
    ("VARCHAR", "text", "", ["B", "a", "é'; DROP TABLE t; --"]),
    ("UUID", "uuid", "", [str(UUID(int=1)), str(UUID(int=2**127 - 1)), str(UUID(int=2**127))]),
]


@pytest.mark.parametrize(("type_", "kind", "unit", "values"), CURSORS)
def test_a_watermark_of_every_type_bounds_exactly(
    tmp_path: Path, type_: str, kind: CursorType, unit: str, values: list[str]
) -> None:
    literals = ["'" + value.replace("'", "''") + "'" for value in values]
    database(tmp_path, f"CREATE TABLE t (v {type_} NOT NULL)", f"INSERT INTO t VALUES ({'), ('.join(literals)})")
    low, middle, high = (cursor(value, kind, unit) for value in values)
    described, until = describe(tmp_path, table="t", cursor="v")
    assert (described.cursor_type, described.cursor_unit, until.position) == (kind, unit, high)
    assert read(tmp_path, table="t", cursor="v", since=low).num_rows == 2
    assert read(tmp_path, query="SELECT v FROM t WHERE v > :last_value", cursor="v", since=middle).num_rows == 1
    assert read(tmp_path, query="SELECT v FROM t WHERE v >= :last_value OR 1 = 0", cursor="v").num_rows == 3
    assert describe(tmp_path, table="t", cursor="v", since=high)[1].nothing_new
    assert database(tmp_path, "SELECT count(*) FROM t") == [(3,)]


def test_the_rows_of_a_plan_are_counted(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t AS SELECT unnest([1, 5, 9]) AS id")
    for request in ({"table": "t"}, {"query": "SELECT id FROM t WHERE id > :last_value ORDER BY id"}):
        wanted: dict[str, Any] = {"cursor": "id", "since": cursor("1", "int")} | request
        with source(tmp_path).open(Read(resource="r", **wanted)) as session:
            assert isinstance(session, SupportsEstimate)
            assert session.estimate() == Estimate(2, exact=True)


@pytest.mark.parametrize("type_", ["DOUBLE", "BOOLEAN", "BLOB", "JSON", "INTEGER[]", "TIME"])
def test_a_column_without_an_exact_order_is_no_cursor(tmp_path: Path, type_: str) -> None:
    database(tmp_path, f"CREATE TABLE t (v {type_})")
    with pytest.raises(ConfigError, match="incremental_column v"):
        describe(tmp_path, table="t", cursor="v")


def test_an_infinite_cursor_is_an_error_before_a_row_is_read(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t AS SELECT 'infinity'::TIMESTAMP AS v")
    with pytest.raises(DataError, match="incremental_column v: its highest value, infinity"):
        describe(tmp_path, table="t", cursor="v")


def test_rows_without_a_cursor_are_counted_and_read_when_they_are_wanted(tmp_path: Path) -> None:
    database(
        tmp_path, "CREATE TABLE t (id INTEGER, d DATE)", "INSERT INTO t VALUES (1, '2024-01-01'), (2, NULL), (3, NULL)"
    )
    for request in ({"table": "t"}, {"query": "SELECT id, d FROM t"}):
        wanted: dict[str, Any] = {"cursor": "d", "on_null": "include"} | request
        with source(tmp_path).open(Read(resource="r", **wanted)) as session:
            assert session.describe().null_cursors == 2
            assert [split.name for split in session.splits()] == ["rows", "null cursors"]
            ids = [[i for batch in session.read(split) for i in batch["id"].to_pylist()] for split in session.splits()]
            assert ids == [[1], [2, 3]]


@pytest.mark.parametrize(
    ("table", "request_", "key"),
    [
        ("id INTEGER PRIMARY KEY, s VARCHAR", {"table": "t"}, ("id",)),
        ("id INTEGER PRIMARY KEY, s VARCHAR", {"query": "SELECT s, id FROM t WHERE s IS NULL"}, ("id",)),
        ("id INTEGER PRIMARY KEY, s VARCHAR", {"query": "SELECT id + 1 AS id FROM t"}, ()),
        ("id INTEGER PRIMARY KEY, s VARCHAR", {"query": "SELECT * REPLACE (1 AS id) FROM t"}, ()),
        ("id INTEGER PRIMARY KEY, l INTEGER[]", {"query": "SELECT id, unnest(l) AS l FROM t"}, ()),
        ("id INTEGER PRIMARY KEY, l INTEGER[]", {"query": "SELECT id FROM s.main.t"}, ()),
        ("id INTEGER PRIMARY KEY, l INTEGER[]", {"query": "SELECT range AS id FROM range(5)"}, ()),
        ("a INTEGER, b VARCHAR, PRIMARY KEY (b, a)", {"table": "main.t"}, ("b", "a")),
        ("id INTEGER NOT NULL UNIQUE", {"table": "t"}, ("id",)),
        ("id INTEGER UNIQUE", {"table": "t"}, ()),
    ],
)
def test_a_key_is_what_the_catalogue_proves(
    tmp_path: Path, table: str, request_: dict[str, Any], key: tuple[str, ...]
) -> None:
    database(tmp_path, f"CREATE TABLE t ({table})")
    assert describe(tmp_path, **request_)[0].key == key


def test_a_schema_of_the_connection_is_where_plain_names_live(tmp_path: Path) -> None:
    database(tmp_path, 'CREATE SCHEMA "ra w"', 'CREATE TABLE "ra w".t AS SELECT 1 AS id')
    opened = source(tmp_path, schema="ra w")
    for request in ({"table": "t"}, {"table": "ra w.t"}, {"query": "SELECT id FROM t"}):
        with opened.open(Read(resource="r", **request)) as session:  # type: ignore[arg-type]
            assert [batch.num_rows for batch in session.read(Split("rows"))] == [1]
    with opened.open(Read(resource="r", table="t")) as session:
        assert session.describe().fingerprint == "duckdb:ra w.t:-"
    assert opened.check().endswith("1 tables in schema ra w")


# --- snapshot, sharing, refusals ------------------------------------------------------------------------


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[DuckdbDestination]:
    """A destination that has the file of the source open."""
    database(tmp_path, "CREATE TABLE t AS SELECT i AS id FROM range(200000) r(i)")
    lake = DuckdbDestination("lake", DuckdbConnection(database="s.duckdb"), tmp_path)
    lake.marks("t")
    yield lake
    lake.close()


def test_a_session_does_not_see_what_is_committed_after_its_start(tmp_path: Path, shared: DuckdbDestination) -> None:
    with source(tmp_path).open(Read(resource="r", table="t", cursor="id", ordered=True, batch_size=10_000)) as session:
        commit(shared, rows(id=[-1, 1_000_000]), None, mark(1))
        assert session.until().position == cursor("199999", "int")
        batches = session.read(Split("rows"))
        first = next(batches)
        commit(shared, rows(id=[5]), mark(1), mark(2), mode="replace", allow_shrink=1.0)
        ids = [i for batch in (first, *batches) for i in batch["id"].to_pylist()]
    assert ids == list(range(200_000))
    assert read(tmp_path, table="t")["id"].to_pylist() == [5]


def test_one_file_can_be_source_and_destination_of_one_load(tmp_path: Path, shared: DuckdbDestination) -> None:
    with source(tmp_path).open(Read(resource="r", table="t", cursor="id", ordered=True)) as session:
        commit(shared, list(session.read(Split("rows"))), None, mark(1, "copy"), table="copy")
        streamed = shared.begin(write(session.describe().schema, "again"))
        staged = streamed.stream(session.read(Split("rows")))  # type: ignore[attr-defined]
        streamed.commit([staged], None, mark(1, "again"))
    shared.close()
    found = database(tmp_path, "SELECT (SELECT count(*) FROM copy), (SELECT count(DISTINCT id) FROM again)")
    assert found == [(200_000, 200_000)]


def test_a_file_that_another_process_holds_is_busy_and_names_it(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER)")
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.readline()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "s.duckdb")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    for attempt in (
        lambda: source(tmp_path).check(),
        lambda: DuckdbDestination("lake", DuckdbConnection(database="s.duckdb"), tmp_path).marks("t"),
    ):
        with pytest.raises(Busy, match=f"the file is in use by PID {holder.pid}"):
            attempt()
    holder.communicate(b"\n")
    assert source(tmp_path).check().endswith("1 tables in schema main")


def test_a_source_that_came_first_keeps_its_file_read_only(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t (id INTEGER)")
    lake = DuckdbDestination("lake", DuckdbConnection(database="s.duckdb"), tmp_path)
    with source(tmp_path).open(Read(resource="r", table="t")), pytest.raises(Busy, match="is being read by this run"):
        lake.marks("t")
    assert lake.marks("t") == []
    lake.close()


def test_reading_changes_nothing(tmp_path: Path) -> None:
    database(tmp_path, "CREATE TABLE t AS SELECT 1 AS id")
    before = (tmp_path / "s.duckdb").read_bytes()
    read(tmp_path, table="t")
    assert (tmp_path / "s.duckdb").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["s.duckdb"]


@pytest.mark.parametrize(
    ("request_", "kind", "words"),
    [
        ({"table": "nope"}, ConfigError, "Table with name nope does not exist"),
        ({"query": "SELECT nope FROM t"}, ConfigError, 'column "nope" not found'),
        ({"query": "SELECT * FROM python_variable"}, ConfigError, "python_variable does not exist"),
        ({"query": "DROP TABLE t"}, ConfigError, "must be a SELECT"),
        ({"query": "SELECT CAST(s AS INTEGER) AS i FROM t"}, DataError, "Could not convert string 'x'"),
        ({"query": "SELECT id FROM t", "cursor": "nope"}, ConfigError, "nope is not among the columns id"),
        ({"table": "t", "cursor": "id", "initial_value": "x"}, ConfigError, "initial_value: 'x' is not an integer"),
        ({"table": "t", "cursor": "id", "columns": {"id": "text"}}, ConfigError, "DuckDB compares it as INTEGER"),
    ],
)
def test_what_cannot_be_read_is_one_clear_error(
    tmp_path: Path, request_: dict[str, Any], kind: type[ConduitError], words: str
) -> None:
    python_variable = pa.table({"id": [1]})
    database(tmp_path, "CREATE TABLE t AS SELECT 1 AS id, 'x' AS s")
    with pytest.raises(kind) as error:
        read(tmp_path, **request_)
    assert words in str(error.value)
    assert python_variable.num_rows == 1


def test_a_file_that_is_missing_or_no_database_is_a_failed_connection(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="shop: there is no file"):
        source(tmp_path).check()
    (tmp_path / "s.duckdb").write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConnectionFailed, match="not a valid DuckDB database"):
        source(tmp_path).check()
