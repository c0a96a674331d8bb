"""Expiry forgets old snapshots and frees their files, and touches nothing that anybody still needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.statistics import StatisticsFile
from pyiceberg.table.update import SetStatisticsUpdate

from iceframe.branches import create_branch, drop_branch, rollback_to_snapshot, tag_snapshot
from iceframe.catalog import load_table
from iceframe.changes import changes
from iceframe.errors import ConflictError, SnapshotExpiredError, StorageError, ValidationError
from iceframe.internals import send
from iceframe.maintenance import (
    compact_data_files,
    expire_snapshots,
    forget,
    register,
    registered,
    remove_orphan_files,
)
from iceframe.marks import Mark, property_of, property_value
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

NOW = timedelta(0)


@pytest.fixture
def table(catalog: Catalog) -> Table:
    table = make_table(catalog)
    for number in range(5):
        append(table, number)
    return table


def other(catalog: Catalog) -> Table:
    return load_table(catalog, "default.events")


def snapshots(table: Table) -> list[int]:
    return [one.snapshot_id for one in table.refresh().metadata.snapshots]


def referenced(table: Table) -> set[str]:
    """Every file that the table's metadata leads to, found by pyiceberg alone."""
    table.refresh()
    found = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    for snapshot in table.metadata.snapshots:
        found.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            found.add(manifest.manifest_path)
            found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return {urlparse(one).path for one in found}


def set_mark(target: Table, source: Table, job: str, until: int) -> None:
    mark = Mark(
        source=str(source.metadata.table_uuid),
        since=None,
        until=until,
        run="r",
        snapshot_id=head(target),
        sequence=1,
    )
    with target.transaction() as change:
        change.set_properties({property_of(job): property_value(mark)})


def test_old_snapshots_go_and_the_rows_stay(table: Table) -> None:
    before, all_of_them = rows(table), snapshots(table)
    done = expire_snapshots(table, older_than=NOW)
    assert done.snapshots == tuple(all_of_them[:-1])
    assert snapshots(table) == all_of_them[-1:]
    assert rows(table) == before
    assert (done.data_files, done.manifests, done.manifest_lists) == (0, 0, 4)


def test_exactly_the_files_that_nothing_leads_to_any_more_are_deleted(table: Table) -> None:
    compact_data_files(table)
    append(table, 7)
    table.delete("id = 2")
    before, sizes = rows(table), {path: Path(path).stat().st_size for path in files_below(table)}
    done = expire_snapshots(table, older_than=NOW)
    assert rows(table) == before
    assert referenced(table) == files_below(table)
    gone = set(sizes) - files_below(table)
    parquet = {path for path in gone if path.endswith(".parquet")}
    lists = {path for path in gone if Path(path).name.startswith("snap-")}
    assert (done.data_files, done.manifest_lists) == (len(parquet), len(lists)) == (6, 7)
    assert done.manifests == len(gone) - len(parquet) - len(lists)
    assert done.bytes == sum(sizes[path] for path in gone - lists)


def test_delete_files_that_nobody_needs_are_deleted_too(catalog: Catalog) -> None:
    table = make_table(catalog)
    append(table, *range(10))
    delete_positions(table, tasks(table)[0], [2, 3])
    compact_data_files(table)
    before = rows(table)
    expire_snapshots(table, older_than=NOW)
    assert rows(table) == before
    assert len([path for path in files_below(table) if path.endswith(".parquet")]) == 1


def test_statistics_of_expired_snapshots_go_those_of_kept_ones_stay(table: Table) -> None:
    for snapshot_id in (snapshots(table)[0], head(table)):
        path = f"{table.location()}/metadata/{snapshot_id}.stats"
        with table.io.new_output(path).create() as out:
            out.write(b"statistics")
        file = StatisticsFile.model_validate(
            {
                "snapshot-id": snapshot_id,
                "statistics-path": path,
                "file-size-in-bytes": 10,
                "file-footer-size-in-bytes": 1,
                "blob-metadata": [],
            }
        )
        send(table, (SetStatisticsUpdate.model_validate({"statistics": file}),), ())
    expire_snapshots(table, older_than=NOW)
    assert [one.snapshot_id for one in table.refresh().metadata.statistics] == [head(table)]
    assert [Path(path).name for path in files_below(table) if path.endswith(".stats")] == [f"{head(table)}.stats"]


