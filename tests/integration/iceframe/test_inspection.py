"""What a table is made of comes as frames that agree with what was done to it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform

from iceframe.branches import create_branch, rollback_to_snapshot, tag_snapshot
from iceframe.catalog import load_table
from iceframe.errors import StorageError
from iceframe.inspection import inspect
from iceframe.maintenance import compact_data_files, register
from tests.support.ice_life import append, delete_positions, files_below, head, make_table, tasks


@pytest.fixture
def table(catalog: Catalog) -> Table:
    table = make_table(catalog, by="day")
    append(table, 1, 2, day="a")
    append(table, 3, day="b")
    return table


def test_snapshots_and_history_tell_what_happened_when(table: Table) -> None:
    first, second = [one.snapshot_id for one in table.metadata.snapshots]
    rollback_to_snapshot(table, first)
    found = inspect(table)
    assert found.snapshots["snapshot_id"].to_list() == [first, second]
    assert found.snapshots["operation"].to_list() == ["append", "append"]
    assert found.snapshots["parent_id"].to_list() == [None, first]
    assert found.history["snapshot_id"].to_list() == [first, second, first]
    made = found.snapshots["committed_at"]
    assert made.dtype == pl.Datetime("ms", "UTC")
    assert abs(made[0] - datetime.now(UTC)) < timedelta(minutes=5)


def test_files_partitions_and_stats_agree_with_the_rows(table: Table) -> None:
    found = inspect(table)
    assert sorted(found.files["record_count"].to_list()) == [1, 2]
    by_day = dict(found.partitions.select(pl.col("partition").struct.field("day"), "record_count").rows())
    assert by_day == {"a": 2, "b": 1}
    assert found.manifests["added_data_files_count"].sum() == 2
    sizes = sum(task.file.file_size_in_bytes for task in tasks(table))
    assert found.stats.to_dicts() == [{"rows": 3, "files": 2, "delete_files": 0, "bytes": sizes, "snapshots": 2}]


def test_rows_that_are_deleted_by_position_do_not_count(table: Table) -> None:
    delete_positions(table, next(task for task in tasks(table) if task.file.record_count == 2), [0])
    found = inspect(table).stats.row(0, named=True)
    assert (found["rows"], found["files"], found["delete_files"]) == (2, 2, 1)
    compact_data_files(table)
    found = inspect(table).stats.row(0, named=True)
    assert (found["rows"], found["files"], found["delete_files"]) == (2, 2, 0)


def test_refs_and_readers_are_named(catalog: Catalog, table: Table) -> None:
    create_branch(table, "work")
    tag_snapshot(table, "v1", table.metadata.snapshots[0].snapshot_id)
    make_table(catalog, "default.daily")
    register(table, "daily job", head(table), "default.daily")
    found = inspect(table)
    assert dict(found.refs.select("name", pl.col("type").cast(pl.String)).rows()) == {
        "main": "BRANCH",
        "work": "BRANCH",
        "v1": "TAG",
    }
    assert found.readers.select("job", "since", "target").row(0) == ("daily job", head(table), "default.daily")


def test_the_metadata_log_ends_with_the_metadata_of_now(table: Table) -> None:
    assert inspect(table).metadata_log["file"].to_list()[-1] == table.metadata_location


def test_an_empty_table_has_empty_frames(catalog: Catalog) -> None:
    found = inspect(make_table(catalog, "default.empty"))
    frames = (found.snapshots, found.history, found.files, found.partitions, found.manifests, found.refs, found.readers)
    assert [frame.height for frame in frames] == [0] * 7
    assert found.stats.row(0) == (0, 0, 0, 0, 0)
    assert found.metadata_log.height == 1


def test_a_changed_partition_spec_shows_all_files(table: Table) -> None:
    with table.update_spec() as update:
        update.remove_field("day")
        update.add_field("id", IdentityTransform())
    append(table, 9, day="z")
    found = inspect(load_table(table.catalog, "default.events"))
    assert found.files["record_count"].sum() == 4
    assert found.partitions["record_count"].sum() == 4


def test_a_missing_manifest_is_an_error_of_storage(table: Table) -> None:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    table.io.delete(snapshot.manifests(table.io)[0].manifest_path)
    assert files_below(table)
    with pytest.raises(StorageError, match="manifests is missing"):
        _ = inspect(table).files
