"""What can be compared: which rows and columns of the two sides belong together, up to the mark; and how they are read.

A row that the next run would read is not missing: it lies above the mark, is held back by an open transaction, or is
read again by a lag. Nothing here compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from msgspec.structs import replace

from conduit import planning
from conduit.arrow import pa, pc
from conduit.bounds import ROWS, Bounds
from conduit.connectors import registry
from conduit.contract import Described, Read, Session, Source
from conduit.errors import Busy, ConfigError, StateConflict
from conduit.job import Job
from conduit.marks import Mark, mark_of
from conduit.positions import CursorType, Position, cursor, parse_shown
from conduit.rows import METADATA_COLUMNS
from conduit.schemas import conform, declared_name
from conduit.sums import Summing, SupportsSums
from conduit.watermarks import Watermark, key_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One resource, as far as its two sides can be compared.

    Attributes:
        job: the resource with its ends.
        mark: what the destination has committed.
        schema: the columns that the resource loads, in the types of the destination.
        written: the same with the columns that a run adds to each row.
        unloaded: columns of the destination that the resource does not load.
        read: the source's rows up to the mark.
        next_read: what the next run would read; None: it would read everything anyway.
        key: columns that identify a row; empty: unknown.
        cursor: the incremental column, if the destination has it.
        cursor_type: its type in the source; None without one.
        cursor_unit: its unit there, for times.
        bounds: which rows of the destination belong to the comparison; None: all.
        notes: what a person should know.
    """

    job: Job
    mark: Mark
    schema: pa.Schema
    written: pa.Schema
    read: Read
    next_read: Read | None
    key: tuple[str, ...] = ()
    cursor: str | None = None
    cursor_type: CursorType | None = None
    cursor_unit: str = ""
    unloaded: tuple[str, ...] = ()
    bounds: Bounds | None = None
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns that a row is found again by: the key, else the cursor."""
        return self.key or ((self.cursor,) if self.cursor else ())

    @contextmanager
    def summing(self) -> Iterator[tuple[Summing, Summing] | str]:
        """Source and destination as sides that add themselves up, each in one snapshot; or why they do not."""
        source, (target, read) = self.job.source, self._target()
        unbounded = self.read.cursor is not None and self.bounds is None
        if unbounded or not (isinstance(source, SupportsSums) and isinstance(target, SupportsSums)):
            yield ""
            return
        if self.bounds is not None:
            lower, upper = self.bounds.lower, self.bounds.upper
            read = replace(read, cursor=self.cursor, since=lower, through=upper.value if upper else None)
        with (
            source.summing(self.read, self.schema, self.cursor) as one,
            target.summing(read, self.schema, self.cursor) as other,
        ):
            if isinstance(one, str):
                yield one
            else:
                yield other if isinstance(other, str) else (one, other)

    def source_rows(self, read: Read | None = None) -> Iterator[pa.RecordBatch]:
        """The rows of a read (all up to the mark), in the types of the destination. One snapshot."""
        wanted = read or self.read
        with self.job.source.open(wanted) as session:
            if wanted is self.next_read and session.until().nothing_new:
                return
            yield from self._of(session, wanted)

    def _of(self, session: Session, read: Read) -> Iterator[pa.RecordBatch]:
        splits = session.splits()
        for split in splits:
            without_nulls = read.on_null != "include" or (len(splits) > 1 and split.name == ROWS)
            for batch in session.read(split):
                if read.cursor is not None and without_nulls and batch.column(read.cursor).null_count:
                    batch = batch.filter(pc.is_valid(batch.column(read.cursor)))  # noqa: PLW2901 - fewer rows
                yield conform(batch, self.schema)

    def target_rows(self) -> Iterator[pa.RecordBatch]:
        """The rows of the destination within the bounds, and those without a cursor. One snapshot."""
        target, read = self._target()
        with target.open(read) as session:
            for split in session.splits():
                for batch in session.read(split):
                    yield from self._within(conform(batch, self.schema))

    def _target(self) -> tuple[Source, Read]:
        """The destination as a source, and the request for all its rows."""
        job = self.job
        job.destination.close()  # some databases give a file to one connection at a time
        config = job.project.destinations[job.resource.destination]
        back = config.connection.read_back(job.resource.into)
        columns = {field.name: declared_name(field.type) for field in self.schema} if back.untyped else {}
        read = Read(
            resource=job.resource.name,
            table=back.table,
            columns={name: type_ for name, type_ in columns.items() if type_ is not None},
            on_null="include",
        )
        return registry.read_back(config, back, job.project.folder), read

    def _within(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        if self.bounds is None or self.cursor is None:
            yield batch
            return
        yield self.bounds.keep(batch)
        nulls = batch.column(self.cursor)
        if nulls.null_count:
            yield batch.filter(pc.is_null(nulls))


def scope(job: Job, since: str | None = None) -> Scope:
    """Look at both sides; read no row.

    Args:
        job: the resource with its ends.
        since: compare only what is above this value of the cursor.

    Raises:
        ConfigError: the rows of this resource are not those of its source, or not of this resource alone.
        StateConflict: nothing was loaded yet, or a run was not finished.
    """
    refuse_changed_rows(job)
    mark = _mark(job)
    read = _up_to(job, mark, since)
    with job.source.open(read) as session:
        described = session.describe()
        planning.agree(job, mark, described)
    table = job.destination.describe(job.resource.into)
    found = planning.columns(job, described, table)
    written = pa.schema([field for field in found.schema if field.name not in found.added])
    schema = pa.schema([field for field in written if field.name not in METADATA_COLUMNS])
    key = tuple(name for name in key_of(job.resource, described, Watermark()) if name in schema.names)
    incremental = job.resource.incremental
    column = incremental.column if incremental and incremental.column in schema.names else None
    next_read = _next(job, mark)
    notes = () if next_read else ("compared with the source as it is now: this resource has no watermark",)
    return Scope(
        job=job,
        mark=mark,
        schema=schema,
        written=written,
        unloaded=tuple(name for name in (table.names if table else ()) if name not in written.names),
        read=read,
        next_read=next_read,
        key=key,
        cursor=column,
        cursor_type=described.cursor_type,
        cursor_unit=described.cursor_unit,
        bounds=_bounds(schema, column, described, read) if column else None,
        notes=(*notes, *(f"column {name} is not loaded, so it is not compared" for name in found.ignored)),
    )


def refuse_changed_rows(job: Job) -> None:
    """The table holds the rows of the source as they are.

    Raises:
        ConfigError: it holds what a transform or `update:` makes of them.
    """
    resource = job.resource
    reason = "`transform:` writes other rows than it reads" if resource.transform else ""
    if resource.update:
        reason = "`update:` writes other values than the source has"
    if reason:
        raise ConfigError(
            f"resource {resource.name} cannot be compared with its source: {reason}",
            hint="name the other resources: `conduit verify ingest.yml RESOURCE …`",
        )


def _mark(job: Job) -> Mark:
    resource = job.resource
    marks = job.destination.marks(resource.into)
    others = [one.identity for one in marks if one.identity != job.identity and one.position is not None]
    if others:
        named = ", ".join(f"{other.resource} (pipeline {other.pipeline})" for other in others)
        raise ConfigError(
            f"resource {resource.name} cannot be compared with its source: {named} writes into {resource.into} too, "
            "and its rows do not say whose they are",
            hint="give each resource a table of its own",
        )
    mark = mark_of(marks, job.identity)
    if mark is None or mark.position is None:
        raise StateConflict(
            f"{resource.name}: nothing was loaded yet, so there is nothing to compare", hint="conduit run"
        )
    if mark.position.window is not None and mark.position.window.at:
        raise StateConflict(
            f"{resource.name}: the last run was not finished, and its rows are not told from those to come",
            hint="finish it with `conduit run`",
        )
    return mark


def _up_to(job: Job, mark: Mark, since: str | None) -> Read:
    """The request for all that was loaded by now, and should be there."""
    position, has_cursor = mark.position, job.resource.incremental is not None
    if since is not None and (not has_cursor or position is None):
        raise ConfigError(f"resource {job.resource.name}: --since needs an incremental_column")
    lower = None
    if since is not None and position is not None:
        lower = parse_shown(since, cast("CursorType", position.type), position.unit)
    return replace(
        planning.request(job, Watermark(), None),
        since=lower,
        through=position.value if position is not None and position.kind == "cursor" else None,
        ordered=False,
        safe=None,
    )


def _next(job: Job, mark: Mark) -> Read | None:
    since = planning.start(job, mark)
    if since is None:
        return None
    read = planning.request(job, planning.guard(job, since), since, mark, resume=False)
    return replace(read, ordered=False)


def _bounds(schema: pa.Schema, column: str, described: Described, read: Read) -> Bounds | None:
    """The same bounds over the destination's column."""
    type_, unit = described.cursor_type or "text", described.cursor_unit
    field = schema.field(column)
    if type_ == "timestamp-text" and isinstance(field.type, pa.TimestampType):
        type_, unit = ("timestamptz" if field.type.tz else "timestamp"), field.type.unit
    upper = _position(read.through, type_, unit)
    lower = _position(read.since.value if read.since else read.initial_value, type_, unit)
    return Bounds(field, type_, unit, lower, upper) if upper is not None else None


def _position(value: str | None, type_: CursorType, unit: str) -> Position | None:
    return cursor(value, type_, unit) if value is not None else None


def require_same_mark(scope: Scope) -> None:
    """No run has moved the mark since the scope was made.

    Raises:
        Busy: one has.
    """
    job = scope.job
    now = mark_of(job.destination.marks(job.resource.into), job.identity)
    if now is None or now.token() != scope.mark.token():
        raise busy(scope, "a run loaded rows in the meantime")


def busy(scope: Scope, why: str) -> Busy:
    """The error of two sides that moved while they were compared."""
    return Busy(f"{scope.job.resource.name}: {why}", hint="try again; nothing was changed")
