"""Windows over columns and partitions that changed meanwhile, and what a window costs."""

from __future__ import annotations

import os
import time
from datetime import date

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import DateType, DoubleType, IntegerType, LongType, NestedField, StringType

from iceframe.changes import changes
from iceframe.errors import ValidationError
from tests.integration.iceframe.writers import append, head, multiset, watch

RAW = Schema(
    NestedField(1, "event_date", DateType()),
    NestedField(2, "category", StringType()),
    NestedField(3, "amount", DoubleType()),
)
FIRST = pl.DataFrame({"event_date": [date(2024, 1, 1)] * 3, "category": ["a", "a", "b"], "amount": [1.0, 2.0, 3.0]})
SECOND = pl.DataFrame(
    {"event_date": [date(2024, 1, 1), date(2024, 1, 2)], "category": ["a", "c"], "amount": [10.0, 20.0]}
)
APPENDS = int(os.environ.get("ICEFRAME_APPENDS", "60"))
"""300 appends take pyiceberg most of a minute to write."""


@pytest.fixture
def raw(catalog: Catalog) -> Table:
    return catalog.create_table("default.raw_events", RAW)


@pytest.fixture
def numbers(catalog: Catalog) -> Table:
    return catalog.create_table(
        "default.numbers", Schema(NestedField(1, "id", LongType()), NestedField(2, "x", IntegerType()))
    )


# --- the columns of today ---------------------------------------------------------------------------------


def test_rows_come_in_the_columns_and_types_of_today(numbers: Table) -> None:
    since = append(numbers, id=[0], x=[0])
    append(numbers, id=[1], x=[10])
    with numbers.update_schema() as update:
        update.add_column("extra", StringType())
    append(numbers, id=[2], x=[20], extra=["e"])
    with numbers.update_schema() as update:
        update.rename_column("x", "y")
    append(numbers, id=[3], y=[30], extra=["f"])
    with numbers.update_schema() as update:
        update.update_column("y", LongType())
    append(numbers, id=[4], y=[2**40], extra=["g"])
    found = changes(numbers, since)

    assert found.frame.schema == pl.Schema({"id": pl.Int64, "y": pl.Int64, "extra": pl.String})
    rows = [(1, 10, None), (2, 20, "e"), (3, 30, "f"), (4, 2**40, "g")]
    assert multiset(found.frame) == multiset(rows)
    assert multiset(changes(numbers, since, columns=["extra"]).frame) == multiset([row[2:] for row in rows])
    assert multiset(changes(numbers, since, columns=["y", "id"]).frame) == multiset([row[1::-1] for row in rows])
    assert multiset(changes(numbers, since, where="y > 15").frame) == multiset(rows[1:])
    assert multiset(changes(numbers, since, where="extra = 'e'").frame) == multiset([rows[1]])
    with pytest.raises(ValidationError, match="unknown column x"):
        changes(numbers, since, columns=["x"])


def test_a_column_that_was_dropped_and_added_again_has_no_old_values(numbers: Table) -> None:
    since = append(numbers, id=[0], x=[0])
    append(numbers, id=[1], x=[10])
    with numbers.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("x")
    append(numbers, id=[2])
    assert changes(numbers, since).frame.columns == ["id"]
    with numbers.update_schema() as update:
        update.add_column("x", IntegerType())
    append(numbers, id=[3], x=[30])

    assert multiset(changes(numbers, since).frame) == multiset([(1, None), (2, None), (3, 30)])
    assert multiset(changes(numbers, since, columns=["x"]).frame) == multiset([(None,), (None,), (30,)])


def test_partitions_that_changed_in_the_window_do_not_matter(raw: Table) -> None:
    raw.append(FIRST.to_arrow())
    since = head(raw)
    with raw.update_spec() as update:
        update.add_identity("category")
    raw.append(SECOND.to_arrow())
    with raw.update_spec() as update:
        update.remove_field("category")
        update.add_identity("event_date")
    raw.append(FIRST.to_arrow())

    assert multiset(changes(raw, since).frame) == multiset(pl.concat([SECOND, FIRST]))
    assert multiset(changes(raw, since, where="category = 'a'").frame) == multiset(
        pl.concat([SECOND, FIRST]).filter(pl.col("category") == "a")
    )
    with raw.update_spec() as update:
        update.remove_field("event_date")
    with raw.update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("category")
    assert changes(raw, since).frame["amount"].sort().to_list() == [1.0, 2.0, 3.0, 10.0, 20.0]


# --- cost -------------------------------------------------------------------------------------------------


def test_a_small_window_of_many_appends_opens_only_its_own_files(numbers: Table) -> None:
    line = [append(numbers, id=[value]) for value in range(APPENDS)]

    opened = watch(numbers)
    assert changes(numbers, line[-4]).frame["id"].sort().to_list() == [APPENDS - 3, APPENDS - 2, APPENDS - 1]
    assert sum(opened.values()) == 9
    assert sum(name.endswith(".parquet") for name in opened) == 3
    opened.clear()
    assert not changes(numbers, line[-4]).empty
    assert sum(opened.values()) == 6

    started = time.perf_counter()
    assert changes(numbers, line[0]).frame["id"].sort().to_list() == list(range(1, APPENDS))
    assert time.perf_counter() - started < 5


def test_a_large_window_streams_in_batches_with_the_same_rows(numbers: Table) -> None:
    since = append(numbers, id=[0], x=[0])
    for start in (0, 200_000, 400_000):
        numbers.append(pa.table({"id": range(start, start + 200_000), "x": pa.nulls(200_000, pa.int32())}))
    found = changes(numbers, since)
    sizes, total = [], 0
    for batch in found.batches():
        sizes.append(batch.num_rows)
        total += int(pl.Series(batch.column("id")).sum())

    assert (sum(sizes), total) == (600_000, sum(range(600_000)))
    assert max(sizes) <= 200_000
    assert len(sizes) >= 3
