from __future__ import annotations

import datetime as dt
import decimal
import random
import uuid
from collections.abc import Iterator
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import IntegerType, ListType, LongType, NestedField, StringType, StructType, TimestampType

from iceframe.errors import SchemaError, ValidationError
from iceframe.schemas import BATCH_ROWS, Rows, SchemaLike, arrow_schema, fitted, to_iceberg

D = decimal.Decimal
AnyArray = Any


def types(given: SchemaLike) -> dict[str, str]:
    return {field.name: str(field.field_type) for field in to_iceberg(given).fields}


def rows(given: Rows, schema: SchemaLike) -> list[dict[str, object]]:
    fields = to_iceberg(schema)
    return pa.Table.from_batches(list(fitted(given, fields)), schema=arrow_schema(fields)).to_pylist()


def one(values: AnyArray, type_: object) -> list[object]:
    return [row["x"] for row in rows(pa.table({"x": values}), {"x": type_})]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("string", "string"),
        ("TEXT", "string"),
        ("int", "int"),
        ("integer", "int"),
        ("long", "long"),
        ("bigint", "long"),
        ("float", "float"),
        ("double", "double"),
        ("bool", "boolean"),
        ("boolean", "boolean"),
        ("date", "date"),
        ("time", "time"),
        ("timestamp", "timestamp"),
        ("timestamptz", "timestamptz"),
        ("decimal(10,2)", "decimal(10, 2)"),
        ("decimal( 38 , 0 )", "decimal(38, 0)"),
        ("binary", "binary"),
        ("uuid", "uuid"),
        ("fixed[7]", "fixed[7]"),
        ("list<decimal(3, 2)>", "list<decimal(3, 2)>"),
        ("map<string, list<map<int,long>>>", "map<string, list<map<int, long>>>"),
    ],
)
def test_a_type_is_known_by_its_name(text: str, expected: str) -> None:
    assert types({"x": text}) == {"x": expected}


def test_a_struct_is_read_as_it_is_written() -> None:
    written = StructType(
        NestedField(3, "A b", IntegerType(), required=True),
        NestedField(4, "c", ListType(5, StringType(), element_required=False), required=False, doc="a, (list)"),
    )
    (field,) = to_iceberg({"x": str(written)}).fields
    assert isinstance(field.field_type, StructType)
    first, second = field.field_type.fields
    assert (first.name, first.required, str(first.field_type)) == ("A b", True, "int")
    assert (second.name, second.required, str(second.field_type), second.doc) == (
        "c",
        False,
        "list<string>",
        "a, (list)",
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (str, "string"),
        (int, "long"),
        (float, "double"),
        (bool, "boolean"),
        (bytes, "binary"),
        (dt.date, "date"),
        (dt.datetime, "timestamp"),
        (dt.time, "time"),
        (uuid.UUID, "uuid"),
        (pl.UInt8, "int"),
        (pl.UInt16, "int"),
        (pl.UInt32(), "long"),
        (pl.UInt64, "decimal(20, 0)"),
        (pl.Int8, "int"),
        (pl.Int64, "long"),
        (pl.Float32, "float"),
        (pl.Categorical, "string"),
        (pl.Enum(["a"]), "string"),
        (pl.Datetime("ns", "Europe/Berlin"), "timestamptz"),
        (pl.Datetime, "timestamp"),
        (pl.Time, "time"),
        (pl.Decimal(12, 3), "decimal(12, 3)"),
        (pl.List(pl.Struct({"a": pl.UInt32})), "list<struct<2: a: optional long>>"),
        (pa.uint32(), "long"),
        (pa.decimal256(10, 1), "decimal(10, 1)"),
        (pa.dictionary(pa.int8(), pa.string()), "string"),
        (pa.binary(16), "fixed[16]"),
        (pa.uuid(), "uuid"),
        (LongType(), "long"),
    ],
)
def test_a_type_of_another_library_becomes_one_that_holds_all_its_values(given: object, expected: str) -> None:
    assert types({"x": given}) == {"x": expected}


def test_a_frame_a_lazy_frame_and_a_schema_give_the_same_columns() -> None:
    frame = pl.DataFrame({"a": [1], "b": ["x"]}, schema={"a": pl.UInt32, "b": pl.Categorical})
    expected = {"a": "long", "b": "string"}
    assert types(frame) == types(frame.lazy()) == types(frame.schema) == types(frame.to_arrow()) == expected
    assert types(frame.to_arrow().schema) == expected


def test_columns_are_optional_unless_arrow_or_iceberg_says_otherwise() -> None:
    given = pa.schema(
        [pa.field("id", pa.int64(), nullable=False), pa.field("s", pa.struct([pa.field("a", pa.int8())]))]
    )
    made = to_iceberg(given)
    assert [field.required for field in made.fields] == [True, False]
    assert to_iceberg(made) is made
    assert [field.required for field in to_iceberg({"id": "long"}).fields] == [False]


