"""IceFrame: the tables of a catalog, by name. Each method hands over to the module of its concern."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table, Transaction

from iceframe import branches, inspection, maintenance, tables
from iceframe.catalog import load_table, open_catalog
from iceframe.changes import Changes, OnChange, changes
from iceframe.commit import Done
from iceframe.diff import Difference, difference
from iceframe.filters import Where
from iceframe.inspection import Inspection
from iceframe.internals import OneCommit
from iceframe.jobs import Job, Window
from iceframe.maintenance import Compaction, Expiry, Orphans
from iceframe.merge import Merge, MergeResult
from iceframe.query import Query
from iceframe.scan import pinned
from iceframe.schemas import Rows, SchemaLike


class IceFrame:
    """Iceberg tables as Polars frames.

    Args:
        config: properties of a catalog as pyiceberg takes them, the name of one in `.pyiceberg.yaml`, an open catalog,
            or nothing: a SQLite catalog and a warehouse in `.iceframe/` of the working directory.

    Raises:
        CatalogError: the catalog cannot be opened.

    Names of tables are `namespace.table`; without a namespace it is `default`.
    """

    def __init__(self, config: Mapping[str, object] | str | Catalog | None = None) -> None:
        self.catalog = open_catalog(config)
        self._read: dict[str, Table] = {}

    # --- tables -----------------------------------------------------------------------------------------

    def create_table(
        self,
        name: str,
        schema: SchemaLike,
        *,
        partition_spec: Sequence[str] | None = None,
        sort_order: Sequence[str] | None = None,
        properties: Mapping[str, str] | None = None,
        location: str | None = None,
        if_not_exists: bool = False,
    ) -> Table:
        """Make a table, and its namespace if need be; see `tables.create_table`."""
        return tables.create_table(
            self.catalog,
            name,
            schema,
            partition_spec=partition_spec,
            sort_order=sort_order,
            properties=properties,
            location=location,
            if_not_exists=if_not_exists,
        )

    def get_table(self, name: str) -> Table:
        """The table, as `read_incremental` of this object last saw it; otherwise as it is now.

        A job that reads, works, and then asks for the current snapshot gets the snapshot that it has read, not one that
        somebody committed meanwhile. `refresh()` of the answer goes to the present.

        Raises:
            TableNotFoundError: there is none of that name.
        """
        return self._read.get(name) or load_table(self.catalog, name)

    def table_exists(self, name: str) -> bool:
        """Whether there is a table of that name."""
        return tables.table_exists(self.catalog, name)

    def list_tables(self, namespace: str | None = None) -> list[str]:
        """The names of the tables of a namespace, or of all."""
        return tables.list_tables(self.catalog, namespace)

    def drop_table(self, name: str, *, purge: bool = False, if_exists: bool = False) -> None:
        """Forget a table; `purge` deletes its files too."""
        self._read.pop(name, None)
        tables.drop_table(self.catalog, name, purge=purge, if_exists=if_exists)

    # --- reading ----------------------------------------------------------------------------------------

    def read_table(
        self,
        name: str,
        *,
        columns: Sequence[str] | None = None,
        filter: Where = None,  # noqa: A002 - the name that people know
        limit: int | None = None,
        snapshot_id: int | None = None,
        branch: str | None = None,
    ) -> pl.DataFrame:
        """The rows of a table at one snapshot.

        Raises:
            TableNotFoundError, ValidationError, StorageError: see `scan.pinned`.
        """
        table = load_table(self.catalog, name)
        scan = pinned(table, columns=columns, where=filter, snapshot_id=snapshot_id, branch=branch, limit=limit)
        return scan.frame()

    def query(self, name: str) -> Query:
        """A read that is put together word by word, or the beginning of a merge."""
        return Query(lambda: load_table(self.catalog, name))

    def read_incremental(
        self,
        name: str,
        since_snapshot_id: int | None = None,
        *,
        since_timestamp: datetime | int | None = None,
        until: int | None = None,
        columns: Sequence[str] | None = None,
        filter: Where = None,  # noqa: A002 - the name that people know
        branch: str | None = None,
        on_change: OnChange = "error",
    ) -> pl.DataFrame:
        """The rows that were appended after a snapshot; without one, all rows. See `changes`."""
        found = self.changes(
            name,
            since_snapshot_id,
            since_timestamp=since_timestamp,
            until=until,
            columns=columns,
            filter=filter,
            branch=branch,
            on_change=on_change,
        )
        return found.frame

    def changes(
        self,
        name: str,
        since: int | None = None,
        *,
        since_timestamp: datetime | int | None = None,
        until: int | None = None,
        columns: Sequence[str] | None = None,
        filter: Where = None,  # noqa: A002 - the name that people know
        branch: str | None = None,
        on_change: OnChange = "error",
        key: Sequence[str] | None = None,
    ) -> Changes:
        """What is new after a snapshot, with where it ends, as a frame or as a stream; see `changes.changes`."""
        table = load_table(self.catalog, name)
        found = changes(
            table,
            since,
            since_timestamp=since_timestamp,
            until=until,
            columns=columns,
            where=filter,
            branch=branch,
            on_change=on_change,
            key=key,
        )
        self._read[name] = table
        return found

    def get_changes(
        self, name: str, from_snapshot_id: int, to_snapshot_id: int | None = None, *, key: Sequence[str] | None = None
    ) -> Difference:
        """The difference of two snapshots; see `diff.difference`."""
        return difference(load_table(self.catalog, name), from_snapshot_id, to_snapshot_id, key=key)

    # --- writing ----------------------------------------------------------------------------------------

    def append_to_table(self, name: str, rows: Rows, *, branch: str = "main") -> Done:
        """Append rows in one snapshot; see `tables.append`."""
        return tables.append(self._written(name), rows, branch=branch)

    def overwrite_table(self, name: str, rows: Rows, *, filter: Where = None, branch: str = "main") -> Done:  # noqa: A002
        """Put rows in the place of all rows, or of those for which the filter holds; see `tables.overwrite`."""
        return tables.overwrite(self._written(name), rows, where=filter, branch=branch)

    def delete_from_table(self, name: str, filter: Where, *, branch: str = "main") -> Done:  # noqa: A002
        """Delete the rows for which the filter holds; see `tables.delete`."""
        return tables.delete(self._written(name), filter, branch=branch)

    def merge(self, name: str, rows: Rows, on: str | Sequence[str]) -> Merge:
        """Rows to be merged; nothing happens before `execute()` of what this gives."""
        return Merge(self._written(name), rows, on)

    def upsert(self, name: str, rows: Rows, on: str | Sequence[str]) -> MergeResult:
        """Update the rows whose key is there, insert the others, in one snapshot."""
        return self.merge(name, rows, on).when_matched_update().when_not_matched_insert().execute()

    def add_files(self, name: str, paths: Sequence[str], *, check_duplicates: bool = True) -> Done:
        """Make Parquet files that are written already part of a table; see `tables.add_files`."""
        return tables.add_files(self._written(name), paths, check_duplicates=check_duplicates)

    def transaction(self, name: str) -> Transaction:
        """Several changes of one table in one commit: a pyiceberg transaction that is tried once, and not again."""
        return OneCommit(self._written(name))

    def incremental(self, source: str, *, into: str, job: str, on_change: OnChange = "error") -> Window:
        """What is new in a table since a job last wrote its target, exactly once; see `jobs.Window`."""
        target = self._written(into)
        return Window(Job(name=job, source=load_table(self.catalog, source), target=target, on_change=on_change))

    # --- the life of a table ----------------------------------------------------------------------------

    def create_branch(self, name: str, branch: str, snapshot_id: int | None = None) -> None:
        """Name a line of snapshots that can go its own way; see `branches`."""
        branches.create_branch(load_table(self.catalog, name), branch, snapshot_id)

    def tag_snapshot(self, name: str, tag: str, snapshot_id: int | None = None) -> None:
        """Name a snapshot; see `branches`."""
        branches.tag_snapshot(load_table(self.catalog, name), tag, snapshot_id)

    def fast_forward(self, name: str, branch: str = "main", *, to: str) -> None:
        """Move a branch to the head of one that began at it; see `branches.fast_forward`."""
        branches.fast_forward(self._written(name), branch, to=to)

    def rollback_to_snapshot(self, name: str, snapshot_id: int) -> None:
        """Make an earlier snapshot the head; see `branches.rollback_to_snapshot`."""
        branches.rollback_to_snapshot(self._written(name), snapshot_id)

    def compact_data_files(self, name: str, **options: Any) -> Compaction:
        """Bring small files together, in a snapshot that changes no row; see `maintenance.compact_data_files`."""
        return maintenance.compact_data_files(self._written(name), **options)

    def expire_snapshots(self, name: str, *, older_than: datetime | timedelta | None = None, **options: Any) -> Expiry:
        """Forget old snapshots and delete what only they needed; see `maintenance.expire_snapshots`."""
        return maintenance.expire_snapshots(self._written(name), older_than=older_than, **options)

    def remove_orphan_files(self, name: str, **options: Any) -> Orphans:
        """Find files that no snapshot knows, and delete them if told to; see `maintenance.remove_orphan_files`."""
        return maintenance.remove_orphan_files(load_table(self.catalog, name), **options)

    def inspect(self, name: str) -> Inspection:
        """Snapshots, files, partitions and more as frames."""
        return inspection.inspect(load_table(self.catalog, name))

    def _written(self, name: str) -> Table:
        """The table as it is now; a write ends what an earlier read has pinned."""
        self._read.pop(name, None)
        return load_table(self.catalog, name)
