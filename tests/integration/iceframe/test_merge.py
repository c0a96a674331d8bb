"""MERGE: what its clauses do to rows, what is refused, and which files it touches; both ways of writing."""

from __future__ import annotations

import datetime as dt
import hashlib
import time
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform
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

from iceframe.errors import DuplicateKeysError, SchemaError, UnsupportedError, ValidationError
from iceframe.merge import Merge
from tests.integration.iceframe.merging import (
    MODES,
    append,
    data_files,
    files_on_disk,
    known_files,
    made,
    ordered,
    polars_rows,
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


# --- the builder -------------------------------------------------------------------------------------------


def test_nothing_is_committed_before_execute(table: Table, new: pl.DataFrame) -> None:
    before = table.refresh().metadata_location
    Merge(table, new, "k").when_matched_update(TOTAL).when_not_matched_insert()
    assert table.refresh().metadata_location == before


def test_a_merge_tells_what_it_did(counts: Table, new: pl.DataFrame, mode: str) -> None:
    result = Merge(counts, new, on=["k"]).when_matched_update(TOTAL).when_not_matched_insert().execute()
    assert as_dict(counts) == {"a": 3, "b": 1, "z": 1}
    assert (result.inserted, result.updated, result.deleted) == (1, 1, 0)
    assert result.snapshot_id == counts.refresh().metadata.current_snapshot_id
    assert (result.files_rewritten, result.delete_files) == ((1, 0) if mode == MODES[0] else (0, 1))


def test_a_merge_without_a_clause_is_refused_and_leaves_the_table_alone(table: Table, new: pl.DataFrame) -> None:
    before = table.refresh().metadata_location
    with pytest.raises(ValidationError, match="without a clause"):
        Merge(table, new, "k").execute()
    assert table.refresh().metadata_location == before


def test_a_merge_is_executed_once(table: Table, new: pl.DataFrame) -> None:
    merge = Merge(table, new, "k").when_matched_update(TOTAL)
    merge.execute()
    with pytest.raises(ValidationError, match="executed already"):
        merge.execute()
    assert as_dict(table) == {"a": 3, "b": 1}


def test_inserts_alone_leave_matched_rows_alone(counts: Table, new: pl.DataFrame) -> None:
    Merge(counts, new, "k").when_not_matched_insert().execute()
    assert as_dict(counts) == {"a": 2, "b": 1, "z": 1}


def test_updates_alone_insert_nothing(counts: Table, new: pl.DataFrame) -> None:
    Merge(counts, new, "k").when_matched_update(TOTAL).execute()
    assert as_dict(counts) == {"a": 3, "b": 1}


def test_matched_rows_are_deleted(counts: Table, new: pl.DataFrame) -> None:
    result = Merge(counts, new, "k").when_matched_delete().execute()
    assert (result.deleted, as_dict(counts)) == (1, {"b": 1})


def test_rows_that_the_source_has_not_are_deleted(counts: Table, new: pl.DataFrame) -> None:
    merge = Merge(counts, new, "k").when_matched_update().when_not_matched_insert()
    result = merge.when_not_matched_by_source_delete().execute()
    assert (as_dict(counts), result.deleted) == ({"a": 1, "z": 1}, 1)


def test_rows_that_the_source_has_not_are_updated(counts: Table, new: pl.DataFrame) -> None:
    Merge(counts, new, "k").when_not_matched_by_source_update({"n": pl.col("target.n") * 10}).execute()
    assert as_dict(counts) == {"a": 2, "b": 10}


def test_an_empty_source_deletes_what_it_has_not(counts: Table, new: pl.DataFrame) -> None:
    Merge(counts, new.clear(), "k").when_not_matched_by_source_delete(condition=pl.col("target.n") > 1).execute()
    assert as_dict(counts) == {"b": 1}


def test_the_first_clause_that_holds_is_applied(catalog: Catalog, mode: str) -> None:
    table = made(catalog, COUNTS, pl.DataFrame({"k": list("abcd"), "n": [1, 2, 3, 4]}), mode=mode)
    source = pl.DataFrame({"k": list("abcxyz"), "n": [10, 20, 30, 1, 2, 3]})
    (
        Merge(table, source, "k")
        .when_matched_delete(condition=pl.col("target.n") == 1)
        .when_matched_update({"n": pl.lit(-1)}, condition=pl.col("source.n") == 20)
        .when_matched_update()
        .when_not_matched_insert({"k": pl.col("source.k"), "n": 100}, condition=pl.col("source.n") == 1)
        .when_not_matched_insert({"k": pl.col("source.k")}, condition=pl.col("source.n") == 2)
        .execute()
    )
    assert as_dict(table) == {"b": -1, "c": 30, "d": 4, "x": 100, "y": None}


def test_a_clause_after_one_that_takes_all_rows_is_refused(table: Table, new: pl.DataFrame) -> None:
    with pytest.raises(ValidationError, match="takes all rows"):
        Merge(table, new, "k").when_matched_update().when_matched_delete().execute()


def test_a_condition_that_is_null_does_not_hold(table: Table, new: pl.DataFrame) -> None:
    result = Merge(table, new, "k").when_matched_delete(condition=pl.lit(None, pl.Boolean)).execute()
    assert (result.deleted, result.snapshot_id) == (0, None)


@pytest.mark.parametrize("shape", ["frame", "lazy", "table", "batch", "reader", "batches"])
def test_a_source_is_a_frame_or_arrow_rows(table: Table, new: pl.DataFrame, shape: str) -> None:
    arrow_rows = new.to_arrow()
    shapes: dict[str, Any] = {
        "frame": new,
        "lazy": new.lazy(),
        "table": arrow_rows,
        "batch": arrow_rows.to_batches()[0],
        "reader": arrow_rows.to_reader(),
        "batches": iter(arrow_rows.to_batches()),
    }
    Merge(table, shapes[shape], "k").when_matched_update(TOTAL).when_not_matched_insert().execute()
    assert as_dict(table) == {"a": 3, "b": 1, "z": 1}


@pytest.mark.parametrize("source", ["rows", 5, None, [{"k": 1}], {"k": [1]}])
def test_anything_else_is_no_source(table: Table, source: Any) -> None:
    with pytest.raises(ValidationError, match="a source is"):
        Merge(table, source, "k").when_matched_update().execute()


def test_a_lazy_source_that_fails_is_one_error(table: Table) -> None:
    broken = pl.LazyFrame({"k": ["a"]}).with_columns(n=pl.col("nope"))
    with pytest.raises(ValidationError, match="nope"):
        Merge(table, broken, "k").when_matched_update().execute()


def test_a_branch_is_merged_into_and_main_is_left_alone(counts: Table, new: pl.DataFrame) -> None:
    head = counts.refresh().metadata.current_snapshot_id
    assert head is not None
    counts.manage_snapshots().create_branch(head, "b").commit()
    Merge(counts, new, "k", branch="b").when_matched_update(TOTAL).execute()
    on_branch = counts.refresh().scan(snapshot_id=counts.metadata.refs["b"].snapshot_id).to_arrow().to_pylist()
    assert ordered(on_branch) == ordered([{"k": "a", "n": 3}, {"k": "b", "n": 1}])
    assert as_dict(counts) == {"a": 2, "b": 1}
    with pytest.raises(ValidationError, match="no branch 'c'"):
        Merge(counts, new, "k", branch="c").when_matched_update(TOTAL).execute()


# --- expressions -------------------------------------------------------------------------------------------


def test_expressions_mix_both_sides_literals_and_casts(counts: Table, new: pl.DataFrame) -> None:
    value = (
        pl.when(pl.col("source.n") > 5)
        .then(0)
        .otherwise(pl.coalesce(pl.lit(None, pl.Int64), pl.col("target.n") * 10 + pl.col("source.n").cast(pl.Int32)))
    )
    Merge(counts, new, "k").when_matched_update({"n": value}).execute()
    assert as_dict(counts) == {"a": 21, "b": 1}


@pytest.mark.parametrize("name", ["source.nope", "target.nope", "nope", "source.", "x.y"])
def test_an_unknown_column_is_an_error_before_any_write(table: Table, new: pl.DataFrame, name: str) -> None:
    before, files = table.refresh().metadata_location, files_on_disk(table)
    with pytest.raises(ValidationError, match=f"unknown column {name}.*n"):
        Merge(table, new, "k").when_matched_update({"n": pl.col(name)}).execute()
    with pytest.raises(ValidationError, match=f"unknown column {name}"):
        Merge(table, new, "k").when_matched_delete(condition=pl.col(name) == 1).execute()
    assert (table.refresh().metadata_location, files_on_disk(table)) == (before, files)


def test_a_plain_name_means_the_one_side_that_has_it(table: Table, new: pl.DataFrame) -> None:
    source = new.with_columns(plus=pl.lit(5))
    Merge(table, source, "k").when_matched_update({"n": pl.col("target.n") + pl.col("plus")}).execute()
    assert as_dict(table) == {"a": 7, "b": 1}
    with pytest.raises(ValidationError, match=r"n is a column of both sides.*target\.n"):
        Merge(table, new, "k").when_matched_update({"n": pl.col("n")}).execute()


def test_clauses_about_one_side_cannot_read_the_other(table: Table, new: pl.DataFrame) -> None:
    with pytest.raises(ValidationError, match=r"target\.n cannot be read here"):
        Merge(table, new, "k").when_not_matched_insert(condition=pl.col("target.n") > 0).execute()
    with pytest.raises(ValidationError, match=r"source\.n cannot be read here"):
        Merge(table, new, "k").when_not_matched_by_source_update({"n": pl.col("source.n")}).execute()


def test_columns_named_like_a_side_are_not_captured(catalog: Catalog, mode: str) -> None:
    names = ["k", "source.x", "target.x", "__src_x", "x"]
    schema = dict.fromkeys(names, "long")
    table = made(catalog, schema, pl.DataFrame([[1], [2], [3], [4], [5]], schema=names), mode=mode)
    source = pl.DataFrame([[1], [20], [30], [40], [50]], schema=names)
    (
        Merge(table, source, "k")
        .when_matched_update(
            {
                "source.x": pl.col("target.source.x") + pl.col("source.x"),
                "target.x": pl.col("source.target.x"),
                "__src_x": pl.col("target.__src_x") + pl.col("source.__src_x"),
                "x": pl.col("target.x") + pl.col("source.source.x"),
            }
        )
        .execute()
    )
    assert rows_of(table) == [{"k": 1, "source.x": 52, "target.x": 30, "__src_x": 44, "x": 25}]


@pytest.mark.parametrize(
    "value",
    [
        pl.col("source.n").sum(),
        pl.col("target.n").shift(),
        pl.col("source.n").cum_sum(),
        pl.col("source.n").sum().over("source.k"),
        pl.len().cast(pl.Int64),
        pl.col("source.n").sort(),
        pl.col("source.n").map_batches(lambda one: one, return_dtype=pl.Int64),
    ],
)
def test_a_value_that_depends_on_other_rows_is_refused(table: Table, new: pl.DataFrame, value: pl.Expr) -> None:
    with pytest.raises(ValidationError, match="one value for each row"):
        Merge(table, new, "k").when_matched_update({"n": value}).execute()


@pytest.mark.parametrize("value", [pl.all(), pl.col("source.n", "target.n"), pl.col("^source.*$")])
def test_several_columns_at_once_are_refused(table: Table, new: pl.DataFrame, value: pl.Expr) -> None:
    with pytest.raises(ValidationError, match="several columns"):
        Merge(table, new, "k").when_matched_update({"n": value}).execute()


def test_a_text_that_names_a_column_is_not_guessed_at(table: Table, new: pl.DataFrame) -> None:
    with pytest.raises(ValidationError, match=r"pl\.col\('source\.n'\)"):
        Merge(table, new, "k").when_matched_update({"n": "source.n"}).execute()


def test_a_condition_that_is_no_condition_is_refused(table: Table, new: pl.DataFrame) -> None:
    with pytest.raises(ValidationError, match="gives Int64"):
        Merge(table, new, "k").when_matched_delete(condition=pl.col("source.n")).execute()
    with pytest.raises(ValidationError, match="not str"):
        Merge(table, new, "k").when_matched_delete(condition="n > 1").execute()  # type: ignore[arg-type]


def test_an_expression_that_fails_on_a_row_commits_nothing(counts: Table, new: pl.DataFrame) -> None:
    before, files = counts.refresh().metadata_location, files_on_disk(counts)
    with pytest.raises(ValidationError, match="n cannot be evaluated"):
        Merge(counts, new, "k").when_matched_update({"n": pl.col("source.k").cast(pl.Int64)}).execute()
    assert (counts.refresh().metadata_location, files_on_disk(counts)) == (before, files)


@pytest.mark.parametrize("values", [{"nope": 1}, {}])
def test_values_for_no_column_are_refused(table: Table, new: pl.DataFrame, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="no column"):
        Merge(table, new, "k").when_matched_update(values).execute()


def test_a_source_column_that_goes_nowhere_is_refused(table: Table, new: pl.DataFrame) -> None:
    source = new.with_columns(op=pl.lit("d"))
    with pytest.raises(ValidationError, match="op"):
        Merge(table, source, "k").when_matched_update().execute()
    Merge(table, source, "k").when_matched_delete(
        condition=pl.col("source.op") == "d"
    ).when_not_matched_insert().execute()
    assert as_dict(table) == {"b": 1, "z": 1}


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


# --- files -------------------------------------------------------------------------------------------------


def test_only_files_that_hold_a_changed_row_are_rewritten(catalog: Catalog) -> None:
    frames = [pl.DataFrame({"k": [f"{a}{b}" for b in range(9)], "n": [0] * 9}) for a in "abcde"]
    table = made(catalog, COUNTS, *frames)
    before = {path: digest(path) for path in data_files(table)}
    source = pl.DataFrame({"k": ["b3", "d4", "c11"], "n": [1, 0, 1]})
    result = Merge(table, source, "k").when_matched_update().execute()
    assert (result.files_rewritten, result.files_added, result.updated) == (1, 1, 1)
    after = {path: digest(path) for path in data_files(table)}
    assert len(before.items() & after.items()) == 4


def digest(path: str) -> str:
    return hashlib.sha256(Path(urlparse(path).path).read_bytes()).hexdigest()


def test_rows_keep_their_order_in_a_rewritten_file(catalog: Catalog) -> None:
    names = ["q", "a", "z", "m", "b"]
    table = made(catalog, COUNTS, pl.DataFrame({"k": names, "n": [1, 2, 3, 4, 5]}))
    source = pl.DataFrame({"k": ["z", "b", "a"], "n": [30, 50, 20]})
    merge = Merge(table, source, "k").when_matched_delete(condition=pl.col("source.k") == "a").when_matched_update()
    merge.execute()
    assert table.refresh().scan().to_arrow().to_pydict() == {"k": ["q", "z", "m", "b"], "n": [1, 30, 4, 50]}


def test_a_file_of_which_no_row_is_left_is_gone(counts: Table) -> None:
    result = Merge(counts, pl.DataFrame({"k": ["a", "b"]}), "k").when_matched_delete().execute()
    assert (result.files_rewritten, result.files_added, result.delete_files) == (1, 0, 0)
    assert (data_files(counts), rows_of(counts)) == ([], [])


SPECS = {
    "identity": PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "c")),
    "bucket": PartitionSpec(PartitionField(1, 1000, BucketTransform(4), "b")),
    "day": PartitionSpec(PartitionField(3, 1000, DayTransform(), "d")),
}
EVENTS = {"k": "long", "c": "string", "at": "timestamp", "n": "long"}