def test_every_field_has_an_id_of_its_own() -> None:
    made = to_iceberg({"a": "struct<x: int, y: list<int>>", "b": "map<string, struct<z: int>>", "c": "int"})
    ids = list(made._lazy_id_to_field)
    assert [field.field_id for field in made.fields] == [1, 2, 3]
    assert len(ids) == len(set(ids)) == 9


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"x": "strin"}, "did you mean string"),
        ({"x": "decimal(39,0)"}, "38 digits"),
        ({"x": "decimal(3,4)"}, "behind the point"),
        ({"x": "fixed[0]"}, "unknown type"),
        ({"x": "list<int"}, "unknown type"),
        ({"x": "list<int, int>"}, "unknown type"),
        ({"x": "map<string>"}, "unknown type"),
        ({"x": "struct<int>"}, "no field of a struct"),
        ({"x": "list<strng>"}, "x.element"),
        ({"x": None}, "None is no type"),
        ({"x": decimal.Decimal}, "is no type"),
        ({"": "int"}, "no name"),
        ({1: "int"}, "no name"),
        ({}, "without columns"),
        ({"x": pl.Null}, "no type: all its values are NULL"),
        ({"x": pl.List(pl.Null)}, "x.element"),
        ({"x": pl.Duration}, "duration"),
        ({"x": pl.Struct}, "struct<>"),
        ({"x": pl.List}, "x.element"),
        ({"x": pl.Object}, "cannot be held"),
        ({"x": pl.List(pl.Object)}, "cannot be held"),
        ({"x": pl.Int128}, "cannot be held"),
        (pa.schema([("a", pa.int8()), ("a", pa.int8())]), "a comes twice"),
        (pa.schema([("a", pa.month_day_nano_interval())]), "column a"),
        (pa.schema([("a", pa.decimal256(60, 2))]), "column a"),
        (7, "cannot be made of int"),
    ],
)
def test_a_schema_that_makes_no_sense_is_refused_with_the_column_and_what_there_is(
    given: SchemaLike, says: str
) -> None:
    with pytest.raises(SchemaError, match=says.replace("(", r"\(")):
        to_iceberg(given)


NS = pa.timestamp("ns")
BERLIN = pa.timestamp("ms", "Europe/Berlin")
MOMENT = dt.datetime(2024, 1, 2, 3, 4, 5, 678000)


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        (pa.array([1, None], pa.uint32()), "long", [1, None]),
        (pa.array([2**32 - 1], pa.uint32()), "long", [2**32 - 1]),
        (pa.array([-1, None], pa.int8()), "int", [-1, None]),
        (pa.array([7], pa.int32()), "double", [7.0]),
        (pa.array([7], pa.uint16()), "float", [7.0]),
        (pa.array([1.5, None], pa.float32()), "double", [1.5, None]),
        (pa.array([2**64 - 1], pa.uint64()), "decimal(20,0)", [D(2**64 - 1)]),
        (pa.array([12, None], pa.int64()), "decimal(5,2)", [D("12.00"), None]),
        (pa.array([D("1.5")], pa.decimal128(3, 1)), "decimal(10,4)", [D("1.5000")]),
        (pa.array(["a", None], pa.string()), "string", ["a", None]),
        (pa.array(["a", None], pa.string_view()), "string", ["a", None]),
        (pa.array(["a", None, "a"]).dictionary_encode(), "string", ["a", None, "a"]),
        (pa.array([1, None, 1], pa.uint32()).dictionary_encode(), "decimal(4,1)", [D(1), None, D(1)]),
        (pa.array([MOMENT, None], pa.timestamp("ms")), "timestamp", [MOMENT, None]),
        (pa.array([MOMENT], NS), "timestamp", [MOMENT]),
        (pa.array([MOMENT], BERLIN), "timestamptz", [MOMENT.replace(tzinfo=dt.UTC)]),
        (pa.array([dt.time(1, 2, 3)], pa.time64("ns")), "time", [dt.time(1, 2, 3)]),
        (pa.array([dt.time(1, 2, 3)], pa.time32("s")), "time", [dt.time(1, 2, 3)]),
        (pa.array([dt.date(2024, 1, 2)], pa.date64()), "date", [dt.date(2024, 1, 2)]),
        (pa.array([b"ab", None], pa.binary(2)), "binary", [b"ab", None]),
        (pa.array([b"ab", None], pa.large_binary()), "fixed[2]", [b"ab", None]),
        (pa.array([b"a" * 16, None], pa.binary()), "uuid", [uuid.UUID(bytes=b"a" * 16), None]),
        (pa.array([None, None], pa.null()), "uuid", [None, None]),
        (pa.array([None], pa.null()), "struct<a: list<int>>", [None]),
        (pa.array([[1], None, []], pa.list_(pa.uint32())), "list<long>", [[1], None, []]),
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), "list<int>", [[1, 2], None]),
        (
            pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int8())),
            "map<string, long>",
            [[("k", 1)], None, []],
        ),
        (
            pa.array([{"b": 1, "a": "x"}, None], pa.struct([("b", pa.int8()), ("a", pa.string())])),
            "struct<a: string, b: long, c: int>",
            [{"a": "x", "b": 1, "c": None}, None],
        ),
        (
            pa.array([[{"b": 1}, None], None], pa.list_(pa.struct([("b", pa.int8())]))),
            "list<struct<a: string, b: long>>",
            [[{"a": None, "b": 1}, None], None],
        ),
    ],
)
def test_a_type_is_widened_when_every_value_stays_what_it_is(
    values: AnyArray,
    type_: str,
    expected: list[object],
) -> None:
    assert one(values, type_) == expected
    assert one(pa.concat_arrays([values, values]).slice(len(values)), type_) == expected


