"""What is new since a snapshot: exactly the appended rows, in the columns of today, or an error; never a part."""

from __future__ import annotations

from collections import Counter
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import DateType, DoubleType, IntegerType, LongType, NestedField, StringType

from iceframe.change import Change
from iceframe.changes import changes
from iceframe.errors import (
    NonAppendSnapshotError,
    StorageError,
    UnsupportedError,
    ValidationError,
)
from iceframe.scan import pinned
from tests.integration.iceframe.writers import (
    append,
    change,
    compact,
    data_files,
    delete_at,
    expire,
    head,
    multiset,
    position_deletes,
    watch,
)

RAW = Schema(
    NestedField(1, "event_date", DateType()),
    NestedField(2, "category", StringType()),
    NestedField(3, "amount", DoubleType()),
)
FIRST = pl.DataFrame({"event_date": [date(2024, 1, 1)] * 3, "category": ["a", "a", "b"], "amount": [1.0, 2.0, 3.0]})
SECOND = pl.DataFrame(
    {"event_date": [date(2024, 1, 1), date(2024, 1, 2)], "category": ["a", "c"], "amount": [10.0, 20.0]}
)
TYPES = pl.Schema({"event_date": pl.Date, "category": pl.String, "amount": pl.Float64})


@pytest.fixture
def raw(catalog: Catalog) -> Table:
    return catalog.create_table("default.raw_events", RAW)


@pytest.fixture
def numbers(catalog: Catalog) -> Table:
    return catalog.create_table(
        "default.numbers", Schema(NestedField(1, "id", LongType()), NestedField(2, "x", IntegerType()))
    )


def local(path: str) -> Path:
    return Path(path.removeprefix("file://"))


# --- all rows, no rows ------------------------------------------------------------------------------------


def test_without_a_start_all_rows_come_and_an_empty_table_has_its_columns(raw: Table) -> None:
    empty = changes(raw)
    assert (empty.since, empty.until, empty.kind, empty.empty) == (None, None, "full", True)
    assert (empty.frame.height, empty.frame.schema) == (0, TYPES)
    assert pl.from_arrow(empty.reader().read_all()).schema == TYPES  # type: ignore[union-attr]

    raw.append(FIRST.to_arrow())
    found = changes(raw)
    assert (found.until, found.kind, found.empty) == (head(raw), "full", False)
    assert_frame_equal(found.frame, FIRST)


@pytest.mark.parametrize("gone", [0, 1])
def test_without_a_start_all_live_rows_come_after_an_expiry(numbers: Table, gone: int) -> None:
    line = [append(numbers, id=[value]) for value in (1, 2, 3)]
    expire(numbers, line[gone])

    assert multiset(changes(numbers, columns=["id"]).frame) == multiset([(1,), (2,), (3,)])


def test_nothing_new_is_an_empty_frame_with_columns_and_types(raw: Table) -> None:
    raw.append(FIRST.to_arrow())
    opened = watch(raw)
    found = changes(raw, head(raw))

    assert found.empty
    assert (found.frame.height, found.frame.schema, found.kind) == (0, TYPES, "append")
    assert (found.since, found.until) == (head(raw), head(raw))
    assert not opened


# --- appended rows ----------------------------------------------------------------------------------------


def test_only_what_was_appended_since_comes(raw: Table) -> None:
    raw.append(FIRST.to_arrow())
    since = head(raw)
    raw.append(SECOND.to_arrow())
    found = changes(raw, since)

    assert_frame_equal(found.frame, SECOND)
    assert (found.kind, found.empty, found.frame is found.frame) == ("append", False, True)
    assert pa.Table.from_batches(found.batches(), found.schema).equals(found.reader().read_all())


def test_windows_one_after_the_other_give_each_row_once(numbers: Table) -> None:
    seen: Counter[str] = Counter()
    since = None
    for value in range(25):
        append(numbers, id=[value, value], x=[value, None])
        if value % 3 == 0:
            found = changes(numbers, since)
            append(numbers, id=[1000 + value], x=[value])
            seen += multiset(found.frame)
            since = found.until
    seen += multiset(changes(numbers, since).frame)

    assert seen == multiset(pinned(numbers).frame())
    assert sum(seen.values()) == 59


def test_an_end_in_the_middle_is_kept_to(numbers: Table) -> None:
    line = [append(numbers, id=[value]) for value in (1, 2, 3)]
    found = changes(numbers, line[0], until=line[1])

    assert (found.until, found.frame["id"].to_list()) == (line[1], [2])
    assert changes(numbers, until=line[1]).frame["id"].sort().to_list() == [1, 2]


