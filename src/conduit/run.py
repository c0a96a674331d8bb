"""One run, top to bottom. Read `run`, then the functions below it: they stand in the order in which they happen.

    lock       one run per resource on this host
    recover    the destination's mark, compared with .conduit_state.json
    bound      a snapshot of the source; what is above the mark in it
    plan       what happens to the columns, the key, the commits
    extract    batches, read ahead in a thread, checked and cast; or, where both ends speak one format and nothing has
               to be looked at, the rows as they are
    commit     rows + mark in one atomic step, compare-and-swap on the old mark (commits.py)
    record     the state file and the history

The numbers I1 to I7 are those of docs/invariants.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from conduit import interrupts, locks, planning, readers, state
from conduit.arrow import SchemaOnce, pa
from conduit.bounds import ROWS
from conduit.config.load import load
from conduit.contract import (
    Session,
    SupportsCancel,
    SupportsHistory,
    Write,
)
from conduit.errors import ConduitError, Fenced, InternalError, Interrupted, StateConflict
from conduit.faults import crash_point
from conduit.history import History, HistoryUnavailable, utc_now
from conduit.job import Backfill, Event, Job, choose, opened, refuse_backfill
from conduit.late import late
from conduit.marks import Mark, mark_of
from conduit.planning import Plan
from conduit.report import Report, ResourceReport

if TYPE_CHECKING:
    import random

    from conduit import checkpoints, commits, preparing, read_ahead, rows, sizes
    from conduit.executors import threads
    from conduit.executors.threads import Pieces, Splits
    from conduit.rows import Stream
else:  # what moves rows, or tries again: a run with nothing new does neither
    checkpoints, commits, read_ahead = late("conduit.checkpoints"), late("conduit.commits"), late("conduit.read_ahead")
    random, rows, threads = late("random"), late("conduit.rows"), late("conduit.executors.threads")
    preparing, sizes = late("conduit.preparing"), late("conduit.sizes")

ATTEMPTS = 3
"""How often the work since the last commit is tried when an error is transient."""

# --- a run: its resources, in file order ----------------------------------------------------------------


def run(
    file: str | Path = "ingest.yml",
    resources: Sequence[str] = (),
    *,
    full_refresh: Sequence[str] = (),
    backfill: Backfill | None = None,
    allow_shrink: float | None = None,
    sources: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[Event], None] | None = None,
) -> Report:
    """Run the resources of an ingest.yml. A resource that fails does not stop the others.

    Args:
        file: the ingest.yml.
        resources: names to run; none: all.
        full_refresh: names whose watermark is forgotten and whose table is replaced.
        backfill: load a range of the cursor instead of what is new (merge only).
        allow_shrink: the share of its rows that a table may lose when it is replaced; None: as its resource says.
        sources: Python objects (a DataFrame, an Arrow table, an iterator, a function of the last value) for sources
            of `type: python`, by name.
        environment: what `${VAR}` sees; the process's own when left out.
        watch: called with an Event while rows move.

    Returns:
        One report per resource; `exit_code` is 0 when all is well.

    Raises:
        ConfigError: the file, or a name, is wrong; nothing was connected to.
    """
    project = load(file, environment=environment)
    chosen = choose(project, resources, full_refresh)
    if backfill is not None:
        refuse_backfill(chosen)
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.urandom(4).hex()}"
    reports: list[ResourceReport] = []
    for resource in chosen:
        with opened(project, resource, sources or {}) as (source, destination):
            job = Job(
                project=project,
                resource=resource,
                source=source,
                destination=destination,
                run_id=run_id,
                full_refresh=resource.name in full_refresh,
                backfill=backfill,
                allow_shrink=allow_shrink,
                watch=watch or (lambda _: None),
            )
            reports.append(run_resource(job))
        if reports[-1].exit_code > 128:
            break
    return Report(run_id=run_id, pipeline=project.pipeline, resources=reports, notes=project.notes)


# --- one resource ---------------------------------------------------------------------------------------


def run_resource(job: Job) -> ResourceReport:
    """Run one resource: never raises a ConduitError, the report carries it."""
    report = ResourceReport(resource=job.resource.name)
    started, started_at = time.perf_counter(), utc_now()
    try:
        with locks.resource_lock(job.private, f"{job.project.pipeline}.{job.resource.name}"):
            crash_point("run.locked")
            with_retries(job, report)
    except KeyboardInterrupt:
        report.fail(Interrupted("interrupted; what was committed stays, the next run goes on from there", signal=2))
    except ConduitError as error:
        report.fail(interrupts.requested() or error)
    report.notes = list(dict.fromkeys(report.notes))
    report.seconds = round(time.perf_counter() - started, 3)
    keep_history(job, report, started_at)
    crash_point("run.recorded")
    return report


def with_retries(job: Job, report: ResourceReport) -> None:
    """Do the work; after a transient error do again what was not committed, from the mark (I4), a few times."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            move_what_is_new(job, report)
        except Fenced as error:
            if attempt == ATTEMPTS or not landed_late(job, report):
                raise error from None
        except ConduitError as error:
            if attempt == ATTEMPTS or not error.retryable or interrupts.requested():
                raise
            pause = 0.5 * 2**attempt * (0.5 + random.random())
            job.watch(Event(job.resource.name, note=f"{error.message}; trying again in {pause:.1f} s"))
            time.sleep(pause)
        else:
            return