def test_a_dry_run_says_the_same_and_changes_nothing(table: Table) -> None:
    compact_data_files(table)
    files, kept = files_below(table), snapshots(table)
    would = expire_snapshots(table, older_than=NOW, dry_run=True)
    assert (files_below(table), snapshots(table)) == (files, kept)
    assert expire_snapshots(table, older_than=NOW) == would
    assert len(would.snapshots) == 5


def test_nothing_to_expire_is_no_commit(table: Table) -> None:
    location = table.metadata_location
    assert expire_snapshots(table).snapshots == ()
    assert table.refresh().metadata_location == location


def test_the_table_says_how_long_snapshots_are_kept(catalog: Catalog) -> None:
    kept = {"history.expire.max-snapshot-age-ms": "0", "history.expire.min-snapshots-to-keep": "2"}
    table = make_table(catalog, **kept)
    for number in range(4):
        append(table, number)
    assert len(expire_snapshots(table).snapshots) == 2
    with table.transaction() as change:
        change.set_properties({"history.expire.max-snapshot-age-ms": "a day"})
    with pytest.raises(ValidationError, match="max-snapshot-age-ms is 'a day'"):
        expire_snapshots(table)


def test_the_last_snapshots_of_a_branch_are_kept_however_old(table: Table) -> None:
    all_of_them = snapshots(table)
    expire_snapshots(table, older_than=NOW, retain_last=3)
    assert snapshots(table) == all_of_them[2:]


def test_a_moment_parts_old_from_new(table: Table) -> None:
    moments = [one.timestamp_ms for one in table.metadata.snapshots]
    third = datetime.fromtimestamp(moments[2] / 1000, UTC)
    expire_snapshots(table, older_than=third)
    assert [one.timestamp_ms for one in table.refresh().metadata.snapshots] == [
        one for one in moments if one >= moments[2]
    ]


def test_heads_and_tags_stay_with_all_their_files(table: Table) -> None:
    first, third = snapshots(table)[0], snapshots(table)[2]
    tag_snapshot(table, "v1", first)
    create_branch(table, "work", third)
    append(table, 77, branch="work")
    table.delete("id >= 0")
    expire_snapshots(table, older_than=NOW)
    assert ids(table) == []
    assert ids(table, branch="v1") == [0]
    assert ids(table, branch="work") == [0, 1, 2, 77]
    assert referenced(table) == files_below(table)


def test_a_dropped_branch_frees_its_files(table: Table) -> None:
    create_branch(table, "work")
    append(table, 77, branch="work")
    drop_branch(table, "work")
    done = expire_snapshots(table, older_than=NOW)
    assert done.data_files == 1
    assert ids(table) == [0, 1, 2, 3, 4]
    assert referenced(table) == files_below(table)


def test_what_was_rolled_back_is_expired_and_what_is_read_stays(table: Table) -> None:
    rollback_to_snapshot(table, snapshots(table)[1])
    expire_snapshots(table, older_than=NOW)
    assert ids(table) == [0, 1]
    assert referenced(table) == files_below(table)


def test_the_settings_of_a_branch_outweigh_those_of_the_call(table: Table) -> None:
    all_of_them = snapshots(table)
    table.manage_snapshots().create_branch(head(table), "long", min_snapshots_to_keep=3).commit()
    expire_snapshots(table, older_than=NOW)
    assert snapshots(table) == all_of_them[2:]


def test_exactly_the_snapshots_that_are_named_go(table: Table) -> None:
    all_of_them = snapshots(table)
    before = rows(table)
    expire_snapshots(table, snapshot_ids=[all_of_them[1], all_of_them[3]])
    assert snapshots(table) == [all_of_them[0], all_of_them[2], all_of_them[4]]
    assert rows(table) == before
    assert ids(table, snapshot_id=all_of_them[2]) == [0, 1, 2]


def test_a_named_snapshot_that_is_held_or_unknown_stops_it(table: Table) -> None:
    all_of_them = snapshots(table)
    tag_snapshot(table, "v1", all_of_them[0])
    for held in (all_of_them[0], all_of_them[-1]):
        with pytest.raises(ValidationError, match=f"snapshot {held} cannot be expired, a branch or a tag holds it"):
            expire_snapshots(table, snapshot_ids=[all_of_them[1], held])
    with pytest.raises(ValidationError, match="has no snapshot 99"):
        expire_snapshots(table, snapshot_ids=[99])
    assert snapshots(table) == all_of_them


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retain_last": 0}, "retain_last is 0"),
        ({"older_than": timedelta(days=-1)}, "not negative"),
        ({"older_than": datetime(2024, 1, 1)}, "without a time zone"),
        ({"older_than": NOW, "snapshot_ids": [1]}, "exclude each other"),
    ],
)
def test_a_senseless_argument_is_an_error(table: Table, options: dict[str, Any], message: str) -> None:
    before = files_below(table)
    with pytest.raises(ValidationError, match=message):
        expire_snapshots(table, **options)
    assert files_below(table) == before


