"""Compaction changes files and no row, whoever writes meanwhile; who reads what was appended passes over it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import polars as pl
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import ManifestContent
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import LongType

from iceframe.catalog import load_table
from iceframe.changes import changes
from iceframe.errors import NonAppendSnapshotError, StorageError, UnsupportedError, ValidationError
from iceframe.maintenance import compact_data_files, rewriting
from tests.support.ice_life import (
    append,
    delete_positions,
    files_below,
    head,
    ids,
    make_table,
    once_before_commit,
    rows,
    tasks,
)


@pytest.fixture
def table(catalog: Catalog) -> Table:
    """Six files of two rows."""
    table = make_table(catalog)
    for number in range(6):
        append(table, 2 * number, 2 * number + 1)
    return table


def other(catalog: Catalog) -> Table:
    return load_table(catalog, "default.events")


def operation(table: Table) -> str:
    snapshot = table.refresh().current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return snapshot.summary.operation.value


def summary(table: Table) -> dict[str, str]:
    snapshot = table.refresh().current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return dict(snapshot.summary.additional_properties)


def path_of(location: str) -> Path:
    return Path(urlparse(location).path)


def test_small_files_become_one_and_the_rows_stay_the_same(table: Table) -> None:
    before = rows(table)
    sizes = sum(task.file.file_size_in_bytes for task in tasks(table))
    done = compact_data_files(table)
    after = tasks(table)
    assert rows(table) == before
    assert (done.files_before, done.files_after, done.rows) == (6, 1, 12)
    assert done.snapshot_id == head(table)
    assert [task.file.record_count for task in after] == [12]
    assert done.bytes_before == sizes
    assert done.bytes_after == after[0].file.file_size_in_bytes == path_of(after[0].file.file_path).stat().st_size


def test_the_snapshot_is_a_replace_that_keeps_the_totals(table: Table) -> None:
    compact_data_files(table)
    assert operation(table) == "replace"
    counted = summary(table)
    assert (counted["total-records"], counted["total-data-files"], counted["total-delete-files"]) == ("12", "1", "0")


def test_an_incremental_reader_sees_no_row_of_a_compaction_and_each_appended_row_once(table: Table) -> None:
    since = head(table)
    append(table, 100)
    compact_data_files(table)
    append(table, 101)
    compact_data_files(table)
    found = table.incremental_append_scan().from_snapshot_id_exclusive(since).to_arrow()
    assert found["id"].sort().to_pylist() == [100, 101]
    quiet = head(table)
    append(table, 102)
    compact_data_files(table)
    found = table.incremental_append_scan().from_snapshot_id_exclusive(quiet).to_arrow()
    assert found["id"].to_pylist() == [102]
    assert changes(table, quiet).frame["id"].to_list() == [102]
    alone = head(table)
    append(table, 103)
    delete_positions(table, next(task for task in tasks(table) if task.file.record_count == 1), [0])
    gone = head(table)
    assert compact_data_files(table).delete_files_removed == 1
    assert changes(table, gone).frame.height == 0
    with pytest.raises(NonAppendSnapshotError):
        _ = changes(table, alone).frame


def test_an_earlier_snapshot_reads_as_before(table: Table) -> None:
    since, before = head(table), rows(table)
    compact_data_files(table)
    assert rows(table, snapshot_id=since) == before


def test_nothing_to_do_makes_no_snapshot(catalog: Catalog, table: Table) -> None:
    compact_data_files(table)
    first, files = head(table), files_below(table)
    assert compact_data_files(table).snapshot_id is None
    assert head(table) == first
    assert files_below(table) == files
    assert compact_data_files(make_table(catalog, "default.empty")).snapshot_id is None


def test_files_that_are_large_enough_are_left_alone(table: Table) -> None:
    size = min(task.file.file_size_in_bytes for task in tasks(table))
    assert compact_data_files(table, target_file_size=size).snapshot_id is None


def test_files_are_brought_together_up_to_the_target_size(table: Table) -> None:
    size = max(task.file.file_size_in_bytes for task in tasks(table))
    before = rows(table)
    done = compact_data_files(table, target_file_size=2 * size + 1)
    assert (done.files_before, done.files_after) == (6, 3)
    assert rows(table) == before


def test_fewer_small_files_than_asked_for_are_left_alone(table: Table) -> None:
    assert compact_data_files(table, min_files=7).snapshot_id is None
    assert compact_data_files(table, min_files=6).files_before == 6


def test_files_of_different_partitions_stay_apart(catalog: Catalog) -> None:
    table = make_table(catalog, by="day")
    for number in range(3):
        append(table, number, day="a")
        append(table, 10 + number, day="b")
    append(table, 20, day="c")
    before, untouched = rows(table), {task.file.file_path for task in tasks(table) if task.file.partition[0] == "c"}
    done = compact_data_files(table)
    assert rows(table) == before
    assert (done.files_before, done.files_after) == (6, 2)
    assert sorted((task.file.partition[0], task.file.record_count) for task in tasks(table)) == [
        ("a", 3),
        ("b", 3),
        ("c", 1),
    ]
    assert untouched <= {task.file.file_path for task in tasks(table)}


def test_only_files_that_may_hold_the_rows_asked_for_are_rewritten(catalog: Catalog) -> None:
    table = make_table(catalog, by="day")
    for number in range(2):
        append(table, number, day="a")
        append(table, 10 + number, day="b")
    before = rows(table)
    done = compact_data_files(table, where="day = 'b'")
    assert (done.files_before, done.rows) == (2, 2)
    assert rows(table) == before


def test_files_of_an_older_partition_spec_move_to_the_current_one(table: Table) -> None:
    with table.update_spec() as update:
        update.add_field("day", IdentityTransform())
    append(table, 50, day="b")
    before = rows(table)
    compact_data_files(table)
    assert rows(table) == before
    assert {task.file.spec_id for task in tasks(table)} == {table.metadata.default_spec_id}
    assert sorted(task.file.record_count for task in tasks(table)) == [1, 12]


def test_rows_keep_their_values_through_changes_of_the_schema(table: Table) -> None:
    with table.update_schema() as update:
        update.add_column("extra", LongType())
        update.rename_column("amount", "price")
    append_extra = table.scan().to_arrow().slice(0, 1)
    table.append(append_extra)
    before = rows(table)
    compact_data_files(table)
    assert rows(table) == before
    assert len(tasks(table)) == 1


def test_files_with_deletes_are_rewritten_even_alone_and_lose_their_delete_files(catalog: Catalog) -> None:
    table = make_table(catalog)
    append(table, *range(10))
    delete_positions(table, tasks(table)[0], [0, 3, 9])
    before = rows(table)
    done = compact_data_files(table)
    assert ids(table) == [1, 2, 4, 5, 6, 7, 8]
    assert rows(table) == before
    assert (done.files_before, done.files_after, done.rows, done.delete_files_removed) == (1, 1, 7, 1)
    assert [task.delete_files for task in tasks(table)] == [set()]
    snapshot = table.current_snapshot()
    assert snapshot is not None
    left = [one for one in snapshot.manifests(table.io) if one.content == ManifestContent.DELETES]
    assert all(not one.has_added_files() and not one.has_existing_files() for one in left)
    counted = summary(table)
    assert (counted["total-delete-files"], counted["total-position-deletes"]) == ("0", "0")
    assert counted["total-records"] == "7"


def test_delete_files_that_are_still_needed_stay(catalog: Catalog) -> None:
    table = make_table(catalog, by="day")
    append(table, 1, 2, 3, day="a")
    append(table, 4, 5, 6, day="b")
    for task in tasks(table):
        delete_positions(table, task, [1])
    done = compact_data_files(table, where="day = 'a'")
    assert (done.files_before, done.delete_files_removed) == (1, 1)
    assert ids(table) == [1, 3, 4, 6]
    assert sorted(len(task.delete_files) for task in tasks(table)) == [0, 1]
    assert summary(table)["total-position-deletes"] == "1"


def test_a_file_whose_rows_are_all_deleted_goes_without_a_new_one(catalog: Catalog) -> None:
    table = make_table(catalog)
    append(table, 1, 2)
    delete_positions(table, tasks(table)[0], [0, 1])
    done = compact_data_files(table)
    assert (done.files_before, done.files_after, done.rows) == (1, 0, 0)
    assert ids(table) == []
    assert append(table, 7)
    assert ids(table) == [7]


def test_a_concurrent_append_is_kept(catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    once_before_commit(monkeypatch, catalog, lambda: append(other(catalog), 70, 71))
    done = compact_data_files(table)
    assert ids(table) == [*range(12), 70, 71]
    assert (done.files_before, done.files_after) == (6, 1)
    assert operation(table) == "replace"


def test_a_concurrent_commit_on_another_branch_is_no_obstacle(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.manage_snapshots().create_branch(head(table), "work").commit()
    once_before_commit(monkeypatch, catalog, lambda: append(other(catalog), 9, branch="work"))
    assert compact_data_files(table).files_before == 6
    assert ids(table) == list(range(12))
    assert ids(table, branch="work") == sorted([*range(12), 9])


def test_a_concurrent_append_costs_no_second_rewrite(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    once_before_commit(monkeypatch, catalog, lambda: append(other(catalog), 70))
    before = {path for path in files_below(table) if path.endswith(".parquet")}
    compact_data_files(table)
    assert len({path for path in files_below(table) if path.endswith(".parquet")} - before) == 2


def test_rows_that_are_deleted_meanwhile_stay_deleted(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    once_before_commit(monkeypatch, catalog, lambda: other(catalog).delete("id in (2, 9)"))
    done = compact_data_files(table)
    assert ids(table) == [0, 1, 3, 4, 5, 6, 7, 8, 10, 11]
    assert (done.files_before, done.rows) == (4, 8)


def test_positions_that_are_deleted_meanwhile_stay_deleted(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delete() -> None:
        writer = other(catalog)
        task = next(task for task in tasks(writer) if task.file.file_path == tasks(table)[2].file.file_path)
        delete_positions(writer, task, [1])

    before = ids(table)
    once_before_commit(monkeypatch, catalog, delete)
    compact_data_files(table)
    after = ids(table)
    assert len(after) == 11
    assert set(after) < set(before)
    assert all(not task.delete_files for task in tasks(table))


def test_a_group_that_no_longer_fits_leaves_no_file_behind(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    once_before_commit(monkeypatch, catalog, lambda: other(catalog).delete("id < 4"))
    old = {path for path in files_below(table) if path.endswith(".parquet")}
    compact_data_files(table)
    new = {path for path in files_below(table) if path.endswith(".parquet")} - old
    assert new == {str(path_of(task.file.file_path)) for task in tasks(table)}


def test_a_schema_that_is_changed_meanwhile_is_taken_up(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evolve() -> None:
        writer = other(catalog)
        with writer.update_schema() as update:
            update.add_column("extra", LongType())
        append_row = writer.scan().to_arrow().slice(0, 1)
        writer.append(append_row)

    once_before_commit(monkeypatch, catalog, evolve)
    compact_data_files(table)
    assert len(ids(table)) == 13
    assert table.scan().to_arrow()["extra"].null_count == 13


def test_other_branches_stay_as_they_are(table: Table) -> None:
    table.manage_snapshots().create_branch(head(table), "work").commit()
    append(table, 60, branch="work")
    before, main = rows(table, branch="work"), head(table)
    done = compact_data_files(table, branch="work")
    assert done.files_before == 7
    assert rows(table, branch="work") == before
    assert head(table) == main
    assert head(table, "work") == done.snapshot_id


def test_a_commit_keeps_what_its_branch_retains(table: Table) -> None:
    table.manage_snapshots().create_branch(head(table), "work", 1000, 2000, 3).commit()
    compact_data_files(table, branch="work")
    ref = table.refresh().metadata.refs["work"]
    assert (ref.max_ref_age_ms, ref.max_snapshot_age_ms, ref.min_snapshots_to_keep) == (1000, 2000, 3)


def test_rows_are_sorted_by_the_columns_that_are_named(table: Table) -> None:
    before = rows(table)
    compact_data_files(table, sort=["day", "amount"])
    stored = pl.from_arrow(pq.read_table(path_of(tasks(table)[0].file.file_path)))
    assert isinstance(stored, pl.DataFrame)
    assert stored["amount"].to_list() == sorted(stored["amount"].to_list(), key=lambda one: (one is not None, one))
    assert rows(table) == before


def test_without_a_name_the_sort_order_of_the_table_holds(table: Table) -> None:
    with table.update_sort_order() as update:
        update.desc("id", IdentityTransform())
    done = compact_data_files(table)
    assert done.files_after == 1
    assert pq.read_table(path_of(tasks(table)[0].file.file_path))["id"].to_pylist() == list(range(11, -1, -1))
    assert compact_data_files(table).snapshot_id is None


def test_sorting_many_rows_run_by_run_loses_none(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriting, "SORTED_BYTES", 100)
    before = rows(table)
    assert compact_data_files(table, sort=["id"]).files_after == 1
    assert rows(table) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_files": 1}, "min_files is 1"),
        ({"target_file_size": 0}, "target file size of 0"),
        ({"where": "nope = 1"}, "does not fit"),
        ({"where": pl.col("id") > 1}, "Polars expression"),
        ({"sort": ["nope"]}, "unknown column nope.*columns: id, day, amount"),
        ({"branch": "nope"}, "no branch 'nope'.*main"),
        ({"branch": "v1"}, "is a tag"),
    ],
)
def test_a_senseless_argument_is_an_error_and_nothing_is_written(
    table: Table, options: dict[str, Any], message: str
) -> None:
    table.manage_snapshots().create_tag(head(table), "v1").commit()
    first, files = head(table), files_below(table)
    with pytest.raises(ValidationError, match=message):
        compact_data_files(table, **options)
    assert head(table) == first
    assert files_below(table) == files


def test_columns_that_have_no_order_cannot_be_sorted_by(catalog: Catalog) -> None:
    shape = pl.DataFrame({"id": [1], "parts": [[1, 2]]}).to_arrow()
    table = catalog.create_table("default.nested", shape.schema)
    with pytest.raises(ValidationError, match="cannot be sorted"):
        compact_data_files(table, sort=["parts"])


def test_a_missing_data_file_stops_it_and_nothing_is_committed(table: Table) -> None:
    first = head(table)
    path_of(tasks(table)[3].file.file_path).unlink()
    kept = files_below(table)
    with pytest.raises(StorageError, match="is missing"):
        compact_data_files(table)
    assert head(table) == first
    assert files_below(table) == kept


def test_a_file_with_other_rows_than_the_table_says_stops_it(table: Table) -> None:
    first = head(table)
    path = path_of(tasks(table)[3].file.file_path)
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    with pytest.raises(StorageError, match="should hold 12 rows, 11 were read"):
        compact_data_files(table)
    assert head(table) == first


def test_tables_with_row_ids_are_refused(catalog: Catalog) -> None:
    table = make_table(catalog)
    text = json.loads(path_of(table.metadata_location).read_text())
    newer = path_of(table.metadata_location).with_name("00001-third.metadata.json")
    newer.write_text(json.dumps(text | {"format-version": 3, "next-row-id": 0}))
    table = catalog.register_table("default.third", newer.as_uri())
    with pytest.raises(UnsupportedError, match="format version 3"):
        compact_data_files(table)
