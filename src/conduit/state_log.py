"""The log of a mark: every position that was committed for a resource, how one is named, and what lies between two.

Pure values, and what a destination may be able to tell. This module knows no connector and no project.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import msgspec
from msgspec.structs import replace

from conduit.errors import ConfigError, StateConflict
from conduit.marks import Identity, Mark
from conduit.positions import Position, Window, after

BY_HAND = "state-"
"""What the run id of a mark begins with that a `conduit state` command moved."""

_TIMES = ("date", "timestamp", "timestamptz", "timestamp-text")

Origin = Literal["destination", "history"]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One position that was committed.

    Attributes:
        position: where the source was read to; None after a reset, or when only its value is known.
        value: what people see of it.
        run_id: who committed it.
        complete: False at a checkpoint in the middle of a run.
        rows: rows that came with it.
        committed_at: UTC, ISO-8601.
        anew: the run began without a position: a first run, one after a reset, a full refresh.
        origin: the destination's own log, or `.conduit/history.db`.
        snapshot: (Iceberg) the snapshot that holds the rows.
    """

    position: Position | None
    value: int | str | None
    run_id: str
    complete: bool
    rows: int
    committed_at: str
    anew: bool = False
    origin: Origin = "destination"
    snapshot: int | None = None

    @property
    def by_hand(self) -> bool:
        """A `conduit state` command moved the mark."""
        return self.run_id.startswith(BY_HAND)

    @property
    def token(self) -> str:
        """What the compare-and-swap compares."""
        return self.position.token() if self.position else "-"


def position_of(token: str, run_id: str) -> Position | None:
    """The position that a log kept as its token.

    Raises:
        StateConflict: the token is not one that this version of conduit knows.
    """
    try:
        return None if token == "-" else msgspec.json.decode(token, type=Position)  # noqa: S105 - no secret
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise StateConflict(
            f"the entry of run {run_id} in the log of marks cannot be read: {error}",
            hint="was it written by a newer conduit, or changed by hand?",
        ) from error


def entry_of(mark: Mark) -> Entry:
    """The entry of a mark that was kept whole."""
    return Entry(
        position=mark.position,
        value=value_of(mark.position),
        run_id=mark.run_id,
        complete=mark.complete,
        rows=mark.rows,
        committed_at=mark.committed_at,
        anew=mark.since is None,
    )


def entries_of(marks: Sequence[Mark | None]) -> list[Entry]:
    """The entries of marks that were kept with every commit of a table; those that did not move are left out."""
    found: list[Mark] = []
    for mark in marks:
        if mark is not None and (not found or (mark.run_id, mark.token()) != (found[-1].run_id, found[-1].token())):
            found.append(mark)
    return [entry_of(mark) for mark in found]


def value_of(position: Position | None) -> int | str | None:
    """What people see of a position; a ledger of which the log keeps the checksum alone is shown by it."""
    if position is None:
        return None
    if position.kind == "files" and not position.files:
        return position.value[:19]
    return position.shown()


# --- what a destination can tell, and take back ---------------------------------------------------------


@runtime_checkable
class SupportsLog(Protocol):
    """A destination that keeps its marks' history, in the same commits as the marks. The mark alone decides."""

    def log(self, identity: Identity) -> Sequence[Entry]:
        """The positions that were committed for `identity`, oldest first; empty where nothing is kept."""
        ...


@runtime_checkable
class SupportsTakingBack(Protocol):
    """A destination that can take back the rows of runs in the step that moves the mark back."""

    by_run_id: bool
    """Rows are found by the run id that they carry; else by the snapshot that they came with."""

    def later_rows(self, identity: Identity, to: Entry, later: Sequence[Entry]) -> int:
        """How many rows the table would lose if it went back from the end of the log to the entry `to`.

        Raises:
            StateConflict: it cannot go back, and why.
        """
        ...

    def take_back(self, old: Mark, new: Mark, to: Entry, later: Sequence[Entry], rows: int) -> None:
        """Remove the rows of the entries `later`, which are `rows`, and set the mark, in one step.

        Raises:
            Fenced: the mark is not `old` any more; nothing was changed.
            StateConflict: there are not `rows` of them any more; nothing was changed.
        """
        ...


# --- naming an entry ------------------------------------------------------------------------------------