def landed_late(job: Job, report: ResourceReport) -> bool:
    """Whether the run that fenced us is ours: a commit with unknown outcome that arrived after all."""
    mark = mark_of(job.destination.marks(job.resource.into, settle=True), job.identity)
    if mark is None or mark.run_id != job.run_id:
        return False
    report.notes.append("a commit of this run was confirmed late; its rows are counted in the mark, not here")
    return True


def move_what_is_new(job: Job, report: ResourceReport) -> None:
    """The run itself, from the mark to the record. What a checkpoint has left of its window is read first."""
    mark = recover(job, report)
    crash_point("run.recovered")
    mark, unfinished = move_one_window(job, report, mark, resume=True)
    if unfinished:
        mark, _ = move_one_window(job, report, mark, resume=False)
    record(job, report, mark)


def move_one_window(job: Job, report: ResourceReport, mark: Mark | None, *, resume: bool) -> tuple[Mark | None, bool]:
    """Read what is above the mark and commit it. The mark then, and whether it was the rest of an earlier window."""
    since = planning.start(job, mark)
    watermark = planning.guard(job, since)
    read = planning.request(job, watermark, since, mark, resume=resume)
    with job.source.open(read) as session:
        described = session.describe()
        planning.agree(job, mark, described)
        if since is None:
            watermark = planning.guard(job, None, described)
        watermark = watermark.settled(job.resource.name, described)
        described, shape = planning.shaped(job, described)
        key = planning.key(job, described, watermark, shape)
        until = session.until()
        planning.refuse_backwards(job, since, until)
        crash_point("run.bounded")
        report.notes += [*watermark.notes, *described.notes, *planning.order_notes(job, described, shape)]
        plan = Plan(described, watermark, key, until, mark, since, read, shape)
        if not until.nothing_new or plan.moves_without_rows:
            mark = load_rows(job, report, session, plan)
    return mark, described.window is not None and read.safe is not None and read.safe.unfinished


# --- recover --------------------------------------------------------------------------------------------


def recover(job: Job, report: ResourceReport, *, repair: bool = True) -> Mark | None:
    """The mark that the destination holds: the truth (I1). Differences to the state file are told.

    With `repair` a state file that cannot be read is kept aside, for the record to replace it.
    """
    name = job.resource.name
    marks = job.destination.marks(job.resource.into)
    mark = mark_of(marks, job.identity)
    if job.backfill is not None:
        return mark
    if isinstance(job.destination, SupportsHistory) and not job.full_refresh and job.resource.mode != "replace":
        job.destination.refuse_rolled_back(job.identity)
    if mark is None:
        refuse_renamed(job, marks)
    found = state.recover(name, mark, lambda: job.state_file.value(name), job.state_file.path)
    report.notes += found.notes
    if found.broken and repair:
        job.state_file.keep_aside_if_broken(name)
    report.since = mark.position.shown() if mark and mark.position else None
    return mark


def refuse_renamed(job: Job, marks: Sequence[Mark]) -> None:
    """A table that a resource loaded which is gone from the file, and no mark of ours: it was renamed.

    Raises:
        StateConflict: loading all again would double the rows.
    """
    names = {resource.name for resource in job.project.resources}
    for mark in marks:
        if mark.identity.pipeline == job.project.pipeline and mark.identity.resource not in names and mark.position:
            old = mark.identity.resource
            raise StateConflict(
                f"no mark for {job.resource.name}; but {old}, which is not in {job.project.file.name} any more, loaded "
                f"{job.resource.into} up to {mark.position.shown()!r}",
                hint=f"renamed? `conduit state move {old} {job.resource.name}`; "
                f"else `conduit state reset {old}` forgets it",
            )


# --- extract --------------------------------------------------------------------------------------------