def test_a_condition_and_columns_are_kept_to(raw: Table) -> None:
    raw.append(FIRST.to_arrow())
    since = head(raw)
    raw.append(SECOND.to_arrow())

    for where in ("amount > 10", pl.col("amount") > 10):
        found = changes(raw, since, where=where, columns=["category"])
        assert found.frame.to_dict(as_series=False) == {"category": ["c"]}
        assert not found.empty
        assert changes(raw, since, where="amount > 99").empty


@pytest.mark.parametrize(
    "arguments",
    [
        {"columns": ["id", "nope"]},
        {"columns": []},
        {"columns": "id"},
        {"where": "nope > 1"},
        {"where": pl.col("nope") > 1},
        {"where": "id >"},
        {"where": "id > 'a'"},
        {"where": pl.col("id") + 1},
        {"where": pl.col("id").str.starts_with("a")},
        {"on_change": "append_only"},
        {"on_change": "changes", "key": ["nope"]},
    ],
)
def test_what_the_table_does_not_have_is_refused(numbers: Table, arguments: dict[str, object]) -> None:
    append(numbers, id=[1])
    with pytest.raises(ValidationError):
        changes(numbers, **arguments)  # type: ignore[arg-type]


# --- compactions and changes ------------------------------------------------------------------------------


def test_a_compaction_is_no_news(numbers: Table) -> None:
    line = [append(numbers, id=[value]) for value in (1, 2, 3)]
    compact(numbers)
    assert changes(numbers, line[2], columns=["id"]).frame.is_empty()
    assert changes(numbers, line[1], columns=["id"]).frame["id"].to_list() == [3]

    append(numbers, id=[4])
    compact(numbers)
    assert changes(numbers, line[2], columns=["id"]).frame["id"].to_list() == [4]
    assert changes(numbers, line[2], columns=["id"], on_change="changes").frame["id"].to_list() == [4]

    before = head(numbers)
    compact(numbers)
    opened = watch(numbers)
    assert changes(numbers, before).empty
    assert changes(numbers, before, on_change="changes").empty
    assert not opened


def test_a_compaction_by_delete_and_append_cannot_be_told_apart_and_is_refused(numbers: Table) -> None:
    since = append(numbers, id=[1, 2, 3])
    numbers.overwrite(numbers.scan().to_arrow())

    with pytest.raises(NonAppendSnapshotError, match="compaction"):
        changes(numbers, since)


@pytest.mark.parametrize("how", ["overwrite", "delete", "positions", "upsert"])
def test_changed_rows_are_refused_with_the_snapshot_and_its_operation(numbers: Table, how: str) -> None:
    since = append(numbers, id=[1, 2, 3], x=[1, 2, 3])
    if how == "overwrite":
        numbers.overwrite(pa.table({"id": [9], "x": pa.array([9], pa.int32())}))
    elif how == "delete":
        numbers.delete("id = 2")
    elif how == "positions":
        delete_at(numbers, data_files(numbers)[0], [1])
    else:
        numbers.upsert(pa.table({"id": [2, 7], "x": pa.array([20, 70], pa.int32())}), join_cols=["id"])
    bad = next(one for one in numbers.refresh().metadata.snapshots if one.summary.operation.value != "append")  # type: ignore[union-attr]

    with pytest.raises(NonAppendSnapshotError) as caught:
        changes(numbers, since)
    assert caught.value.snapshot_id == bad.snapshot_id
    assert str(bad.snapshot_id) in str(caught.value)
    assert caught.value.operation in {"overwrite", "delete"}
    assert changes(numbers, since, on_change="changes").kind == "changes"


def test_a_delete_leaves_no_survivors_of_a_rewritten_file_behind(numbers: Table) -> None:
    since = append(numbers, id=[1, 2, 3])
    numbers.delete("id = 2")

    assert changes(numbers, since, on_change="ignore").frame.is_empty()


def test_ignoring_changes_gives_the_appended_rows_as_they_were_appended(numbers: Table) -> None:
    since = append(numbers, id=[1, 2, 3])
    append(numbers, id=[4, 5])
    path = next(path for path in data_files(numbers))
    numbers.delete("id = 4")
    delete_at(numbers, data_files(numbers)[-1], [0])
    append(numbers, id=[6])
    assert local(path).exists()

    assert changes(numbers, since, columns=["id"], on_change="ignore").frame["id"].sort().to_list() == [4, 5, 6]


def test_an_append_that_takes_rows_away_is_refused_although_it_says_it_is_one(numbers: Table) -> None:
    since = append(numbers, id=[1, 2, 3])
    bad = delete_at(numbers, data_files(numbers)[0], [0], operation="append")
    found = changes(numbers, since)

    with pytest.raises(NonAppendSnapshotError, match="takes rows away") as caught:
        _ = found.frame
    assert caught.value.snapshot_id == bad
    assert changes(numbers, since, on_change="changes").frame["_change_type"].to_list() == ["delete"]

    removed = pinned(numbers.refresh()).files()[0].file
    change(numbers, Change(operation="append", removed=(removed,)))
    with pytest.raises(NonAppendSnapshotError, match="takes rows away"):
        _ = changes(numbers, bad).frame


