"""Iceberg tables as a destination; their marks are among their properties.

pyiceberg is imported when there is a table to ask for or to make: a first run reads its first rows meanwhile.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from conduit.arrow import pa
from conduit.connectors import sql
from conduit.connectors.iceberg.config import IcebergDestinationConnection
from conduit.connectors.iceberg.place import Place
from conduit.contract import Load, Write
from conduit.errors import ConfigError
from conduit.late import late
from conduit.marks import Identity, Mark

if TYPE_CHECKING:
    from pyiceberg import schema
    from pyiceberg.table import Table

    from conduit.connectors.iceberg import history, load, marks, tables, types
    from conduit.state_log import Entry
    from iceframe import commit
else:
    marks, commit = late("conduit.connectors.iceberg.marks"), late("iceframe.commit")
    schema = late("pyiceberg.schema")
    history, load = late("conduit.connectors.iceberg.history"), late("conduit.connectors.iceberg.load")
    tables, types = late("conduit.connectors.iceberg.tables"), late("conduit.connectors.iceberg.types")


_OF_A_LOAD = ("conduit.connectors.iceberg.tables", "conduit.connectors.iceberg.load")
_OF_A_MERGE = (*_OF_A_LOAD, "iceframe.merge", "polars")


class IcebergDestination:
    """A catalog whose tables are written."""

    by_run_id = False

    def __init__(self, name: str, connection: IcebergDestinationConnection, folder: Path) -> None:
        self._connection = connection
        self._place = Place(name, connection, folder)

    def check(self) -> str:
        """Reach the catalog; one in a file that is not there yet must be possible to make."""
        return self._place.check(write=True)

    def marks(self, table: str, *, settle: bool = False) -> Sequence[Mark]:  # noqa: ARG002 - the commit has asked already
        """The marks of a table, which are its properties."""
        found = self._place.find(table)
        return marks.all_marks(found.metadata, table) if found else []

    def refuse_rolled_back(self, identity: Identity) -> None:
        """The rows that the mark of `identity` speaks of are in the table's history."""
        found = self._place.find(identity.table)
        if found is not None:
            marks.refuse_rolled_back(found.metadata, identity)

    def describe(self, table: str) -> pa.Schema | None:
        """The table's columns; one that has a mark only is no table yet."""
        found = self._place.find(table)
        return types.seen(found.schema()) if found and found.schema().fields else None

    def prepare(self, write: Write) -> None:
        """Import what a load needs, which takes as long as a few hundred thousand rows."""
        for name in _OF_A_MERGE if sql.needs_stage(write) else _OF_A_LOAD:
            importlib.import_module(name)

    def begin(self, write: Write) -> Load:
        """Make the table, or add what it lacks: a commit of its own, before the rows."""
        sql.require_key(write)
        found = self._place.find(write.table)
        if found is None:
            tables.create(self._place, write.table, write.schema, self._connection)
        table = tables.extend(self._place, write, self._connection)
        return load.IcebergLoad(self._place, table, write)

    def set_mark(self, table: str, old: Mark | None, new: Mark) -> None:
        """Move a mark without rows: an append of nothing."""
        found = self._place.find(table) or tables.create(self._place, table, schema.Schema(), self._connection)

        def planned(head: Table) -> commit.Plan:
            marks.require(head.metadata, old, new.identity)
            return marks.moving(head, None, old, new, new.run_id)

        with self._place.errors(f"set the mark of {table}"):
            commit.commit(found, planned)

    def log(self, identity: Identity) -> Sequence[Entry]:
        """The summaries of the snapshots that are kept."""
        found = self._place.find(identity.table)
        return history.log(found.metadata, identity) if found else []

    def later_rows(self, identity: Identity, to: Entry, later: Sequence[Entry]) -> int:  # noqa: ARG002 - snapshots tell
        """What the head has more than the snapshot of `to`."""
        with self._place.errors(f"count the rows of {identity.table}"):
            return history.later_rows(self._table(identity.table), identity, to)

    def take_back(self, old: Mark, new: Mark, to: Entry, later: Sequence[Entry], rows: int) -> None:  # noqa: ARG002
        """Make the snapshot of `to` the head again, with the mark."""
        table = new.identity.table
        with self._place.errors(f"roll {table} back"):
            history.take_back(self._table(table), old, new, to, rows)

    def _table(self, name: str) -> Table:
        found = self._place.find(name)
        if found is None:
            raise ConfigError(f"there is no table {name}")
        return found

    def close(self) -> None:
        """Give back the connections of the catalog."""
        self._place.close()
