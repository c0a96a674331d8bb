"""What goes into SQLite through conduit comes out as the same value, or does not go in."""

from __future__ import annotations

import datetime as dt
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit.connectors.sqlite.config import SqliteConnection
from conduit.connectors.sqlite.destination import SqliteDestination
from conduit.connectors.sqlite.source import SqliteSource
from conduit.connectors.sqlite.types import Column
from conduit.connectors.sqlite.values import stored
from conduit.contract import Read
from conduit.errors import DataError
from tests.support.commits import commit, mark, rows

CONNECTION = SqliteConnection(database="d.db")


def raw(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    opened = sqlite3.connect(folder / "d.db")
    found = opened.execute(sql).fetchall()
    opened.commit()
    opened.close()
    return found


def back(folder: Path, batch: pa.RecordBatch) -> pa.Table:
    """The batch, written to a table that conduit creates and read again."""
    commit(SqliteDestination("d", CONNECTION, folder), batch, None, mark(1))
    with SqliteSource("s", CONNECTION, folder).open(Read(resource="r", table="t")) as session:
        return pa.Table.from_batches(list(session.read(session.splits()[0])), session.describe().schema)


UTC = pa.timestamp("us", "UTC")
LAST = dt.datetime(9999, 12, 31, 23, 59, 59, 999999)


@pytest.mark.parametrize(
    ("type_", "values", "declared"),
    [
        (pa.int64(), [-(2**63), 2**63 - 1, 0, None], "INTEGER"),
        (pa.float64(), [1.5, 1e308, 5e-324, float("inf"), float("-inf"), 0.1 + 0.2, None], "REAL"),
        (pa.bool_(), [True, False, None], "BOOLEAN"),
        (pa.string(), ["00501", "", "N", "a\0b", "é😀", " 1 ", "1.10", None], "TEXT"),
        (pa.binary(), [b"", b"\0\xff", None], "BLOB"),
        (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31), None], "DATE"),
        (pa.timestamp("us"), [dt.datetime(1, 1, 1), dt.datetime(2024, 1, 1, 0, 0, 0, 123456), LAST, None], "TIMESTAMP"),
        (UTC, [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None], "TIMESTAMP WITH TIME ZONE"),
        (pa.timestamp("ns"), [1_704_067_200_123_456_789, -1, None], "TIMESTAMP_NS"),
        (pa.time64("us"), [dt.time(0, 0), dt.time(23, 59, 59, 999999), None], "TIME"),
        (pa.decimal128(38, 10), [Decimal("1234567890123456789012345678.0123456789"), None], "DECIMAL_TEXT(38,10)"),
        (pa.decimal128(38, 0), [Decimal(10**38 - 1), None], "DECIMAL_TEXT(38,0)"),
        (pa.uuid(), [UUID(int=0), UUID("0e37df36-f698-11e6-8dd4-cb9ced3df976"), None], "UUID"),
        (pa.json_(), ['{"a": 1.10}', "5", "1.10", '"x"', None], "JSON_TEXT"),
    ],
)  # fmt: skip
def test_a_value_comes_back_as_it_went_in(tmp_path: Path, type_: pa.DataType, values: list[Any], declared: str) -> None:
    array: Any
    if isinstance(type_, pa.UuidType):
        array = pa.array([None if value is None else value.bytes for value in values], type_)
    elif type_ == pa.timestamp("ns"):
        array = pa.array(values, pa.int64()).cast(type_)
    else:
        array = pa.array(values, type_)
    found = back(tmp_path, rows(v=array, n=list(range(len(values)))))
    assert found["v"].combine_chunks().equals(array)
    assert found.schema.field("v").type == type_
    assert f'"v" {declared}' in raw(tmp_path, "SELECT sql FROM sqlite_schema WHERE name = 't'")[0][0]


