"""Files that are not what they should be: one error that names the file and, where it can be known, the line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conduit.connectors.files.config import CsvSourceConnection, JsonSourceConnection, ParquetSourceConnection
from conduit.errors import ConfigError, DataError
from tests.support.files import ids, read


def read_csv(folder: Path, content: bytes | str, name: str = "a.csv", **settings: Any) -> Any:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    request = {key: settings.pop(key) for key in ("columns", "cursor") if key in settings}
    return read(CsvSourceConnection(path=name, **settings), folder, **request)


def read_json(folder: Path, content: bytes | str, name: str = "a.json", **settings: Any) -> Any:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    request = {key: settings.pop(key) for key in ("columns", "cursor") if key in settings}
    return read(JsonSourceConnection(path=name, **settings), folder, **request)


# --- CSV ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x\n2,y\n", b"a,b\r\n1,x\r\n2,y\r\n", b"a,b\r1,x\r2,y", b"a,b\n1,x\n2,y", b"a,b\n1,x\n\n2,y\n",
        b"\xef\xbb\xbfa,b\r\n1,x\r\n2,y", b'\xef\xbb\xbf"a","b"\n1,x\n"2","y"\n',
    ],
)  # fmt: skip
def test_line_ends_byte_order_marks_and_quotes_just_work(content: bytes, tmp_path: Path) -> None:
    seen = read_csv(tmp_path, content)
    assert seen.rows == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}] or seen.column("a") == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,x\n2\n3,z\n", r"a\.csv:3: 1 fields where the first line has 2"),
        (b"a,b\n1,x\n2,y,z\n", r"a\.csv:3: 3 fields where the first line has 2"),
        (b'a,b\n1,x\n2,"y\n3,z\n', r"a\.csv:3: a quoted field is not closed"),
        (b'a,b\n1,"x"y\n', r"a\.csv:2: a quoted field is not closed, or goes on"),
        (b"a,b\n1,x\n2,\xe9\n", r"a\.csv.*encoding"),
        (b"", r"a\.csv is empty"),
        (b"\n1,2\n", r"a\.csv:1: a column has no name"),
        (b"a,\n1,2\n", r"a\.csv:1: a column has no name"),
        (b"a,a\n1,2\n", r"a\.csv:1: two columns have one name"),
        (b"a;b\n1;2\n", r"a\.csv:1: the line has one field"),
        (b"a,b\r\n1,x\n2,y\r\n", r"a\.csv: not CSV as declared"),
        (b"a,b\n1," + b"x" * 9_000_000 + b"\n", r"a\.csv:2: the line is too long"),
    ],
)
def test_malformed_csv_is_an_error_with_its_line(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_csv(tmp_path, content)


def test_a_value_that_does_not_fit_after_the_sample_is_named_with_its_place(tmp_path: Path) -> None:
    rows = [f'{n},"two\nlines"' for n in range(30_000)]
    with pytest.raises(DataError, match=r"a\.csv:60003: column id: '00501' does not fit bigint") as caught:
        read_csv(tmp_path, "\n".join(["id,t", *rows, '00501,"x\ny"', "1,z"]))
    assert "columns: {id: text}" in caught.value.hint
    with pytest.raises(DataError, match=r"a\.csv:4: column id: 'x' is not of the declared type bigint"):
        read_csv(tmp_path, "id\n1\n\nx\n", columns={"id": "bigint"})


def test_what_was_inferred_is_told_and_what_was_declared_wins(tmp_path: Path) -> None:
    content = "id,zip,flag,none\n1,00501,N,\n2,10001,None,\n"
    seen = read_csv(tmp_path, content, columns={"id": "decimal(12,2)"})
    assert seen.described.notes == ("a.csv: zip text, flag text, none text (inferred)",)
    assert seen.types == {"id": "decimal128(12, 2)", "zip": "string", "flag": "string", "none": "string"}
    assert seen.rows[0] == {"id": seen.rows[0]["id"], "zip": "00501", "flag": "N", "none": None}
    with pytest.raises(ConfigError, match="declares zpi, which no file has") as caught:
        read_csv(tmp_path, content, columns={"zpi": "text"})
    assert caught.value.hint == "did you mean zip?"


def test_null_is_the_unquoted_empty_field_or_the_text_that_was_said(tmp_path: Path) -> None:
    assert read_csv(tmp_path, 'a\nx\n""\n\n"NULL"\n').column("a") == ["x", "", None, "NULL"]
    assert read_csv(tmp_path, 'a,b\nx,1\n\\N,\n"\\N",\n', null_text="\\N").column("a") == ["x", None, "\\N"]


def test_other_dialects_are_read_as_they_are_said(tmp_path: Path) -> None:
    assert read_csv(tmp_path, "a;b\n1;'x;y'\n", delimiter=";", quote="'", escape="'").rows == [{"a": 1, "b": "x;y"}]
    assert read_csv(tmp_path, 'a,b\n1,"x\\"y"\n', escape="\\").rows == [{"a": 1, "b": 'x"y'}]
    assert read_csv(tmp_path, "1,x\n2,y\n", header=False).rows[1] == {"column0": 2, "column1": "y"}
    assert read_csv(tmp_path, "a\né\n".encode("latin-1"), encoding="latin-1").column("a") == ["é"]
    assert read_csv(tmp_path, "a\né\n".encode("utf-16"), encoding="utf-16").column("a") == ["é"]


def test_files_with_other_columns_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("id,old\n1,x\n")
    (tmp_path / "in/b.csv").write_text("new,id\ny,2\n")
    seen = read(CsvSourceConnection(path="in/"), tmp_path)
    assert seen.rows == [{"id": 1, "old": "x", "new": None}, {"id": 2, "old": None, "new": "y"}]
    assert "b.csv has no column old: NULL" in seen.described.notes


# --- compressed files -----------------------------------------------------------------------------------


def packed(codec: Literal["gzip", "zstd"], content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, codec) as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


MANY = b"id,t\n" + b"".join(b"%d,%d\n" % (n, n * 7919 % 1_000_003) for n in range(200_000))


@pytest.mark.parametrize(("codec", "extension"), [("gzip", "gz"), ("zstd", "zst")])
def test_compressed_files_are_read_and_cut_ones_are_errors(
    codec: Literal["gzip", "zstd"], extension: str, tmp_path: Path
) -> None:
    whole = packed(codec, MANY)
    name = f"a.csv.{extension}"
    assert len(read_csv(tmp_path, whole, name).rows) == 200_000
    for length in (len(whole) // 2, len(whole) - 4):
        with pytest.raises(DataError, match=name):
            read_csv(tmp_path, whole[:length], name)


def test_a_wrong_checksum_and_a_second_member_are_seen(tmp_path: Path) -> None:
    two = gzip.compress(b"id\n1\n") + gzip.compress(b"2\n")
    assert read_csv(tmp_path, two, "a.csv.gz").column("id") == [1, 2]
    broken = gzip.compress(b"id\n1\n")[:-8] + bytes(8)
    with pytest.raises(DataError, match=r"a\.csv\.gz"):
        read_csv(tmp_path, broken, "a.csv.gz")


# --- JSON -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        '[{"a":1},{"a":2}]', '{"a":1}\n{"a":2}\n', '{"a":1}\r\n{"a":2}', '{\n "a": 1\n}\n{\n "a": 2\n}',
        ' [\n{"a":\n1},{"a":2}\n] ', '\ufeff[{"a":1},{"a":2}]', '\ufeff{"a":1}\n{"a":2}', '{"a":1} {"a":2}',
    ],
)  # fmt: skip
def test_every_layout_of_json_is_read(content: str, tmp_path: Path) -> None:
    assert read_json(tmp_path, content).rows == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("content", ["", " \n", "[]", "\n\n"])
def test_json_without_records_has_no_rows(content: str, tmp_path: Path) -> None:
    assert read_json(tmp_path, content).rows == []
    seen = read_json(tmp_path, content, columns={"id": "bigint"})
    assert seen.types == {"id": "int64"}
    assert seen.described.notes == ("id is declared, and no record looked at has it",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a":1}\n{"a":}\n{"a":3}\n', r"a\.json:2: not valid JSON"),
        ('{"a":1}\n{"a":2', r"a\.json:2: not valid JSON"),
        ('[{"a":1},{"a":2}', r"a\.json: not valid JSON"),
        ('[{"a":1}] x', r"a\.json: not valid JSON"),
        ("hello", r"a\.json:1: not valid JSON"),
        (b'{"a":"\xe9"}', r"a\.json:1: not valid JSON"),
        ('{"a":NaN}', r"a\.json: not valid JSON"),
        ('{"a":1,}', r"a\.json: not valid JSON"),
        ('{"a":1}\n[2]\n', r"a\.json:2: the record is not an object"),
        ("[1, 2]", r"a\.json, record 1: the record is not an object"),
        ('{"a":1}\n{"a":2,"a":3}\n', r"a\.json:2: the record has the key a twice"),
        ('{"a":1}\n{"a":"x"}\n', "the key a holds numbers and strings"),
        ('{"a":true}\n{"a":{}}\n', "the key a holds booleans and objects"),
    ],
)
def test_malformed_json_is_an_error_with_its_line(content: bytes | str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_json(tmp_path, content)


def test_numbers_keep_their_digits_and_strings_stay_text(tmp_path: Path) -> None:
    big, exact = "123456789012345678901234567890", "12345678901234567890.1234567890"
    content = f'[{{"i": 3000000000, "big": {big}, "d": {exact}, "f": 0.1, "s": "2024-01-01", "n": {{"x": {exact}}}}}]'
    seen = read_json(tmp_path, content, columns={"d": "decimal(38,10)"})
    assert seen.types == {
        "i": "int64", "big": "decimal128(38, 0)", "d": "decimal128(38, 10)", "f": "double", "s": "string",
        "n": "extension<arrow.json>",
    }  # fmt: skip
    row = seen.rows[0]
    assert (str(row["big"]), str(row["d"]), row["s"], row["n"]) == (big, exact, "2024-01-01", f'{{"x": {exact}}}')
    assert seen.described.notes == ("a.json: i bigint, big decimal(38,0), f double, s text, n json (inferred)",)


def test_declared_json_types_win(tmp_path: Path) -> None:
    content = '{"a": 501, "b": "2024-01-01T10:00:00Z", "c": [1, {"x": 2}]}\n{"a": "00501", "b": null}\n'
    seen = read_json(tmp_path, content, columns={"a": "text", "b": "timestamptz", "c": "text", "late": "bigint"})
    assert seen.column("a") == ["501", "00501"]
    assert [value and value.isoformat() for value in seen.column("b")] == ["2024-01-01T10:00:00+00:00", None]
    assert seen.column("c") == ['[1, {"x": 2}]', None]
    assert seen.column("late") == [None, None]
    with pytest.raises(DataError, match=r"a\.json:2: the record has '00501' for a, which is declared bigint"):
        read_json(tmp_path, content, columns={"a": "bigint"})


@pytest.mark.parametrize(
    ("late", "message"),
    [
        ({"id": 1.5}, r"a\.json:30001: the record has 1\.5 for id, which is bigint in the first records"),
        ({"id": "x"}, r"a\.json:30001: the record has 'x' for id"),
        ({"id": 1, "new": 1}, r"a\.json:30001: the record has the key new"),
    ],
)
def test_a_record_that_does_not_fit_after_the_sample_is_named_with_its_line(
    late: dict[str, Any], message: str, tmp_path: Path
) -> None:
    lines = [json.dumps({"id": n}) for n in range(30_000)]
    with pytest.raises(DataError, match=message) as caught:
        read_json(tmp_path, "\n".join([*lines, json.dumps(late), json.dumps({"id": 1})]))
    assert "declare" in caught.value.hint


DEEP = '{"a":' + "[" * 50_000 + "]" * 50_000 + "}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", DEEP.encode(), "nested too deeply"),
        ("a.json", b'{"a\\u0000b":1}', "holds a NUL"),
        ("a.json", b'{"":1}', "a column has no name"),
        ("a.json", b'{"a":1e999}', "a is double|not valid JSON|which is double"),
        ("a.json", b'{"a":"\\ud800"}', "not valid JSON"),
        ("a.json", bytes(range(256)) * 9, "not valid JSON"),
        ("a.json.gz", gzip.compress(bytes(100_000_000)), "a record is larger than 16 MiB"),
        ("a.csv.gz", gzip.compress(bytes(100_000_000)), "the first line is too long"),
        ("a.csv", bytes(range(256)) * 9, "encoding"),
        ("a.csv", b"a\0,b\n1,2\n", "holds a NUL"),
    ],
)
def test_hostile_files_are_one_error(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        (read_csv if ".csv" in name else read_json)(tmp_path, content, name)


# --- Parquet --------------------------------------------------------------------------------------------


def test_damaged_parquet_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_batches([ids(1, 5000)]), path, compression="zstd", write_page_checksum=True)
    whole = path.read_bytes()
    wrong_length = whole[:-8] + b"\xff\xff\xff\x7fPAR1"
    flipped = whole[:40] + bytes(byte ^ 0xFF for byte in whole[40:60]) + whole[60:]
    for content in (b"", whole[: len(whole) // 2], whole[:-1], wrong_length, flipped, b"PAR1PAR1"):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"a\.parquet"):
            read(ParquetSourceConnection(path="a.parquet"), tmp_path)


def test_parquet_types_are_taken_as_they_are_and_must_agree(tmp_path: Path) -> None:
    schema = pa.schema(
        [pa.field("id", pa.int32(), metadata={"k": "v"}), pa.field("u", pa.uuid()), pa.field("t", pa.large_string())],
        metadata={"m": "1"},
    )
    table = pa.table([pa.array([1], pa.int32()), pa.array([b"\0" * 16], pa.uuid()), ["x"]], schema=schema)
    pq.write_table(table, tmp_path / "a.parquet")
    seen = read(ParquetSourceConnection(path="a.parquet"), tmp_path)
    assert seen.described.schema.equals(schema, check_metadata=True)
    pq.write_table(pa.table({"id": ["x"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet: column id is string; in the files before it is int32"):
        read(ParquetSourceConnection(path="*.parquet"), tmp_path)
    declared = read(ParquetSourceConnection(path="*.parquet"), tmp_path, columns={"id": "text"})
    assert declared.column("id") == ["1", "x"]
    with pytest.raises(DataError, match=r"b\.parquet: column id: the value 'x'"):
        read(ParquetSourceConnection(path="*.parquet"), tmp_path, columns={"id": "bigint"})
