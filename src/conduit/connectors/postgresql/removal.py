"""Rows taken out of a PostgreSQL table in an open transaction, by what identifies them."""

from __future__ import annotations

from collections.abc import Callable

from conduit.connectors.postgresql.catalogue import Cursor
from conduit.connectors.postgresql.types import DIALECT, quote
from conduit.connectors.postgresql.writer import CopyStream, Encoding
from conduit.strategies.removal import identified
from conduit.strategies.statements import Tables

_STAGE = "conduit_removed"


def remove(
    cur: Cursor, target: str, encoding: Encoding, rows: CopyStream, copy: Callable[[str, CopyStream], None]
) -> int:
    """Take out the rows of `target` (a quoted name) that have the values of one of `rows`; how many.

    Args:
        cur: in a transaction.
        target: the table.
        encoding: how the columns that identify a row travel.
        rows: those columns, encoded.
        copy: runs a COPY statement with rows.
    """
    columns = ", ".join(f"{quote(name)} {type_name}" for name, type_name in encoding.stage_types.items())
    names = tuple(encoding.stage_types)
    cur.execute(f"CREATE TEMP TABLE {_STAGE} ({columns}) ON COMMIT DROP")
    copy(f"COPY {_STAGE} ({', '.join(quote(name) for name in names)}) FROM STDIN (FORMAT binary)", rows)
    cur.execute(f"ANALYZE {_STAGE}")
    both = Tables(dialect=DIALECT, target=target, stage=_STAGE, columns=names, casts=encoding.casts)
    cur.execute(identified(both).sql)
    return cur.rowcount
