"""Conduit and iceframe, broken on purpose: each function breaks one rule in its process. The harness must see it.

To add one: a function here, named for what it breaks, and an attack on it in `ATTACKS` of
`tests/faults/test_mutants.py` (or a test that hands its lost and doubled rows to `caught` there), with a test that the
same attack finds nothing in the whole program. `make prove` and `make soak` count it by themselves; a soak runs the
files of its part `mutants`.

Two functions are no mutants but faults: a catalog whose answer is lost, and I/O that fails (`failing_io`).
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from pyiceberg.table import Table

from conduit import planning
from conduit.checkpoints import Checkpoints
from conduit.connectors.iceberg.load import IcebergLoad
from conduit.connectors.iceberg.staging import remove
from conduit.connectors.postgresql.load import STAGE, PostgresqlLoad
from conduit.connectors.postgresql.marks import Marks
from conduit.connectors.postgresql.window import WindowRead
from conduit.connectors.postgresql.wire import Inflow
from conduit.connectors.sqlite.destination import SqliteDestination
from conduit.connectors.sqlite.load import SqliteLoad
from conduit.contract import CURSOR_TEXT, Committed, Load, OutcomeUnknown, SafeRead, Staged, Write
from conduit.job import Job
from conduit.marks import Identity, Mark
from conduit.planning import Plan
from conduit.positions import Position, cursor, highest
from conduit.watermarks import Watermark
from conduit.wires import Wire
from iceframe.errors import OutcomeUnknownError
from tests.support import failing_io


def apply(how: str) -> None:
    """Break this process: names of functions below, joined by `+`; arguments follow a name after `:`."""
    functions = globals() | {name: getattr(failing_io, name) for name in ("io_fails", "io_is_written_down")}
    for part in how.split("+"):
        name, *given = part.split(":")
        functions[name](*given)


def _put(module: str, name: str, value: object) -> None:
    setattr(importlib.import_module(module), name, value)


def _got(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


# --- I1: the mark is the truth --------------------------------------------------------------------------


def data_first_json_after() -> None:
    """The protocol of the documents, taken literally: rows are committed, then a JSON file is written.

    The destination keeps no mark; what it answers is read from `.conduit_state.json`.
    """

    def marks(self: SqliteDestination, table: str, *, settle: bool = False) -> list[Mark]:
        path = Path(".conduit_state.json")
        value = json.loads(path.read_text()).get("r") if path.exists() else None
        return [_mark(table, value)] if value is not None else []

    SqliteDestination.marks = marks  # type: ignore[method-assign]
    _commit_without_mark()


def json_before_the_mark() -> None:
    """The value in `.conduit_state.json` says where a run goes on, whatever the mark says."""

    def start(job: Job, mark: Mark | None) -> Position | None:
        value = job.state_file.value(job.resource.name)
        return cursor(str(value), "int") if value is not None else None

    planning.start = start


# --- I2: rows and mark in one commit --------------------------------------------------------------------


def mark_in_a_second_transaction() -> None:
    """Rows are committed, and then the mark."""

    def commit(job: Job, load: Load, staged: Sequence[Staged], old: Mark | None, new: Mark | None) -> Committed:
        committed = load.commit(staged, old, None)
        if new is not None:
            job.destination.set_mark(job.resource.into, old, new)
        return committed

    _put("conduit.commits", "commit", commit)


def mark_over_all_rows_read() -> None:
    """A checkpoint's mark covers the rows that were read, not only those that its commit holds."""
    original = Checkpoints.piece

    def piece(self: Checkpoints) -> Any:
        yield from original(self)
        if self._rest is not None and self._column is not None:
            self.reached = highest(self.reached, self._column.highest(self._rest.column(CURSOR_TEXT)))

    Checkpoints.piece = piece  # type: ignore[method-assign]


# --- I3: compare-and-swap -------------------------------------------------------------------------------


def no_compare_and_swap() -> None:
    """PostgreSQL's mark is overwritten, whatever it was."""

    def move(self: Marks, cur: Any, old: Mark | None, new: Mark) -> None:
        who = (new.identity.pipeline, new.identity.resource, new.identity.table)
        cur.execute(
            f"INSERT INTO {self.table} VALUES (%s, %s, %s, %s, %s) ON CONFLICT (pipeline, resource, target) "
            "DO UPDATE SET position = excluded.position, mark = excluded.mark",
            (*who, new.token(), new.to_json()),
        )

    Marks.move = move  # type: ignore[method-assign]


def plan_not_asked_again() -> None:
    """A commit to Iceberg that lost the race is sent again as it was: what pyiceberg's own retry does."""
    original = _got("iceframe.commit", "commit")

    def commit(table: Table, plan: Callable[[Table], Any], **options: Any) -> Any:
        planned: list[Any] = []

        def once(head: Table) -> Any:
            planned.append(planned[0] if planned else plan(head))
            return planned[0]

        return original(table, once, **options)

    for module in ("conduit.connectors.iceberg.load", "iceframe.jobs"):
        _put(module, "commit", commit)


# --- I4: after an unknown outcome the mark is read ------------------------------------------------------