def events(first: int, count: int) -> pl.DataFrame:
    return pl.DataFrame({"k": range(first, first + count)}).with_columns(
        c=pl.when(pl.col("k") % 3 > 0).then(pl.lit("c") + (pl.col("k") % 3).cast(pl.String)),
        at=pl.datetime(2024, 1, 1, time_unit="us") + pl.duration(hours=pl.col("k") * 7),
        n=pl.col("k") * 10,
    )


@pytest.mark.parametrize("spec", SPECS)
def test_rows_go_to_the_partition_that_they_belong_to(catalog: Catalog, mode: str, spec: str) -> None:
    table = made(catalog, EVENTS, events(0, 20), events(20, 20), mode=mode, spec=SPECS[spec])
    moved = (
        events(0, 60)
        .filter(pl.col("k") % 4 == 0)
        .with_columns(c=pl.lit("moved"), at=pl.col("at") + pl.duration(days=3))
    )
    result = Merge(table, moved, "k").when_matched_update().when_not_matched_insert().execute()
    assert (result.updated, result.inserted) == (10, 5)
    wanted = pl.concat([events(0, 40).filter(pl.col("k") % 4 > 0), moved])
    assert rows_of(table) == ordered(wanted.to_dicts())
    for part in ("moved", "c1", "c2"):
        found = table.scan(row_filter=f"c = '{part}'").to_arrow().to_pylist()
        assert ordered(found) == ordered(wanted.filter(pl.col("c") == part).to_dicts())


