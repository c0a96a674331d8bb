"""Reading an Iceberg table at a pinned snapshot: what was appended since another one, or what is above a cursor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path

from pyiceberg.expressions import AlwaysTrue, BooleanExpression, IsNull, Reference
from pyiceberg.table import Table
from pyiceberg.types import IcebergType

from conduit import schemas
from conduit.arrow import pa, pc
from conduit.bounds import NULL_CURSORS, Bounds, bounds, require_columns, splits_of
from conduit.connectors.iceberg.config import IcebergSourceConnection
from conduit.connectors.iceberg.place import Place
from conduit.connectors.iceberg.pushdown import condition, highest_of_files, nulls_of_files
from conduit.connectors.iceberg.types import seen
from conduit.contract import Described, Estimate, Read, Session, Split, Until
from conduit.errors import ConfigError
from conduit.marks import Identity
from conduit.positions import Position, after, snapshot
from iceframe.changes import Changes, changes
from iceframe.maintenance.readers import register, registered
from iceframe.scan import Scan, pinned


class IcebergSource:
    """A catalog whose tables are read. Writers commit when they are done, not in the order of a cursor."""

    late_commits = True

    def __init__(self, name: str, connection: IcebergSourceConnection, folder: Path) -> None:
        self._place = Place(name, connection, folder)
        self._registers = connection.register_reader

    def check(self) -> str:
        """Reach the catalog and count its tables."""
        with closing(self._place):
            return self._place.check(write=False)

    @contextmanager
    def open(self, read: Read) -> Iterator[Session]:
        """The table as it is now."""
        if read.query is not None:
            raise ConfigError(
                f"resource {read.resource}: tables of a catalog take no query",
                hint="name a `table:`; `transform:` selects and computes",
            )
        with closing(self._place):
            self._place.check(write=False)
            table = self._place.find(read.table or "")
            if table is None:
                raise ConfigError(
                    f"resource {read.resource}: {self._place.name} has no table {read.table}",
                    hint="a name is `namespace.table`; without a namespace it is `default`",
                )
            session = CursorSession if read.cursor is not None else SnapshotSession
            yield session(self._place, table, read)

    def register(self, identity: Identity, table: str, position: Position) -> None:
        """Keep the snapshots from `position` on for this resource, where the connection says so.

        The only write to a source: a property of the table, without a snapshot. Reading by a cursor needs no history.
        """
        if not self._registers or position.kind != "snapshot":
            return
        job, since = f"conduit/{identity.pipeline}/{identity.resource}", int(position.value)
        with closing(self._place):
            found = self._place.find(table)
            with self._place.errors(f"register as a reader of {table}"):
                if found is not None and (job, since) not in [(one.job, one.since) for one in registered(found)]:
                    register(found, job, since, None)


class _Session:
    """What both ways to read share: the table at one snapshot, and the types of its columns."""

    def __init__(self, place: Place, table: Table, read: Read) -> None:
        self._place = place
        self._table = table
        self._read = read
        self._doing = f"read {read.table}"
        require_columns(read, table.schema().column_names)

    @cached_property
    def _schema(self) -> pa.Schema:
        declared = {name: schemas.declared(type_) for name, type_ in self._read.columns.items()}
        own = seen(self._table.schema())
        return pa.schema([pa.field(one.name, declared.get(one.name, one.type), one.nullable) for one in own])

    @property
    def _fingerprint(self) -> str:
        """The table's own identity, which a rename keeps and a new table of the same name does not have."""
        return f"iceberg:{self._table.metadata.table_uuid}:{self._read.cursor or '-'}"

    def _typed(self, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        while (batch := self._next(rows)) is not None:
            yield schemas.conform(batch, self._schema)

    def _next(self, rows: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        with self._place.errors(self._doing):
            return next(rows, None)


class SnapshotSession(_Session):
    """What was appended after a snapshot, up to the one that is the head now."""

    def describe(self) -> Described:
        """The columns of the table."""
        since = self._read.since
        return Described(schema=self._schema, fingerprint=self._fingerprint, bound=since.value if since else None)

    def until(self) -> Until:
        """The head. There is something new when it is not where the last run ended."""
        head = self._head
        return Until(nothing_new=head is not None and head == self._read.since, position=head)

    def splits(self) -> list[Split]:
        """One."""
        return [Split("rows")]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - there is one
        """The appended rows; on a first run all rows."""
        with self._place.errors(self._doing):
            rows = self._changes.batches()
        return self._typed(rows)

    def estimate(self) -> Estimate:
        """The rows of the window, by the metadata of its files where nothing was deleted from them."""
        with self._place.errors(self._doing):
            return Estimate(sum(batch.num_rows for batch in self._changes.batches()), exact=True)

    @property
    def _head(self) -> Position | None:
        head = self._table.current_snapshot()
        return snapshot(head.snapshot_id) if head else None

    @cached_property
    def _changes(self) -> Changes:
        head, since = self._head, self._read.since
        return changes(
            self._table,
            int(since.value) if since else None,
            until=int(head.value) if head else None,
            on_change=self._read.on_change,
        )


class CursorSession(_Session):
    """What is above a cursor, as in any other table."""

    def describe(self) -> Described:
        """The columns of the table."""
        found, lower = self._bounds, self._bounds.lower
        return Described(
            schema=self._schema,
            fingerprint=self._fingerprint,
            cursor_type=found.type,
            cursor_unit=found.unit,
            null_cursors=self._null_cursors,
            bound=lower.value if lower else None,
        )

    def until(self) -> Until:
        """The highest cursor, where the metadata of the files tells it; else the snapshot is the bound."""
        if self._read.through is not None:
            return Until()
        with self._place.errors(self._doing):
            top = highest_of_files(self._scan(AlwaysTrue()), self._bounds)
        if top is None:
            return Until()
        lower = self._bounds.lower
        wants_nulls = self._read.on_null == "include" and self._null_cursors > 0
        return Until(nothing_new=lower is not None and not after(top, lower) and not wants_nulls, position=top)

    def splits(self) -> list[Split]:
        """The rows, and those without a cursor when they are wanted."""
        return splits_of(self._read, self._null_cursors)

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The rows of a split."""
        nulls = split.name == NULL_CURSORS
        name = self._read.cursor or ""
        with self._place.errors(self._doing):
            rows = self._scan(
                IsNull(term=Reference(name)) if nulls else condition(self._bounds, self._field_type)
            ).batches()
        for batch in self._typed(rows):
            yield batch.filter(pc.is_null(batch.column(name))) if nulls else self._kept(batch)

    def estimate(self) -> Estimate:
        """A count."""
        return Estimate(sum(batch.num_rows for batch in self.read(Split("rows"))), exact=True)

    def _kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        apart = len(self.splits()) > 1
        kept = self._bounds.keep(batch)
        return kept.filter(pc.is_valid(kept.column(self._read.cursor or ""))) if apart else kept

    def _scan(self, where: BooleanExpression) -> Scan:
        return pinned(self._table, where=where)

    @property
    def _field_type(self) -> IcebergType:
        return self._table.schema().find_type(self._read.cursor or "")

    @cached_property
    def _bounds(self) -> Bounds:
        found = bounds(self._place.name, self._read, self._schema)
        if found is None:
            raise ConfigError(f"resource {self._read.resource} has no incremental_column")
        return found

    @cached_property
    def _null_cursors(self) -> int:
        name = self._read.cursor or ""
        if self._table.schema().find_field(name).required:
            return 0
        with self._place.errors(self._doing):
            known = nulls_of_files(self._scan(AlwaysTrue()), name)
            return known if known is not None else self._scan(IsNull(term=Reference(name))).count()