def test_appends_whose_manifests_were_merged_come_once(catalog: Catalog) -> None:
    table = catalog.create_table(
        "default.merged",
        Schema(NestedField(1, "id", LongType())),
        properties={"commit.manifest-merge.enabled": "true", "commit.manifest.min-count-to-merge": "2"},
    )
    line = [append(table, id=[value]) for value in range(8)]
    assert len(table.inspect.manifests()) < 8

    for place, since in enumerate(line):
        assert sorted(changes(table, since).frame["id"].to_list()) == list(range(place + 1, 8))


# --- deletes, branches, broken files ----------------------------------------------------------------------


def test_deleted_places_never_come_and_an_append_after_them_does(numbers: Table) -> None:
    append(numbers, id=[1, 2, 3, 4, 5])
    since = delete_at(numbers, data_files(numbers)[0], [0, 3])
    assert pinned(numbers).count() == 3
    assert multiset(changes(numbers, columns=["id"]).frame) == multiset([(2,), (3,), (5,)])
    assert not changes(numbers).empty

    append(numbers, id=[1, 6])
    assert multiset(changes(numbers, since, columns=["id"]).frame) == multiset([(1,), (6,)])


def test_a_table_whose_rows_are_all_deleted_by_place_is_empty(numbers: Table) -> None:
    append(numbers, id=[1, 2])
    delete_at(numbers, data_files(numbers)[0], [0, 1])

    assert changes(numbers).empty
    assert changes(numbers).frame.is_empty()


def test_equality_deletes_are_refused_where_they_matter(numbers: Table) -> None:
    since = append(numbers, id=[1, 2])
    places = position_deletes(numbers, data_files(numbers)[0], [0])
    fields = {name: getattr(places, name) for name in ("file_path", "file_format", "partition", "record_count")}
    equality = DataFile.from_args(
        content=DataFileContent.EQUALITY_DELETES,
        file_size_in_bytes=places.file_size_in_bytes,
        equality_ids=[1],
        **fields,
    )
    equality.spec_id = 0
    deleted = change(numbers, Change(operation="delete", deletes=(equality,)))
    append(numbers, id=[3])

    for arguments in ({}, {"since": since, "on_change": "changes"}):
        with pytest.raises(UnsupportedError, match="equality deletes"):
            _ = changes(numbers, **arguments).frame  # type: ignore[arg-type]
    assert changes(numbers, deleted, columns=["id"]).frame["id"].to_list() == [3]


def test_a_branch_gives_its_own_rows(numbers: Table) -> None:
    since = append(numbers, id=[1])
    numbers.manage_snapshots().create_branch(since, "audit").commit()
    numbers.append(pa.table({"id": [2], "x": pa.array([None], pa.int32())}), branch="audit")
    append(numbers, id=[3])

    assert changes(numbers, since, branch="audit").frame["id"].to_list() == [2]
    assert changes(numbers, since).frame["id"].to_list() == [3]
    assert changes(numbers, branch="audit").frame["id"].sort().to_list() == [1, 2]


@pytest.mark.parametrize("how", ["missing", "torn", "empty", "other"])
@pytest.mark.parametrize("kind", ["data", "manifest", "list"])
def test_a_file_that_is_missing_or_corrupt_is_an_error_and_never_fewer_rows(
    numbers: Table, how: str, kind: str
) -> None:
    since = append(numbers, id=[1])
    append(numbers, id=list(range(50)))
    append(numbers, id=[2])
    snapshot = numbers.metadata.snapshots[1]
    own = next(one for one in snapshot.manifests(numbers.io) if one.added_snapshot_id == snapshot.snapshot_id)
    paths = {"data": data_files(numbers)[1], "manifest": own.manifest_path, "list": snapshot.manifest_list}
    path = local(paths[kind])
    whole = path.read_bytes()
    path.unlink()
    if how != "missing":
        path.write_bytes({"torn": whole[: len(whole) // 2], "empty": b"", "other": b"not what it was" * 9}[how])

    with pytest.raises(StorageError):
        _ = changes(numbers, since).frame


def test_a_manifest_list_that_ends_after_its_header_is_torn_and_not_an_empty_table(numbers: Table) -> None:
    since = append(numbers, id=[1])
    append(numbers, id=[2])
    path = local(numbers.metadata.snapshots[1].manifest_list)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(whole[-16:]) + 16])

    for start in (None, since):
        with pytest.raises(StorageError, match="torn"):
            _ = changes(numbers, start).frame
        with pytest.raises(StorageError, match="torn"):
            _ = changes(numbers, start, on_change="changes").frame
