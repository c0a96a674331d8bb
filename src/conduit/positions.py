"""Typed watermarks and their JSON form: where a read ended, exactly.

A position is a value, not an order: only equality is universal (docs/decisions/0003). Cursor positions of one
type can be compared, and a lag can be taken off them; what the value is, is text in the form that the source
itself would print, so that no float, clock or locale ever touches it.

This module knows no connector, no file and no table.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from decimal import Decimal, InvalidOperation
from typing import Literal

import msgspec

from conduit.errors import ConfigError, StateConflict

Kind = Literal["cursor", "files", "snapshot", "full"]
CursorType = Literal["int", "decimal", "date", "timestamp", "timestamptz", "timestamp-text", "text", "uuid"]
"""`timestamp-text` is a time that its source keeps as text (SQLite): compared as text, printed as it stands."""

_KEPT_ANCHORS = 32

UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TIME = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})(?:(?P<sep>[T ])(?P<clock>\d{2}:\d{2}(?::\d{2})?)(?:\.(?P<fraction>\d{1,9}))?"
    r"(?P<zone>Z|[+-]\d{2}(?::?\d{2})?)?)?"
)


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file that was loaded: its path below the source's folder, size, mtime and sha256 of the content."""

    path: str
    size: int
    mtime_ns: int
    sha256: str


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The transactions that a read of a database with a safe horizon covered: `[start, end)`.

    Attributes:
        start: lower bound, the horizon of the run before (an xid8 as text).
        end: upper bound, this snapshot's horizon.
        next: the first transaction id that this snapshot had not yet given out.
        anchors: (next, cursor value) of earlier runs, oldest first: the index-friendly lower bound.
        at: the cursor up to which the window was read, in the mark of a checkpoint.
    """

    start: str
    end: str
    next: str
    anchors: tuple[tuple[str, str], ...] = ()
    at: str = ""

    def covered(self, highest: str) -> Window:
        """The window once all of it was read, with what later ones can start from.

        Args:
            highest: the highest cursor that was read so far.
        """
        anchors = [*self.anchors, (self.next, highest)]
        ended = [anchor for anchor in anchors if int(anchor[0]) <= int(self.end)]
        kept = [*ended[-1:], *(anchor for anchor in anchors if int(anchor[0]) > int(self.end))]
        if len(kept) > _KEPT_ANCHORS:  # a transaction stays open for long; every second one serves as well
            kept = [kept[0], *kept[2::2]]
        return msgspec.structs.replace(self, anchors=tuple(kept), at="")


class Position(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a read ended.

    Attributes:
        kind: `cursor` a watermark value, `files` a ledger of files, `snapshot` an id, `full` a whole reload.
        value: the watermark as text; the ledger's digest; the id; the run that reloaded.
        type: what a cursor's value is, one of `CursorType`.
        unit: `s`, `ms`, `us` or `ns` for times: the precision of the source.
        window: the safe horizon, where the source has one.
        epoch: what tells this life of the source from another (timeline, relfilenode).
        files: the ledger of a `files` position.
    """

    kind: Kind
    value: str
    type: str = ""
    unit: str = ""
    window: Window | None = None
    epoch: dict[str, str] = {}
    files: tuple[FileEntry, ...] = ()

    def token(self) -> str:
        """What two equal positions share, as one line of JSON; the compare-and-swap compares it."""
        return msgspec.json.encode(msgspec.structs.replace(self, files=())).decode()

    def shown(self) -> int | str | None:
        """The value as `.conduit_state.json` shows it: ints as numbers, the rest as text, a reload as nothing."""
        match self.kind, self.type:
            case "full", _:
                return None
            case ("cursor", "int") | ("snapshot", _):
                return int(self.value)
            case "files", _:
                return f"{len(self.files)} file{'s' * (len(self.files) != 1)} {self.value[:19]}"
            case _:
                return self.value


