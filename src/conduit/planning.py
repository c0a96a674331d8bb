"""What a run will do, decided before the first row: bounds, columns, key, commits. Nothing here has an effect.

`run` carries a plan out, `conduit plan` shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

from conduit import watermarks
from conduit.arrow import pa
from conduit.contract import Described, Read, Until, Write
from conduit.errors import DataError, StateConflict
from conduit.job import Job
from conduit.marks import Mark
from conduit.positions import Position, after, highest
from conduit.rows import CursorColumn, with_metadata
from conduit.schemas import Reconciled, reconcile
from conduit.watermarks import Watermark


@dataclass(frozen=True, slots=True)
class Plan:
    """What is known before the first row.

    Attributes:
        described: the source's side.
        watermark: how the read looks back.
        key: columns that identify a row; empty: unknown.
        until: where it ends.
        mark: what the destination holds.
        since: what the read goes on from; `read.since` is the same, less the lag.
        read: what the source was asked for.
    """

    described: Described
    watermark: Watermark
    key: tuple[str, ...]
    until: Until
    mark: Mark | None
    since: Position | None
    read: Read


def start(job: Job, mark: Mark | None) -> Position | None:
    """What the read goes on from; None: everything is read."""
    everything = job.full_refresh or job.resource.mode == "replace" or job.backfill is not None
    if everything or mark is None or mark.position is None or mark.position.kind == "full":
        return None
    return mark.position


def guard(job: Job, since: Position | None, described: Described | None = None) -> Watermark:
    """How the read looks back. The cursor's type comes from the mark, or on a first run from the source."""
    type_ = since.type if since is not None else described.cursor_type if described is not None else None
    if not type_ or job.backfill is not None:
        return Watermark()
    return watermarks.choose(job.resource, type_, late_commits=job.source.late_commits)


def request(job: Job, watermark: Watermark, since: Position | None) -> Read:
    """What the source is asked for."""
    resource = job.resource
    incremental = resource.incremental
    return Read(
        resource=resource.name,
        query=resource.query,
        table=resource.table,
        cursor=incremental.column if incremental else None,
        initial_value=job.backfill.start if job.backfill else incremental.initial_value if incremental else None,
        since=watermark.lower(since),
        through=job.backfill.end if job.backfill else None,
        on_null=incremental.on_null if incremental else "error",
        ordered=resource.checkpoint_interval is not None and job.backfill is None,
        columns=resource.columns,
        reload_changed_files=resource.on_changed_file == "reload",
        batch_size=resource.batch_size,
    )


def agree(job: Job, mark: Mark | None, described: Described) -> None:
    """The source is the one that the mark was made from, and its cursor still has the same type.

    Raises:
        StateConflict: it is another source, or the cursor changed its type.
        DataError: there are rows without a cursor, and no rule for them.
    """
    resource = job.resource
    if mark is not None and mark.position is not None and not job.full_refresh and resource.mode != "replace":
        if mark.source != described.fingerprint:
            raise StateConflict(
                f"{resource.name}: the mark was made from another source: {mark.source}, now {described.fingerprint}",
                hint=f"`conduit state adopt {resource.name}` if it is the same data, `conduit state reset` if not",
            )
        if mark.position.kind == "cursor" and mark.position.type != described.cursor_type:
            raise StateConflict(
                f"{resource.name}: the cursor was of type {mark.position.type}, now it is {described.cursor_type}",
                hint=f"`conduit state set {resource.name} VALUE` with a value of the new type, or `state reset`",
            )
    if described.null_cursors and resource.incremental and resource.incremental.on_null == "error":
        raise DataError(
            f"{resource.name}: {described.null_cursors:,} rows have no {resource.incremental.column} (NULL)",
            hint="set `incremental: {on_null: exclude}` (or `include`), or filter them in the query",
        )


def refuse_backwards(job: Job, since: Position | None, until: Until) -> None:
    """The source must not end below the mark.

    Raises:
        StateConflict: it does; it may have been restored from a backup.
    """
    if since is None or since.kind != "cursor" or until.position is None or not after(since, until.position):
        return
    name, end = job.resource.name, until.position.value
    raise StateConflict(
        f"{name}: the source ends at {end}, below the mark {since.value}: it may have been restored from a backup",
        hint=f"`conduit state set {name} {end}` goes on from there",
    )


def columns(job: Job, described: Described, table: pa.Schema | None) -> Reconciled:
    """What happens to every column, metadata columns included."""
    schema = with_metadata(described.schema) if job.resource.metadata_columns else described.schema
    return reconcile(schema, table, job.resource.schema_changes, job.resource.into)


def write_request(job: Job, plan: Plan, target: Reconciled, *, new_table: bool) -> Write:
    """What each commit does to the table."""
    resource, described = job.resource, plan.described
    key = plan.key
    unique = watermarks.unique_by_catalogue(key, described)
    incremental = resource.incremental
    rereads = plan.watermark.looks_back or (incremental is not None and incremental.on_null == "include")
    mode = "replace" if job.full_refresh else resource.mode
    cursor = incremental.column if incremental and incremental.column in target.schema.names else None
    only_recent = cursor in key and incremental is not None and incremental.on_null != "include"
    return Write(
        identity=job.identity,
        table=resource.into,
        mode=mode,
        schema=target.schema,
        run_id=job.run_id,
        key=key if mode == "merge" or rereads else (),
        key_is_unique=unique,
        cursor=cursor,
        leave_out_present=mode == "append" and rereads and not (new_table and unique),
        present_from=plan.read.since if only_recent else None,
        update=resource.update,
        add_columns=target.added,
        refuse_duplicate_keys=resource.accumulates,
    )


def commit_every(job: Job, described: Described) -> int | None:
    """Rows between commits; None: one commit at the end."""
    if not described.ordered or job.full_refresh or job.backfill or job.resource.mode == "replace":
        return None
    return job.resource.checkpoint_interval


def order_notes(job: Job, described: Described) -> list[str]:
    """What to say about a checkpoint_interval that cannot work."""
    if job.resource.checkpoint_interval is None or job.backfill is not None:
        return []
    if job.full_refresh or job.resource.incremental is None:
        return ["checkpoint_interval has no effect: everything is committed at once"]
    if described.ordered:
        return []
    column = job.resource.incremental.column
    return [f"checkpoint_interval has no effect: the rows do not come ordered by {column}; add ORDER BY {column}"]


def cursor_column(job: Job, described: Described) -> CursorColumn | None:
    """The incremental column as the stream follows it."""
    if job.resource.incremental is None or described.cursor_type is None:
        return None
    return CursorColumn(job.resource.incremental.column, described.cursor_type, described.cursor_unit)


def new_position(job: Job, plan: Plan, reached: Position | None) -> Position | None:
    """Where the source has been read to once the rows up to `reached` are committed, never below the mark."""
    if job.resource.incremental is not None:
        return highest(plan.since, reached)
    return plan.until.position or Position(kind="full", value=job.run_id)
