"""The primary key of a table that conduit has made: built by the first commit that brings rows, not before them.

An index that is built over rows that are there costs a quarter of one that grows with each row. Until then a comment on
the table says that it is to come, so that a killed run leaves it to the next.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg2
import psycopg2.errors

from conduit.connectors.postgresql.catalogue import Cursor
from conduit.connectors.postgresql.types import quote

FOLLOWS = "conduit: its primary key follows with its first rows"
PATIENCE = "1s"
"""How long a commit waits to have the table for itself; another run may be at it. A later commit tries again."""


def postponed(target: str) -> str:
    """The statement that says so of a table; `target` is its quoted name."""
    return f"COMMENT ON TABLE {target} IS '{FOLLOWS}'"


def build(cur: Cursor, target: str, key: Sequence[str]) -> psycopg2.Error | None:
    """Add the primary key, in the caller's transaction.

    Returns:
        What stands in its way: two rows share a key, those of another run perhaps. None: it is there, or is left to a
        later commit.
    """
    columns = ", ".join(quote(name) for name in key)
    cur.execute(f"SAVEPOINT conduit_key; SET LOCAL lock_timeout = '{PATIENCE}'")
    try:
        cur.execute(f"ALTER TABLE {target} ADD PRIMARY KEY ({columns}); COMMENT ON TABLE {target} IS NULL")
    except psycopg2.errors.UniqueViolation as error:
        cur.execute("ROLLBACK TO SAVEPOINT conduit_key")
        return error
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.InsufficientPrivilege):
        cur.execute("ROLLBACK TO SAVEPOINT conduit_key")
    else:
        cur.execute("RELEASE SAVEPOINT conduit_key")
    return None