def cursor(value: str, type: CursorType, unit: str = "") -> Position:  # noqa: A002 - the field's name
    """A watermark position; `value` is brought into the one form that its type has.

    Raises:
        StateConflict: `value` is not a value of `type`.
    """
    return Position(kind="cursor", value=_canonical(value, type, unit), type=type, unit=unit)


def snapshot(value: int | str) -> Position:
    """The position of a source that was read up to a snapshot of its table.

    Raises:
        StateConflict: `value` is no id of a snapshot.
    """
    return Position(kind="snapshot", value=_canonical(str(value), "int", ""))


def from_epoch(count: int, unit: str, *, aware: bool) -> Position:
    """The watermark `count` units after 1970, as databases and Arrow hold times."""
    text = _render_time(count * 10 ** (9 - UNITS[unit]), unit, aware=aware)
    return Position(kind="cursor", value=text, type="timestamptz" if aware else "timestamp", unit=unit)


def to_epoch(position: Position, unit: str) -> int:
    """A time watermark as units since 1970; digits below `unit` are cut, so that nothing is skipped."""
    return _nanoseconds(position.value, position.type) // int(10 ** (9 - UNITS[unit]))


def parse_shown(value: object, like_type: CursorType, unit: str = "") -> Position:
    """The position that a value written by a person, or read from `.conduit_state.json`, means.

    Raises:
        StateConflict: the value is not of the cursor's type.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise StateConflict(f"{value!r} is not a value of type {like_type}")
    return cursor(str(value), like_type, unit)


def after(left: Position, right: Position) -> bool:
    """Whether `left` is a higher watermark than `right`. Both are cursors of one type.

    Raises:
        StateConflict: they are of different kinds or types.
    """
    if (left.kind, left.type) != (right.kind, right.type) or left.kind != "cursor":
        raise StateConflict(
            f"a position of type {left.type or left.kind} cannot be compared with one of type "
            f"{right.type or right.kind}",
            hint="the cursor column changed its type; `conduit state reset` starts again, `state set` goes on",
        )
    return _order(left) > _order(right)


def highest(left: Position | None, right: Position | None) -> Position | None:
    """The higher of two watermarks; None is below everything."""
    if left is None or right is None:
        return left or right
    return left if after(left, right) else right


def minus(position: Position, lag: Lag) -> Position:
    """The watermark `lag` below `position`: the lower bound of a read that looks back."""
    if isinstance(lag, Decimal) and position.type in ("int", "decimal"):
        return cursor(str(Decimal(position.value) - lag), position.type, position.unit)  # type: ignore[arg-type]
    if isinstance(lag, dt.timedelta) and position.type == "date":
        floor = max(dt.date.fromisoformat(position.value) - lag, dt.date.min + dt.timedelta(0))
        return cursor(floor.isoformat(), "date")
    if isinstance(lag, dt.timedelta) and position.type in ("timestamp", "timestamptz", "timestamp-text"):
        return msgspec.structs.replace(position, value=_shift(position.value, -lag))
    raise ConfigError(f"a lag of {lag} cannot be taken off a cursor of type {position.type}")


Lag = Decimal | dt.timedelta
"""How far a read looks back: a number for numeric cursors, a duration for times."""

_DURATION = re.compile(r"(\d+)\s*(s|sec|second|m|min|minute|h|hour|d|day|w|week)s?")
_SECONDS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
_SECONDS |= {"d": 86400, "day": 86400, "w": 604800, "week": 604800}


def parse_lag(text: str, type: str) -> Lag:  # noqa: A002 - the field's name
    """`100000` for numbers, `5m`, `1 hour` or `2 days` for times.

    Raises:
        ConfigError: the text is neither, or does not fit the cursor's type.
    """
    stripped = text.strip()
    if type in ("int", "decimal") and re.fullmatch(r"\d+(\.\d+)?", stripped):
        return Decimal(stripped)
    match = _DURATION.fullmatch(stripped)
    if match and type not in ("int", "decimal", "text", "uuid"):
        return dt.timedelta(seconds=int(match[1]) * _SECONDS[match[2]])
    wanted = "a number, such as 100000" if type in ("int", "decimal") else "a duration, such as `1 hour`"
    if type in ("text", "uuid"):
        raise ConfigError(f"lag: a cursor of type {type} has no distance to look back", hint="leave `lag` out")
    raise ConfigError(f"lag: {text!r} does not fit a cursor of type {type}", hint=f"write {wanted}")


def _canonical(value: str, type: CursorType, unit: str) -> str:  # noqa: A002
    try:
        match type:
            case "int":
                return str(int(value)) if re.fullmatch(r"[+-]?\d{1,40}", value.strip()) else _refuse(value, type)
            case "decimal":
                number = Decimal(value)
                return format(number, "f") if number.is_finite() else _refuse(value, type)
            case "date":
                return dt.date.fromisoformat(value).isoformat()
            case "timestamp" | "timestamptz":
                return _render_time(_nanoseconds(value, type), unit or "us", aware=type == "timestamptz")
            case "uuid":
                return str(uuid.UUID(value))
            case _:
                return value
    except (ValueError, InvalidOperation):
        return _refuse(value, type)


def _refuse(value: str, type: CursorType) -> str:  # noqa: A002
    name = {"int": "an integer", "decimal": "a decimal number"}.get(type, f"a value of type {type}")
    raise StateConflict(f"{value[:80]!r} is not {name}")


def _order(position: Position) -> tuple[int | Decimal | bytes, ...]:
    match position.type:
        case "int" | "decimal":
            return (Decimal(position.value),)
        case "date":
            return (dt.date.fromisoformat(position.value).toordinal(),)
        case "timestamp" | "timestamptz":
            return (_nanoseconds(position.value, position.type),)
        case "uuid":
            return (uuid.UUID(position.value).bytes,)
        case _:
            return (position.value.encode("utf-8", "surrogatepass"),)


def _nanoseconds(text: str, type: str) -> int:  # noqa: A002
    """Nanoseconds since 1970 of an ISO-8601 time; the zone is required for timestamptz, refused otherwise."""
    match = _TIME.fullmatch(text.strip())
    if not match:
        raise ValueError(text)
    zone = (match["zone"] or "").replace("Z", "+00:00")
    if (type == "timestamptz") != bool(zone):
        raise ValueError(text)
    moment = dt.datetime.fromisoformat(f"{match['day']}T{match['clock'] or '00:00:00'}{zone or '+00:00'}")
    whole = (moment - _EPOCH) // dt.timedelta(seconds=1)
    return whole * 10**9 + int((match["fraction"] or "0").ljust(9, "0"))


def _render_time(nanoseconds: int, unit: str, *, aware: bool) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    text = (_EPOCH + dt.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    text = text.rjust(19, "0")  # strftime does not pad years below 1000
    digits = UNITS[unit]
    fraction = f".{rest:09d}"[: digits + 1] if digits else ""
    return text + fraction + ("+00:00" if aware else "")


def _shift(text: str, delta: dt.timedelta) -> str:
    """The same time, `delta` later, written as the text is written: separator, fraction, zone."""
    match = _TIME.fullmatch(text.strip())
    if not match:
        raise StateConflict(f"{text!r} is not a time, so no lag can be taken off it")
    moment = dt.datetime.fromisoformat(f"{match['day']}T{match['clock'] or '00:00:00'}")
    moved = max(moment, dt.datetime.min - min(delta, dt.timedelta(0))) + delta  # noqa: DTZ901 - the zone stays text
    if not match["clock"]:
        return moved.date().isoformat()
    clock = moved.strftime("%H:%M:%S" if match["clock"].count(":") == 2 else "%H:%M")
    fraction = f".{match['fraction']}" if match["fraction"] else ""
    return f"{moved.date().isoformat()}{match['sep']}{clock}{fraction}{match['zone'] or ''}"
