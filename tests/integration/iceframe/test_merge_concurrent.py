"""MERGE beside other writers: a lost race is planned again, nothing is lost, doubled or left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitStateUnknownException
from pyiceberg.table import CommitTableResponse, Table

from iceframe.catalog import open_catalog
from iceframe.change import Change
from iceframe.commit import Done, Plan, commit
from iceframe.errors import OutcomeUnknownError, ValidationError
from iceframe.merge import Merge, MergeResult, change_for, discard
from iceframe.merge.clauses import Clause, Spec
from iceframe.merge.source import Source
from tests.integration.iceframe.merging import MODES, files_on_disk, known_files, made, rows_of

FIELDS: dict[str, pa.DataType] = {"k": pa.string(), "n": pa.int64()}
COUNTS = pa.schema(FIELDS)
TOTAL = {"n": pl.col("target.n") + pl.col("source.n")}


@pytest.fixture(params=MODES)
def table(request: pytest.FixtureRequest, catalog: Catalog) -> Table:
    """a: 2, b: 1."""
    return made(catalog, COUNTS, pl.DataFrame({"k": ["a", "b"], "n": [2, 1]}), mode=request.param)


def as_dict(table: Table) -> dict[Any, Any]:
    rows = rows_of(table)
    assert len({row["k"] for row in rows}) == len(rows)
    return {row["k"]: row["n"] for row in rows}


def arrow(**columns: list[Any]) -> pa.Table:
    return pa.table(columns, schema=COUNTS)


def interrupted(table: Table, foreign: Callable[[Table], None], *, times: int = 1) -> Callable[..., Done]:
    """A commit in which another writer comes first, after the files of an attempt are written."""
    left = [times]

    def send(change: Callable[[Table], Change | None]) -> Done:
        def plan(seen: Table) -> Plan:
            found = change(seen)
            if left[0]:
                left[0] -= 1
                foreign(table.catalog.load_table(table.name()))
            return Plan(change=found)

        return commit(table, plan)

    return send


def total(table: Table, source: pl.DataFrame, send: Callable[..., Done] | None = None) -> MergeResult:
    return Merge(table, source, "k", commit=send).when_matched_update(TOTAL).when_not_matched_insert().execute()


def test_a_concurrent_append_is_kept_and_the_lost_files_are_deleted(table: Table) -> None:
    send = interrupted(table, lambda other: other.append(arrow(k=["q"], n=[7])), times=3)
    result = total(table, pl.DataFrame({"k": ["a", "z"], "n": [1, 1]}), send)
    rows = rows_of(table)
    assert [row for row in rows if row["k"] == "q"] == [{"k": "q", "n": 7}] * 3
    assert {row["k"]: row["n"] for row in rows} == {"a": 3, "b": 1, "z": 1, "q": 7}
    assert (result.updated, result.inserted) == (1, 1)
    assert files_on_disk(table) == known_files(table)


def test_a_key_that_another_writer_inserts_first_is_updated(table: Table) -> None:
    send = interrupted(table, lambda other: other.append(arrow(k=["z"], n=[10])))
    result = total(table, pl.DataFrame({"k": ["z"], "n": [1]}), send)
    assert as_dict(table) == {"a": 2, "b": 1, "z": 11}
    assert (result.updated, result.inserted) == (1, 0)


def test_an_update_of_another_writer_is_added_to(table: Table) -> None:
    def foreign(other: Table) -> None:
        total(other, pl.DataFrame({"k": ["a"], "n": [100]}))

    total(table, pl.DataFrame({"k": ["a"], "n": [1]}), interrupted(table, foreign))
    assert as_dict(table) == {"a": 103, "b": 1}
    assert files_on_disk(table) == known_files(table)


def test_rows_that_another_writer_deletes_first_are_inserted_again(table: Table) -> None:
    send = interrupted(table, lambda other: other.delete("k = 'a'"))
    result = total(table, pl.DataFrame({"k": ["a"], "n": [5]}), send)
    assert as_dict(table) == {"a": 5, "b": 1}
    assert (result.updated, result.inserted) == (0, 1)


def test_a_merge_that_another_writer_has_made_superfluous_makes_no_snapshot(table: Table) -> None:
    def foreign(other: Table) -> None:
        Merge(other, pl.DataFrame({"k": ["a"], "n": [9]}), "k").when_matched_update().execute()

    merge = Merge(table, pl.DataFrame({"k": ["a"], "n": [9]}), "k", commit=interrupted(table, foreign))
    assert merge.when_matched_update().execute().snapshot_id is None
    assert files_on_disk(table) == known_files(table)


def test_a_change_of_the_schema_between_attempts_is_seen(table: Table) -> None:
    def foreign(other: Table) -> None:
        with other.update_schema() as update:
            update.rename_column("n", "m")
        other.append(other.scan().to_arrow().slice(0, 0))

    before = as_dict(table)
    with pytest.raises(ValidationError, match="no column n"):
        total(table, pl.DataFrame({"k": ["a"], "n": [5]}), interrupted(table, foreign))
    assert {row["k"]: row["m"] for row in rows_of(table)} == before
    assert files_on_disk(table) == known_files(table)


def test_writers_at_the_same_time_lose_nothing(table: Table, tmp_path: Path) -> None:
    failed: list[BaseException] = []

    def work() -> None:
        own = open_catalog(
            {
                "type": "sql",
                "uri": f"sqlite:///{tmp_path / 'catalog.db'}",
                "warehouse": (tmp_path / "warehouse").as_uri(),
            }
        )
        try:
            for _ in range(3):
                total(own.load_table("default.t"), pl.DataFrame({"k": ["a", "z"], "n": [1, 1]}))
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert as_dict(table) == {"a": 11, "b": 1, "z": 9}
    assert files_on_disk(table) == known_files(table)


def test_a_table_that_was_loaded_long_ago_is_looked_at_again(table: Table) -> None:
    merge = Merge(table, pl.DataFrame({"k": ["a"], "n": [2]}), "k").when_matched_update().when_not_matched_insert()
    table.catalog.load_table(table.name()).delete("k = 'a'")
    assert merge.execute().inserted == 1
    assert as_dict(table) == {"a": 2, "b": 1}


# --- outcomes that are not known ---------------------------------------------------------------------------


class Unsteady:
    """Stands between a table and its catalog: a commit is sent or not, and then it seems to fail."""

    def __init__(self, table: Table, *, lands: bool) -> None:
        self._catalog, self._lands, self.left = table.catalog, lands, 1

    def commit_table(self, *arguments: Any) -> CommitTableResponse:
        if not self.left:
            return self._catalog.commit_table(*arguments)
        self.left -= 1
        if self._lands:
            self._catalog.commit_table(*arguments)
        raise CommitStateUnknownException("the answer was lost")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._catalog, name)


@pytest.mark.parametrize("lands", [True, False])
def test_an_answer_that_is_lost_neither_doubles_nor_loses_the_merge(table: Table, lands: bool) -> None:
    table.catalog = Unsteady(table, lands=lands)  # type: ignore[assignment]
    result = total(table, pl.DataFrame({"k": ["a", "z"], "n": [1, 1]}))
    assert (result.updated, result.inserted) == (1, 1)
    assert as_dict(table) == {"a": 3, "b": 1, "z": 1}
    assert files_on_disk(table) == known_files(table)


class Gone(Unsteady):
    """A catalog that takes a commit, and then does not answer any more."""

    def load_table(self, *arguments: Any) -> Table:
        if self.left:
            return self._catalog.load_table(*arguments)
        raise OSError("connection refused")


def test_files_stay_when_nobody_knows_whether_they_are_committed(table: Table) -> None:
    steady = table.catalog
    table.catalog = Gone(table, lands=True)  # type: ignore[assignment]
    with pytest.raises(OutcomeUnknownError):
        total(table, pl.DataFrame({"k": ["a", "z"], "n": [1, 1]}))
    table.catalog = steady
    assert as_dict(table) == {"a": 3, "b": 1, "z": 1}


# --- the change apart from its commit ----------------------------------------------------------------------


def test_a_change_can_be_committed_together_with_something_else(table: Table) -> None:
    merge = Merge(table, pl.DataFrame({"k": ["a"], "n": [1]}), "k").when_matched_update(TOTAL)
    done = commit(table, lambda seen: Plan(change=merge.change(seen), properties={"mark": "7"}))
    assert done.change is not None
    assert done.change.counts == {"inserted": 0, "updated": 1, "deleted": 0}
    assert as_dict(table) == {"a": 3, "b": 1}
    assert table.properties["mark"] == "7"


def test_a_change_that_is_discarded_leaves_no_file(table: Table) -> None:
    spec = Spec(on=("k",), clauses=(Clause(kind="not_matched", action="insert"),), branch="main")
    found = change_for(table, spec, Source(pl.DataFrame({"k": ["z"], "n": [1]})))
    assert found is not None
    assert files_on_disk(table) > known_files(table)
    discard(table.io, found)
    discard(table.io, found)
    assert files_on_disk(table) == known_files(table)
