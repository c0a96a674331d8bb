"""What a run will do, decided before the first row: bounds, columns, key, commits. Nothing here has an effect.

`run` carries a plan out, `conduit plan` shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from conduit import watermarks
from conduit.arrow import LateSchema, SchemaOnce, pa
from conduit.contract import Described, Read, SafeRead, Until, Write
from conduit.errors import ConfigError, DataError, StateConflict
from conduit.job import Job
from conduit.late import late
from conduit.marks import Mark
from conduit.positions import Position, after, highest
from conduit.splits import Partition
from conduit.watermarks import Watermark

if TYPE_CHECKING:
    from conduit import rows, schemas, transform
    from conduit.rows import CursorColumn
    from conduit.schemas import Reconciled
    from conduit.transform import Transform
else:
    rows, schemas, transform = late("conduit.rows"), late("conduit.schemas"), late("conduit.transform")

RENEWED_AFTER = 50_000_000
"""Transactions after which the horizon in a quiet table's mark is moved on: ids are comparable over 2^31 only."""


class Plan(msgspec.Struct, frozen=True):
    """What is known before the first row.

    Attributes:
        described: the source's side, with the columns that come out of a transform.
        watermark: how the read looks back.
        key: columns that identify a row; empty: unknown.
        until: where it ends.
        mark: what the destination holds.
        since: what the read goes on from; `read.since` is the same, less the lag.
        read: what the source was asked for.
        transform: what happens to the rows of a commit; None: nothing.
    """

    described: Described
    watermark: Watermark
    key: tuple[str, ...]
    until: Until
    mark: Mark | None
    since: Position | None
    read: Read
    transform: Transform | None = None

    @property
    def moves_without_rows(self) -> bool:
        """The source has gone on although it has no new row: a mark that stays behind would expire with its history."""
        if self.since is None:
            return False
        seen, now = self.since.window, self.described.window
        if seen is not None and now is not None and int(now.end) - int(seen.end) > RENEWED_AFTER:
            return True
        return self.since.kind == "snapshot" and self.until.position != self.since


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


def request(
    job: Job, watermark: Watermark, since: Position | None, mark: Mark | None = None, *, resume: bool = True
) -> Read:
    """What the source is asked for. With `resume` what a checkpoint has left of its window comes first."""
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
        ordered=resource.checkpoint_interval is not None and job.backfill is None and resource.partition is None,
        columns=resource.columns,
        reload_changed_files=resource.on_changed_file == "reload",
        on_change=resource.on_change,
        batch_size=resource.batch_size,
        safe=safe_read(job, watermark, since, unfinished=resume and mark is not None and not mark.complete),
        partition=partition(job),
    )


def partition(job: Job) -> Partition | None:
    """The splits that the source is asked for; in groups where each of them can be a commit."""
    wanted = job.resource.partition
    if wanted is None:
        return None
    in_pieces = _goes_by_cursor(job) and not (job.full_refresh or job.backfill or job.resource.mode == "replace")
    return Partition(
        column=wanted.column,
        number=None if wanted.number == "auto" else wanted.number,
        group_rows=job.resource.checkpoint_interval if in_pieces else None,
    )


def _goes_by_cursor(job: Job) -> bool:
    """Whether the splits are ranges of the cursor, so that those of a commit are in its order."""
    wanted, incremental = job.resource.partition, job.resource.incremental
    return wanted is not None and incremental is not None and wanted.column == incremental.column


def safe_read(job: Job, watermark: Watermark, since: Position | None, *, unfinished: bool) -> SafeRead | None:
    """What a source with a safe horizon is asked for; None: it reads by the cursor. A first run has no type yet."""
    if since is not None:
        asked = watermark.window != "never"
    else:
        asked = job.backfill is None and job.source.late_commits and watermarks.wants_window(job.resource)
    if not asked:
        return None
    distance = not job.resource.primary_key and job.resource.mode == "append"
    return SafeRead(position=since, unfinished=unfinished, lag=watermark.lag, needs_distance=distance)


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


def shaped(job: Job, described: Described) -> tuple[Described, Transform | None]:
    """The source as it looks after the resource's transform, and the transform; None without one.

    Raises:
        ConfigError: the transform's SQL does not fit the source.
    """
    found = transform.of(job.resource, described) if job.resource.transform is not None else None
    return (found.described, found) if found else (described, None)


