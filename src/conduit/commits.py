"""One commit: rows are staged, then they and the mark become visible in one atomic step (I2), by compare-and-swap (I3).

What is committed was decided before (`planning`), and what it adds up to is settled after (`run`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeGuard

import msgspec

from conduit import interrupts, planning
from conduit.arrow import pa
from conduit.contract import (
    Committed,
    Load,
    OutcomeUnknown,
    Session,
    Staged,
    SupportsStaging,
    SupportsStreaming,
    Write,
    changes_nothing,
)
from conduit.errors import DataError, Fenced, InternalError
from conduit.faults import crash_point
from conduit.history import utc_now
from conduit.job import Event, Job
from conduit.late import late
from conduit.marks import Mark, fenced, mark_of
from conduit.planning import Plan
from conduit.positions import Position
from conduit.report import ResourceReport
from conduit.wires import SupportsWire, TakesWire, Wire, WiredDestination

if TYPE_CHECKING:
    from conduit import rows, transform
    from conduit.executors import threads
    from conduit.executors.threads import Pieces
    from conduit.transform import Transform
else:  # rows that pass as they are need none of them
    rows, threads, transform = late("conduit.rows"), late("conduit.executors.threads"), late("conduit.transform")

# --- rows as Arrow --------------------------------------------------------------------------------------


def commit_piece(
    job: Job, write: Write, pieces: Pieces, plan: Plan, mark: Mark | None
) -> tuple[int, int, Committed, Mark | None]:
    """Stage the rows of one checkpoint and commit them with the mark (I2): rows read, rows staged, effect, mark."""
    before = plan.transform.taken if plan.transform else 0
    with begun(job, write, mark) as load:
        crash_point("load.begun")
        staged = stage_piece(job, load, write, pieces, plan.transform)
        committed, landed = move(job, plan, load, staged, mark, pieces.reached, complete=pieces.exhausted)
    count = sum(part.rows for part in staged)
    taken = plan.transform.taken - before if plan.transform else count
    return taken, count, committed, landed


def stage_piece(job: Job, load: Load, write: Write, pieces: Pieces, shape: Transform | None) -> list[Staged]:
    """Stage the rows of one checkpoint: splits apart, where that can be; else all of them by one writer."""
    if isinstance(pieces, threads.Splits) and shape is None and isinstance(load, SupportsStaging):
        return pieces.stage(load, lambda batch: tell(job, batch))
    finish = rows.Stream(write.schema, cursor_column=None, key=write.key, run_id=job.stamp)
    return [stage(load, watched(job, transform.applied(shape, pieces.piece(), finish)))]


# --- rows as they are -----------------------------------------------------------------------------------


class Passed(msgspec.Struct, frozen=True):
    """Rows went from end to end as they are.

    Attributes:
        rows: how many.
        mark: what the destination then holds.
    """

    rows: int
    mark: Mark | None


def passes(session: Session, job: Job, plan: Plan) -> TypeGuard[SupportsWire]:
    """Whether nothing has to be done to the rows on their way, and the destination may take them so."""
    if plan.transform is not None or job.stamp is not None:
        return False
    takes = isinstance(job.destination, WiredDestination) and job.destination.takes_wires
    return takes and isinstance(session, SupportsWire)


def pass_through(job: Job, report: ResourceReport, write: Write, wire: Wire, plan: Plan) -> Passed | None:
    """All rows in the format that both ends speak, in one commit; None: the destination does not take it.

    The end is asked for before the first row, in the snapshot of the rows (I5); the destination counts what arrived
    against what was sent before there is a mark.
    """
    reached = wire.reached()
    if plan.read.cursor is not None and reached is None and write.mode != "replace" and not plan.moves_without_rows:
        return Passed(0, plan.mark)
    with begun(job, write, plan.mark) as load:
        if not isinstance(load, TakesWire) or not load.takes(wire):
            return None
        crash_point("load.begun")
        staged = load.receive(wire)
        committed, landed = move(job, plan, load, [staged], plan.mark, reached, complete=True)
    job.watch(Event(job.resource.name, rows=staged.rows))
    report.count(staged.rows, committed, moved=landed is not plan.mark or committed.written > 0)
    crash_point("run.committed")
    return Passed(staged.rows, landed)


# --- the steps of both ----------------------------------------------------------------------------------


@contextmanager
def begun(job: Job, write: Write, mark: Mark | None) -> Iterator[Load]:
    """A load; what of it is not committed in the end is gone.

    Raises:
        Fenced: rows were refused because another run has brought them.
    """
    load = job.destination.begin(write)
    try:
        yield load
    except DataError as error:
        load.abort()
        raise overtaken(job, mark) or error from None
    finally:
        load.abort()


def move(
    job: Job,
    plan: Plan,
    load: Load,
    staged: Sequence[Staged],
    mark: Mark | None,
    reached: Position | None,
    *,
    complete: bool,
) -> tuple[Committed, Mark | None]:
    """Commit what is staged, and the mark that goes with it: the effect, and the mark that there then is."""
    interrupts.check()
    count = sum(part.rows for part in staged)
    new = None if job.backfill else new_mark(job, plan, mark, count, reached, complete=complete)
    committed = commit(job, load, staged, mark, new)
    return committed, mark if changes_nothing(committed, mark, new) else new


def stage(load: Load, rows: Iterator[pa.RecordBatch]) -> Staged:
    """Bring rows to the destination, invisible to its readers: into the open transaction, or as staged files."""
    if isinstance(load, SupportsStreaming):
        return load.stream(rows)
    if isinstance(load, SupportsStaging):
        return load.stager().stage("part-0", rows)
    raise InternalError(f"{type(load).__name__} offers neither SupportsStreaming nor SupportsStaging")


def watched(job: Job, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The batches, and a word to the watcher about each."""
    for batch in batches:
        yield batch
        tell(job, batch)


def tell(job: Job, batch: pa.RecordBatch) -> None:
    """A word to the watcher about a batch that is on the other side."""
    crash_point("run.batch")
    job.watch(Event(job.resource.name, rows=batch.num_rows))


def commit(job: Job, load: Load, staged: Sequence[Staged], old: Mark | None, new: Mark | None) -> Committed:
    """Commit; when the answer is lost, read the mark instead of sending the rows again (I4)."""
    try:
        return load.commit(staged, old, new)
    except OutcomeUnknown as error:
        found = mark_of(job.destination.marks(job.resource.into, settle=True), job.identity)
        if new is not None and found is not None and (found.run_id, found.token()) == (new.run_id, new.token()):
            return error.committed
        raise


def overtaken(job: Job, old: Mark | None) -> Fenced | None:
    """The error of rows that were refused because another run has brought them: the mark was about to say so (I3)."""
    found = mark_of(job.destination.marks(job.resource.into), job.identity)
    if found is None or (old is not None and (found.run_id, found.token()) == (old.run_id, old.token())):
        return None
    return fenced(job.identity)


def new_mark(job: Job, plan: Plan, mark: Mark | None, rows: int, reached: Position | None, *, complete: bool) -> Mark:
    """The mark that this commit sets."""
    return Mark(
        identity=job.identity,
        position=planning.new_position(job, plan, reached, complete=complete),
        since=mark.since if mark and mark.run_id == job.run_id else plan.since,
        run_id=job.run_id,
        complete=complete,
        rows=rows,
        source=plan.described.fingerprint,
        committed_at=utc_now(),
    )
