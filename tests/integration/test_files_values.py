"""Every value comes back as it was: from Arrow through each form of file, by raw readers and by the source."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conduit.connectors.files.config import (
    CsvSourceConnection,
    FileSourceConnection,
    JsonSourceConnection,
    ParquetSourceConnection,
)
from conduit.connectors.files.source import FileSource
from conduit.contract import Read
from conduit.errors import DataError
from tests.support.commits import mark
from tests.support.files import FORMS, commit, destination, read, records

TEXTS = [
    "00501", "N", "None", "N/A", "", "NULL", "null", "+5", " padded ", "a,b", 'quote " here', "line\nend", "cr\rhere",
    "crlf\r\n", "tab\t", "🙂 émoji", "\u2028", "back\\slash", "-", "=1+1", "#", "'", '"', '""', "0x1F", "1e5", "\x00",
    "true", "2024-01-01",
]  # fmt: skip
UTC = dt.UTC
UUID = uuid.UUID("123e4567-e89b-12d3-a456-426614174000")


def values() -> pa.RecordBatch:
    """One column a type, as many rows as there are texts; the last row is NULL where it can be."""
    count = len(TEXTS)
    columns: dict[str, pa.Array[Any]] = {
        "id": pa.array(range(count), pa.int64()),
        "t": pa.array(TEXTS),
        "big": pa.array([3_000_000_000] * (count - 1) + [None], pa.int64()),
        "d": pa.array([Decimal("0.0000000001"), Decimal("-1234567890123456789012345678.1234567890")] * 14 + [None],
                      pa.decimal128(38, 10)),
        "tz": pa.array([dt.datetime(2024, 1, 1, 10, 0, 0, 123456, UTC)] * (count - 1) + [None],
                       pa.timestamp("us", "Asia/Kolkata")),
        "ts": pa.array([dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)] * 14 + [None],
                       pa.timestamp("us")),
        "day": pa.array([dt.date(2024, 2, 29)] * (count - 1) + [None]),
        "clock": pa.array([dt.time(12, 30, 0, 5)] * (count - 1) + [None], pa.time64("us")),
        "j": pa.array(['{"n": 12345678901234567890.10, "s": "a\\nb"}', '[1,\n 2]'] * 14 + [None], pa.json_()),
        "u": pa.array([UUID.bytes] * (count - 1) + [None], pa.uuid()),
        "b": pa.array([b"\x00\xff", b""] * 14 + [None]),
        "yes": pa.array([True, False] * 14 + [None]),
        "f": pa.array([0.1, -0.0, 1e300, 5e-324, 123456789.125, 0.30000000000000004, 1e16] * 4 + [None]),
        "l": pa.array([[1, None], []] * 14 + [None], pa.list_(pa.int64())),
        "s": pa.array([{"x": Decimal("1.10"), "y": "z,\n"}] * (count - 1) + [None],
                      pa.struct([("x", pa.decimal128(20, 2)), ("y", pa.string())])),
    }  # fmt: skip
    return pa.record_batch(columns)


def written(form: str, folder: Path) -> pa.RecordBatch:
    batch = values()
    commit(destination(form, folder), batch, None, mark(1))
    return batch


def source_of(form: str, folder: Path) -> FileSourceConnection:
    path = f"{form}t/" if form.endswith("/") else form
    if "csv" in form:
        return CsvSourceConnection(path=path)
    return JsonSourceConnection(path=path) if "json" in form else ParquetSourceConnection(path=path)


DECLARED = {
    "big": "bigint", "d": "decimal(38,10)", "tz": "timestamptz", "ts": "timestamp", "day": "date", "clock": "time",
    "j": "json", "u": "uuid", "b": "binary", "yes": "boolean", "f": "double", "t": "text",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_what_is_written_is_read_back_with_declared_types(form: str, tmp_path: Path) -> None:
    batch = written(form, tmp_path)
    seen = read(source_of(form, tmp_path), tmp_path, columns={} if form == "lake/" else DECLARED)
    for name in DECLARED:
        column = batch.column(name)
        given = (column.cast(pa.timestamp("us", "UTC")) if name == "tz" and form != "lake/" else column).to_pylist()
        if name == "j" and "json" in form:  # an end of line between two values of JSON becomes a blank
            given = [value and value.replace("\n", " ") for value in given]
        assert list(map(repr, seen.column(name))) == list(map(repr, given)), name


def test_parquet_holds_the_very_same_arrays(tmp_path: Path) -> None:
    batch = written("lake/", tmp_path)
    stored = pq.ParquetFile(next((tmp_path / "lake/t").rglob("*.parquet"))).read()
    assert stored.schema.equals(batch.schema)
    assert stored.to_batches()[0].equals(batch)


@pytest.mark.parametrize("form", ["tables.csv/", "t.csv"])
def test_csv_is_what_other_readers_expect(form: str, tmp_path: Path) -> None:
    written(form, tmp_path)
    rows = records(form, tmp_path)
    assert [row["t"] for row in rows] == TEXTS
    assert rows[0] | {"t": ""} == {
        "id": "0", "t": "", "big": "3000000000", "d": "0.0000000001", "tz": "2024-01-01T10:00:00.123456+00:00",
        "ts": "0001-01-01T00:00:00.000000", "day": "2024-02-29", "clock": "12:30:00.000005",
        "j": '{"n": 12345678901234567890.10, "s": "a\\nb"}', "u": str(UUID), "b": "00ff", "yes": "true", "f": "0.1",
        "l": "[1,null]", "s": '{"x":"1.10","y":"z,\\n"}',
    }  # fmt: skip
    assert rows[1]["d"] == "-1234567890123456789012345678.1234567890"
    assert set(rows[-1].values()) == {str(len(TEXTS) - 1), TEXTS[-1], ""}


def test_in_csv_null_and_the_empty_text_differ(tmp_path: Path) -> None:
    to = destination("t.csv", tmp_path)
    batch = pa.record_batch({"a": pa.array(["x", "", None]), "b": pa.array([b"", None, b"x"])})
    commit(to, batch, None, mark(1))
    assert (tmp_path / "t.csv").read_text() == 'a,b\nx,""\n"",\n,78\n'
    found = duckdb.execute(f"FROM read_csv('{tmp_path}/t.csv', allow_quoted_nulls=false)").fetchall()
    assert found == [("x", ""), ("", None), (None, "78")]


@pytest.mark.parametrize("form", ["tables.json/", "t.json", "t.ndjson"])
def test_json_is_what_other_readers_expect(form: str, tmp_path: Path) -> None:
    written(form, tmp_path)
    rows = records(form, tmp_path)
    assert [row["t"] for row in rows] == TEXTS
    assert rows[0] | {"t": ""} == {
        "id": 0, "t": "", "big": 3000000000, "d": "0.0000000001", "tz": "2024-01-01T10:00:00.123456+00:00",
        "ts": "0001-01-01T00:00:00.000000", "day": "2024-02-29", "clock": "12:30:00.000005",
        "j": {"n": 12345678901234567890.10, "s": "a\nb"}, "u": str(UUID), "b": "00ff", "yes": True, "f": 0.1,
        "l": [1, None], "s": {"x": "1.10", "y": "z,\n"},
    }  # fmt: skip
    assert [row["f"] for row in rows[:7]] == values().column("f").to_pylist()[:7]
    assert {key: value for key, value in rows[-1].items() if value is not None} == {"id": 28, "t": TEXTS[-1]}
    file = next(path for path in (tmp_path / form).rglob("*.ndjson")) if form.endswith("/") else tmp_path / form
    assert "12345678901234567890.10" in file.read_text(), "json is embedded with all its digits"


@pytest.mark.parametrize("form", FORMS)
def test_nan_and_infinity_are_kept_or_refused_by_name(form: str, tmp_path: Path) -> None:
    batch = pa.record_batch({"x": pa.array([float("nan"), float("inf"), float("-inf"), None])})
    to = destination(form, tmp_path)
    if "json" in form:
        with pytest.raises(DataError, match="column x holds NaN or an infinity"):
            commit(to, batch, None, mark(1))
        return
    commit(to, batch, None, mark(1))
    assert [str(row["x"]) for row in records(form, tmp_path)][:3] == ["nan", "inf", "-inf"]


def test_text_in_a_json_column_that_is_not_json_is_refused(tmp_path: Path) -> None:
    batch = pa.record_batch({"j": pa.array(["{broken"], pa.json_())})
    with pytest.raises(DataError, match="column j is of type json"):
        commit(destination("t.ndjson", tmp_path), batch, None, mark(1))


@pytest.mark.parametrize("form", ["t.csv", "t.ndjson", "lake/"])
def test_rarer_types_keep_their_values(form: str, tmp_path: Path) -> None:
    batch = pa.record_batch(
        {
            "ns": pa.array([1_704_067_200_123_456_789], pa.timestamp("ns", "UTC")),
            "word": pa.array(["a"]).dictionary_encode(),
            "wide": pa.array([Decimal("1" * 60 + ".5")], pa.decimal256(76, 10)),
            "u64": pa.array([2**64 - 1], pa.uint64()),
            "view": pa.array(["v" * 20], pa.string_view()),
            "nothing": pa.nulls(1),
            "half": pa.array([0.5], pa.float16()),
        }
    )
    commit(destination(form, tmp_path), batch, None, mark(1))
    row = records(form, tmp_path)[0]
    assert row["ns"] in ("2024-01-01 00:00:00.123456789Z", "2024-01-01T00:00:00.123456789+00:00")
    row.pop("ns")
    assert {key: str(value) for key, value in row.items()} == {
        "word": "a", "wide": "1" * 60 + ".5000000000", "u64": str(2**64 - 1), "view": "v" * 20, "half": "0.5",
        "nothing": "" if form == "t.csv" else "None",
    }  # fmt: skip


@pytest.mark.parametrize("values", [[None], ["x", None], [None, "x"], [None, None, ""]])
def test_a_null_in_a_table_of_one_column_is_no_lost_row(values: list[str | None], tmp_path: Path) -> None:
    commit(destination("t.csv", tmp_path), pa.record_batch({"a": pa.array(values, pa.string())}), None, mark(1))
    assert read(CsvSourceConnection(path="t.csv"), tmp_path).column("a") == values


def test_csv_is_stable_under_a_round_trip(tmp_path: Path) -> None:
    commit(destination("a.csv", tmp_path), values(), None, mark(1))
    source = FileSource("files", CsvSourceConnection(path="a.csv"), tmp_path)
    with source.open(Read(resource="r", columns={"t": "text"})) as session:
        batches = list(session.read(session.splits()[0]))
    commit(destination("b.csv", tmp_path), batches, None, mark(1))
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()
