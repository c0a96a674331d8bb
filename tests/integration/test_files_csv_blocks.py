"""Blocks of CSV that Arrow cuts: the same rows as DuckDB, the same values as the text would have become, or doubt."""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from conduit.connectors.files import csv_blocks, csv_lines, duck
from conduit.connectors.files.config import CsvSourceConnection
from conduit.connectors.files.csv_scan import scan
from conduit.connectors.files.text import Misfit, parse_declared
from conduit.schemas import declared

Rows = list[tuple[object, ...]]

VALUES = {
    "integer": ("0", "7", "-7", "007", "+5", "-0", "0x1F", "0X1f", "2147483647", "2147483648", "1.0", "1e3", "1_0"),
    "bigint": ("9223372036854775807", "9223372036854775808", "-9223372036854775808", "٣", "12"),
    "decimal(12,2)": (
        "1.01", "1.1", "-0.00", "1.001", "1.000", "9999999999.99", "12345678901", "1e2", "1E-2", "1e-3", ".5", "5.",
        "+1", "nan",
    ),
    "double": ("0.5", "1e400", "-1e400", "inf", "-Infinity", "nan", "NaN", "1.", "0x1p3", "0.1000000000000000055"),
    "boolean": ("true", "false", "True", "FALSE", "1", "0", "t", "yes"),
    "date": ("2024-01-31", "2024-02-30", "2024-1-1", "0000-01-01", "10000-01-01", "2024-01-01 00:00:00"),
    "timestamp": (
        "2024-01-01", "2024-01-01 10", "2024-01-01 10:20", "2024-01-01T10:20:30.123456", "2024-01-01 10:20:30.1234567",
        "2024-01-01 10:20:30Z", "2024-01-01 10:20:60", "2024-01-01 24:00:00", "1700000000", "20240101",
    ),
    "timestamptz": (
        "2024-01-01 10:20:30+00", "2024-01-01 10:20:30Z", "2024-01-01 10:20:30.5+0130", "2024-01-01 10:20:30-01:30",
        "2024-01-01 10:20:30", "2024-01-01", "2024-01-01 10:20:30+25", "2024-01-01 10:20:30z",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def parser() -> Iterator[duck.Connection]:
    with closing(duck.connect()) as connection:
        yield connection


# --- fields ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_blocks_give_the_rows_of_duckdb_or_doubt(
    seed: int, tmp_path: Path, parser: duck.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance, file = random.Random(seed), tmp_path / "a.csv"
    without_doubt = 0
    for _ in range(400):
        dialect = _any_dialect(chance, file)
        file.write_bytes(_any_content(chance, dialect))
        header = _header(file, dialect)
        if not header:
            continue
        monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", chance.choice([1, 3, 8, 20, 1 << 20]))
        found, doubt = _by_blocks(file, dialect, header)
        wanted = _by_duckdb(file, dialect, header, parser)
        seen = f"{file.read_bytes()!r} {dialect}"
        if doubt:
            assert wanted is None or found == wanted[: len(found)], seen
        else:
            assert found == wanted, seen
            without_doubt += 1
    assert without_doubt > 50


def _any_dialect(chance: random.Random, file: Path) -> CsvSourceConnection:
    quote = chance.choice(['"', '"', '"', "'"])
    return CsvSourceConnection(
        path=str(file),
        delimiter=chance.choice([",", ",", ";", "\t", "|", " "]),
        quote=quote,
        escape=chance.choice([quote, quote, quote, quote, "\\"]),
        null_text=chance.choice([None, None, "NA", "\\N", "x"]),
        header=chance.random() < 0.7,
    )


def _any_content(chance: random.Random, dialect: CsvSourceConnection) -> bytes:
    """A few lines, of which one in three files has something wrong with it."""
    end, columns = chance.choice(["\n", "\n", "\r\n", "\r"]), chance.choice([1, 2, 3])
    lines = [
        dialect.delimiter.join(_any_field(chance, dialect, end) for _ in range(columns))
        for _ in range(chance.randint(0, 6))
    ]
    if chance.random() < 0.15:
        lines.insert(chance.randint(0, len(lines)), "")
    if dialect.header:
        lines.insert(0, dialect.delimiter.join(f"c{place}" for place in range(columns)))
    text = end.join(lines) + (end if chance.random() < 0.8 else "")
    if chance.random() < 0.35:
        wrong = (dialect.quote, dialect.delimiter, dialect.escape, *"\n\ra \0\ufeff\udcff", "\r\n")
        for _ in range(chance.randint(1, 3)):
            place = chance.randint(0, len(text))
            text = text[:place] + chance.choice(wrong) + text[place + chance.randint(0, 1) :]
    return (b"\xef\xbb\xbf" if chance.random() < 0.1 else b"") + text.encode(errors="surrogateescape")


def _any_field(chance: random.Random, dialect: CsvSourceConnection, end: str) -> str:
    quote = dialect.quote
    kind = chance.random()
    if kind < 0.3:
        return chance.choice(["", "", quote * 2, "NA", "x", "\\N", " ", " a ", "#a"])
    if kind < 0.6:
        pieces = ("a", "b", dialect.delimiter, quote * 2, end, " ", "é", "NA", "\\")
        return quote + "".join(chance.choice(pieces) for _ in range(chance.randint(0, 4))) + quote
    return "".join(chance.choice("ab5é") for _ in range(chance.randint(1, 4)))


def _header(file: Path, dialect: CsvSourceConnection) -> list[str]:
    """The names of the columns, as the reader finds them; none: it would refuse the file."""
    try:
        first = csv_lines.first_record(file, dialect) or []
    except (csv.Error, UnicodeError):
        return []
    if not dialect.header:
        return [f"column{place}" for place in range(len(first))]
    return first if len(set(first)) == len(first) and "" not in first and "\0" not in "".join(first) else []


def _by_blocks(file: Path, dialect: CsvSourceConnection, header: list[str]) -> tuple[Rows, bool]:
    found: Rows = []
    try:
        for batch in csv_blocks.batches(file, dialect, header, None, {}):
            found += _rows(batch)
    except csv_blocks.Doubt:
        return found, True
    return found, False


def _by_duckdb(file: Path, dialect: CsvSourceConnection, header: list[str], parser: duck.Connection) -> Rows | None:
    """The rows; None: it refuses the file."""
    try:
        batches = list(duck.batches(parser, f"SELECT * FROM {scan([file], header, dialect)}", duck.BATCH_ROWS))
    except (duckdb.Error, OSError, pa.ArrowException):
        return None
    return [row for batch in batches for row in _rows(batch)]


def _rows(batch: pa.RecordBatch) -> Rows:
    return list(zip(*(column.to_pylist() for column in batch.columns), strict=True))


# --- values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_name", [*VALUES, "smallint", "real", "numeric(38,10)"])
def test_a_declared_value_is_what_its_text_would_have_become(
    type_name: str, tmp_path: Path, parser: duck.Connection
) -> None:
    type_, file = declared(type_name), tmp_path / "a.csv"
    dialect = CsvSourceConnection(path=str(file))
    every = sorted({value for values in VALUES.values() for value in values} | {"", "-", "é", "1970-01-01"})
    spaced = [form.format(value) for value in every for form in ("{}", " {}", "{} ", "\t{}", '"{}"', '" {}"')]
    for text in spaced:
        file.write_text(f"a,b\nz,{text}\n")
        [batch] = csv_blocks.batches(file, dialect, ["a", "b"], None, {"b": type_})
        column = batch.column("b")
        if column.type.equals(type_):
            as_text = pa.array([text.strip('"') if text != "" else None], pa.string())
            assert column.to_string() == _parsed(as_text, type_, parser), repr(text)
        else:
            assert column.type == pa.string()


def _parsed(text: pa.StringArray, type_: pa.DataType, parser: duck.Connection) -> str:
    try:
        return parse_declared(text, type_, parser).to_string()
    except Misfit as misfit:
        return f"does not fit: {misfit}"


def test_plain_values_are_not_parsed_twice(tmp_path: Path) -> None:
    """Else the comparison above would compare nothing."""
    file = tmp_path / "a.csv"
    plain = {
        "integer": "-7", "bigint": "12", "decimal(12,2)": "1.01", "double": "0.5", "boolean": "true",
        "date": "2024-01-31", "timestamp": "2024-01-01 10:20:30", "timestamptz": "2024-01-01 10:20:30+00",
    }  # fmt: skip
    types = {name: declared(name) for name in plain}
    dialect = CsvSourceConnection(path=str(file), delimiter=";")
    file.write_text(";".join(plain) + "\n" + ";".join(plain.values()) + "\n")
    [batch] = csv_blocks.batches(file, dialect, list(plain), None, types)
    assert batch.schema.types == list(types.values())