def test_a_table_that_shares_its_files_is_left_alone(table: Table) -> None:
    with table.transaction() as change:
        change.set_properties({"gc.enabled": "false"})
    for remove in (expire_snapshots, remove_orphan_files):
        with pytest.raises(ValidationError, match=r"gc.enabled is false"):
            remove(table)


# --- readers --------------------------------------------------------------------------------------------


def test_what_a_reader_has_not_read_yet_is_not_expired(table: Table) -> None:
    all_of_them, files = snapshots(table), files_below(table)
    register(table, "nightly", all_of_them[1], "default.daily")
    kept = files_below(table) - files
    with pytest.raises(ValidationError, match=f"snapshot {all_of_them[3]} cannot be expired, job 'nightly'"):
        expire_snapshots(table, snapshot_ids=[all_of_them[3]])
    assert snapshots(table) == all_of_them
    assert files_below(table) == files | kept
    assert expire_snapshots(table, older_than=NOW).snapshots == (all_of_them[0],)
    found = table.incremental_append_scan().from_snapshot_id_exclusive(all_of_them[1]).to_arrow()
    assert found["id"].sort().to_pylist() == [2, 3, 4]


def test_a_reader_that_is_up_to_date_holds_nothing_but_the_head(table: Table) -> None:
    register(table, "nightly", head(table), "default.daily")
    assert len(expire_snapshots(table, older_than=NOW).snapshots) == 4


def test_the_mark_in_the_target_says_how_far_a_reader_has_come(catalog: Catalog, table: Table) -> None:
    all_of_them = snapshots(table)
    target = make_table(catalog, "default.daily")
    append(target, 1)
    register(table, "nightly", None, "default.daily")
    assert [one.since for one in registered(table)] == [None]
    set_mark(target, table, "nightly", all_of_them[2])
    assert [one.since for one in registered(table)] == [all_of_them[2]]
    assert expire_snapshots(table, older_than=NOW).snapshots == tuple(all_of_them[:2])
    set_mark(target, table, "nightly", head(table))
    assert expire_snapshots(table, older_than=NOW).snapshots == tuple(all_of_them[2:-1])


def test_the_mark_of_another_table_of_that_name_does_not_count(catalog: Catalog, table: Table) -> None:
    target = make_table(catalog, "default.daily")
    append(target, 1)
    register(table, "nightly", snapshots(table)[0], "default.daily")
    set_mark(target, target, "nightly", 5)
    assert [one.since for one in registered(table)] == [snapshots(table)[0]]


def test_a_start_that_is_expired_already_still_holds_what_came_after_it(table: Table) -> None:
    all_of_them = snapshots(table)
    expire_snapshots(table, snapshot_ids=all_of_them[:2])
    register(table, "nightly", all_of_them[1], "default.daily")
    with pytest.raises(ValidationError, match=f"snapshot {all_of_them[2]} cannot be expired, job 'nightly'"):
        expire_snapshots(table, snapshot_ids=[all_of_them[2]])


def test_a_start_that_was_expired_serves_while_all_that_came_after_it_is_there(table: Table) -> None:
    all_of_them = snapshots(table)
    register(table, "nightly", all_of_them[2], "default.daily")
    expire_snapshots(table, snapshot_ids=all_of_them[:2])
    expire_snapshots(table, snapshot_ids=[all_of_them[2]], ignore_readers=True)
    assert sorted(changes(table, all_of_them[2]).frame["id"]) == [3, 4]


def test_a_middle_snapshot_that_was_expired_is_an_error_and_no_partial_answer(table: Table) -> None:
    all_of_them = snapshots(table)
    expire_snapshots(table, snapshot_ids=[all_of_them[3]])
    with pytest.raises(SnapshotExpiredError):
        _ = changes(table, all_of_them[1]).frame
    assert sorted(changes(table, None).frame["id"]) == [0, 1, 2, 3, 4]