@pytest.mark.parametrize(
    ("given", "type_"),
    [
        (pa.int64(), "int"),
        (pa.uint32(), "int"),
        (pa.uint64(), "long"),
        (pa.int64(), "double"),
        (pa.int32(), "float"),
        (pa.float64(), "float"),
        (pa.float64(), "long"),
        (pa.float64(), "decimal(10,2)"),
        (pa.bool_(), "int"),
        (pa.int32(), "boolean"),
        (pa.int32(), "string"),
        (pa.string(), "int"),
        (pa.string(), "binary"),
        (pa.binary(), "string"),
        (pa.string(), "uuid"),
        (pa.string(), "date"),
        (pa.date32(), "timestamp"),
        (pa.timestamp("us"), "date"),
        (pa.timestamp("us"), "timestamptz"),
        (pa.timestamp("us", "UTC"), "timestamp"),
        (pa.time64("us"), "timestamp"),
        (pa.binary(4), "fixed[5]"),
        (pa.decimal128(10, 2), "decimal(10,3)"),
        (pa.decimal128(10, 3), "decimal(10,2)"),
        (pa.decimal128(10, 2), "double"),
        (pa.list_(pa.int64()), "list<int>"),
        (pa.struct([("a", pa.int64())]), "struct<a: int>"),
        (pa.map_(pa.string(), pa.int64()), "map<string, int>"),
        (pa.struct([("a", pa.int64())]), "long"),
        (pa.int64(), "struct<a: long>"),
        (pa.list_(pa.int64()), "map<long, long>"),
        (pa.duration("us"), "long"),
    ],
)
def test_a_narrower_type_is_refused_before_the_first_batch_with_both_types(given: pa.DataType, type_: str) -> None:
    schema = to_iceberg({"x": type_})
    with pytest.raises(SchemaError, match=r"column x.* does not fit into"):
        fitted(pa.table({"x": pa.array([], given)}), schema)