def test_keys_prune_partitions_and_files_that_cannot_hold_them(catalog: Catalog, mode: str) -> None:
    for name, spec in SPECS.items():
        table = made(catalog, EVENTS, events(0, 30), mode=mode, spec=spec, name=name)
        for path in data_files(table):
            if "c=c1" in path or "d=2024-01-05" in path:
                Path(urlparse(path).path).write_bytes(b"cannot be read")
        source = events(0, 3).filter(pl.col("c") != "c1").with_columns(n=pl.lit(1))
        if name != "bucket":
            on = ["k", "c"] if name == "identity" else ["k", "at"]
            assert Merge(table, source, on).when_matched_update({"n": pl.col("source.n")}).execute().updated == 1


def test_files_of_an_older_partition_spec_are_merged_into(catalog: Catalog, mode: str) -> None:
    table = made(catalog, EVENTS, events(0, 10), mode=mode)
    with table.update_spec() as update:
        update.add_field("c", IdentityTransform(), "c")
    append(table, events(10, 10))
    changed = events(0, 20).filter(pl.col("k") % 5 == 0).with_columns(n=pl.lit(-1, pl.Int64))
    Merge(table, changed, "k").when_matched_update().execute()
    assert rows_of(table) == ordered(pl.concat([events(0, 20).filter(pl.col("k") % 5 > 0), changed]).to_dicts())


