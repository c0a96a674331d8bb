"""Clauses and expressions of a merge before any table is read: names, conditions, constants."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, LongType, NestedField, StringType

from iceframe.errors import SchemaError, ValidationError
from iceframe.merge.binding import Binding, Copied
from iceframe.merge.clauses import Action, Clause, Kind, Spec, condition_of, key_columns
from iceframe.merge.expressions import Column, Scope, evaluate
from iceframe.merge.source import Source, fitted_column

TABLE = Schema(NestedField(1, "id", LongType()), NestedField(2, "x", LongType()), NestedField(3, "name", StringType()))
SCOPE = Scope(target={"id": pl.Int64(), "x": pl.Int64()}, source={"id": pl.Int64(), "y": pl.String()})


def clause(kind: Kind, action: Action, values: dict[str, Any] | None = None, condition: object = None) -> Clause:
    return Clause(kind=kind, action=action, values=values, condition=condition)


def spec(*clauses: Clause) -> Spec:
    return Spec(on=("id",), clauses=clauses, branch="main")


def bound(frame: pl.DataFrame, *clauses: Clause) -> Binding:
    return Binding(spec(*clauses), TABLE, Source(frame))


@pytest.mark.parametrize(("on", "names"), [("a", ("a",)), (["a", "b"], ("a", "b")), (("a",), ("a",))])
def test_key_columns_are_one_name_or_several(on: Any, names: tuple[str, ...]) -> None:
    assert key_columns(on) == names


def test_a_condition_is_an_expression_or_a_boolean() -> None:
    assert condition_of(None, "w") is None
    condition = condition_of(True, "w")
    assert condition is not None
    assert pl.select(condition).item() is True
    with pytest.raises(ValidationError, match="w: a condition"):
        condition_of(1, "w")


def test_clauses_of_a_kind_keep_their_order() -> None:
    first, second = clause("matched", "delete", condition=pl.lit(value=True)), clause("matched", "update")
    both = spec(first, clause("not_matched", "insert"), second)
    both.require_sense()
    assert both.of_kind("matched") == (first, second)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("target.x", Column("target", "x")),
        ("source.y", Column("source", "y")),
        ("x", Column("target", "x")),
        ("y", Column("source", "y")),
    ],
)
def test_a_name_means_one_column(name: str, column: Column) -> None:
    found, _ = SCOPE.expression(pl.col(name), "here")
    assert found.reads == {name: column}


def test_the_type_of_an_expression_is_known_without_rows() -> None:
    _, gives = SCOPE.expression(pl.col("target.x") / 2, "here")
    assert gives == pl.Float64


def test_types_that_do_not_go_together_are_one_error() -> None:
    with pytest.raises(ValidationError, match="here cannot be evaluated"):
        SCOPE.expression(pl.col("source.y").dt.year(), "here")


def test_constants_have_a_value_in_each_row() -> None:
    found, _ = SCOPE.expression(pl.lit("a") + "b", "here")
    [values] = evaluate([found], lambda _: pl.Series(), 3)
    assert values.to_list() == ["ab"] * 3


@pytest.mark.parametrize(
    "given",
    [
        None,
        1,
        1.5,
        "text",
        b"bytes",
        True,
        dt.date(2024, 1, 1),
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        [1, 2],
        {"a": 1},
    ],
)
def test_constants_are_what_polars_makes_of_them(given: Any) -> None:
    found, _ = SCOPE.expression(pl.lit(given), "here")
    [values] = evaluate([found], lambda _: pl.Series(), 2)
    assert values.len() == 2


def test_a_column_of_the_source_is_copied_and_not_evaluated() -> None:
    frame = pl.DataFrame({"id": [1], "x": [2], "other": ["o"]})
    found = bound(
        frame, clause("matched", "update", {"name": pl.col("source.other").alias("z"), "x": pl.col("source.x")})
    )
    assert found.matched[0].values == {"name": Copied("other"), "x": Copied("x")}


def test_by_name_takes_what_both_sides_have_and_leaves_the_key() -> None:
    found = bound(pl.DataFrame({"id": [1], "x": [2]}), clause("matched", "update"), clause("not_matched", "insert"))
    assert found.matched[0].values == {"x": Copied("x")}
    assert found.not_matched[0].values == {"id": Copied("id"), "x": Copied("x")}


def test_a_type_that_never_fits_is_found_before_any_row() -> None:
    with pytest.raises(SchemaError, match="column x"):
        bound(pl.DataFrame({"id": [1]}), clause("matched", "update", {"x": pl.lit("text")}))
    with pytest.raises(SchemaError, match="column name"):
        bound(pl.DataFrame({"id": [1], "name": [1]}), clause("matched", "update"))


def test_a_series_is_no_value() -> None:
    with pytest.raises(ValidationError, match="not Series"):
        bound(pl.DataFrame({"id": [1]}), clause("matched", "update", {"x": pl.Series([1])}))


def test_a_source_with_a_column_twice_is_refused() -> None:
    twice = pa.table([pa.array([1]), pa.array([2])], names=["id", "id"])
    with pytest.raises(ValidationError, match="a column twice"):
        Source(twice)


@pytest.mark.parametrize("values", [[], [1, None], [2**40]])
def test_numbers_become_wider_exactly(values: list[int | None]) -> None:
    field = NestedField(1, "v", DoubleType())
    found = fitted_column(pa.array(values, pa.int64()), field)
    assert (found.type, found.to_pylist()) == (pa.float64(), values)