def load_rows(job: Job, report: ResourceReport, session: Session, plan: Plan) -> Mark | None:
    """Read, stage and commit. Returns the mark that the destination then holds."""
    table = job.destination.describe(job.resource.into)
    target = planning.columns(job, plan.described, table)
    write = planning.write_request(job, plan, target, new_table=table is None)
    every = planning.commit_every(job, plan.described, plan.transform)
    if every is None and plan.read.partition is None and commits.passes(session, job, plan):
        wire = session.wire(SchemaOnce.names(target), write.key)
        if wire is not None and (passed := commits.pass_through(job, report, write, wire, plan)):
            report.notes += target.notes
            require_balance(report, passed.rows)
            return passed.mark
    return load_as_arrow(job, report, session, plan, write, target.notes, every)


def load_as_arrow(
    job: Job,
    report: ResourceReport,
    session: Session,
    plan: Plan,
    write: Write,
    notes: Sequence[str],
    every: int | None,
) -> Mark | None:
    """The rows as batches, checkpoint by checkpoint."""
    shape, cursor = plan.transform, planning.cursor_column(job, plan.described)
    new_stream = partial(
        rows.Stream,
        shape.source if shape else write.schema,
        cursor_column=cursor,
        on_null=plan.read.on_null,
        key=() if shape else write.key,
        ordered=plan.described.ordered,
        run_id=None if shape else job.stamp,
    )
    if plan.read.partition is not None:
        size = plan.read.batch_size
        with threads.Splits(session, new_stream, cursor, size, grouped=every is not None) as splits:
            return commit_pieces(job, report, write, plan, splits, splits, notes)
    stream = new_stream()
    cancel = session.cancel if isinstance(session, SupportsCancel) else None
    with read_ahead.ReadAhead([lambda: extract(session, stream, plan.read.batch_size)], cancel) as batches:
        preparing.prepare(job.destination, write)
        pieces = checkpoints.Checkpoints(iter(batches), every, cursor)
        return commit_pieces(job, report, write, plan, pieces, stream, notes)


def extract(session: Session, stream: Stream, batch_size: int | None) -> Iterator[pa.RecordBatch]:
    """All batches of the session, split after split, ready for the write. Runs in the reading thread."""
    splits = session.splits()
    for split in splits:
        for batch in sizes.cut(session.read(split), batch_size):
            ready = stream.pass_on(batch, nulls_follow=split.name == ROWS and len(splits) > 1)
            if ready.num_rows:
                yield ready


def commit_pieces(
    job: Job,
    report: ResourceReport,
    write: Write,
    plan: Plan,
    pieces: Pieces,
    counted: Stream | Splits,
    notes: Sequence[str],
) -> Mark | None:
    """Commit piece after piece, until no row is left. Without any row there is no commit, unless something moves."""
    mark, handed_out = plan.mark, 0
    if pieces.exhausted and write.mode != "replace" and not plan.moves_without_rows:
        return mark
    report.notes += notes
    while True:
        before = mark
        taken, staged, committed, mark = commits.commit_piece(job, write, pieces, plan, mark)
        handed_out += taken
        if plan.transform is not None:
            report.transformed += taken
            report.made += staged
        report.count(taken, committed, moved=mark is not before or committed.written > 0)
        crash_point("run.committed")
        if pieces.exhausted:
            break
    settle_counts(report, counted, handed_out)
    return mark


# --- record ---------------------------------------------------------------------------------------------


def settle_counts(report: ResourceReport, stream: Stream | Splits, handed_out: int) -> None:
    """Close the equation of the run.

    Raises:
        InternalError: rows are unaccounted for, or a part of the equation is below 0.
    """
    report.read += stream.filtered
    report.filtered += stream.filtered
    if stream.read != handed_out + stream.filtered:
        raise InternalError(f"{report.resource}: {stream.read} rows were read, but {report.equation()}")
    require_balance(report, stream.read)


def require_balance(report: ResourceReport, read: int) -> None:
    """Every row that was read is accounted for.

    Raises:
        InternalError: one is missing in the report, or counted twice.
    """
    if not report.balanced:
        parts = ", ".join([report.equation(), *report.below_zero])
        raise InternalError(f"{report.resource}: {read} rows were read, but {parts}")


def record(job: Job, report: ResourceReport, mark: Mark | None) -> None:
    """The run is whole: let the state file show the mark. It is a cache, and it comes last (I1)."""
    if job.backfill is not None:
        return
    report.until = mark.position.shown() if mark and mark.position else None
    job.state_file.put(job.resource.name, report.until)
    report.notes += readers.register(job, mark)


def keep_history(job: Job, report: ResourceReport, started_at: str) -> None:
    """Write the run down. What was committed stays committed when this fails."""
    try:
        History(job.private).record_run(
            run_id=job.run_id,
            pipeline=job.project.pipeline,
            resource=job.resource.name,
            started_at=started_at,
            report=msgspec.to_builtins(report.as_dict()),
        )
    except HistoryUnavailable as error:
        report.notes.append(str(error))