def test_files_from_before_a_change_of_the_schema_are_merged_into(catalog: Catalog, mode: str) -> None:
    schema = {"k": "int", "old": "string", "gone": "long"}
    table = made(
        catalog,
        schema,
        pl.DataFrame({"k": [1, 2], "old": ["x", "y"], "gone": [1, 2]}, schema_overrides={"k": pl.Int32}),
        mode=mode,
    )
    with table.update_schema() as update:
        update.update_column("k", LongType())
        update.rename_column("old", "new")
        update.delete_column("gone")
        update.add_column("added", ListType(10, LongType(), element_required=False))
        update.add_column("gone", StringType())
    source = pl.DataFrame({"k": [2, 2**40], "new": ["z", "w"], "added": [[1], None], "gone": [None, "g"]})
    Merge(table, source, "k").when_matched_update().when_not_matched_insert().execute()
    assert rows_of(table) == ordered(
        [
            {"k": 1, "new": "x", "added": None, "gone": None},
            {"k": 2, "new": "z", "added": [1], "gone": None},
            {"k": 2**40, "new": "w", "added": None, "gone": "g"},
        ]
    )


def test_a_key_column_that_a_file_has_not_is_null_there(catalog: Catalog, mode: str) -> None:
    table = made(catalog, {"n": "long"}, pl.DataFrame({"n": [1]}), mode=mode)
    with table.update_schema() as update:
        update.add_column("k", StringType())
    append(table, pl.DataFrame({"n": [2], "k": ["a"]}))
    source = pl.DataFrame({"k": [None, "a"], "n": [10, 20]}, schema={"k": pl.String, "n": pl.Int64})
    Merge(table, source, "k").when_matched_update().execute()
    assert as_dict(table) == {None: 10, "a": 20}