def key(job: Job, described: Described, watermark: Watermark, shape: Transform | None) -> tuple[str, ...]:
    """The columns that identify a row, which an append that reads rows twice leaves out by.

    Raises:
        ConfigError: there is none where one is needed, or the transform does not keep it.
    """
    found = watermarks.key_of(job.resource, described, watermark)
    appends = job.resource.mode == "append" and not job.full_refresh
    if shape is not None and appends and rereads(job, watermark) and not shape.keeps(found):
        raise ConfigError(
            f"resource {job.resource.name}: some rows are read twice and left out by their key, but what `transform:` "
            f"makes of them cannot be told apart by {', '.join(found) or 'a key'}",
            hint="say `incremental: {column: …, safety: none}`, or keep the columns of the primary_key row by row",
        )
    return found


def rereads(job: Job, watermark: Watermark) -> bool:
    """Whether rows that were loaded can be read again."""
    incremental = job.resource.incremental
    return watermark.looks_back or (incremental is not None and incremental.on_null == "include")


def columns(job: Job, described: Described, table: pa.Schema | LateSchema | None) -> Reconciled:
    """What happens to every column, metadata columns included."""
    schema = rows.with_metadata(described.schema) if job.resource.metadata_columns else SchemaOnce.given(described)
    return schemas.reconcile(schema, table, job.resource.schema_changes, job.resource.into)


def write_request(job: Job, plan: Plan, target: Reconciled, *, new_table: bool) -> Write:
    """What each commit does to the table."""
    resource, described = job.resource, plan.described
    unique = watermarks.unique_by_catalogue(plan.key, described)
    incremental = resource.incremental
    twice = rereads(job, plan.watermark)
    mode = "replace" if job.full_refresh else resource.mode
    cursor = incremental.column if incremental and incremental.column in SchemaOnce.names(target) else None
    only_recent = cursor in plan.key and incremental is not None and incremental.on_null != "include"
    return Write(
        identity=job.identity,
        table=resource.into,
        mode=mode,
        schema=SchemaOnce.given(target),
        run_id=job.run_id,
        key=plan.key if mode == "merge" or twice else (),
        key_is_unique=unique,
        cursor=cursor,
        leave_out_present=mode == "append" and twice and not (new_table and unique),
        present_from=(described.floor if described.window else plan.read.since) if only_recent else None,
        update=resource.update,
        add_columns=target.added,
        refuse_duplicate_keys=resource.accumulates,
        allow_shrink=job.may_shrink,
    )


def commit_every(job: Job, described: Described, shape: Transform | None) -> int | None:
    """Rows between commits; None: one commit at the end."""
    if shape is not None and not shape.is_row_by_row:
        return None
    if job.full_refresh or job.backfill or job.resource.mode == "replace":
        return None
    if not described.ordered and not _goes_by_cursor(job):
        return None
    return job.resource.checkpoint_interval


def order_notes(job: Job, described: Described, shape: Transform | None) -> list[str]:
    """What to say about a checkpoint_interval that cannot work."""
    if job.resource.checkpoint_interval is None or job.backfill is not None:
        return []
    if job.full_refresh or job.resource.incremental is None:
        return ["checkpoint_interval has no effect: everything is committed at once"]
    if shape is not None and not shape.is_row_by_row:
        return ["checkpoint_interval has no effect: `transform:` needs all rows of the run"]
    if described.ordered or _goes_by_cursor(job):
        return []
    column = job.resource.incremental.column
    if job.resource.partition is not None:
        return [
            f"checkpoint_interval has no effect: only ranges of {column} come in its order, `partition:` it by that"
        ]
    return [f"checkpoint_interval has no effect: the rows do not come ordered by {column}; add ORDER BY {column}"]


def cursor_column(job: Job, described: Described) -> CursorColumn | None:
    """The incremental column as the stream follows it."""
    if job.resource.incremental is None or described.cursor_type is None:
        return None
    return rows.CursorColumn(job.resource.incremental.column, described.cursor_type, described.cursor_unit)


def new_position(job: Job, plan: Plan, reached: Position | None, *, complete: bool) -> Position | None:
    """Where the source has been read to once the rows up to `reached` are committed, never below the mark."""
    if job.resource.incremental is not None:
        found, window = highest(plan.since, reached), plan.described.window
        if found is None or window is None:
            return found and replace(found, window=None)
        if complete or reached is None:
            return replace(found, window=window.covered(found.value))
        return replace(found, window=replace(window, at=reached.value))
    return plan.until.position or Position(kind="full", value=job.run_id)
