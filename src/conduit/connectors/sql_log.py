"""The log of marks of destinations that speak SQL: one row a commit, in the transaction that moves the mark.

A record for people and for `conduit state rewind`; what a run does never depends on it. SQL text and plain values only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from conduit.connectors.sql import Parameter
from conduit.errors import StateConflict
from conduit.late import late
from conduit.marks import Identity, Mark

if TYPE_CHECKING:
    from conduit import state_log
    from conduit.state_log import Entry
else:
    state_log = late("conduit.state_log")

LOG_TABLE = "_conduit_state_log"
"""The table of the log, beside the table of marks."""

KEPT = 1000
"""Entries that stay for each mark."""

_OWNER = ("pipeline", "resource", "target")

Bound = tuple[str, tuple[str, ...]]
"""A statement and its parameters."""


def create_log(table: str) -> str:
    """The DDL of the log; `table` is its quoted name."""
    return (
        f"CREATE TABLE IF NOT EXISTS {table} (pipeline TEXT NOT NULL, resource TEXT NOT NULL, target TEXT NOT NULL, "
        "seq BIGINT NOT NULL, position TEXT NOT NULL, complete BOOLEAN NOT NULL, anew BOOLEAN NOT NULL, "
        "run_id TEXT NOT NULL, rows BIGINT NOT NULL, committed_at TEXT NOT NULL, "
        "PRIMARY KEY (pipeline, resource, target, seq))"
    )


def write_log(table: str, new: Mark, parameter: Parameter) -> tuple[Bound, Bound]:
    """Two statements: the one that adds an entry, and the one that removes what is older than the last KEPT.

    They run after the mark was swapped: its row is locked then, so no other commit takes the same number.
    """
    owner = _owner(new.identity)
    named = [parameter(place) for place in range(1, 10)]
    mine = " AND ".join(f"{name} = {spelled}" for name, spelled in zip(_OWNER, named[6:], strict=True))
    insert = (
        f"INSERT INTO {table} (pipeline, resource, target, position, run_id, committed_at, complete, anew, rows, seq) "
        f"VALUES ({', '.join(named[:6])}, {_flag(new.complete)}, {_flag(new.since is None)}, {new.rows}, "
        f"(SELECT coalesce(max(seq), 0) + 1 FROM {table} WHERE {mine}))"
    )
    prune = (
        f"DELETE FROM {table} WHERE {_mine(parameter, 1)} "
        f"AND seq <= (SELECT max(seq) - {KEPT} FROM {table} WHERE {_mine(parameter, 4)})"
    )
    return (insert, (*owner, new.token(), new.run_id, new.committed_at, *owner)), (prune, (*owner, *owner))


def read_log(table: str, identity: Identity, parameter: Parameter) -> Bound:
    """The query for the entries of a mark, oldest first."""
    columns = "position, complete, anew, run_id, rows, committed_at"
    return f"SELECT {columns} FROM {table} WHERE {_mine(parameter, 1)} ORDER BY seq", _owner(identity)


def entries(found: Iterable[Sequence[Any]]) -> list[Entry]:
    """The entries that were read.

    Raises:
        StateConflict: one is not an entry that this version of conduit knows.
    """
    return [_entry(*row) for row in found]


def _entry(token: str, complete: Any, anew: Any, run_id: str, rows: int, committed_at: str) -> Entry:
    position = state_log.position_of(token, run_id)
    return state_log.Entry(
        position=position,
        value=state_log.value_of(position),
        run_id=run_id,
        complete=bool(complete),
        rows=rows,
        committed_at=committed_at,
        anew=bool(anew),
    )


def _flag(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _mine(parameter: Parameter, first: int) -> str:
    return " AND ".join(f"{name} = {parameter(place)}" for place, name in enumerate(_OWNER, start=first))


def _owner(identity: Identity) -> tuple[str, str, str]:
    return (identity.pipeline, identity.resource, identity.table)


# --- rows that are taken back ---------------------------------------------------------------------------


def rows_of(target: str, column: str, later: Sequence[Entry], parameter: Parameter) -> Bound:
    """The query that counts the rows of some runs; `target` and `column` are quoted names."""
    return _of_runs(f"SELECT count(*) FROM {target}", column, later, parameter)


def removal(target: str, column: str, later: Sequence[Entry], parameter: Parameter) -> Bound:
    """The statement that removes them."""
    return _of_runs(f"DELETE FROM {target}", column, later, parameter)


def _of_runs(start: str, column: str, later: Sequence[Entry], parameter: Parameter) -> Bound:
    runs = tuple(dict.fromkeys(one.run_id for one in later))
    spelled = ", ".join(parameter(place) for place in range(1, len(runs) + 1))
    return f"{start} WHERE {column} IN ({spelled})", runs


def require_rows(identity: Identity, found: int, rows: int) -> None:
    """As many rows were removed as were announced.

    Raises:
        StateConflict: it were more or less, so somebody changes the table.
    """
    if found != rows:
        raise StateConflict(
            f"table {identity.table}: {found} rows of the later runs are there, {rows} were counted before; "
            "nothing was changed",
            hint="look at what else writes to the table, and run it again",
        )
