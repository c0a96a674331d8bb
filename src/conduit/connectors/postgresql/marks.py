"""The marks table of a PostgreSQL schema: read, and moved by compare-and-swap. Runs inside the caller's transaction."""

from __future__ import annotations

from dataclasses import dataclass

from conduit.connectors import sql
from conduit.connectors.postgresql.catalogue import Cursor
from conduit.marks import Mark


def _parameter(place: int) -> str:  # noqa: ARG001 - psycopg2 counts by itself
    return "%s"


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks in `table`, a quoted name."""

    table: str

    def read(self, cur: Cursor, table: str, *, wait: bool) -> list[Mark]:
        """The marks of a target; with `wait` after a transaction that is moving one has ended."""
        cur.execute(sql.read_marks(self.table, _parameter) + (" FOR UPDATE" if wait else ""), (table,))
        return sql.marks((row[0] for row in cur.fetchall()), table)

    def exist(self, cur: Cursor) -> bool:
        """Whether the table of marks is there."""
        cur.execute("SELECT to_regclass(%s) IS NOT NULL", (self.table,))
        return bool((cur.fetchone() or (False,))[0])

    def move(self, cur: Cursor, old: Mark | None, new: Mark) -> None:
        """Set the mark if it still is `old` (I3); the last statement before COMMIT, so that nobody waits for long.

        Raises:
            Fenced: it is not.
        """
        cur.execute(*sql.swap(self.table, old, new, _parameter))
        if cur.rowcount != 1:
            raise sql.fenced(new.identity)
