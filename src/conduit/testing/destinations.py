"""What every destination promises. Raw checks go through a reader that the subclass brings, never the connector."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest

from conduit.arrow import AnyArray, made, pa
from conduit.contract import (
    Ability,
    Committed,
    Destination,
    Load,
    Staged,
    SupportsStaging,
    SupportsStreaming,
    Write,
)
from conduit.errors import Busy, ConduitError, ConfigError, ConnectionFailed, Fenced, StateConflict
from conduit.marks import Mark, mark_of
from conduit.testing.samples import ROWS, TABLE, batches, identity, mark, write


class DestinationPromises:
    """Subclass it, and implement the methods that raise NotImplementedError."""

    values: ClassVar[Mapping[str, tuple[pa.DataType, list[Any]]]] = {}
    """Columns of the round trip: name -> (type, values). A subclass may leave out what its system cannot hold."""

    # --- what a subclass brings ---

    def make(self, place: Path) -> Destination:
        """A new object for the destination at `place`. Called again for a second process or a second run."""
        raise NotImplementedError

    def unreachable(self, place: Path) -> Destination:
        """A destination whose system cannot be reached or written to."""
        raise NotImplementedError

    def rows(self, place: Path) -> list[tuple[Any, ...]]:
        """(id, name, amount as text) of the table `promised`, in any order; [] when there is none. A raw reader."""
        raise NotImplementedError

    def cannot(self) -> Mapping[Ability, str]:
        """What the connection's model says it cannot do."""
        return {}

    def read_back(self, place: Path, name: str) -> list[Any]:
        """The values of one column of `promised`, ordered by `id`, as Python objects. A raw reader."""
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Where the destination is: a folder for files; a subclass may prepare a server here."""
        return tmp_path

    # --- rows and mark ---

    def test_there_is_no_mark_and_no_table_at_first(self, place: Path) -> None:
        with closing(self.make(place)) as destination:
            assert list(destination.marks(TABLE)) == []
            assert destination.describe(TABLE) is None
        assert self.rows(place) == []

    def test_a_commit_makes_rows_and_mark_visible_together(self, place: Path) -> None:
        with closing(self.make(place)) as destination:
            load = destination.begin(write())
            staged = stage(load, batches([1, 2, 3]))
            assert self._seen_by_others(place) == []
            assert load.commit([staged], None, mark(3)) == Committed(inserted=3)
        assert self._ids(place) == [1, 2, 3]
        assert self._mark(place) == mark(3)

    def test_it_resumes_from_its_position(self, place: Path) -> None:
        self._append(place, [1, 2], None, mark(2))
        found = self._mark(place)
        assert found == mark(2)
        self._append(place, [3], found, mark(3, since=found.position, run="run-2"))
        assert self._ids(place) == [1, 2, 3]

    def test_a_replay_leaves_no_duplicates(self, place: Path) -> None:
        self._append(place, [1, 2], None, mark(2))
        with pytest.raises(Fenced):
            self._append(place, [1, 2], None, mark(2, run="run-2"))
        assert self._ids(place) == [1, 2]

    def test_two_runs_at_once_leave_no_duplicates(self, place: Path) -> None:
        self._append(place, [1], None, mark(1))
        first, second = self.make(place), self.make(place)
        with closing(first), closing(second):
            one = first.begin(write(run="run-2"))
            staged = stage(one, batches([2, 3]))
            try:
                two = second.begin(write(run="run-3"))
                other = stage(two, batches([2, 3]))
            except Busy:  # a system with one writer; the others let both write and fence the later
                one.commit([staged], mark(1), mark(3, run="run-2"))
            else:
                one.commit([staged], mark(1), mark(3, run="run-2"))
                with pytest.raises(Fenced):
                    two.commit([other], mark(1), mark(3, run="run-3"))
        assert self._ids(place) == [1, 2, 3]

    def test_marks_of_other_resources_are_left_alone(self, place: Path) -> None:
        self._append(place, [1], None, mark(1))
        other = mark(9, resource="another")
        with closing(self.make(place)) as destination:
            destination.set_mark(TABLE, None, other)
            marks = destination.marks(TABLE)
        assert (mark_of(marks, identity()), mark_of(marks, identity("another"))) == (mark(1), other)

    def test_an_abort_leaves_nothing_visible(self, place: Path) -> None:
        with closing(self.make(place)) as destination:
            load = destination.begin(write())
            stage(load, batches([1, 2]))
            load.abort()
            load.abort()
        assert self.rows(place) == []
        assert self._mark(place) is None

    def test_a_killed_run_leaves_nothing_visible_and_finishes_later(self, place: Path) -> None:
        self._append(place, [1], None, mark(1))
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=die_before_commit, args=(self, place))
        process.start()
        process.join(timeout=60)
        assert process.exitcode == -signal.SIGKILL
        assert self._ids(place) == [1]
        assert self._mark(place) == mark(1)
        self._append(place, [2, 3], mark(1), mark(3, run="run-2"))
        assert self._ids(place) == [1, 2, 3]

    def test_a_commit_without_anything_new_changes_nothing(self, place: Path) -> None:
        self._append(place, [1], None, mark(1))
        with closing(self.make(place)) as destination:
            load = destination.begin(write(run="run-2"))
            staged = stage(load, iter(()))
            assert load.commit([staged], mark(1), mark(1)) == Committed()
            load.abort()
        assert self._ids(place) == [1]
        assert self._mark(place) == mark(1)

    def test_a_load_without_a_mark_moves_none(self, place: Path) -> None:
        if "merge" in self.cannot():
            pytest.skip(self.cannot()["merge"])
        self._append(place, [1], None, mark(1), key=("id",))
        self._commit(place, write("merge", key=("id",)), batches([2]), mark(1), None)
        assert self._ids(place) == [1, 2]
        assert self._mark(place) == mark(1)

    # --- a mark by hand ---

    def test_a_mark_is_set_and_reset_by_compare_and_swap(self, place: Path) -> None:
        with closing(self.make(place)) as destination:
            destination.set_mark(TABLE, None, mark(5))
            with pytest.raises(Fenced):
                destination.set_mark(TABLE, None, mark(6))
            destination.set_mark(TABLE, mark(5), mark(None, run="run-2"))
            with pytest.raises(Fenced):
                destination.set_mark(TABLE, mark(5), mark(7))
        assert self._mark(place) == mark(None, run="run-2")
        self._append(place, [1], mark(None, run="run-2"), mark(1, run="run-3"))
        assert self._ids(place) == [1]

    # --- what it claims it can do is true ---

    def test_it_appends_without_what_it_already_has_or_says_why_not(self, place: Path) -> None:
        if "leave_out_present" in self.cannot():
            assert len(self.cannot()["leave_out_present"]) > 20
            return
        self._append(place, [1, 2, 3], None, mark(3))
        again = write(run="run-2", key=("id",), leave_out_present=True)
        done = self._commit(place, again, batches([2, 3, 4, 4]), mark(3), mark(4, run="run-2"))
        assert done == Committed(inserted=1, already_present=2, superseded=1)
        assert self._ids(place) == [1, 2, 3, 4]

    def test_it_merges_or_says_why_not(self, place: Path) -> None:
        if "merge" in self.cannot():
            assert len(self.cannot()["merge"]) > 20
            return
        self._commit(place, write("merge", key=("id",)), batches([1, 2, 3]), None, mark(3))
        changed = batches([3, 4], name="m")
        done = self._commit(place, write("merge", key=("id",), run="run-2"), changed, mark(3), mark(4, run="run-2"))
        assert done == Committed(inserted=1, updated=1)
        assert sorted(row[1] for row in self.rows(place)) == ["m3", "m4", "n1", "n2"]
        same = self._commit(
            place,
            write("merge", key=("id",), run="run-3"),
            batches([3, 4], name="m"),
            mark(4, run="run-2"),
            mark(4, run="run-2"),
        )
        assert same == Committed(already_present=2)

    def test_a_merge_can_add_to_the_target_or_says_why_not(self, place: Path) -> None:
        if "merge" in self.cannot():
            assert len(self.cannot()["merge"]) > 20
            return
        adding = {"amount": "target.amount + source.amount"}
        self._commit(place, write("merge", key=("id",)), batches([1]), None, mark(1))
        plan = write("merge", key=("id",), run="run-2", update=adding, refuse_duplicate_keys=True)
        self._commit(place, plan, batches([1, 2]), mark(1), mark(2, run="run-2"))
        assert sorted((row[0], row[2]) for row in self.rows(place)) == [(1, "2.20"), (2, "2.10")]

    def test_it_replaces_or_says_why_not(self, place: Path) -> None:
        if "replace" in self.cannot():
            assert len(self.cannot()["replace"]) > 20
            return
        self._append(place, [1, 2], None, mark(2))
        with closing(self.make(place)) as destination:
            load = destination.begin(write("replace", run="run-2", allow_shrink=0.0))
            staged = stage(load, batches([2, 7]))
            assert self._seen_by_others(place) in ([1, 2], None)
            load.commit([staged], mark(2), mark(7, run="run-2"))
        assert self._ids(place) == [2, 7]
        emptied = write("replace", run="run-3", allow_shrink=1.0)
        self._commit(place, emptied, iter(()), mark(7, run="run-2"), mark(8, run="run-3"))
        assert self.rows(place) == []

    def test_a_replace_takes_no_more_rows_than_it_may(self, place: Path) -> None:
        if "replace" in self.cannot():
            assert len(self.cannot()["replace"]) > 20
            return
        self._append(place, list(range(1, 11)), None, mark(10))
        for ids, allowed in (([1] * 8, 0.1), ([1] * 9, 0.0), ([], 0.99)):
            with pytest.raises(StateConflict, match=TABLE) as caught:
                self._replace(place, ids, allowed, mark(10), mark(11, run="run-2"))
            assert "10 rows" in caught.value.message
            assert "--allow-shrink" in caught.value.hint
            assert self._ids(place) == list(range(1, 11))
            assert self._mark(place) == mark(10)
        self._replace(place, list(range(1, 10)), 0.1, mark(10), mark(11, run="run-2"))
        assert self._ids(place) == list(range(1, 10))
        self._replace(place, [], 1.0, mark(11, run="run-2"), mark(12, run="run-3"))
        self._replace(place, [], 0.0, mark(12, run="run-3"), mark(13, run="run-4"))
        assert self.rows(place) == []

    def test_rows_that_come_while_a_replace_is_staged_are_counted_or_stay(self, place: Path) -> None:
        if "replace" in self.cannot():
            assert len(self.cannot()["replace"]) > 20
            return
        self._append(place, [1, 2], None, mark(2))
        first, second = self.make(place), self.make(place)
        with closing(first), closing(second):
            load = first.begin(write("replace", run="run-2"))
            staged = stage(load, batches([1, 2]))
            try:
                other = second.begin(write(run="run-3", resource="another"))
                other.commit([stage(other, batches([3, 4, 5]))], None, mark(5, resource="another", run="run-3"))
            except Busy:  # a system with one writer
                load.abort()
                return
            with contextlib.suppress(StateConflict):
                load.commit([staged], mark(2), mark(9, run="run-2"))
            load.abort()
        assert self._ids(place) == [1, 2, 3, 4, 5]

    def test_it_adds_a_column_or_says_why_not(self, place: Path) -> None:
        if "add_columns" in self.cannot():
            assert len(self.cannot()["add_columns"]) > 20
            return
        self._append(place, [1], None, mark(1))
        wider = ROWS.append(pa.field("note", pa.string()))
        rows = (batch.append_column("note", pa.array(["x"] * batch.num_rows, pa.string())) for batch in batches([2]))
        self._commit(
            place, write(schema=wider, run="run-2", add_columns=("note",)), rows, mark(1), mark(2, run="run-2")
        )
        assert self._ids(place) == [1, 2]
        with closing(self.make(place)) as destination:
            described = destination.describe(TABLE)
        assert described is not None
        assert "note" in described.names

    def test_a_stager_can_be_sent_to_a_worker(self, place: Path) -> None:
        with closing(self.make(place)) as destination:
            load = destination.begin(write())
            if not isinstance(load, SupportsStaging):
                assert isinstance(load, SupportsStreaming)
                load.abort()
                return
            stager = pickle.loads(pickle.dumps(load.stager()))  # noqa: S301 - our own object
            stager.stage("part-0", batches([1, 2]))
            staged = stager.stage("part-0", batches([1, 2]))
            load.commit([pickle.loads(pickle.dumps(staged))], None, mark(2))  # noqa: S301
        assert self._ids(place) == [1, 2]

    # --- types and errors ---

    def test_values_come_back_as_they_were(self, place: Path) -> None:
        count = max((len(values) for _, values in self.values.values()), default=0)
        fields = [pa.field("id", pa.int64()), *(pa.field(name, type_) for name, (type_, _) in self.values.items())]
        padded = [[*values, *[None] * (count - len(values))] for _, values in self.values.values()]
        arrays: list[AnyArray] = [pa.array(range(count), pa.int64())]
        arrays += [pa.array(values, type_) for values, (type_, _) in zip(padded, self.values.values(), strict=True)]
        schema = pa.schema(fields)
        batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
        self._commit(place, write(schema=schema), iter([batch]), None, mark(count))
        for name, expected in zip(self.values, padded, strict=True):
            assert same_values(self.read_back(place, name), expected), (name, self.read_back(place, name), expected)

    def test_the_described_types_are_those_that_were_written(self, place: Path) -> None:
        self._append(place, [1], None, mark(1))
        with closing(self.make(place)) as destination:
            described = destination.describe(TABLE)
        assert described is not None
        assert list(described.names) == ROWS.names
        assert [made(described).field(name).type for name in ROWS.names] == [field.type for field in ROWS]

    def test_an_unreachable_system_is_a_typed_error_that_names_it(self, place: Path) -> None:
        with closing(self.unreachable(place)) as destination, pytest.raises((ConnectionFailed, ConfigError)) as caught:
            destination.check()
        assert "conformance" in str(caught.value)

    def test_a_check_changes_nothing(self, place: Path) -> None:
        with closing(self.make(place)) as destination:
            assert destination.check()
            assert destination.describe(TABLE) is None
            assert list(destination.marks(TABLE)) == []
        assert self.rows(place) == []

    # --- below: glue ---

    def _append(self, place: Path, ids: list[int], old: Mark | None, new: Mark, **more: Any) -> Committed:
        return self._commit(place, write(run=new.run_id, **more), batches(ids), old, new)

    def _commit(
        self, place: Path, plan: Write, rows: Iterator[pa.RecordBatch], old: Mark | None, new: Mark | None
    ) -> Committed:
        with closing(self.make(place)) as destination:
            load = destination.begin(plan)
            try:
                return load.commit([stage(load, rows)], old, new)
            finally:
                load.abort()

    def _replace(self, place: Path, ids: list[int], allowed: float, old: Mark, new: Mark) -> None:
        self._commit(place, write("replace", run=new.run_id, allow_shrink=allowed), batches(ids), old, new)

    def _ids(self, place: Path) -> list[int]:
        return sorted(row[0] for row in self.rows(place))

    def _seen_by_others(self, place: Path) -> list[int] | None:
        """What another reader sees now; None where the system lets nobody read meanwhile."""
        try:
            return self._ids(place)
        except (ConduitError, OSError, RuntimeError):
            return None

    def _mark(self, place: Path) -> Mark | None:
        with closing(self.make(place)) as destination:
            return mark_of(destination.marks(TABLE), identity())


def stage(load: Load, rows: Iterator[pa.RecordBatch]) -> Staged:
    """Bring rows to the load in whichever way it offers."""
    if isinstance(load, SupportsStreaming):
        return load.stream(rows)
    assert isinstance(load, SupportsStaging)
    return load.stager().stage("part-0", rows)


def die_before_commit(promises: DestinationPromises, place: Path) -> None:
    """In a process of its own: stage rows, then die as `kill -9` kills."""
    load = promises.make(place).begin(write(run="killed"))
    stage(load, batches([2, 3]))
    os.kill(os.getpid(), signal.SIGKILL)


def same_values(found: list[Any], expected: list[Any]) -> bool:
    """Equality that knows NaN, and tells -0.0 from 0.0 and True from 1."""
    return [_form(value) for value in found] == [_form(value) for value in expected]


def _form(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"
