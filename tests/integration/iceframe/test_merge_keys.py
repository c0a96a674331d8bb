"""MERGE: types, keys, and merges that change nothing; both ways of writing."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from iceframe.errors import DuplicateKeysError, SchemaError, ValidationError
from iceframe.merge import Merge
from tests.integration.iceframe.merging import (
    MODES,
    files_on_disk,
    known_files,
    made,
    rows_of,
)

COUNTS = {"k": "string", "n": "long"}
TOTAL = {"n": pl.col("target.n") + pl.col("source.n")}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def counts(catalog: Catalog, mode: str) -> Table:
    """a: 2, b: 1."""
    return made(catalog, COUNTS, pl.DataFrame({"k": ["a", "b"], "n": [2, 1]}), mode=mode)


@pytest.fixture
def table(catalog: Catalog) -> Table:
    """a: 2, b: 1, where the way of writing makes no difference."""
    return made(catalog, COUNTS, pl.DataFrame({"k": ["a", "b"], "n": [2, 1]}))


@pytest.fixture
def new() -> pl.DataFrame:
    """a: 1, z: 1."""
    return pl.DataFrame({"k": ["a", "z"], "n": [1, 1]})


def as_dict(table: Table) -> dict[Any, Any]:
    rows = rows_of(table)
    assert len({row["k"] for row in rows}) == len(rows)
    return {row["k"]: row["n"] for row in rows}


# --- types -------------------------------------------------------------------------------------------------


def test_values_are_widened_to_the_type_of_the_column(counts: Table) -> None:
    source = pl.DataFrame({"k": ["a", "z"], "n": [1, 7]}, schema={"k": pl.Categorical, "n": pl.UInt32})
    Merge(counts, source, "k").when_matched_update(TOTAL).when_not_matched_insert().execute()
    assert as_dict(counts) == {"a": 3, "b": 1, "z": 7}
    assert counts.scan().to_arrow().schema.field("n").type == pa.int64()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int32(), pl.lit(2**31, pl.Int64)),
        (pa.int64(), pl.lit(2**63, pl.UInt64)),
        (pa.int64(), pl.lit(1.5)),
        (pa.float32(), pl.lit(0.1)),
        (pa.float64(), pl.lit(2**53 + 1, pl.Int64)),
        (pa.decimal128(5, 2), pl.lit(Decimal("1.234"))),
        (pa.decimal128(5, 2), pl.lit(Decimal("12345.00"))),
        (pa.string(), pl.lit(1)),
        (pa.int64(), pl.lit("1")),
        (pa.date32(), pl.lit(dt.datetime(2024, 1, 1, 12))),
    ],
)
def test_a_value_is_never_narrowed(catalog: Catalog, kind: pa.DataType, value: pl.Expr) -> None:
    schema: dict[str, object] = {"k": "long", "v": kind}
    table = made(catalog, schema, pl.DataFrame({"k": [1]}))
    before, files = table.refresh().metadata_location, files_on_disk(table)
    for expression in (value, pl.when(pl.col("source.k") == 1).then(value)):
        with pytest.raises(SchemaError, match="column v"):
            Merge(table, pl.DataFrame({"k": [1]}), "k").when_matched_update({"v": expression}).execute()
    assert (table.refresh().metadata_location, files_on_disk(table)) == (before, files)


def test_sums_of_decimals_fit_into_their_column(catalog: Catalog, mode: str) -> None:
    schema = {"k": "long", "v": "decimal(10, 2)"}
    amounts = pl.DataFrame({"k": [1], "v": [Decimal("1.10")]}, schema={"k": pl.Int64, "v": pl.Decimal(10, 2)})
    table = made(catalog, schema, amounts, mode=mode)
    Merge(table, amounts, "k").when_matched_update({"v": pl.col("target.v") + pl.col("source.v")}).execute()
    assert rows_of(table) == [{"k": 1, "v": Decimal("2.20")}]


def test_a_required_column_gets_a_value_or_an_error(catalog: Catalog, mode: str) -> None:
    schema = Schema(NestedField(1, "k", LongType(), required=True), NestedField(2, "v", LongType(), required=True))
    table = made(catalog, schema, pa.table({"k": [1, 2], "v": [1, 2]}), mode=mode)
    source = pl.DataFrame({"k": [1, 2, 3], "v": [10, None, 30], "op": ["u", "d", "u"]})
    with pytest.raises(SchemaError, match="v is required"):
        Merge(table, source, "k").when_matched_update({"v": pl.col("source.v")}).execute()
    with pytest.raises(SchemaError, match="v is required and gets no value"):
        Merge(table, source, "k").when_not_matched_insert({"k": pl.col("source.k")}).execute()
    merge = Merge(table, source, "k").when_matched_delete(condition=pl.col("source.op") == "d")
    merge.when_matched_update().when_not_matched_insert().execute()
    assert rows_of(table) == [{"k": 1, "v": 10}, {"k": 3, "v": 30}]


ALL_TYPES = Schema(
    NestedField(1, "k", LongType()),
    NestedField(2, "boolean", BooleanType()),
    NestedField(3, "int", IntegerType()),
    NestedField(4, "float", FloatType()),
    NestedField(5, "double", DoubleType()),
    NestedField(6, "decimal", DecimalType(12, 3)),
    NestedField(7, "date", DateType()),
    NestedField(8, "time", TimeType()),
    NestedField(9, "timestamp", TimestampType()),
    NestedField(10, "timestamptz", TimestamptzType()),
    NestedField(11, "string", StringType()),
    NestedField(12, "uuid", UUIDType()),
    NestedField(13, "fixed", FixedType(3)),
    NestedField(14, "binary", BinaryType()),
    NestedField(15, "list", ListType(16, LongType(), element_required=False)),
    NestedField(17, "map", MapType(18, StringType(), 19, LongType(), value_required=False)),
    NestedField(20, "struct", StructType(NestedField(21, "a", LongType()), NestedField(22, "b", StringType()))),
)


def values(k: int) -> dict[str, Any]:
    """One row with a value of each type."""
    return {
        "k": k, "boolean": k % 2 == 0, "int": k, "float": k + 0.5, "double": k + 0.25, "decimal": Decimal(k) / 8,
        "date": dt.date(2024, 1, 1) + dt.timedelta(k), "time": dt.time(k, 2, 3, 4),
        "timestamp": dt.datetime(2024, 1, 1, k, 0, 0, 5), "timestamptz": dt.datetime(2024, 1, 1, k, tzinfo=dt.UTC),
        "string": f"s{k}", "uuid": bytes([k]) * 16, "fixed": bytes([k]) * 3, "binary": bytes([k, 0]),
        "list": [k, None], "map": [("a", k), ("b", None)], "struct": {"a": k, "b": f"b{k}"},
    }  # fmt: skip


def arrow(*rows: dict[str, Any]) -> pa.Table:
    schema = ALL_TYPES.as_arrow()
    plain = pa.schema([(one.name, pa.binary(16) if one.name == "uuid" else one.type) for one in schema])
    return pa.Table.from_pylist(list(rows), schema=plain)


def nulls(k: int) -> dict[str, Any]:
    return {**dict.fromkeys(values(k)), "k": k}


def test_columns_of_all_types_are_carried_through_updated_and_inserted(catalog: Catalog, mode: str) -> None:
    table = made(catalog, ALL_TYPES, arrow(values(1), nulls(2), values(3), values(4)), mode=mode)
    source = arrow({**values(5), "k": 1}, {**values(6), "k": 2}, nulls(3), values(7), nulls(8))
    result = Merge(table, source, "k").when_matched_update().when_not_matched_insert().execute()
    assert (result.updated, result.inserted) == (3, 2)
    wanted = [*source.to_pylist(), values(4)]
    expected = made(catalog, ALL_TYPES, arrow(*wanted), name="expected")
    assert rows_of(table) == rows_of(expected)
    again = Merge(table, source, "k").when_matched_update().when_not_matched_insert().execute()
    assert again.snapshot_id is None


@pytest.mark.parametrize("key", [one.name for one in ALL_TYPES.fields if one.field_type.is_primitive])
def test_a_column_of_any_plain_type_can_be_a_key(catalog: Catalog, key: str) -> None:
    rows = [values(k) for k in range(2)] if key == "boolean" else [values(k) for k in range(1, 6)]
    files = [arrow(row) for row in rows]
    null = {**values(20), key: None}
    table = made(catalog, ALL_TYPES, *files, arrow(null))
    changed = [{**row, "struct": {"a": 0, "b": "changed"}} for row in (rows[1], null)]
    result = Merge(table, arrow(*changed), key).when_matched_update().when_not_matched_insert().execute()
    assert (result.updated, result.inserted) == (2, 0)
    expected = made(catalog, ALL_TYPES, arrow(rows[0], *rows[2:], *changed), name="expected")
    assert rows_of(table) == rows_of(expected)


@pytest.mark.parametrize("key", ["list", "map", "struct", "nope"])
def test_a_nested_or_unknown_column_is_no_key(catalog: Catalog, key: str) -> None:
    table = made(catalog, ALL_TYPES, arrow(values(1)))
    with pytest.raises(ValidationError, match=key):
        Merge(table, arrow(values(1)), key).when_matched_update().execute()


@pytest.mark.parametrize("on", [[], "", ["k", "k"], [1]])
def test_names_of_key_columns_must_make_sense(table: Table, new: pl.DataFrame, on: Any) -> None:
    with pytest.raises(ValidationError, match="key column"):
        Merge(table, new, on)


# --- keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["when_matched_update", "when_matched_delete", "when_not_matched_insert"])
def test_two_source_rows_of_one_key_are_refused_by_name(table: Table, word: str) -> None:
    before, files = table.refresh().metadata_location, files_on_disk(table)
    with pytest.raises(DuplicateKeysError, match="k = 'z'"):
        getattr(Merge(table, pl.DataFrame({"k": ["z", "z", "a"], "n": [1, 2, 3]}), "k"), word)().execute()
    assert (table.refresh().metadata_location, files_on_disk(table)) == (before, files)


def test_two_source_rows_whose_key_is_null_are_one_key_twice(table: Table) -> None:
    source = pl.DataFrame({"k": [None, None], "n": [1, 2]}, schema={"k": pl.String, "n": pl.Int64})
    with pytest.raises(DuplicateKeysError, match="k = None"):
        Merge(table, source, "k").when_not_matched_insert().execute()


def test_null_keys_match_null_keys_however_often_it_is_run(catalog: Catalog, mode: str) -> None:
    table = made(catalog, COUNTS, mode=mode)
    source = pl.DataFrame({"k": [None, "a"], "n": [1, 1]}, schema={"k": pl.String, "n": pl.Int64})
    for _ in range(3):
        Merge(table, source, "k").when_matched_update(TOTAL).when_not_matched_insert().execute()
    assert as_dict(table) == {None: 3, "a": 3}


def test_null_is_told_apart_in_each_column_of_a_composite_key(catalog: Catalog, mode: str) -> None:
    schema = {"a": "long", "b": "string", "n": "long"}
    keys = [(1, "x"), (1, None), (None, "x"), (None, None)]
    frame = pl.DataFrame(
        [(*key, 1) for key in keys], schema={"a": pl.Int64, "b": pl.String, "n": pl.Int64}, orient="row"
    )
    table = made(catalog, schema, *(frame[place] for place in range(4)), mode=mode)
    result = Merge(table, frame[1:3], ["a", "b"]).when_matched_update(TOTAL).execute()
    assert result.updated == 2
    assert {(row["a"], row["b"]): row["n"] for row in rows_of(table)} == dict(zip(keys, [1, 2, 2, 1], strict=True))


def test_nan_and_zeros_are_one_key_each(catalog: Catalog, mode: str) -> None:
    schema = {"k": "double", "n": "long"}
    table = made(catalog, schema, pl.DataFrame({"k": [float("nan"), -0.0, 1.0], "n": [1, 1, 1]}), mode=mode)
    source = pl.DataFrame({"k": [float("nan"), 0.0], "n": [1, 1]})
    result = Merge(table, source, "k").when_matched_update(TOTAL).when_not_matched_insert().execute()
    assert (result.updated, result.inserted) == (2, 0)
    assert repr(rows_of(table)) == "[{'k': -0.0, 'n': 2}, {'k': 1.0, 'n': 1}, {'k': nan, 'n': 2}]"


def test_source_keys_of_another_type_find_their_rows(catalog: Catalog, mode: str) -> None:
    schema = {"k": "long", "n": "long"}
    table = made(catalog, schema, pl.DataFrame({"k": [1, 2], "n": [1, 1]}), mode=mode)
    for kind in (pl.Int8, pl.Int32, pl.UInt32):
        Merge(table, pl.DataFrame({"k": pl.Series([2], dtype=kind), "n": [1]}), "k").when_matched_update(
            TOTAL
        ).execute()
    assert as_dict(table) == {1: 1, 2: 4}
    with pytest.raises(SchemaError, match="column k"):
        Merge(table, pl.DataFrame({"k": ["2"], "n": [1]}), "k").when_matched_update(TOTAL).execute()


def test_a_key_column_cannot_become_another_key(table: Table, new: pl.DataFrame) -> None:
    for merge in (
        Merge(table, new, "k").when_matched_update({"k": pl.lit("b")}),
        Merge(table, new, "k").when_not_matched_insert({"k": pl.lit("b"), "n": 1}),
        Merge(table, new, "k").when_not_matched_insert({"n": pl.col("source.n")}),
        Merge(table, new, "k").when_not_matched_by_source_update({"k": pl.lit("b")}),
    ):
        with pytest.raises(ValidationError, match="key column k"):
            merge.execute()
    Merge(table, new, "k").when_matched_update({"k": pl.col("source.k"), "n": 9}).execute()
    assert as_dict(table) == {"a": 9, "b": 1}


def test_rows_of_the_table_that_share_a_key_are_all_updated(catalog: Catalog, mode: str, new: pl.DataFrame) -> None:
    table = made(catalog, COUNTS, pl.DataFrame({"k": ["a", "a"], "n": [1, 2]}), mode=mode)
    Merge(table, new, "k").when_matched_update(TOTAL).execute()
    assert rows_of(table) == [{"k": "a", "n": 2}, {"k": "a", "n": 3}]


# --- no change, no snapshot --------------------------------------------------------------------------------


def test_a_merge_that_changes_nothing_makes_no_snapshot_and_leaves_no_file(counts: Table, new: pl.DataFrame) -> None:
    before = counts.refresh().metadata_location
    for merge in (
        Merge(counts, new.clear(), "k").when_matched_update().when_not_matched_insert(),
        Merge(counts, pl.DataFrame({"k": ["a"], "n": [2]}), "k").when_matched_update(),
        Merge(counts, new, "k").when_matched_delete(condition=pl.lit(value=False)),
        Merge(counts, pl.DataFrame({"k": ["q"], "n": [2]}), "k").when_matched_update(),
    ):
        result = merge.execute()
        assert (result.snapshot_id, result.inserted, result.updated, result.deleted) == (None, 0, 0, 0)
    assert counts.refresh().metadata_location == before
    assert files_on_disk(counts) == known_files(counts)


def test_rows_that_stay_what_they_are_do_not_count_as_updated(counts: Table) -> None:
    result = Merge(counts, pl.DataFrame({"k": ["a", "b"], "n": [2, 5]}), "k").when_matched_update().execute()
    assert (result.updated, as_dict(counts)) == (1, {"a": 2, "b": 5})


def test_a_null_that_becomes_a_value_and_back_is_a_change(counts: Table) -> None:
    source = pl.DataFrame({"k": ["a"], "n": [None]}, schema={"k": pl.String, "n": pl.Int64})
    assert Merge(counts, source, "k").when_matched_update().execute().updated == 1
    assert Merge(counts, source, "k").when_matched_update().execute().updated == 0
    assert as_dict(counts) == {"a": None, "b": 1}


def test_inserts_alone_are_an_append_for_whoever_reads_what_is_new(table: Table) -> None:
    Merge(table, pl.DataFrame({"k": ["z"], "n": [1]}), "k").when_not_matched_insert().execute()
    snapshot = table.refresh().current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary.operation.value == "append"