def blind_resend() -> None:
    """After a lost answer the rows are sent again from where the run began. The swap that would stop it is left out."""
    recovered: list[Mark | None] = []
    original = _got("conduit.run", "recover")

    def recover(*given: Any, **options: Any) -> Mark | None:
        recovered.append(recovered[0] if recovered else original(*given, **options))
        return recovered[0]

    def commit(job: Job, load: Load, staged: Sequence[Staged], old: Mark | None, new: Mark | None) -> Committed:
        try:
            return load.commit(staged, old, new)
        except OutcomeUnknown as error:
            error.retryable = True
            raise

    _put("conduit.run", "recover", recover)
    _put("conduit.commits", "commit", commit)
    no_compare_and_swap()


def files_removed_after_an_unknown_outcome() -> None:
    """Data files are removed when nobody knows whether a snapshot holds them."""
    original: Any = IcebergLoad._send

    def send(self: IcebergLoad, *given: Any) -> Any:
        try:
            return original(self, *given)
        except OutcomeUnknown:
            remove(self._table.io, self._files)
            raise

    IcebergLoad._send = send  # type: ignore[assignment, method-assign]


def lost_answer_of_the_catalog() -> None:
    """A fault, no mutant: the catalog commits, its answer is lost, and it does not answer again for a while."""
    original = _got("iceframe.commit", "send")

    def send(*given: Any) -> None:
        original(*given)
        raise OSError("the connection broke")

    def silent(*given: Any) -> Table:
        raise OutcomeUnknownError("the catalog does not answer")

    _put("iceframe.commit", "send", send)
    _put("iceframe.commit", "look_again", silent)


# --- I5: the bound is fixed before the first row --------------------------------------------------------


def until_after_the_rows() -> None:
    """The mark takes the highest value that the source has when the rows were read."""
    original = planning.new_position

    def new_position(job: Job, plan: Plan, reached: Position | None, *, complete: bool) -> Position | None:
        with job.source.open(plan.read) as session:
            return original(job, plan, highest(reached, session.until().position), complete=complete)

    planning.new_position = new_position


# --- I7: no checkpoint inside a tie ---------------------------------------------------------------------


def checkpoint_inside_a_tie() -> None:
    """A commit ends after so many rows, whatever the next row's cursor is."""

    def cut(self: Checkpoints, batch: Any, rows: int) -> int | None:
        if self._every is None or rows + batch.num_rows <= self._every:
            return None
        return self._every - rows

    Checkpoints._cut = cut  # type: ignore[method-assign]


# --- late rows ------------------------------------------------------------------------------------------


def no_key_deduplication() -> None:
    """Rows that a look-back reads again are appended again."""
    original = planning.write_request

    def write_request(*given: Any, **options: Any) -> Write:
        return dataclasses.replace(original(*given, **options), leave_out_present=False)

    planning.write_request = write_request


def plain_comparison() -> None:
    """PostgreSQL is read by `id > mark`, without its transactions and without looking back."""
    planning.safe_read = lambda *_, **__: None
    planning.guard = lambda *_: Watermark()


def window_resumed_at_the_watermark() -> None:
    """What a checkpoint left of its window is read above the highest cursor, not above where it was cut."""
    original = _got("conduit.connectors.postgresql.session", "window_read")

    def window_read(cur: Any, snapshot: Any, asked: SafeRead, since: Position | None) -> WindowRead:
        found: WindowRead = original(cur, snapshot, asked, since)
        return replace(found, lower=asked.position) if asked.unfinished else found

    _put("conduit.connectors.postgresql.session", "window_read", window_read)


# --- rows that pass as they are -------------------------------------------------------------------------


def dead_source_is_not_noticed() -> None:
    """A source that dies while it sends looks like the end of its rows."""

    def nothing_happened(self: Inflow) -> None:
        self._thread.join()
        self.failure = None

    Inflow._require_whole = nothing_happened  # type: ignore[method-assign]


def dead_source_is_success() -> None:
    """The same, and nobody compares what was sent with what arrived."""
    dead_source_is_not_noticed()
    _put("conduit.connectors.postgresql.load", "require_all", lambda *_: None)
    original = PostgresqlLoad.receive

    def receive(self: PostgresqlLoad, wire: Wire) -> Staged:
        original(self, wire)
        with self._connection.cursor() as cur:
            cur.execute(f"SELECT count(*) FROM {STAGE if self._staged else self._target}")
            return Staged(part="transaction", rows=int((cur.fetchone() or (0,))[0]))

    PostgresqlLoad.receive = receive  # type: ignore[method-assign]


# --- durability -----------------------------------------------------------------------------------------


def no_fsync() -> None:
    """Nothing is brought to the disk. A kill cannot show it: what was written stays in the page cache."""
    _put("os", "fsync", lambda _: None)


def _commit_without_mark() -> None:
    original = SqliteLoad.commit

    def commit(self: SqliteLoad, staged: Any, old: Mark | None, new: Mark | None) -> Any:
        return original(self, staged, old, None)

    SqliteLoad.commit = commit  # type: ignore[method-assign]


def _mark(table: str, value: int) -> Mark:
    return Mark(
        identity=Identity("default", "r", table),
        position=cursor(str(value), "int"),
        since=None,
        run_id="json",
        complete=True,
        rows=0,
        source="sqlite:t:id",
        committed_at="",
    )