@pytest.mark.parametrize(
    ("array", "form"),
    [
        (pa.array([dt.datetime(2024, 1, 1, 2)], pa.timestamp("s", "Asia/Kolkata")), "2024-01-01 02:00:00.000000Z"),
        (pa.array([dt.datetime(2024, 1, 1)], pa.timestamp("ms")), "2024-01-01 00:00:00.000000"),
        (pa.array([dt.time(1, 2, 3)], pa.time32("s")), "01:02:03.000000"),
        (pa.array([Decimal("1.10")], pa.decimal256(30, 2)), "1.10"),
        (pa.array([7], pa.uint8()), 7),
        (pa.array([1.5], pa.float32()), 1.5),
        (pa.array(["x"], pa.large_string()), "x"),
        (pa.array(["x"]).dictionary_encode(), "x"),
        (pa.array([b"ab"], pa.binary(2)), b"ab"),
        (pa.array([[1, None]], pa.list_(pa.int32())), "[1,null]"),
        (pa.array([{"d": Decimal("1.10"), "t": dt.date(2024, 1, 1)}]), '{"d":"1.10","t":"2024-01-01"}'),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())), '[["k",1]]'),
        (pa.nulls(1), None),
    ],
)
def test_what_sqlite_lacks_has_one_form(tmp_path: Path, array: Any, form: object) -> None:
    lake = SqliteDestination("d", CONNECTION, tmp_path)
    commit(lake, rows(v=array, n=[1]), None, mark(1))
    commit(lake, rows(v=array, n=[2]), mark(1), mark(2))
    assert raw(tmp_path, "SELECT v FROM t") == [(form,), (form,)]


@pytest.mark.parametrize(
    ("declared", "array", "words"),
    [
        ("REAL", pa.array([1.0, float("nan")]), "column v: NaN cannot be stored"),
        ("INTEGER", pa.array([2**63], pa.uint64()), "9223372036854775808"),
        ("NUMERIC", pa.array(["1.10"]), "'1.10' would be changed by the declared type NUMERIC"),
        ("STRING", pa.array(["00501"]), "'00501' would be changed by the declared type STRING"),
        ("STRING", pa.array(["1e3"]), "'1e3' would be changed"),
        ("JSON", pa.array(["1.10"], pa.json_()), "'1.10' would be changed by the declared type JSON"),
        ("DECIMAL(20,2)", pa.array([Decimal("123456789012345678.01")]), "would be rounded by DECIMAL"),
        ("TIMESTAMP", pa.array([253402300800], pa.timestamp("s")), "outside of the years 0 to 9999"),
        ("JSON_TEXT", pa.array([[float("nan")]]), "NaN and infinity have no form in JSON"),
        ("TIMESTAMP", pa.array([1], pa.int64()).cast(pa.timestamp("ns")), "column v"),
    ],
)
def test_a_value_that_sqlite_would_alter_does_not_go_in(tmp_path: Path, declared: str, array: Any, words: str) -> None:
    raw(tmp_path, f"CREATE TABLE t (v {declared})")
    with pytest.raises(DataError) as error:
        commit(SqliteDestination("d", CONNECTION, tmp_path), rows(v=array), None, mark(1))
    assert words in str(error.value)
    assert raw(tmp_path, "SELECT * FROM t") == []


def test_values_of_a_type_without_a_place_are_refused_by_column(tmp_path: Path) -> None:
    for array in (pa.array([1], pa.duration("us")), pa.array([Decimal(1)], pa.decimal256(60, 0))):
        with pytest.raises(DataError, match="column v: SQLite has no place for values of type"):
            commit(SqliteDestination("d", CONNECTION, tmp_path), rows(v=array), None, mark(1))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.from_regex(r"-?[0-9]{1,19}(\.[0-9]{1,17})?(e[0-9])?", fullmatch=True) | st.floats().map(repr)))
def test_a_text_that_a_numeric_column_takes_is_the_text_that_it_gives(values: list[str]) -> None:
    column = Column("v", "NUMERIC", pa.string(), converted=True)
    taken = [value for value in values if _taken(column, value)]
    opened = sqlite3.connect(":memory:")
    opened.execute("CREATE TABLE t (v NUMERIC)")
    opened.executemany("INSERT INTO t VALUES (?)", [(value,) for value in taken])
    given_back = [value for (value,) in opened.execute("SELECT v FROM t ORDER BY rowid").fetchall()]
    opened.close()
    assert [repr(value) if isinstance(value, float) else str(value) for value in given_back] == taken


def _taken(column: Column, value: str) -> bool:
    try:
        stored(pa.array([value]), column)
    except DataError:
        return False
    return True


def test_a_merge_compares_what_is_stored(tmp_path: Path) -> None:
    lake = SqliteDestination("d", CONNECTION, tmp_path)
    batch = rows(
        id=pa.array([UUID(int=1).bytes], pa.uuid()), at=pa.array([1], pa.timestamp("s")), n=pa.array([Decimal("1.5")]),
        f=[0.1], j=pa.array(["{}"], pa.json_()),
    )  # fmt: skip
    assert commit(lake, batch, None, mark(1), mode="merge", key=("id",)).inserted == 1
    assert commit(lake, batch, mark(1), mark(2), mode="merge", key=("id",)).already_present == 1
