"""Source, Destination, and the values that pass between them. Everything else in conduit stands on this file.

A read returns data *and where it ends*; a write commits data *and where the source was read to*, in one atomic step.
Reading happens in a session (one snapshot), writing in a load (rows are staged, then committed once with the mark), as
in Spark's DataSourceV2 `BatchWrite` and Flink's `TwoPhaseCommittingSink`. It knows no connector and imports no driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import msgspec

from conduit.arrow import LateSchema, SchemaOnce
from conduit.errors import ConnectionFailed
from conduit.marks import Identity, Mark
from conduit.positions import CursorType, Lag, Position, Window
from conduit.splits import Partition

if TYPE_CHECKING:
    from conduit.arrow import pa

Mode = Literal["append", "merge", "replace"]
OnNull = Literal["error", "include", "exclude"]
OnChange = Literal["error", "ignore"]
SchemaChanges = Literal["add", "ignore", "fail"]
Ability = Literal["append", "merge", "replace", "leave_out_present", "checkpoints", "add_columns", "repair"]
"""What a destination can be asked for. `leave_out_present` is append that skips keys it already holds."""

SHRINK = 0.1
"""The share of a table's rows that a replace or a repair may take away without being told so."""

CURSOR_TEXT = "__conduit_cursor"
"""A column that a source may add to its batches: the cursor as the source itself prints it, when the typed
column cannot carry it exactly. The watermark is read from it, and it is taken out before the write."""


# --- reading --------------------------------------------------------------------------------------------


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """What a resource wants from its source.

    Attributes:
        resource: its name, for messages.
        query: the SQL of the resource, or None.
        table: the table (or file pattern) to read, or None when there is a query.
        cursor: name of the incremental column, or None.
        initial_value: the watermark of the first run, as written in ingest.yml; None: everything.
        since: read only what is above this position; None: everything.
        through: read nothing above this value (a backfill with an end); None: up to the snapshot.
        on_null: what happens to rows whose cursor is NULL.
        ordered: rows must come in the order of the cursor, so that checkpoints can cut them.
        columns: declared type by column name; overrides what the source says or infers.
        reload_changed_files: (files) a loaded file that changed is read again instead of being an error.
        on_change: (snapshots) rows changed or deleted since the position are an error, or are passed over.
        batch_size: rows of a batch, at most; None: the connector's own size.
        safe: read by the safe horizon, if the source has one for this relation; None: by the cursor alone.
        partition: read ranges of a column at once; only a source whose keys say `partitions` is asked to.
    """

    resource: str
    query: str | None = None
    table: str | None = None
    cursor: str | None = None
    initial_value: str | None = None
    since: Position | None = None
    through: str | None = None
    on_null: OnNull = "error"
    ordered: bool = False
    columns: Mapping[str, str] = msgspec.field(default_factory=dict)
    reload_changed_files: bool = False
    on_change: OnChange = "error"
    batch_size: int | None = None
    safe: SafeRead | None = None
    partition: Partition | None = None


class SafeRead(msgspec.Struct, frozen=True, kw_only=True):
    """Asks a source that has a safe horizon to read by it: what was committed since the mark, late or not.

    Attributes:
        position: the mark's; None: a first run.
        unfinished: the mark is a checkpoint, and what is left of its window comes first.
        lag: how far a cursor can lie behind those that were known before; None: any distance.
        needs_distance: rows have no key, so that a cursor without a distance (text, uuid) is compared strictly.
    """

    position: Position | None = None
    unfinished: bool = False
    lag: Lag | None = None
    needs_distance: bool = False


@dataclass(frozen=True, kw_only=True)
class Described:
    """What a session knows before a row is read.

    Attributes:
        schema: the columns as they will come (without CURSOR_TEXT); can be given as a LateSchema.
        fingerprint: system, database, relation and cursor of the source, as one line.
        cursor_type: type of the incremental column; None without one.
        cursor_unit: `s`, `ms`, `us`, `ns` for times.
        key: columns that the source's catalogue says are unique and not NULL; empty: unknown.
        ordered: rows come in the order of the cursor.
        null_cursors: rows of the relation whose cursor is NULL; 0 where the column cannot be NULL.
        sql: what is sent to the source, for `plan`; empty for files.
        bound: the value that `:last_value` (or the filter) is bound to, for people; None: no lower bound.
        notes: what a person should be told (a type kept as text, a minimum bound for `:last_value`, …).
        window: the transactions that the read covers; None: it reads by the cursor.
        no_window: why it does, although a safe read was asked for.
        floor: (with a window) no row at or below this cursor is read; None: no bound.
    """

    schema: SchemaOnce = SchemaOnce()  # noqa: RUF009 - a descriptor, no default
    fingerprint: str
    cursor_type: CursorType | None = None
    cursor_unit: str = ""
    key: tuple[str, ...] = ()
    ordered: bool = False
    null_cursors: int = 0
    sql: str = ""
    bound: str | None = None
    notes: tuple[str, ...] = ()
    window: Window | None = None
    no_window: str = ""
    floor: Position | None = None


