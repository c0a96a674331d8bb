"""Conduit, broken on purpose: each function breaks one rule in the process that calls it. The harness must see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from conduit.connectors.postgresql.marks import Marks
from conduit.connectors.sqlite.destination import SqliteDestination
from conduit.connectors.sqlite.load import SqliteLoad
from conduit.marks import Identity, Mark
from conduit.positions import cursor


def data_first_json_after() -> None:
    """The protocol of the documents, taken literally: rows are committed, then a JSON file is written.

    The destination keeps no mark; what it answers is read from `.conduit_state.json`.
    """

    def marks(self: SqliteDestination, table: str, *, settle: bool = False) -> list[Mark]:
        path = Path(".conduit_state.json")
        value = json.loads(path.read_text()).get("r") if path.exists() else None
        return [_mark(table, value)] if value is not None else []

    SqliteDestination.marks = marks  # type: ignore[method-assign]
    _commit_without_mark()


def no_compare_and_swap() -> None:
    """PostgreSQL's mark is overwritten, whatever it was."""

    def move(self: Marks, cur: Any, old: Mark | None, new: Mark) -> None:
        who = (new.identity.pipeline, new.identity.resource, new.identity.table)
        cur.execute(
            f"INSERT INTO {self.table} VALUES (%s, %s, %s, %s, %s) ON CONFLICT (pipeline, resource, target) "
            "DO UPDATE SET position = excluded.position, mark = excluded.mark",
            (*who, new.token(), new.to_json()),
        )

    Marks.move = move  # type: ignore[method-assign]


def _commit_without_mark() -> None:
    original = SqliteLoad.commit

    def commit(self: SqliteLoad, staged: Any, old: Mark | None, new: Mark | None) -> Any:
        return original(self, staged, old, None)

    SqliteLoad.commit = commit  # type: ignore[method-assign]


def _mark(table: str, value: int) -> Mark:
    return Mark(
        identity=Identity("default", "r", table),
        position=cursor(str(value), "int"),
        since=None,
        run_id="json",
        complete=True,
        rows=0,
        source="sqlite:t:id",
        committed_at="",
    )
