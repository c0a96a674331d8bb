"""Where a window may begin and end: the right snapshots, or an error that says what happened to the start."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.types import LongType, NestedField

from iceframe.changes import changes
from iceframe.earlier import history_of
from iceframe.errors import (
    ForeignSnapshotError,
    RolledBackSnapshotError,
    SnapshotExpiredError,
    ValidationError,
)
from iceframe.snapshots import History
from tests.integration.iceframe.writers import append, expire, head, multiset, roll_back

SCHEMA = Schema(NestedField(1, "id", LongType()))


@pytest.fixture
def table(catalog: Catalog) -> Table:
    return catalog.create_table("default.events", SCHEMA)


@pytest.fixture
def line(table: Table) -> list[int]:
    """Four appends of one row each: 1, 2, 3, 4."""
    return [append(table, id=[value]) for value in (1, 2, 3, 4)]


def without_earlier(table: Table, **update: object) -> History:
    """The history of a table whose earlier metadata files are gone, as a catalog may hold it."""
    metadata = table.metadata.model_copy(update=update)

    def nothing() -> Iterator[TableMetadata]:
        yield from ()

    return History("default.events", metadata, nothing)


def ids(table: Table, since: int | None, **options: int | str) -> list[int]:
    return sorted(changes(table, since, **options).frame["id"].to_list())  # type: ignore[arg-type]


def test_a_window_has_the_snapshots_after_its_start_up_to_its_end(table: Table, line: list[int]) -> None:
    window = history_of(table).window(line[0], line[2])

    assert [one.snapshot_id for one in window.snapshots] == line[1:3]
    assert (window.since, window.until) == (line[0], line[2])


@pytest.mark.parametrize("since", [0, -1, True, "abc", 1.5, "1"])
def test_what_can_be_no_snapshot_is_refused_by_name(table: Table, line: list[int], since: object) -> None:
    for arguments in ({"since": since}, {"until": since}):
        with pytest.raises(ValidationError, match=r"positive whole number; it is") as caught:
            changes(table, **arguments)  # type: ignore[arg-type]
        assert repr(since) in str(caught.value)


def test_a_start_after_the_end_is_refused(table: Table, line: list[int]) -> None:
    with pytest.raises(ValidationError, match="comes after"):
        changes(table, line[3], until=line[1])


@pytest.mark.parametrize("earlier", [True, False])
def test_an_expired_start_is_told_as_expired(table: Table, line: list[int], *, earlier: bool) -> None:
    expire(table, line[0], line[1])
    if earlier:
        with pytest.raises(SnapshotExpiredError, match=rf"{line[0]} \(since\) was expired.*since=None"):
            changes(table, line[0])
    else:
        with pytest.raises(ForeignSnapshotError, match="if it was expired long ago"):
            without_earlier(table).window(line[0])


def test_an_expired_start_serves_if_all_that_came_after_it_is_there(table: Table, line: list[int]) -> None:
    expire(table, line[0], line[1])

    assert ids(table, line[1]) == [3, 4]


def test_an_expired_start_serves_by_its_name_as_a_parent_alone(table: Table, line: list[int]) -> None:
    kept = [one for one in table.metadata.snapshots if one.snapshot_id in line[2:]]
    window = without_earlier(table, snapshots=kept, snapshot_log=[]).window(line[1])

    assert [one.snapshot_id for one in window.snapshots] == line[2:]


def test_an_expired_start_is_known_by_its_children_alone(table: Table, line: list[int]) -> None:
    table.manage_snapshots().create_branch(line[1], "side").commit()
    metadata = table.refresh().metadata
    kept = [one for one in metadata.snapshots if one.snapshot_id in (line[1], line[3])]

    with pytest.raises(SnapshotExpiredError):
        without_earlier(table, snapshots=kept, snapshot_log=[]).window(line[0])


def test_a_hole_in_the_window_is_an_error_and_no_part_of_the_rows(table: Table, line: list[int]) -> None:
    expire(table, line[1])

    with pytest.raises(SnapshotExpiredError, match=f"snapshots after {line[0]} .* were expired"):
        changes(table, line[0])
    assert ids(table, line[1]) == [3, 4]
    assert ids(table, line[2]) == [4]
    assert ids(table, None) == [1, 2, 3, 4]


def test_an_expired_end_is_told_as_expired(table: Table, line: list[int]) -> None:
    expire(table, line[1])

    with pytest.raises(SnapshotExpiredError, match=rf"{line[1]} \(until\)"):
        changes(table, until=line[1])


def test_a_snapshot_of_another_table_is_told_as_foreign(catalog: Catalog, table: Table, line: list[int]) -> None:
    other = append(catalog.create_table("default.other", SCHEMA), id=[1])

    for arguments in ({"since": other}, {"until": other}):
        with pytest.raises(ForeignSnapshotError, match="no trace"):
            changes(table, **arguments)  # type: ignore[arg-type]


def test_a_table_that_was_dropped_and_made_again_does_not_know_the_old_snapshots(
    catalog: Catalog, table: Table, line: list[int]
) -> None:
    catalog.drop_table("default.events")
    again = catalog.create_table("default.events", SCHEMA)
    with pytest.raises(ForeignSnapshotError):
        changes(again, line[3])
    append(again, id=[9])
    with pytest.raises(ForeignSnapshotError):
        changes(again, line[3])


def test_a_start_that_was_rolled_back_is_told_as_rolled_back(table: Table, line: list[int]) -> None:
    roll_back(table, line[1])
    with pytest.raises(RolledBackSnapshotError, match="rolled back"):
        changes(table, line[3])
    append(table, id=[5])
    with pytest.raises(RolledBackSnapshotError):
        changes(table, line[2])
    with pytest.raises(RolledBackSnapshotError):
        without_earlier(table).window(line[2])
    assert ids(table, line[0]) == [2, 5]


def test_a_start_that_was_rolled_back_and_then_expired_is_told_as_rolled_back(table: Table, line: list[int]) -> None:
    roll_back(table, line[1])
    append(table, id=[5])
    expire(table, line[2], line[3])

    with pytest.raises(RolledBackSnapshotError):
        changes(table, line[2])


def test_a_start_on_another_branch_is_told_with_the_branch(table: Table, line: list[int]) -> None:
    table.manage_snapshots().create_branch(line[1], "side").commit()
    table.append(pa.table({"id": [7]}), branch="side")
    side = table.refresh().metadata.refs["side"].snapshot_id

    with pytest.raises(RolledBackSnapshotError, match="part of side"):
        changes(table, side)
    assert ids(table, line[0], branch="side") == [2, 7]
    assert ids(table, side, branch="side") == []


def test_an_unknown_branch_is_refused_with_those_that_are_there(table: Table, line: list[int]) -> None:
    with pytest.raises(ValidationError, match=r"no branch or tag 'nope'.*main"):
        changes(table, branch="nope")


def test_a_time_means_the_last_snapshot_at_or_before_it(table: Table, line: list[int]) -> None:
    times = [one.timestamp_ms for one in table.metadata.snapshots]
    assert len(set(times)) == len(times)

    assert changes(table, since_timestamp=times[1]).since == line[1]
    assert changes(table, since_timestamp=times[2] - 1).since == line[1]
    assert changes(table, since_timestamp=datetime.fromtimestamp(times[1] / 1000, UTC)).since == line[1]
    assert changes(table, since_timestamp=times[3] + 10_000).frame.is_empty()
    before_all = changes(table, since_timestamp=times[0] - 1)
    assert (before_all.kind, before_all.since, before_all.frame.height) == ("full", None, 4)


def test_a_time_whose_snapshots_were_expired_is_an_error(table: Table, line: list[int]) -> None:
    times = [one.timestamp_ms for one in table.metadata.snapshots]
    expire(table, line[0], line[1])

    assert changes(table, since_timestamp=times[2]).since == line[2]
    assert ids(table, changes(table, since_timestamp=times[1]).since) == [3, 4]
    assert changes(table, since_timestamp=times[0] - 1).kind == "full"
    with pytest.raises(SnapshotExpiredError):
        changes(table, since_timestamp=times[0])
    with pytest.raises(SnapshotExpiredError):
        without_earlier(table).at(times[0] - 1)


@pytest.mark.parametrize("time", [datetime(2024, 1, 1), True, "yesterday", -5])
def test_a_time_that_is_none_or_has_no_zone_is_refused(table: Table, time: object) -> None:
    with pytest.raises(ValidationError, match="time"):
        changes(table, since_timestamp=time)  # type: ignore[arg-type]


def test_a_start_is_given_once(table: Table, line: list[int]) -> None:
    with pytest.raises(ValidationError, match="give one of them"):
        changes(table, line[0], since_timestamp=5)


def test_both_ends_stay_where_they_are_whatever_is_committed_later(table: Table, line: list[int]) -> None:
    window = changes(table, line[1])
    everything = changes(table)
    append(table, id=[5])
    table.delete("id = 3")

    assert (window.until, everything.until) == (line[3], line[3])
    assert multiset(window.frame) == multiset([(3,), (4,)])
    assert multiset(everything.frame) == multiset([(1,), (2,), (3,), (4,)])
    assert head(table) != line[3]