class Split(msgspec.Struct, frozen=True):
    """A bounded piece of a read: picklable, disjoint from the others, complete together with them.

    `name` is `rows`, or `null cursors` for the rows that have none; `detail` belongs to the connector, or is a `Range`.
    """

    name: str
    detail: Any = None


class Until(msgspec.Struct, frozen=True, kw_only=True):
    """Where a read will end.

    Attributes:
        nothing_new: there is nothing above `since`; no row needs to be read.
        position: the end itself where it is known before the rows (a ledger of files, a snapshot id, the maximum
            of a table's cursor). None: the session's snapshot is the bound, and the highest row read is the end.
    """

    nothing_new: bool = False
    position: Position | None = None


class Session(Protocol):
    """One snapshot of a source: `until` and all rows come from it (I5)."""

    def describe(self) -> Described:
        """Schema, order, key and statement. No row is read. The answer is the same at every call."""
        ...

    def until(self) -> Until:
        """The upper bound of this read, fixed before a row is read."""
        ...

    def splits(self) -> Sequence[Split]:
        """The pieces to read. An ordered read is one split; NULL cursors, when included, are one more."""
        ...

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The rows of a split, each exactly once, as batches of `describe().schema` (plus CURSOR_TEXT)."""
        ...


@runtime_checkable
class SupportsEstimate(Protocol):
    """A session that can say how many rows it will give, for `plan`. A run never asks."""

    def estimate(self) -> Estimate | None:
        """How many rows; None: it cannot tell."""
        ...


class Estimate(msgspec.Struct, frozen=True):
    """A number of rows, counted (`exact`) or guessed by the source's planner."""

    rows: int
    exact: bool


@runtime_checkable
class SupportsCancel(Protocol):
    """A session whose read can be broken off from another thread, when the run has to stop."""

    def cancel(self) -> None:
        """Let a read that is under way end soon, with an error that nobody looks at."""
        ...


class Source(Protocol):
    """A system that rows come from. Construction connects to nothing."""

    late_commits: bool
    """A row may become visible below a watermark that was already read (concurrent writers)."""

    def check(self) -> str:
        """Reach the source and see the permissions; one line about what was found.

        Raises:
            ConnectionFailed: with the name of the connection in the message.
        """
        ...

    def open(self, read: Read) -> AbstractContextManager[Session]:
        """One snapshot; released on exit, whatever happened."""
        ...


# --- writing --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Write:
    """What one commit does to its table.

    Attributes:
        identity: who writes; its mark moves in the same commit.
        table: the target, as the user named it.
        mode: append, merge or replace.
        schema: the rows as they will arrive, already cast to the target's types; can be given as a LateSchema.
        key: columns that identify a row; needed by merge and by `leave_out_present`.
        key_is_unique: the source's catalogue proves that no two rows share the key.
        cursor: column that decides which of two rows with one key is newer.
        leave_out_present: (append) skip rows whose key the table already holds.
        present_from: with it, only rows at or above this cursor value can already be present.
        update: (merge) column -> SQL expression over `target.` and `source.`, for matched rows.
        add_columns: fields of `schema` that the existing table lacks and that are to be added.
        run_id: the run, for names of staged things.
        refuse_duplicate_keys: two rows of one key in this commit are an error, not superseded.
        allow_shrink: (replace) the share of the table's rows that may be gone after it; see `shrink.refuse`.
    """

    identity: Identity
    table: str
    mode: Mode
    schema: SchemaOnce = SchemaOnce()  # noqa: RUF009 - a descriptor, no default
    run_id: str
    key: tuple[str, ...] = ()
    key_is_unique: bool = False
    cursor: str | None = None
    leave_out_present: bool = False
    present_from: Position | None = None
    update: Mapping[str, str] = field(default_factory=dict)
    add_columns: tuple[str, ...] = ()
    refuse_duplicate_keys: bool = False
    allow_shrink: float = SHRINK


