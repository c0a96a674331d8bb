"""MERGE: what its clauses and expressions do to rows, and what is refused; both ways of writing."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from iceframe.errors import ValidationError
from iceframe.merge import Merge
from tests.integration.iceframe.merging import (
    MODES,
    files_on_disk,
    made,
    ordered,
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
