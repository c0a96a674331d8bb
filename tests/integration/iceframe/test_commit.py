"""One commit: its loop asks again before each attempt, and an answer that was lost is looked for in the table."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform

from iceframe.asking import ATTEMPTS
from iceframe.change import Change
from iceframe.commit import Plan, commit
from iceframe.errors import ConflictError, OutcomeUnknownError
from iceframe.files import write_data_files
from iceframe.scan import pinned

ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b", "c"]})


@pytest.fixture
def table(catalog: Catalog) -> Table:
    return catalog.create_table("default.people", ROWS.schema)


def appended(table: Table, rows: pa.Table = ROWS) -> Change:
    return Change(operation="append", added=tuple(write_data_files(table.metadata, table.io, rows.to_batches())))


def ids(table: Table) -> list[int]:
    return sorted(pinned(table.refresh()).frame()["id"])


def test_rows_summary_and_properties_come_in_one_commit(table: Table) -> None:
    before = table.metadata_location
    change = appended(table)
    done = commit(table, lambda _: Plan(change=change, summary={"who": "me"}, properties={"mark": "7"}))
    snapshot = table.refresh().current_snapshot()
    assert snapshot is not None
    assert snapshot.snapshot_id == done.snapshot_id
    assert snapshot.summary is not None
    assert (snapshot.summary["who"], table.properties["mark"]) == ("me", "7")
    assert [one.metadata_file for one in table.metadata.metadata_log] == [before]
    assert ids(table) == [1, 2, 3]


def test_properties_may_name_the_new_snapshot(table: Table) -> None:
    done = commit(table, lambda t: Plan(change=appended(t), properties=lambda new: {"at": str(new)}))
    assert table.refresh().properties["at"] == str(done.snapshot_id)


def test_a_plan_without_a_change_makes_no_snapshot(table: Table) -> None:
    assert commit(table, lambda _: Plan(change=None)).snapshot_id is None
    assert table.refresh().snapshots() == []


def test_an_empty_change_moves_the_head_and_no_row(table: Table) -> None:
    commit(table, lambda t: Plan(change=appended(t)))
    done = commit(table, lambda _: Plan(change=Change(operation="append"), properties={"mark": "8"}))
    assert done.snapshot_id == table.refresh().metadata.current_snapshot_id
    assert ids(table) == [1, 2, 3]


def test_a_lost_race_asks_again_and_loses_no_row(table: Table, catalog: Catalog) -> None:
    asked: list[int | None] = []
    change = appended(table)

    def plan(seen: Table) -> Plan:
        asked.append(seen.metadata.current_snapshot_id)
        if len(asked) == 1:
            catalog.load_table("default.people").append(ROWS)
        return Plan(change=change)

    done = commit(table, plan)
    assert done.attempts == 2
    assert asked[0] is None
    assert asked[1] is not None
    assert ids(table) == [1, 1, 2, 2, 3, 3]


def test_a_plan_may_stop_a_commit_that_lost_its_race(table: Table, catalog: Catalog) -> None:
    def plan(seen: Table) -> Plan:
        if seen.current_snapshot():
            raise KeyError("moved")
        change = appended(seen)
        catalog.load_table("default.people").append(ROWS)
        return Plan(change=change)

    with pytest.raises(KeyError):
        commit(table, plan)
    assert ids(table) == [1, 2, 3]


@pytest.mark.parametrize("lost", [CommitStateUnknownException, ConnectionError, TimeoutError])
def test_an_answer_that_was_lost_after_the_commit_doubles_nothing(
    table: Table, monkeypatch: pytest.MonkeyPatch, lost: type[Exception]
) -> None:
    answer_is_lost(table, monkeypatch, lost, sent=True)
    change = appended(table)
    done = commit(table, lambda _: Plan(change=change))
    assert done.snapshot_id == table.refresh().metadata.current_snapshot_id
    assert ids(table) == [1, 2, 3]


@pytest.mark.parametrize("lost", [CommitStateUnknownException, ConnectionError, TimeoutError])
def test_a_request_that_was_lost_is_sent_again(
    table: Table, monkeypatch: pytest.MonkeyPatch, lost: type[Exception]
) -> None:
    answer_is_lost(table, monkeypatch, lost, sent=False)
    change = appended(table)
    commit(table, lambda _: Plan(change=change))
    assert ids(table) == [1, 2, 3]


def test_a_catalog_that_is_gone_after_the_commit_is_an_unknown_outcome(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer_is_lost(table, monkeypatch, ConnectionError, sent=True)

    def unreachable(*_: Any) -> Table:
        raise ConnectionError("no route")

    change = appended(table)
    monkeypatch.setattr(table.catalog, "load_table", unreachable)
    monkeypatch.setattr(table, "refresh", unreachable)
    with pytest.raises(OutcomeUnknownError, match="the mark tells"):
        commit(table, lambda _: Plan(change=change))


def test_a_race_that_is_always_lost_ends_with_an_error_and_no_rows(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise CommitFailedException("somebody was faster")

    monkeypatch.setattr(table.catalog, "commit_table", refuse)
    monkeypatch.setattr("iceframe.asking.LONGEST_WAIT", 0.0)
    change = appended(table)
    with pytest.raises(ConflictError, match=f"{ATTEMPTS} times"):
        commit(table, lambda _: Plan(change=change))
    assert ids(table) == []


def test_the_metadata_of_a_lost_race_is_removed(table: Table, catalog: Catalog) -> None:
    change = appended(table)
    first = [True]

    def plan(_: Table) -> Plan:
        if first.pop() if first else False:
            catalog.load_table("default.people").append(ROWS)
        return Plan(change=change)

    commit(table, plan)
    folder = table.location().removeprefix("file://")

    lists = {path.name for path in Path(folder, "metadata").glob("snap-*.avro")}
    assert len(lists) == len(table.refresh().snapshots()) == 2


def test_files_of_an_older_partition_spec_are_refused(table: Table, catalog: Catalog) -> None:
    change = appended(table)
    with catalog.load_table("default.people").update_spec() as spec:
        spec.add_field("name", IdentityTransform(), "name")
    with pytest.raises(ConflictError, match="partition spec was changed"):
        commit(table.refresh(), lambda _: Plan(change=change))


def test_eight_writers_at_once_lose_and_double_nothing(table: Table, catalog: Catalog) -> None:
    failed: list[BaseException] = []

    def write(number: int) -> None:
        try:
            mine = catalog.load_table("default.people")
            rows = pa.table({"id": pa.array([number], pa.int64()), "name": ["x"]})
            change = appended(mine, rows)
            commit(mine, lambda _: Plan(change=change))
        except BaseException as error:
            failed.append(error)
            raise

    writers = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    assert not failed
    assert ids(table) == list(range(8))


def answer_is_lost(table: Table, monkeypatch: pytest.MonkeyPatch, error: type[Exception], *, sent: bool) -> None:
    """The first commit raises; with `sent` it has taken place nevertheless."""
    real: Callable[..., Any] = table.catalog.commit_table
    calls = [0]

    def commit_table(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] > 1:
            return real(*args)
        if sent:
            real(*args)
        raise error("cut")

    monkeypatch.setattr(table.catalog, "commit_table", commit_table)
