"""Branches and tags: names are checked, and a head moves only to where it may and only if nobody moved it first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitStateUnknownException
from pyiceberg.table import Table
from pyiceberg.table.update import AssertRefSnapshotId, SetSnapshotRefUpdate

from iceframe.branches import (
    create_branch,
    drop_branch,
    drop_tag,
    fast_forward,
    rollback_to_snapshot,
    rollback_to_timestamp,
    tag_snapshot,
)
from iceframe.catalog import load_table
from iceframe.errors import ConflictError, ValidationError
from iceframe.internals import send
from iceframe.updates import Update, change_metadata
from tests.support.ice_life import append, head, ids, make_table, once_before_commit


@pytest.fixture
def table(catalog: Catalog) -> Table:
    table = make_table(catalog)
    append(table, 1)
    append(table, 2)
    return table


def other(catalog: Catalog) -> Table:
    return load_table(catalog, "default.events")


def keep_long(table: Table, branch: str) -> None:
    """Give a branch settings of its own."""
    update = SetSnapshotRefUpdate.model_validate(
        {
            "ref-name": branch,
            "type": "branch",
            "snapshot-id": head(table, branch),
            "min-snapshots-to-keep": 7,
            "max-snapshot-age-ms": 86_400_000,
        }
    )
    send(table, (update,), ())


def test_a_branch_begins_at_the_head_and_goes_its_own_way(table: Table) -> None:
    create_branch(table, "work")
    append(table, 3, branch="work")
    assert ids(table) == [1, 2]
    assert ids(table, branch="work") == [1, 2, 3]


def test_a_branch_and_a_tag_can_be_made_at_an_earlier_snapshot(table: Table) -> None:
    first = table.history()[0].snapshot_id
    create_branch(table, "work", first)
    tag_snapshot(table, "v1", first)
    assert ids(table, branch="work") == ids(table, branch="v1") == [1]


@pytest.mark.parametrize("create", [create_branch, tag_snapshot])
@pytest.mark.parametrize("name", ["main", "work", "v1"])
def test_a_name_that_is_taken_is_an_error_and_stays_where_it_is(
    table: Table, create: Callable[[Table, str], None], name: str
) -> None:
    create_branch(table, "work")
    tag_snapshot(table, "v1")
    append(table, 3)
    before = dict(table.metadata.refs)
    with pytest.raises(ValidationError, match=f"has a (branch|tag) '{name}' already"):
        create(table, name)
    assert table.refresh().metadata.refs == before


@pytest.mark.parametrize("create", [create_branch, tag_snapshot])
def test_an_unknown_snapshot_an_empty_name_and_an_empty_table_are_errors(
    catalog: Catalog, table: Table, create: Callable[..., None]
) -> None:
    with pytest.raises(ValidationError, match="has no snapshot 12345"):
        create(table, "x", 12345)
    with pytest.raises(ValidationError, match="is empty"):
        create(table, " ")
    with pytest.raises(ValidationError, match="has no snapshot yet"):
        create(make_table(catalog, "default.empty"), "x")


def test_a_dropped_name_is_gone_and_the_rows_of_main_stay(table: Table) -> None:
    create_branch(table, "work")
    tag_snapshot(table, "v1")
    drop_branch(table, "work")
    drop_tag(table, "v1")
    assert set(table.refresh().metadata.refs) == {"main"}
    assert ids(table) == [1, 2]


def test_only_what_is_there_and_of_the_right_kind_is_dropped(table: Table) -> None:
    create_branch(table, "work")
    tag_snapshot(table, "v1")
    with pytest.raises(ValidationError, match="main cannot be dropped"):
        drop_branch(table, "main")
    with pytest.raises(ValidationError, match="'v1' is a tag, not a branch"):
        drop_branch(table, "v1")
    with pytest.raises(ValidationError, match="'work' is a branch, not a tag"):
        drop_tag(table, "work")
    with pytest.raises(ValidationError, match=r"no tag 'nope'.*main, v1, work"):
        drop_tag(table, "nope")
    assert set(table.refresh().metadata.refs) == {"main", "work", "v1"}


def test_a_branch_that_somebody_wrote_to_meanwhile_is_not_dropped(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_branch(table, "work")
    once_before_commit(monkeypatch, catalog, lambda: append(other(catalog), 9, branch="work"))
    with pytest.raises(ConflictError, match="work has moved"):
        drop_branch(table, "work")
    assert ids(table, branch="work") == [1, 2, 9]


def test_a_branch_is_moved_forward_to_one_that_began_at_it(table: Table) -> None:
    create_branch(table, "work")
    append(table, 3, branch="work")
    append(table, 4, branch="work")
    fast_forward(table, to="work")
    assert head(table) == head(table, "work")
    assert ids(table) == [1, 2, 3, 4]
    fast_forward(table, to="work")


def test_a_diverged_branch_is_an_error_and_main_stays(table: Table) -> None:
    create_branch(table, "work")
    append(table, 3, branch="work")
    append(table, 4)
    before = head(table)
    with pytest.raises(ValidationError, match="main cannot be moved to work"):
        fast_forward(table, to="work")
    assert head(table.refresh()) == before
    assert ids(table) == [1, 2, 4]


def test_a_branch_that_is_ahead_is_not_moved_back(table: Table) -> None:
    create_branch(table, "work", table.history()[0].snapshot_id)
    with pytest.raises(ValidationError, match="main cannot be moved to work"):
        fast_forward(table, to="work")
    assert ids(table) == [1, 2]


def test_a_branch_that_diverges_at_the_last_moment_is_not_moved(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_branch(table, "work")
    append(table, 3, branch="work")
    once_before_commit(monkeypatch, catalog, lambda: append(other(catalog), 4))
    with pytest.raises(ValidationError, match="main cannot be moved to work"):
        fast_forward(table, to="work")
    assert ids(table) == [1, 2, 4]


def test_tags_do_not_move_and_unknown_names_are_errors(table: Table) -> None:
    tag_snapshot(table, "v1")
    with pytest.raises(ValidationError, match="'v1' is a tag, not a branch"):
        fast_forward(table, "v1", to="main")
    with pytest.raises(ValidationError, match="no branch or tag 'nope'"):
        fast_forward(table, to="nope")
    with pytest.raises(ValidationError, match="no branch 'nope'"):
        fast_forward(table, "nope", to="main")


def test_a_move_keeps_what_the_branch_retains(table: Table) -> None:
    create_branch(table, "work")
    append(table, 3, branch="work")
    keep_long(table, "main")
    fast_forward(table, to="work")
    rollback_to_snapshot(table, table.history()[0].snapshot_id)
    ref = table.refresh().metadata.refs["main"]
    assert (ref.min_snapshots_to_keep, ref.max_snapshot_age_ms) == (7, 86_400_000)


def test_a_rollback_makes_an_ancestor_the_head(table: Table) -> None:
    first = table.history()[0].snapshot_id
    rollback_to_snapshot(table, first)
    assert ids(table) == [1]
    append(table, 5)
    assert ids(table) == [1, 5]
    rollback_to_snapshot(table, head(table))
    assert ids(table) == [1, 5]


def test_a_snapshot_that_is_no_ancestor_is_no_aim_of_a_rollback(catalog: Catalog, table: Table) -> None:
    gone = head(table)
    create_branch(table, "work")
    side = append(table, 3, branch="work")
    rollback_to_snapshot(table, table.history()[0].snapshot_id)
    for aim in (gone, side):
        with pytest.raises(ValidationError, match="not in the history of main"):
            rollback_to_snapshot(table, aim)
    with pytest.raises(ValidationError, match="has no snapshot 77"):
        rollback_to_snapshot(table, 77)
    with pytest.raises(ValidationError, match="no branch 'main'"):
        rollback_to_snapshot(make_table(catalog, "default.empty"), 77)
    assert ids(table) == [1]


def test_a_rollback_takes_away_no_commit_that_came_meanwhile(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    once_before_commit(monkeypatch, catalog, lambda: append(other(catalog), 9))
    with pytest.raises(ConflictError, match="main has moved"):
        rollback_to_snapshot(table, table.history()[0].snapshot_id)
    assert ids(table) == [1, 2, 9]


def test_a_rollback_to_a_moment_finds_the_head_of_that_moment(table: Table) -> None:
    first = table.metadata.snapshots[0]
    moment = datetime.fromtimestamp(first.timestamp_ms / 1000, UTC)
    with pytest.raises(ValidationError, match="no time zone"):
        rollback_to_timestamp(table, moment.replace(tzinfo=None))
    with pytest.raises(ValidationError, match="no snapshot from"):
        rollback_to_timestamp(table, moment - timedelta(seconds=1))
    rollback_to_timestamp(table, datetime.now(UTC))
    assert ids(table) == [1, 2]
    rollback_to_timestamp(table, moment)
    assert ids(table) == [1]


def test_an_outcome_that_is_not_known_is_looked_up(
    catalog: Catalog, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first commit takes place and its answer is lost."""
    real = catalog.commit_table
    answers = ["lost"]

    def commit_table(*given: object) -> object:
        made = real(*given)  # type: ignore[arg-type]
        if answers:
            raise CommitStateUnknownException(answers.pop())
        return made

    monkeypatch.setattr(catalog, "commit_table", commit_table)
    create_branch(table, "work")
    assert head(table, "work") == head(table)


def test_a_race_that_is_always_lost_is_a_conflict(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iceframe.asking.LONGEST_WAIT", 0.0)
    wrong = AssertRefSnapshotId.model_validate({"ref": "main", "snapshot-id": 1})
    move = SetSnapshotRefUpdate.model_validate({"ref-name": "x", "type": "tag", "snapshot-id": head(table)})
    with pytest.raises(ConflictError, match="came first 20 times"):
        change_metadata(table, lambda _: Update(updates=(move,), requirements=(wrong,)), reached=lambda _: False)
