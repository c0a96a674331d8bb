"""The xid window: the rows of transactions that ended between two snapshots, found whatever their cursor says.

A snapshot's horizon is its oldest transaction that is still open. All transactions below it have ended, so a read of
`[horizon of the run before, horizon now)` meets every committed row exactly once: a row that commits late has a
transaction at or above the earlier horizon, because it was open then. Rows at or above the present horizon are left
for the next read. The cursor only narrows what is scanned. This module builds conditions; it reads no user row.
"""

from __future__ import annotations

import msgspec

from conduit.connectors.postgresql.catalogue import Cursor, Facts
from conduit.contract import SafeRead
from conduit.errors import StateConflict
from conduit.positions import Position, Window, cursor, minus

_COMPARABLE = 2**31
"""Transaction ids further apart than this cannot be told in 32 bits which is older."""

_HOLDER = """
SELECT pid, extract(epoch FROM clock_timestamp() - xact_start)::int, state FROM pg_stat_activity
WHERE backend_xid::text = %(xid)s
UNION ALL
SELECT NULL, extract(epoch FROM clock_timestamp() - prepared)::int, 'prepared as ' || gid FROM pg_prepared_xacts
WHERE transaction::text = %(xid)s
LIMIT 1
"""


class WindowRead(msgspec.Struct, frozen=True):
    """What one read covers.

    Attributes:
        window: the transactions; `at` is set when a checkpoint of it was committed before.
        condition: as SQL over `xmin`.
        lower: nothing at or below this cursor is read; None: no bound.
        notes: what a person should know.
    """

    window: Window
    condition: str
    lower: Position | None
    notes: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """No transaction has ended since the mark: whatever wrote a row of this snapshot was seen before."""
        return bool(self.window.start) and self.window.start == self.window.end and not self.window.at


def refusal(facts: Facts, relation: str) -> str:
    """Why a relation has no window; empty: it has one."""
    if facts.snapshot is None:
        return "PostgreSQL before 13 does not tell its horizon"
    if facts.relation is None or facts.relation[0] not in ("r", "p"):
        return f"{relation} is no table, and only a table shows which transaction wrote a row"
    return "" if facts.relation[1] else f"the role may read some columns of {relation} only, and xmin is one more"


def window_read(cur: Cursor, snapshot: tuple[str, str], asked: SafeRead, since: Position | None) -> WindowRead:
    """The window that follows on the mark's, in the snapshot of this transaction.

    Args:
        cur: a cursor, to ask who holds the horizon back.
        snapshot: of the REPEATABLE READ transaction that the rows are read in: its horizon, and what comes after it.
        asked: the mark, and how far cursors may lie behind.
        since: the lower bound of a read that looks back, for a mark without a window.

    Raises:
        StateConflict: the server's transactions lie before those of the mark.
    """
    horizon, following = snapshot
    before = asked.position.window if asked.position else None
    if before is not None and int(before.end) > int(following):
        raise StateConflict(
            f"the mark has seen transactions up to {before.end}, the server is at {following}: it was restored",
            hint="load what it has with `conduit run --full-refresh`, or start anew with `conduit state reset`",
        )
    if before is not None and asked.unfinished and before.at:
        return WindowRead(before, _condition(before, following), _cursor_like(asked.position, before.at))
    start = before.end if before is not None and _comparable(before.end, following) else ""
    window = Window(start=start, end=horizon, next=following, anchors=before.anchors if before and start else ())
    lower = _lower(window, asked) if start else since if before is None else None
    return WindowRead(window, _condition(window, following), lower, _held_back(cur, horizon, following))


def _lower(window: Window, asked: SafeRead) -> Position | None:
    """What the newest run knew that had ended before the first transaction of the window began, less the lag."""
    known = [value for following, value in window.anchors if int(following) <= int(window.start)]
    if not known or asked.lag is None:
        return None
    return minus(_cursor_like(asked.position, known[-1]), asked.lag)


def _cursor_like(position: Position | None, value: str) -> Position:
    type_, unit = (position.type, position.unit) if position else ("text", "")
    return cursor(value, type_ or "text", unit)  # type: ignore[arg-type]  # a mark's type is one of a cursor's


def _condition(window: Window, following: str) -> str:
    """Ids are compared by their age: right across the wraparound of 32 bits, and for frozen rows.

    What leaves most rows out comes first: a row that was there before costs one comparison.
    """
    open_ = f"(age(xmin) <= age({_xid(window.end)}) AND age(xmin) >= age({_xid(following)}))"
    since = f"age(xmin) <= age({_xid(window.start)}) AND " if window.start else ""
    return f"{since}NOT {open_}"


def _xid(text: str) -> str:
    return f"'{int(text) % 2**32}'::xid"


def _comparable(earlier: str, later: str) -> bool:
    return int(later) - int(earlier) < _COMPARABLE


def _held_back(cur: Cursor, horizon: str, following: str) -> tuple[str, ...]:
    """Which transaction the horizon waits for."""
    if horizon == following:
        return ()
    cur.execute(_HOLDER, {"xid": str(int(horizon) % 2**32)})
    found = cur.fetchone()
    told = f"held back by transaction {horizon}"
    if found is None:
        return (f"{told}: rows of transactions that began after it come with a later run",)
    pid, seconds, state = found
    who = f", pid {pid}" if pid else ""
    how_long = f", open {_duration(seconds)}" if seconds is not None else ""
    warning = "warning: " if (seconds or 0) >= 300 else ""
    return (
        f"{warning}{told}{who}{how_long} ({state}): rows of transactions that began after it come with a later run",
    )


def _duration(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