@pytest.mark.parametrize(
    ("values", "type_"),
    [
        (pa.array([1001], pa.int64()).cast(NS), "timestamp"),
        (pa.array([1001], pa.int64()).cast(pa.time64("ns")), "time"),
        (pa.array([1], pa.int64()).view(pa.date64()), "date"),
        (pa.array([1000], pa.int64()), "decimal(5,2)"),
        (pa.array([b"abc"], pa.binary()), "fixed[2]"),
        (pa.array([b"abc"], pa.binary()), "uuid"),
        (pa.array([2**62], pa.int64()).view(pa.timestamp("s")), "timestamp"),
        (pa.array([[1001]], pa.list_(NS)), "list<timestamp>"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error_that_names_the_column(
    values: AnyArray,
    type_: str,
) -> None:
    with pytest.raises(SchemaError, match="column x"):
        one(values, type_)


def test_columns_go_by_name_and_a_missing_one_is_null() -> None:
    given = pl.DataFrame({"b": [1, 2], "a": ["x", None]})
    assert rows(given, {"a": "string", "c": "date", "b": "long"}) == [
        {"a": "x", "c": None, "b": 1},
        {"a": None, "c": None, "b": 2},
    ]


def test_an_unknown_column_is_refused_with_the_columns_that_there_are() -> None:
    with pytest.raises(SchemaError, match=r"unknown column amuont .*did you mean amount\?.*id, amount"):
        fitted(pl.DataFrame({"amuont": [1]}), to_iceberg({"id": "long", "amount": "long"}))


def test_a_column_that_comes_twice_is_refused() -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(SchemaError, match="a comes twice"):
        fitted(twice, to_iceberg({"a": "long"}))


REQUIRED = Schema(
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "s", StructType(NestedField(3, "at", TimestampType(), required=True)), required=False),
)


def test_a_required_column_must_be_there_and_have_no_null() -> None:
    with pytest.raises(SchemaError, match="id is required and missing"):
        fitted(pl.DataFrame({"s": [None]}), REQUIRED)
    with pytest.raises(SchemaError, match="id is required and has 1 NULLs"):
        list(fitted(pl.DataFrame({"id": [1, None]}), REQUIRED))
    (batch,) = fitted(pl.DataFrame({"id": [1]}), REQUIRED)
    assert batch.schema == arrow_schema(REQUIRED)
    assert not batch.schema.field("id").nullable


def test_a_required_field_is_null_only_where_its_struct_is() -> None:
    frame = pl.DataFrame({"id": [1, 2], "s": [{"at": MOMENT}, None]})
    (batch,) = fitted(frame, REQUIRED)
    assert batch.to_pylist() == [{"id": 1, "s": {"at": MOMENT}}, {"id": 2, "s": None}]
    with pytest.raises(SchemaError, match=r"s\.at is required and has 1 NULLs"):
        list(fitted(pl.DataFrame({"id": [1, 2], "s": [{"at": None}, {"at": MOMENT}]}), REQUIRED))
    with pytest.raises(SchemaError, match=r"s\.at is required and missing"):
        fitted(pa.table({"id": [1], "s": pa.array([None], pa.struct([]))}), REQUIRED)


def batches(frame: pl.DataFrame) -> Iterator[pa.RecordBatch]:
    yield from frame.to_arrow().to_batches(max_chunksize=2)


def test_all_kinds_of_rows_give_the_same_batches() -> None:
    frame = pl.DataFrame({"a": [1, None, 3], "b": ["x", "y", None]}, schema={"a": pl.Int32, "b": pl.Categorical})
    table = frame.to_arrow()
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    kinds: list[Rows] = [
        frame,
        frame.lazy(),
        table,
        table.to_batches()[0],
        reader,
        batches(frame),
        list(batches(frame)),
    ]
    for given in kinds:
        assert rows(given, {"a": "long", "b": "string"}) == frame.rows(named=True)


def test_batches_may_differ_in_their_schemas() -> None:
    given = [pa.record_batch({"a": pa.array([1], pa.int8())}), pa.record_batch({"b": ["x"], "a": [2]})]
    assert rows(given, {"a": "long", "b": "string"}) == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]


def test_batches_have_a_bounded_number_of_rows() -> None:
    table = pa.table({"a": pa.array(range(200_000), pa.int64())})
    for given in (table, table.combine_chunks().to_batches()[0], pl.DataFrame({"a": range(200_000)})):
        made = list(fitted(given, to_iceberg({"a": "long"})))
        assert max(batch.num_rows for batch in made) <= BATCH_ROWS
        assert [value for batch in made for value in batch.column(0).to_pylist()] == list(range(200_000))


@pytest.mark.parametrize("given", [{"a": [1]}, "abc", 7, None, [{"a": 1}]])
def test_what_is_no_rows_is_refused(given: Rows) -> None:
    with pytest.raises(ValidationError):
        list(fitted(given, to_iceberg({"a": "long"})))


def test_a_lazy_frame_that_cannot_be_computed_is_one_clear_error() -> None:
    schema = to_iceberg({"a": "long"})
    with pytest.raises(ValidationError, match="cannot be computed"):
        fitted(pl.LazyFrame({"a": [1]}).select("b"), schema)
    late = pl.LazyFrame({"a": ["x"]}).select(pl.col("a").cast(pl.Int64))
    with pytest.raises(ValidationError, match="cannot be computed"):
        list(fitted(late, schema))
    with pytest.raises(ValidationError, match="cannot be computed"):
        fitted(pl.scan_parquet("/nowhere/at/all.parquet"), schema)


def test_objects_of_python_are_refused_as_rows() -> None:
    with pytest.raises(SchemaError, match="Object"):
        fitted(pl.DataFrame({"a": [object()]}), to_iceberg({"a": "binary"}))


def test_nested_values_survive_every_slice() -> None:
    chance = random.Random(7)
    inner = pa.struct([("k", pa.int32()), ("v", pa.list_(pa.string()))])
    values: list[object] = []
    for number in range(500):
        lists = [None if chance.random() < 0.2 else {"k": number, "v": ["a"] * chance.randint(0, 3)} for _ in range(3)]
        values.append(None if chance.random() < 0.2 else lists)
    given: AnyArray = pa.array(values, pa.list_(inner))
    for start in range(0, 500, 97):
        part = given.slice(start, 97)
        assert one(part, "list<struct<v: list<string>, k: long>>") == [
            None if row is None else [None if one is None else {"v": one["v"], "k": one["k"]} for one in row]
            for row in part.to_pylist()
        ]
