"""`.conduit/history.db`: what ran, and which marks were changed by hand. A record, never a decision.

It can be deleted at any time. A run that cannot write it succeeds all the same and says so.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from conduit.errors import ConduitError
from conduit.late import late
from conduit.locks import private_folder

if TYPE_CHECKING:
    from conduit import state_log
    from conduit.state_log import Entry
else:
    state_log = late("conduit.state_log")

FILE_NAME = "history.db"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (run_id TEXT, pipeline TEXT, resource TEXT, status TEXT, started_at TEXT,
  finished_at TEXT, report TEXT, PRIMARY KEY (run_id, resource));
CREATE TABLE IF NOT EXISTS state_change (changed_at TEXT, who TEXT, host TEXT, pipeline TEXT, resource TEXT,
  verb TEXT, old TEXT, new TEXT);
CREATE TABLE IF NOT EXISTS verified (pipeline TEXT, resource TEXT, verified_at TEXT, verified_through TEXT,
  rows INTEGER, PRIMARY KEY (pipeline, resource));
"""


class HistoryUnavailable(ConduitError):
    """The record could not be written; what it is about has happened all the same."""


class StateChange(msgspec.Struct, frozen=True):
    """One change of a mark by hand: who, when, old and new."""

    changed_at: str
    who: str
    host: str
    pipeline: str
    resource: str
    verb: str
    old: str | None
    new: str | None


class Verified(msgspec.Struct, frozen=True):
    """How far a destination was found to hold what its source has; `through` None: all of it, without a watermark."""

    verified_at: str
    through: str | None
    rows: int


class History(msgspec.Struct, frozen=True):
    """The record of a project, in `folder` (its `.conduit/`)."""

    folder: Path

    def record_run(
        self, *, run_id: str, pipeline: str, resource: str, started_at: str, report: dict[str, object]
    ) -> None:
        """Keep the report of one resource's run.

        Raises:
            HistoryUnavailable: the record cannot be written.
        """
        with self._open() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, ?, ?, ?)",
                (run_id, pipeline, resource, report["status"], started_at, utc_now(), json.dumps(report)),
            )

    def record_state_change(self, *, pipeline: str, resource: str, verb: str, old: str | None, new: str | None) -> None:
        """Keep a change of a mark by hand.

        Raises:
            HistoryUnavailable: the record cannot be written.
        """
        with self._open() as connection:
            connection.execute(
                "INSERT INTO state_change VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (utc_now(), _user(), socket.gethostname(), pipeline, resource, verb, old, new),
            )

    def record_verified(self, *, pipeline: str, resource: str, through: int | str | None, rows: int) -> None:
        """Keep that a destination was the same as its source up to a mark.

        Raises:
            HistoryUnavailable: the record cannot be written.
        """
        with self._open() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO verified VALUES (?, ?, ?, ?, ?)",
                (pipeline, resource, utc_now(), None if through is None else str(through), rows),
            )

    def verified(self, pipeline: str, resource: str) -> Verified | None:
        """How far a destination was last found to be right; None: it never was looked at, or nothing is recorded."""
        if not (self.folder / "history.db").exists():
            return None
        with self._open() as connection:
            found = connection.execute(
                "SELECT verified_at, verified_through, rows FROM verified WHERE pipeline = ? AND resource = ?",
                (pipeline, resource),
            ).fetchone()
        return Verified(*found) if found else None

    def runs(self) -> list[dict[str, object]]:
        """All reports, oldest first."""
        with self._open() as connection:
            rows = connection.execute("SELECT report FROM run ORDER BY started_at, rowid").fetchall()
        return [json.loads(row[0]) for row in rows]

    def state_changes(self) -> list[StateChange]:
        """All changes by hand, oldest first."""
        with self._open() as connection:
            return [StateChange(*row) for row in connection.execute("SELECT * FROM state_change ORDER BY rowid")]

    def entries(self, pipeline: str, resource: str) -> list[Entry]:
        """What is known here of the marks of a resource, oldest first: values of runs, positions of changes by hand.

        Raises:
            HistoryUnavailable: the record cannot be read.
        """
        if not (self.folder / FILE_NAME).exists():
            return []
        runs = "SELECT finished_at, run_id, report FROM run WHERE pipeline = ? AND resource = ? AND status = 'loaded'"
        with self._open() as connection:
            found = [_of_run(*row) for row in connection.execute(runs, (pipeline, resource))]
        changes = [one for one in self.state_changes() if (one.pipeline, one.resource) == (pipeline, resource)]
        return sorted([*found, *map(_of_change, changes)], key=lambda one: one.committed_at)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            path = private_folder(self.folder) / FILE_NAME
            _made_private(path)
            with closing(sqlite3.connect(path, timeout=10)) as connection, connection:
                connection.executescript(_SCHEMA)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise HistoryUnavailable(f"the history in {self.folder} cannot be used: {error}") from error


def _of_run(finished_at: str, run_id: str, report: str) -> Entry:
    told = json.loads(report)
    return state_log.Entry(
        position=None,
        value=told["until"],
        run_id=run_id,
        complete=True,
        rows=told["written"],
        committed_at=finished_at,
        origin="history",
    )


def _of_change(change: StateChange) -> Entry:
    run_id = f"{state_log.BY_HAND}{change.verb}"
    return state_log.Entry(
        position=None,
        value=state_log.value_of(state_log.position_of(change.new or "-", run_id)),
        run_id=run_id,
        complete=True,
        rows=0,
        committed_at=change.changed_at,
        origin="history",
    )


def _made_private(path: Path) -> None:
    """Make the file, for its owner only, or see that it is no link: SQLite would follow one, and ask the umask."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if path.is_symlink():
            raise OSError(f"{path.name} is a link") from None


def utc_now() -> str:
    """The time for records, never for positions."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _user() -> str:
    import getpass  # noqa: PLC0415 - a run never asks who changed a mark

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
