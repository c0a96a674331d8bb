"""The shape of ingest.yml as people write it: which keys there are, and of which type.

The descriptions are what an editor shows. What the keys mean together is decided in `resources`; what a connection
takes stands with its connector.
"""

# No `from __future__ import annotations` here: the keys of a file are read by these annotations, and as text each of
# them would be compiled in every run.

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from conduit.config.models import Incremental, OnChangedFile, Partition
from conduit.contract import Mode, OnChange, SchemaChanges

NotEmpty = Annotated[str, Meta(min_length=1)]

SECTIONS = ("sources", "destinations", "resources")
"""The keys at the top whose entries are read one by one."""

NOT_YET = ("quality_checks",)
"""Keys of a resource that are part of the design and that this version does not run."""


class Defaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys that all resources share, unless a resource or its destination says otherwise."""

    mode: Annotated[
        Mode | Literal["full_refresh"] | None,
        Meta(description="append, merge or replace (full_refresh = replace). With incremental_column: append."),
    ] = None
    primary_key: Annotated[
        NotEmpty | Annotated[list[NotEmpty], Meta(min_length=1)] | None,
        Meta(description="Column or columns that identify a row: for merge, and to leave out what is already there."),
    ] = None
    metadata_columns: Annotated[
        bool | None, Meta(description="Add _conduit_run_id and _conduit_loaded_at to every row.")
    ] = None
    schema_changes: Annotated[
        SchemaChanges | None, Meta(description="A new column of the source: add (the default), ignore or fail.")
    ] = None
    checkpoint_interval: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Commit after so many rows, so that a killed run goes on from there."),
    ] = None
    batch_size: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="Rows that are held in memory at once.")
    ] = None
    on_changed_file: Annotated[
        OnChangedFile | None,
        Meta(description="A file that was loaded and has changed: error (the default), or reload it (with merge)."),
    ] = None


class ResourceKeys(Defaults, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of work: what to read, where to write it, and how to find what is new."""

    name: Annotated[str, Meta(description="Name of this line of work; its progress is kept under it.")]
    source: Annotated[str, Meta(description="Name of an entry of `sources`.")]
    destination: Annotated[str, Meta(description="Name of an entry of `destinations`.")]
    query: Annotated[
        NotEmpty | None,
        Meta(description="SELECT to run in the source; `:last_value` is the highest value that was loaded."),
    ] = None
    table: Annotated[NotEmpty | None, Meta(description="Table to read, instead of a query.")] = None
    incremental_column: Annotated[
        NotEmpty | None, Meta(description="The column whose highest value is remembered: only higher ones are read.")
    ] = None
    incremental: Annotated[
        Incremental | None, Meta(description="The same with options, instead of incremental_column.")
    ] = None
    on_change: Annotated[
        OnChange | None,
        Meta(description="Rows changed or deleted in an Iceberg source since the last run: error (default) or ignore."),
    ] = None
    allow_shrink: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Share of its rows that the table may lose when it is replaced: 0.1 (the default) to 1, any."),
    ] = None
    partition: Annotated[
        Partition | None, Meta(description="Read ranges of a column at once, on connections of their own.")
    ] = None
    transform: Annotated[
        NotEmpty | None,
        Meta(description="SELECT of DuckDB over `batch`, the new rows; what it gives is written in their place."),
    ] = None
    into: Annotated[
        NotEmpty | None, Meta(description="Target table; default the destination's `table`, else the resource's name.")
    ] = None
    update: Annotated[
        dict[NotEmpty, NotEmpty],
        Meta(description="merge: column -> SQL over `target.` and `source.`, for rows that are already there."),
    ] = {}
    columns: Annotated[
        dict[NotEmpty, NotEmpty], Meta(description="Column -> type, where the source's own type is not the wanted one.")
    ] = {}


class Top(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys at the top of the file, without the sections whose entries are read one by one."""

    pipeline: Annotated[
        NotEmpty, Meta(description="Name of this file's work; with a resource's name it says whose progress is kept.")
    ] = "default"
    defaults: Annotated[Defaults, Meta(description="Keys that all resources share.")] = Defaults()