def test_long_keys_are_found_although_their_bounds_are_cut(catalog: Catalog, mode: str) -> None:
    keys = [f"{'prefix' * 10}{number:04}\U0001f600" for number in range(40)]
    table = made(
        catalog, COUNTS, *(pl.DataFrame({"k": keys[a : a + 10], "n": [0] * 10}) for a in range(0, 40, 10)), mode=mode
    )
    source = pl.DataFrame({"k": keys[::3], "n": [1] * 14})
    assert Merge(table, source, "k").when_matched_update().execute().updated == 14


def test_a_table_without_statistics_is_merged_into(catalog: Catalog, mode: str) -> None:
    table = made(
        catalog, COUNTS, pl.DataFrame({"k": ["a", None], "n": [1, 1]}), mode=mode,
        properties={"write.metadata.metrics.default": "none"},
    )  # fmt: skip
    source = pl.DataFrame({"k": ["a", None], "n": [1, 1]}, schema={"k": pl.String, "n": pl.Int64})
    assert Merge(table, source, "k").when_matched_update(TOTAL).execute().updated == 2


def test_a_file_with_many_batches_is_merged_in_place(catalog: Catalog, mode: str) -> None:
    count = 300_000
    table = made(
        catalog,
        COUNTS,
        pl.DataFrame(
            {"k": pl.int_range(count, eager=True).cast(pl.String), "n": pl.zeros(count, pl.Int64, eager=True)}
        ),
        mode=mode,
    )
    assert len(data_files(table)) == 1
    source = pl.DataFrame({"k": ["5", "131072", "299999", "new"], "n": [1, 2, 3, 4]})
    Merge(table, source, "k").when_matched_update().when_not_matched_insert().execute()
    found = pl.DataFrame(table.refresh().scan().to_arrow())
    assert found.height == count + 1
    assert found.filter(pl.col("n") > 0).sort("n").to_dicts() == source.to_dicts()


