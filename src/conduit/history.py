"""`.conduit/history.db`: what ran, and which marks were changed by hand. A record, never a decision.

It can be deleted at any time. A run that cannot write it succeeds all the same and says so.
"""

from __future__ import annotations

import getpass
import json
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from conduit.errors import ConduitError
from conduit.locks import private_folder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS run (run_id TEXT, pipeline TEXT, resource TEXT, status TEXT, started_at TEXT,
  finished_at TEXT, report TEXT, PRIMARY KEY (run_id, resource));
CREATE TABLE IF NOT EXISTS state_change (changed_at TEXT, who TEXT, host TEXT, pipeline TEXT, resource TEXT,
  verb TEXT, old TEXT, new TEXT);
"""


class HistoryUnavailable(ConduitError):
    """The record could not be written; what it is about has happened all the same."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """One change of a mark by hand: who, when, old and new."""

    changed_at: str
    who: str
    host: str
    pipeline: str
    resource: str
    verb: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class History:
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

    def runs(self) -> list[dict[str, object]]:
        """All reports, oldest first."""
        with self._open() as connection:
            rows = connection.execute("SELECT report FROM run ORDER BY started_at, rowid").fetchall()
        return [json.loads(row[0]) for row in rows]

    def state_changes(self) -> list[StateChange]:
        """All changes by hand, oldest first."""
        with self._open() as connection:
            return [StateChange(*row) for row in connection.execute("SELECT * FROM state_change ORDER BY rowid")]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            path = private_folder(self.folder) / "history.db"
            with closing(sqlite3.connect(path, timeout=10)) as connection, connection:
                connection.executescript(_SCHEMA)
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise HistoryUnavailable(f"the history in {self.folder} cannot be used: {error}") from error


def utc_now() -> str:
    """The time for records, never for positions."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
