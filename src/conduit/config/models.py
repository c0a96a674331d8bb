"""What ingest.yml means, once it is read: strict, frozen, complete.

A connector owns the model of its connection (`connectors/<name>/config.py`) and derives it from `Connection`; field
names are the keys of the file. Every field has a `Meta(description=…)`: the JSON Schema and the editor's help come
from it. This module reads no file and imports no driver.
"""

# No `from __future__ import annotations` here: the keys of a file are read by these annotations, and as text each of
# them would be compiled in every run.

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from conduit import secrets
from conduit.contract import SHRINK, Ability, Mode, OnChange, OnNull, SchemaChanges

Safety = Literal["auto", "xid_window", "lag", "none"]
OnChangedFile = Literal["error", "reload"]

MOST_SPLITS = 32
"""Ranges that can be read at once: each needs a connection of the source."""


class Secret:
    """A value that is never printed. `reveal()` is called where a driver needs it, and nowhere else.

    `secrets.scrub` knows it from now on, and takes it out of texts that others wrote.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        secrets.remember(value)

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class Connection(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of one connector; each connector derives its own and lists them there.

    Attributes:
        relation: what a resource names in such a source: `sql` (query or table), `path` (the connection's own
            files), `object` (a Python object given to `conduit.run`).
        snapshots: a table of such a source has a history: without a cursor, what was appended since a snapshot is read.
        windows: some relations of such a source tell which transaction wrote a row, so that a read can go by that.
        partitions: ranges of a column of such a source can be read at once, from one snapshot.
    """

    relation: ClassVar[Literal["sql", "path", "object"]] = "sql"
    snapshots: ClassVar[bool] = False
    windows: ClassVar[bool] = False
    partitions: ClassVar[bool] = False

    def cannot(self) -> Mapping[Ability, str]:
        """What a destination with these keys cannot do, and why; shown when ingest.yml is read."""
        return {}

    def warnings(self) -> Sequence[str]:
        """What a person should know of these keys, though they are right; told by every run."""
        return ()

    def read_back(self, table: str) -> "ReadBack":
        """How the rows of a table of this destination are read."""
        return ReadBack(self, table)


class ReadBack(msgspec.Struct, frozen=True):
    """A destination's table as a source of the same type sees it.

    Attributes:
        connection: the keys of that source.
        table: what it is to read; None: its own files.
        untyped: the files hold texts, so the types have to be declared.
    """

    connection: Connection
    table: str | None
    untyped: bool = False


class SourceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `sources:`; its other keys are those of `connection`."""

    name: Annotated[str, Meta(description="Name of this connection; resources refer to it.")]
    type: Annotated[str, Meta(description="Connector: postgresql, sqlite, duckdb, csv, json, parquet, …")]
    connection: Connection


class DestinationConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `destinations:`; its other keys are those of `connection`."""

    name: Annotated[str, Meta(description="Name of this connection; resources refer to it.")]
    type: Annotated[str, Meta(description="Connector: postgresql, sqlite, duckdb, csv, json, parquet, …")]
    connection: Connection
    table: Annotated[str | None, Meta(description="Target table, unless a resource says `into`.")] = None
    mode: Annotated[
        Mode | Literal["full_refresh"] | None,
        Meta(description="append, merge or replace (full_refresh = replace)."),
    ] = None
    metadata_columns: Annotated[
        bool | None, Meta(description="Add _conduit_run_id and _conduit_loaded_at to every row.")
    ] = None
    schema_changes: Annotated[
        SchemaChanges | None, Meta(description="A new column of the source: add, ignore or fail.")
    ] = None


class Incremental(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a resource finds what is new."""

    column: Annotated[str, Meta(min_length=1, description="The column whose highest value is remembered.")]
    initial_value: Annotated[
        str | None, Meta(description="Watermark of the first run; without it everything is loaded.")
    ] = None
    lag: Annotated[
        str | None,
        Meta(description="How far to look back for rows that committed late: 100000, `1 hour`, `full`."),
    ] = None
    on_null: Annotated[OnNull, Meta(description="Rows whose cursor is NULL: error, include (by key) or exclude.")] = (
        "error"
    )
    safety: Annotated[Safety, Meta(description="How late commits are caught: auto, xid_window, lag or none.")] = "auto"


class Partition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a read is split into ranges that are read at once."""

    column: Annotated[str, Meta(min_length=1, description="The column whose ranges are read.")]
    number: Annotated[
        Annotated[int, Meta(ge=1, le=MOST_SPLITS)] | Literal["auto"],
        Meta(description="How many ranges are read at once; auto: by the number of rows and of processors."),
    ] = "auto"


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One line of work, complete: defaults, destination and resource are merged.

    Attributes:
        name: unique in the file.
        source: name of a source.
        destination: name of a destination.
        mode: append, merge or replace.
        into: the target table.
        query: SQL, or None.
        table: table to read, or None.
        incremental: the cursor, or None.
        primary_key: columns that identify a row.
        update: column -> SQL expression over `target.` and `source.` for matched rows of a merge.
        columns: column -> declared type.
        metadata_columns: add run id and load time.
        schema_changes: what happens to a new column.
        checkpoint_interval: rows between commits; None: one commit at the end.
        batch_size: rows of a batch; None: the connector's own.
        on_changed_file: a loaded file that changed: error, or load it again (merge).
        on_change: rows that were changed or deleted in a source that is read by snapshots: error, or ignore them.
        allow_shrink: the share of its rows that the table may lose when it is replaced.
        partition: how the read is split; None: it is not.
        transform: SQL over `batch`, the rows of one commit; None: they are written as they are read.
        where: `ingest.yml:12`, for messages.
    """

    name: str
    source: str
    destination: str
    mode: Mode
    into: str
    query: str | None = None
    table: str | None = None
    incremental: Incremental | None = None
    primary_key: tuple[str, ...] = ()
    update: dict[str, str] = {}
    columns: dict[str, str] = {}
    metadata_columns: bool = False
    schema_changes: SchemaChanges = "add"
    checkpoint_interval: int | None = None
    batch_size: int | None = None
    on_changed_file: OnChangedFile = "error"
    on_change: OnChange = "error"
    allow_shrink: float = SHRINK
    partition: Partition | None = None
    transform: str | None = None
    where: str = ""

    @property
    def accumulates(self) -> bool:
        """Whether a row that is merged twice counts twice."""
        return reads_target(self.update)


def reads_target(update: Mapping[str, str]) -> bool:
    """Whether an expression of `update:` builds on what the target holds."""
    return any("target." in expression.lower().replace('"', "") for expression in update.values())


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """One ingest.yml.

    Attributes:
        file: its path.
        pipeline: the `pipeline:` key; part of every mark's identity.
        sources: by name.
        destinations: by name.
        resources: in file order.
        notes: what a person should be told: files that others can read or change.
    """

    file: Path
    pipeline: str = "default"
    sources: dict[str, SourceConfig] = {}
    destinations: dict[str, DestinationConfig] = {}
    resources: tuple[Resource, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Where relative paths, `.conduit_state.json` and `.conduit/` belong."""
        return self.file.parent