def test_a_version_1_table_is_merged_into_by_copy_only(catalog: Catalog, mode: str, new: pl.DataFrame) -> None:
    table = made(catalog, COUNTS, pl.DataFrame({"k": ["a", "b"], "n": [2, 1]}), mode=mode, version=1)
    merge = Merge(table, new, "k").when_matched_update(TOTAL)
    if mode == "merge-on-read":
        with pytest.raises(UnsupportedError, match="format version 1"):
            merge.execute()
    else:
        merge.execute()
        assert as_dict(table) == {"a": 3, "b": 1}


def test_an_unknown_mode_is_refused(catalog: Catalog, new: pl.DataFrame) -> None:
    table = made(catalog, COUNTS, mode="merge-on-rea")
    with pytest.raises(ValidationError, match="merge-on-rea"):
        Merge(table, new, "k").when_matched_update(TOTAL).execute()


def test_polars_reads_what_was_merged(counts: Table, new: pl.DataFrame) -> None:
    Merge(counts, new, "k").when_matched_update(TOTAL).when_not_matched_insert().execute()
    assert polars_rows(counts) == rows_of(counts)


# --- a million rows ----------------------------------------------------------------------------------------


@pytest.fixture
def million(catalog: Catalog, mode: str) -> Table:
    """20 files of 50,000 rows."""
    frames = (changed(range(a, a + 50_000), 0) for a in range(0, 1_000_000, 50_000))
    schema = {"id": "long", "c": "string", "n": "long"}
    return made(catalog, schema, *frames, mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_few_keys_cost_little_in_a_table_of_a_million_rows(million: Table, mode: str) -> None:
    """1,000 keys of one file by a single key and by a composite one, then 20,000 composite keys of all files."""
    for number, on in enumerate((["id"], ["c", "id"]), 1):
        before = set(data_files(million))
        started = time.process_time()
        merge = Merge(million, changed(range(120_000, 121_000), number), on)
        result = merge.when_matched_update().when_not_matched_insert().execute()
        assert time.process_time() - started < 2
        assert (result.updated, result.inserted, result.files_added) == (1000, 0, 1)
        kept = 1 if mode == "copy-on-write" or number == 2 else 0
        assert len(before - set(data_files(million))) == kept
        found = pl.DataFrame(million.scan().to_arrow())
        assert (found.height, found["n"].sum()) == (1_000_000, 1000 * number)
    merge = Merge(million, changed(range(0, 1_010_000, 50), 9), ["c", "id"])
    result = merge.when_matched_update().when_not_matched_insert().execute()
    assert (result.updated, result.inserted) == (20_000, 200)
    found = pl.DataFrame(million.refresh().scan().to_arrow())
    assert found.filter(pl.col("n") == 9).sort("id").equals(changed(range(0, 1_010_000, 50), 9))


def changed(ids: range, n: int) -> pl.DataFrame:
    return pl.DataFrame({"id": pl.Series(ids, dtype=pl.Int64)}).with_columns(
        c=(pl.col("id") // 100).cast(pl.String), n=pl.lit(n, pl.Int64)
    )
