"""The marks of a PostgreSQL schema, and their log: read, and moved by compare-and-swap, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from conduit.connectors import sql, sql_log
from conduit.connectors.postgresql.catalogue import Cursor
from conduit.connectors.postgresql.types import quote
from conduit.late import late
from conduit.marks import Identity, Mark, fenced

if TYPE_CHECKING:
    from conduit import rows
    from conduit.state_log import Entry
else:
    rows = late("conduit.rows")


def _parameter(place: int) -> str:  # noqa: ARG001 - psycopg2 counts by itself
    return "%s"


class Marks(msgspec.Struct, frozen=True):
    """The marks of a schema.

    Attributes:
        schema: as the user named it.
        table: quoted name of the table of marks.
        log: quoted name of their log; a role that may not make it goes without.
    """

    schema: str
    table: str
    log: str

    def read(self, cur: Cursor, table: str, *, wait: bool) -> list[Mark]:
        """The marks of a target; with `wait` after a transaction that is moving one has ended."""
        cur.execute(sql.read_marks(self.table, _parameter) + (" FOR UPDATE" if wait else ""), (table,))
        return sql.marks((row[0] for row in cur.fetchall()), table)

    def missing(self, cur: Cursor) -> list[str]:
        """The DDL of the tables that are not there and that are to be made; the log only by a role that may."""
        cur.execute(
            "SELECT to_regclass(%s) IS NULL, to_regclass(%s) IS NULL AND "
            "has_schema_privilege(to_regnamespace(quote_ident(%s))::oid, 'CREATE')",
            (self.table, self.log, self.schema),
        )
        marks, log = cur.fetchone() or (True, False)
        return [sql.create_marks(self.table)] * bool(marks) + [sql_log.create_log(self.log)] * bool(log)

    def entries(self, cur: Cursor, identity: Identity) -> list[Entry]:
        """The log of a mark; empty where there is none."""
        if not self._logs(cur):
            return []
        cur.execute(*sql_log.read_log(self.log, identity, _parameter))
        return sql_log.entries(cur.fetchall())

    def _logs(self, cur: Cursor) -> bool:
        cur.execute("SELECT to_regclass(%s) IS NOT NULL", (self.log,))
        return bool((cur.fetchone() or (False,))[0])

    def move(self, cur: Cursor, old: Mark | None, new: Mark) -> None:
        """Set the mark if it still is `old` (I3); the last statement before COMMIT, so that nobody waits for long.

        Raises:
            Fenced: it is not.
        """
        cur.execute(*sql.swap(self.table, old, new, _parameter))
        if cur.rowcount != 1:
            raise fenced(new.identity)
        if self._logs(cur):  # in one message: the mark's row is locked meanwhile
            entry, prune = sql_log.write_log(self.log, new, _parameter)
            cur.execute(cur.mogrify(*entry) + b"; " + cur.mogrify(*prune))


def rows_of_runs(cur: Cursor, target: str, later: Sequence[Entry]) -> int:
    """How many rows of a table carry the id of one of these runs; `target` is a quoted name."""
    cur.execute(*sql_log.rows_of(target, quote(rows.RUN_ID), later, _parameter))
    return int((cur.fetchone() or (0,))[0])


def remove_runs(cur: Cursor, target: str, later: Sequence[Entry]) -> int:
    """Remove them; returns their number."""
    cur.execute(*sql_log.removal(target, quote(rows.RUN_ID), later, _parameter))
    return cur.rowcount