class Staged(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that were brought to the destination and that no reader can see yet. Picklable."""

    part: str
    rows: int
    detail: Any = None


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What a commit did. staged rows = inserted + updated + already_present + superseded."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    already_present: int = 0
    superseded: int = 0

    @property
    def written(self) -> int:
        """Rows that the table gained or changed."""
        return self.inserted + self.updated


class OutcomeUnknown(ConnectionFailed):
    """The answer to a COMMIT was lost. `committed` is what it did, if it did; the mark tells (I4)."""

    def __init__(self, message: str, *, committed: Committed) -> None:
        super().__init__(message, retryable=True)
        self.committed = committed


class Load(Protocol):
    """One commit in the making. Lives in the driver; also offers SupportsStreaming or SupportsStaging."""

    def commit(self, staged: Sequence[Staged], old: Mark | None, new: Mark | None) -> Committed:
        """Rows and mark become visible in one step (I2), if the mark still is `old` (I3).

        `new` None leaves the mark alone (a stateless backfill). When nothing would change - no row to insert
        or update, and the mark stays where it is - nothing is committed at all.

        Raises:
            Fenced: the mark is not `old` any more; nothing was written.
            StateConflict: a replace would take away more rows than it may; nothing was written.
            OutcomeUnknown: the connection broke after COMMIT was sent.
            ConnectionFailed, DataError, ConfigError: nothing was written.
        """
        ...

    def abort(self) -> None:
        """Forget all that was staged. Safe to call twice, and after commit."""
        ...


@runtime_checkable
class SupportsStreaming(Protocol):
    """One worker: rows go straight into the open transaction, without a spool."""

    def stream(self, rows: Iterator[pa.RecordBatch]) -> Staged:
        """Consume all of `rows`. May be called once per split of the commit."""
        ...


class Stager(Protocol):
    """Stages rows from any worker: frozen, picklable, holds no connection."""

    def stage(self, part: str, rows: Iterator[pa.RecordBatch]) -> Staged:
        """Idempotent per (run, part): a second call replaces what the first left."""
        ...


@runtime_checkable
class SupportsStaging(Protocol):
    """Several workers can bring rows; the driver commits what they staged."""

    def stager(self) -> Stager:
        """A value that can be sent to the workers."""
        ...


class Destination(Protocol):
    """A system that rows go to. Construction connects to nothing; `close` may be called at any time."""

    def check(self) -> str:
        """Reach the destination and see the permissions; one line about what was found."""
        ...

    def marks(self, table: str, *, settle: bool = False) -> Sequence[Mark]:
        """All marks of a table, of whatever pipeline and resource; empty when there is none (or no table).

        `settle` waits (bounded) for a commit that may still be on its way: after an unknown outcome.
        """
        ...

    def describe(self, table: str) -> pa.Schema | LateSchema | None:
        """Columns and types of the table; None when it does not exist."""
        ...

    def begin(self, write: Write) -> Load:
        """Start one commit: create or extend the table where needed, open the transaction or the staging.

        Raises:
            Busy: somebody else holds the table.
        """
        ...

    def set_mark(self, table: str, old: Mark | None, new: Mark) -> None:
        """Move a mark without rows (`conduit state …`), by compare-and-swap on `old`.

        Raises:
            Fenced: the mark is not `old` any more.
        """
        ...

    def close(self) -> None:
        """Give back connections and locks."""
        ...


@runtime_checkable
class SupportsHistory(Protocol):
    """A destination whose tables can be rolled back behind a mark, by itself or with it."""

    def refuse_rolled_back(self, identity: Identity) -> None:
        """See that the rows that the mark speaks of are still there, and that the mark is the one that came with them.

        Raises:
            StateConflict: they are not, or it is not.
        """
        ...


def changes_nothing(committed: Committed, old: Mark | None, new: Mark | None) -> bool:
    """Whether a commit would leave rows and mark as they are, so that none is made."""
    if committed.written or committed.deleted:
        return False
    if new is None or old is None:
        return new is None
    reloads = [mark.position is not None and mark.position.kind == "full" for mark in (old, new)]
    return all(reloads) or (old.token(), old.complete) == (new.token(), new.complete)
