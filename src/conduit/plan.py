"""What a run would do: `conduit plan`, `run --dry-run` and `run --limit`. Reads both ends and changes neither."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from conduit import planning, replacing
from conduit.arrow import pa
from conduit.config.load import load
from conduit.contract import Described, Estimate, Split, SupportsEstimate
from conduit.errors import ConduitError, exit_code
from conduit.job import Backfill, Job, choose, opened, refuse_backfill
from conduit.marks import mark_of
from conduit.positions import Position
from conduit.report import ResourceReport
from conduit.run import recover
from conduit.schemas import Reconciled, conform
from conduit.splits import Range
from conduit.transform import Transform


@dataclass(slots=True, kw_only=True)
class ResourcePlan:
    """What a run of one resource would do.

    Attributes:
        resource: its name.
        mode: append, merge or replace.
        table: the target.
        query: the user's query, as written; empty for a table or files.
        sql: the statement that would be sent; empty for files.
        bound: what `:last_value` (or the filter) is bound to; None: no lower bound.
        since: the mark; None: nothing is remembered.
        until: the upper bound, where it is known before the rows.
        ranges: how the read is split, in order: what each range asks for; empty: it is not.
        range_sql: the statement of the first range.
        commits: commits in which the ranges are loaded.
        rows: rows that would be read; None: unknown.
        rows_exact: whether `rows` was counted rather than guessed.
        changes: what would happen to the table's columns.
        destructive: what would remove or overwrite rows.
        notes: what a person should know.
        error: why it cannot run; empty otherwise.
        exit_code: 0, or the error's.
    """

    resource: str
    mode: str
    table: str
    query: str = ""
    sql: str = ""
    bound: str | None = None
    since: int | str | None = None
    until: int | str | None = None
    nothing_new: bool = False
    ranges: list[str] = field(default_factory=list)
    range_sql: str = ""
    commits: int = 1
    rows: int | None = None
    rows_exact: bool = False
    changes: list[str] = field(default_factory=list)
    destructive: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    error: str = ""
    exit_code: int = 0

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def plan(
    file: str | Path = "ingest.yml",
    resources: Sequence[str] = (),
    *,
    full_refresh: Sequence[str] = (),
    backfill: Backfill | None = None,
    allow_shrink: float | None = None,
    sources: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[ResourcePlan]:
    """What `run` with the same arguments would do. Nothing is written: no table, no file, no state.

    Raises:
        ConfigError: the file, or a name, is wrong.
    """
    project = load(file, environment=environment)
    plans = []
    chosen = choose(project, resources, full_refresh)
    if backfill is not None:
        refuse_backfill(chosen)
    for resource in chosen:
        with opened(project, resource, sources or {}) as (source, destination):
            job = Job(
                project=project,
                resource=resource,
                source=source,
                destination=destination,
                run_id="plan",
                full_refresh=resource.name in full_refresh,
                backfill=backfill,
                allow_shrink=allow_shrink,
            )
            plans.append(plan_resource(job))
    return plans


def plans_exit_code(plans: Sequence[ResourcePlan]) -> int:
    """0 when every resource can run."""
    return exit_code([one.exit_code for one in plans])


def plan_resource(job: Job) -> ResourcePlan:
    """The plan of one resource; an error is part of it."""
    resource = job.resource
    mode = "replace" if job.full_refresh else resource.mode
    found = ResourcePlan(resource=resource.name, mode=mode, table=resource.into, query=resource.query or "")
    try:
        _look(job, found)
    except ConduitError as error:
        found.error, found.exit_code = str(error), error.exit_code
    return found


def _look(job: Job, found: ResourcePlan) -> None:
    report = ResourceReport(resource=job.resource.name)
    mark = recover(job, report, repair=False)
    since = planning.start(job, mark)
    watermark = planning.guard(job, since)
    with job.source.open(planning.request(job, watermark, since, mark)) as session:
        described = session.describe()
        planning.agree(job, mark, described)
        watermark = watermark if since is not None else planning.guard(job, None, described)
        watermark = watermark.settled(job.resource.name, described)
        described, shape = planning.shaped(job, described)
        planning.key(job, described, watermark, shape)
        until = session.until()
        planning.refuse_backwards(job, since, until)
        target = planning.columns(job, described, job.destination.describe(job.resource.into))
        estimate = session.estimate() if isinstance(session, SupportsEstimate) and not until.nothing_new else None
        if planning.partition(job) is not None and not until.nothing_new:
            _show_ranges(found, session.splits(), grouped=planning.commit_every(job, described, shape) is not None)
    found.sql, found.bound, found.nothing_new = described.sql, described.bound, until.nothing_new
    found.since, found.until = report.since, _shown(until.position)
    found.rows = 0 if until.nothing_new else estimate.rows if estimate else None
    found.rows_exact = until.nothing_new or (estimate is not None and estimate.exact)
    found.changes = _changes(job, described, target)
    found.notes = [
        *report.notes,
        *watermark.notes,
        *described.notes,
        *planning.order_notes(job, described, shape),
        *target.notes,
    ]
    if _exists(job):
        _destroy(job, found, exact=found.rows_exact and not described.null_cursors)


def _destroy(job: Job, found: ResourcePlan, *, exact: bool) -> None:
    """What would remove or overwrite rows; an error when a run would be refused because too many would go."""
    resource = job.resource
    if found.mode == "merge":
        found.destructive = [f"rows of {resource.into} with the same {', '.join(resource.primary_key)} are updated"]
    if found.mode == "replace":
        unknown = found.rows is None or resource.transform is not None
        there, coming = replacing.rows_there(job), None if unknown else Estimate(found.rows or 0, exact)
        found.destructive = [replacing.told(resource.into, there, coming)]
        found.notes += replacing.refuse(job, there, coming)


def _show_ranges(found: ResourcePlan, splits: Sequence[Split], *, grouped: bool) -> None:
    ranges = [split.detail for split in splits if isinstance(split.detail, Range)]
    found.ranges = [one.condition or "all rows" for one in ranges]
    found.range_sql = ranges[0].sql if ranges else ""
    found.commits = len({one.group for one in ranges}) if grouped else 1


def _exists(job: Job) -> bool:
    return job.destination.describe(job.resource.into) is not None


def _shown(position: Position | None) -> int | str | None:
    return position.shown() if position else None


def _changes(job: Job, described: Described, target: Reconciled) -> list[str]:
    if not _exists(job):
        columns = ", ".join(f"{field.name} {field.type}" for field in target.schema)
        return [f"create table {job.resource.into} ({columns})"]
    added = [target.schema.field(name) for name in target.added]
    lines = [f"add column {field.name} {field.type}" for field in added]
    return lines + [f"ignore column {name} {described.schema.field(name).type}" for name in target.ignored]


def preview(
    file: str | Path,
    resource: str,
    *,
    limit: int,
    sources: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> pa.Table:
    """The first `limit` rows that a run would read, as they would be written; nothing is written.

    Raises:
        ConduitError: the resource cannot run.
    """
    project = load(file, environment=environment)
    chosen = choose(project, [resource])[0]
    with opened(project, chosen, sources or {}) as (source, destination):
        job = Job(project=project, resource=chosen, source=source, destination=destination, run_id="preview")
        mark = mark_of(destination.marks(chosen.into), job.identity)
        since = planning.start(job, mark)
        read = planning.request(job, planning.guard(job, since), since)
        with source.open(read) as session:
            described, shape = planning.shaped(job, session.describe())
            return _first_rows(_shaped(session.read(session.splits()[0]), shape), described.schema, limit)


def _shaped(rows: Iterator[pa.RecordBatch], shape: Transform | None) -> Iterator[pa.RecordBatch]:
    return rows if shape is None else shape.batches(conform(batch, shape.source) for batch in rows)


def _first_rows(batches: Iterator[pa.RecordBatch], schema: pa.Schema, limit: int) -> pa.Table:
    kept: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        kept.append(batch.select(schema.names).slice(0, limit - rows))
        rows += kept[-1].num_rows
        if rows >= limit:
            break
    return pa.Table.from_batches(kept, schema=schema)