def find(entries: Sequence[Entry], text: str) -> int:
    """The place of the entry that `text` names: a value, a run, or a moment with its time zone.

    A run is its last commit, a moment the last commit before it.

    Raises:
        ConfigError: no entry is named, or several that differ.
    """
    valued = [place for place, one in enumerate(entries) if one.value is not None and str(one.value) == text]
    if len({entries[place].token for place in valued}) > 1:
        runs = ", ".join(dict.fromkeys(entries[place].run_id for place in valued))
        raise ConfigError(f"the log has {text} several times, with different windows", hint=f"name the run: {runs}")
    named = valued or [place for place, one in enumerate(entries) if one.run_id == text]
    if not named:
        named = _before(entries, _moment(entries, text))
    if not named:
        raise ConfigError(f"the log of this resource has nothing as old as {text}", hint="see `conduit state log`")
    return named[-1]


def _before(entries: Sequence[Entry], moment: dt.datetime) -> list[int]:
    return [place for place, one in enumerate(entries) if dt.datetime.fromisoformat(one.committed_at) <= moment]


def _moment(entries: Sequence[Entry], text: str) -> dt.datetime:
    unknown = f"the log of this resource has no value, run or time {text}"
    if any(one.position is not None and one.position.type in _TIMES for one in entries):
        raise ConfigError(unknown, hint="its values are times, so give one exactly as `conduit state log` shows it")
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(unknown, hint="`conduit state log` shows what there is") from error
    if moment.tzinfo is None:
        raise ConfigError(f"{text} has no time zone", hint="write it as `conduit state log` does, with +00:00")
    return moment


def ahead(entries: Sequence[Entry], place: int) -> bool:
    """Whether the position of an entry is one that the mark, the last entry, was moved back from.

    Going there would pass over the rows in between. Cursors are compared; other positions have no order, and there
    the mark is followed back through its moves.
    """
    now, wanted = entries[-1].position, entries[place].position
    if now is None or wanted is None:
        return True
    if now.kind == wanted.kind == "cursor" and now.type == wanted.type:
        if now.window is not None and wanted.window is not None:
            return _window_ahead(now, now.window, wanted, wanted.window)
        return after(wanted, now)
    return place not in _came_by(entries)


def _window_ahead(now: Position, seen: Window, wanted: Position, other: Window) -> bool:
    """Of one window a checkpoint comes before its end, and before the checkpoints with a higher cursor."""
    if other.end != seen.end or not seen.at:
        return int(other.end) > int(seen.end)
    return not other.at or after(replace(wanted, value=other.at), replace(now, value=seen.at))


def _came_by(entries: Sequence[Entry]) -> set[int]:
    """The entries that the mark came by, without those that it was moved back over."""
    passed: set[int] = set()
    place = len(entries) - 1
    while place >= 0:
        passed.add(place)
        now = entries[place]
        earlier = [before for before in range(place) if entries[before].token == now.token]
        again = now.snapshot is not None and any(entries[before].snapshot == now.snapshot for before in earlier)
        place = earlier[-1] if earlier and (now.by_hand or again) else place - 1
    return passed


# --- what lies between two ------------------------------------------------------------------------------


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What changed from one entry of a log to a later one.

    Attributes:
        older: the entry that was committed first.
        newer: the other one.
        runs: who committed in between, the newer one included, oldest first; commands by hand too.
        commits: how many commits they made.
        rows: rows that came with them.
        seconds: between the two.
        window: the transactions that were read in between, `[start, end)`; empty without windows.
        files: files that the ledger gained; None: it is not known, or there is none.
    """

    older: Entry
    newer: Entry
    runs: tuple[str, ...]
    commits: int
    rows: int
    seconds: float
    window: tuple[str, str] | tuple[()] = ()
    files: tuple[str, ...] | None = None


def difference(entries: Sequence[Entry], one: int, other: int) -> Difference:
    """What changed between two entries of a log, whichever was named first."""
    first, last = sorted((one, other))
    older, newer = entries[first], entries[last]
    between = entries[first + 1 : last + 1]
    moments = [dt.datetime.fromisoformat(end.committed_at) for end in (older, newer)]
    return Difference(
        older=older,
        newer=newer,
        runs=tuple(dict.fromkeys(entry.run_id for entry in between)),
        commits=len(between),
        rows=sum(entry.rows for entry in between),
        seconds=round((moments[1] - moments[0]).total_seconds(), 3),
        window=_window(older.position, newer.position),
        files=_files(older.position, newer.position),
    )


def _window(older: Position | None, newer: Position | None) -> tuple[str, str] | tuple[()]:
    if older is None or newer is None or older.window is None or newer.window is None:
        return ()
    return (older.window.end, newer.window.end)


def _files(older: Position | None, newer: Position | None) -> tuple[str, ...] | None:
    if newer is None or not newer.files or older is None or not older.files:
        return None
    known = set(older.files)
    return tuple(file.path for file in newer.files if file not in known)