def test_a_forgotten_or_ignored_reader_holds_nothing(table: Table) -> None:
    first = snapshots(table)[0]
    register(table, "a.job/with ünusual name", first, "default.daily")
    register(table, "other", first, "default.daily")
    assert [one.job for one in registered(table)] == ["a.job/with ünusual name", "other"]
    forget(table, "a.job/with ünusual name")
    with pytest.raises(ValidationError, match=r"no reader 'nope'.*registered: other"):
        forget(table, "nope")
    assert len(expire_snapshots(table, older_than=NOW, ignore_readers=True).snapshots) == 4
    assert [one.job for one in registered(table)] == ["other"]


def test_registering_again_replaces_the_record(table: Table) -> None:
    for snapshot_id in (None, head(table)):
        register(table, "nightly", snapshot_id, "default.daily")
    assert [(one.job, one.since, one.target) for one in registered(table)] == [
        ("nightly", head(table), "default.daily")
    ]
    with pytest.raises(ValidationError, match="is empty"):
        register(table, " ", None, "default.daily")


@pytest.mark.parametrize("text", ["", "null", "{}", json.dumps({"since": 1, "target": "t", "at": "yesterday"})])
def test_a_damaged_record_stops_expiry_with_a_hint(table: Table, text: str) -> None:
    with table.transaction() as change:
        change.set_properties({"iceframe.reader.nightly": text})
    with pytest.raises(ValidationError, match=r"iceframe.reader.nightly is no record.*forget"):
        expire_snapshots(table, older_than=NOW)
    forget(table, "nightly")
    expire_snapshots(table, older_than=NOW)


# --- other writers --------------------------------------------------------------------------------------


def rolled_back(catalog: Catalog) -> None:
    writer = other(catalog)
    rollback_to_snapshot(writer, snapshots(writer)[1])


@pytest.mark.parametrize(
    ("meanwhile", "expected"),
    [
        (lambda catalog: append(other(catalog), 50), [0, 1, 2, 3, 4, 50]),
        (lambda catalog: compact_data_files(other(catalog)), [0, 1, 2, 3, 4]),
        (rolled_back, [0, 1]),
        (lambda catalog: expire_snapshots(other(catalog), older_than=NOW), [0, 1, 2, 3, 4]),
    ],
    ids=["append", "compaction", "rollback", "expiry"],
)
def test_what_others_commit_meanwhile_is_kept_whole(
    catalog: Catalog,
    table: Table,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Callable[[Catalog], object],
    expected: list[int],
) -> None:
    once_before_commit(monkeypatch, catalog, lambda: meanwhile(catalog))
    expire_snapshots(table, older_than=NOW)
    assert ids(table) == expected
    assert referenced(table) <= files_below(table)


def test_a_tag_that_is_made_in_the_very_moment_costs_no_file(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, files = snapshots(table)[0], files_below(table)
    once_before_commit(monkeypatch, catalog, lambda: tag_snapshot(other(catalog), "v1", first))
    with pytest.raises(ConflictError, match="v1 was made at an expired snapshot"):
        expire_snapshots(table, older_than=NOW)
    assert files <= files_below(table)


def test_a_crash_after_the_commit_leaves_orphans_only(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    compact_data_files(table)
    before = rows(table)
    with monkeypatch.context() as patch:
        patch.setattr("iceframe.maintenance.expiry.delete_all", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            expire_snapshots(table, older_than=NOW)
    assert len(snapshots(table)) == 1
    left = files_below(table) - referenced(table)
    assert left
    assert set(remove_orphan_files(table, older_than=NOW, dry_run=False).files) == left
    assert files_below(table) == referenced(table)
    assert rows(table) == before


def test_a_file_that_cannot_be_deleted_is_an_error_and_all_others_are(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    compact_data_files(table)
    stuck = tasks(table.refresh())[0].file.file_path
    table.delete("id >= 0")
    real = type(table.io).delete

    def delete(io: Any, location: str) -> None:
        if location == stuck:
            raise PermissionError(f"no right to delete {location}")
        real(io, location)

    monkeypatch.setattr(type(table.io), "delete", delete)
    with pytest.raises(StorageError, match=r"1 of .* files could not be deleted.*remove_orphan_files"):
        expire_snapshots(table, older_than=NOW)
    assert files_below(table) - referenced(table) == {urlparse(stuck).path}
