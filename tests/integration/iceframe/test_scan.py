"""Pinned reads: columns, filters, snapshots, branches, and rows that are there or an error that says why not."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from iceframe.errors import StorageError, ValidationError
from iceframe.scan import pinned

FIRST = pl.DataFrame({"id": [1, 2, 3], "name": ["a", None, "c"], "amount": [1.5, None, float("nan")]})
SECOND = pl.DataFrame({"id": [4, 5], "name": ["d", "e"], "amount": [4.0, 5.0]})


@pytest.fixture
def table(catalog: Catalog) -> Table:
    table = catalog.create_table("default.events", FIRST.to_arrow().schema)
    table.append(FIRST.to_arrow())
    table.append(SECOND.to_arrow())
    return table


def by_id(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort("id")


def test_all_rows_come_once(table: Table) -> None:
    assert_frame_equal(by_id(pinned(table).frame()), pl.concat([FIRST, SECOND]))


def test_columns_come_in_the_order_asked_for(table: Table) -> None:
    assert pinned(table, columns=["amount", "id"]).frame().columns == ["amount", "id"]


def test_an_unknown_column_is_an_error_that_names_the_others(table: Table) -> None:
    with pytest.raises(ValidationError, match=r"unknown column nope.*columns: id, name, amount"):
        pinned(table, columns=["id", "nope"])


@pytest.mark.parametrize("where", ["id > 2 and name is not null", (pl.col("id") > 2) & pl.col("name").is_not_null()])
def test_a_filter_as_text_and_as_an_expression_keep_the_same_rows(table: Table, where: str | pl.Expr) -> None:
    assert sorted(pinned(table, where=where, columns=["id"]).frame()["id"]) == [3, 4, 5]


def test_a_polars_filter_may_look_at_columns_that_are_not_asked_for(table: Table) -> None:
    assert pinned(table, where=pl.col("name") == "d", columns=["id"]).frame().to_dicts() == [{"id": 4}]


def test_a_filter_that_cannot_be_read_is_an_error(table: Table) -> None:
    with pytest.raises(ValidationError, match="cannot be read"):
        pinned(table, where="id >>> 3")


def test_an_earlier_snapshot_gives_what_was_there(table: Table) -> None:
    first = table.snapshots()[0].snapshot_id
    assert_frame_equal(by_id(pinned(table, snapshot_id=first).frame()), FIRST)


def test_what_is_pinned_does_not_change(table: Table) -> None:
    scan = pinned(table)
    table.append(SECOND.to_arrow())
    assert scan.frame().height == 5


def test_an_empty_table_has_columns_and_types(catalog: Catalog) -> None:
    empty = catalog.create_table("default.empty", FIRST.to_arrow().schema)
    found = pinned(empty).frame()
    assert (found.height, found.schema) == (0, FIRST.schema)


def test_a_limit_is_kept(table: Table) -> None:
    assert pinned(table, limit=4).frame().height == 4


def test_a_lazy_frame_reads_what_is_asked_for(table: Table) -> None:
    lazy = pinned(table).lazy()
    assert lazy.collect_schema() == FIRST.schema
    assert sorted(lazy.filter(pl.col("amount") >= 4).select("id").collect()["id"]) == [3, 4, 5]
    assert lazy.head(2).collect().height == 2


def test_counting_reads_no_data_file(table: Table) -> None:
    for task in pinned(table).files():
        Path(task.file.file_path.removeprefix("file://")).unlink()
    assert pinned(table).count() == 5


def test_counting_with_a_filter_counts_the_rows(table: Table) -> None:
    assert pinned(table, where="id >= 3").count() == 3


def test_a_missing_file_is_an_error_and_never_fewer_rows(table: Table) -> None:
    gone = Path(pinned(table).files()[0].file.file_path.removeprefix("file://"))
    gone.unlink()
    with pytest.raises(StorageError, match=f"{gone.name}.*missing"):
        pinned(table).frame()


def test_a_corrupt_file_is_an_error_and_never_fewer_rows(table: Table) -> None:
    bad = Path(pinned(table).files()[0].file.file_path.removeprefix("file://"))
    bad.write_bytes(b"PAR1" + bytes(200) + b"PAR1")
    with pytest.raises(StorageError, match=bad.name):
        pinned(table).frame()


def test_a_branch_that_is_not_there_is_an_error(table: Table) -> None:
    with pytest.raises(ValidationError, match="no branch or tag 'audit'"):
        pinned(table, branch="audit")


def test_batches_have_exactly_the_types_of_the_schema(table: Table) -> None:
    scan = pinned(table)
    shapes = {batch.schema.remove_metadata() for batch in scan.batches()}
    assert shapes == {scan.reader().schema}
    assert isinstance(scan.reader().read_all(), pa.Table)
