"""How a resource guards its watermark against rows that commit late: `safety`, `lag`, and what they need.

A row can become visible below a watermark that was already read. `xid_window` reads what transactions committed since
the mark, where the source can tell; `lag` reads again from a little below the watermark. Both leave out, by key and
inside the commit, what the destination already has. `none` compares strictly and says in every run what it can lose.
`auto` is the window where there is one, else lag. Pure decisions; the effects are in run.py and in the connectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from conduit.arrow import SchemaOnce
from conduit.config.models import Incremental, Resource
from conduit.contract import Described
from conduit.errors import ConfigError
from conduit.positions import Lag, Position, minus, parse_lag

DEFAULT_LAG: dict[str, str] = {
    "int": "100000",
    "decimal": "100000",
    "date": "1 day",
    "timestamp": "1 hour",
    "timestamptz": "1 hour",
    "timestamp-text": "1 hour",
}
"""How far `lag` looks back unless ingest.yml says otherwise, by type of the cursor."""


class Watermark(msgspec.Struct, frozen=True):
    """How the next read is bounded.

    Attributes:
        looks_back: rows below the watermark are read again and left out by key.
        lag: how far; None with `looks_back`: everything (`lag: full`).
        notes: what a person should know, in every run.
        window: the source is asked to read by its safe horizon instead: never, if it can, or it must.
    """

    looks_back: bool = False
    lag: Lag | None = None
    notes: tuple[str, ...] = ()
    window: Literal["never", "if it can", "must"] = "never"

    def lower(self, since: Position | None) -> Position | None:
        """The lower bound of a read that goes on from `since`; None: no bound."""
        if since is None or not self.looks_back:
            return since
        if since.window and since.window.at:  # a checkpoint of a window lies where it was cut, not at the highest
            since = replace(since, value=since.window.at)
        return minus(since, self.lag) if self.lag is not None else None

    def settled(self, resource: str, described: Described) -> Watermark:
        """How the read is guarded once the source has told whether it reads by its horizon.

        Raises:
            ConfigError: it must, and it cannot.
        """
        if described.window is not None:
            return replace(self, notes=())
        if self.window == "must":
            why = described.no_window or "this source has no safe horizon"
            raise ConfigError(
                f"resource {resource}: safety: xid_window cannot be had: {why}",
                hint="read a table, or a plain SELECT from one, of PostgreSQL; or use `safety: lag`",
            )
        why = f"; no xid window: {described.no_window}" if described.no_window else ""
        return replace(self, notes=tuple(f"{note}{why}" for note in self.notes))


def choose(resource: Resource, type_: str, *, late_commits: bool) -> Watermark:
    """How a resource with a cursor of this type is guarded.

    Args:
        resource: with its `incremental`.
        type_: type of the cursor.
        late_commits: the source has concurrent writers, whose rows can commit below the watermark.

    Raises:
        ConfigError: the safety that was asked for cannot be had.
    """
    incremental = resource.incremental
    if incremental is None:
        return Watermark()
    accumulates = resource.accumulates
    if incremental.safety == "none":
        return Watermark(notes=(_unsafe(resource, incremental),) if late_commits else ())
    if incremental.safety == "xid_window":
        _refuse_accumulating(resource, accumulates)
        lag = _lag(incremental, type_) if incremental.lag or type_ in DEFAULT_LAG else None
        return Watermark(looks_back=True, lag=lag, window="must")
    if incremental.safety == "lag":
        _refuse_accumulating(resource, accumulates)
        return _looking_back(incremental, type_, f"safety is lag ({_shown(incremental, type_)})")
    return _automatic(resource, incremental, type_, late_commits=late_commits, accumulates=accumulates)


def _automatic(
    resource: Resource, incremental: Incremental, type_: str, *, late_commits: bool, accumulates: bool
) -> Watermark:
    if type_ not in DEFAULT_LAG:
        if incremental.lag is not None:
            parse_lag(incremental.lag, type_)
        if late_commits and resource.primary_key and not accumulates:
            return Watermark(looks_back=True, window="if it can", notes=("safety: auto reads everything again",))
        return Watermark(notes=(_unsafe(resource, incremental),) if late_commits else ())
    if late_commits:
        _refuse_accumulating(resource, accumulates)
        found = _looking_back(incremental, type_, f"safety: auto is lag here ({_shown(incremental, type_)})")
        return replace(found, window="if it can")
    is_time = type_ not in ("int", "decimal")
    if incremental.lag is not None or (is_time and resource.primary_key and not accumulates):
        _refuse_accumulating(resource, accumulates)
        return _looking_back(incremental, type_, f"safety: auto is lag here ({_shown(incremental, type_)})")
    return Watermark(notes=(_equal_times(resource, incremental),) if is_time and not accumulates else ())


def wants_window(resource: Resource) -> bool:
    """Whether a source with a safe horizon is to be read by it, whatever the type of the cursor turns out to be."""
    incremental = resource.incremental
    return incremental is not None and incremental.safety in ("auto", "xid_window") and not resource.accumulates


def key_of(resource: Resource, described: Described, watermark: Watermark) -> tuple[str, ...]:
    """The columns that identify a row: the resource's own, else what the source's catalogue knows.

    Raises:
        ConfigError: the watermark looks back in append mode and there is no key.
    """
    key = resource.primary_key or described.key
    if watermark.looks_back and resource.mode == "append" and not key:
        raise ConfigError(
            f"resource {resource.name}: looking back for late rows needs a key that tells a late row from a loaded one",
            hint="name it with `primary_key: …`, or accept the loss of late rows with `incremental: {safety: none}`",
        )
    names = SchemaOnce.names(described)
    missing = [name for name in key if name not in names]
    if missing:
        raise ConfigError(
            f"resource {resource.name}: primary_key {', '.join(missing)} is not among the columns {', '.join(names)}",
            hint="select it in the query",
        )
    return key


def unique_by_catalogue(key: Sequence[str], described: Described) -> bool:
    """Whether the source's catalogue proves that no two rows share `key`."""
    return bool(described.key) and set(described.key) <= set(key)


def _looking_back(incremental: Incremental, type_: str, note: str) -> Watermark:
    return Watermark(looks_back=True, lag=_lag(incremental, type_), notes=(note,))


def _lag(incremental: Incremental, type_: str) -> Lag | None:
    if incremental.lag == "full":
        return None
    return parse_lag(incremental.lag or _default(type_), type_)


def _default(type_: str) -> str:
    if type_ not in DEFAULT_LAG:
        raise ConfigError(
            f"safety: lag needs a cursor with a distance; {type_} has none",
            hint="use an integer or time column, or `safety: none`",
        )
    return DEFAULT_LAG[type_]


def _shown(incremental: Incremental, type_: str) -> str:
    lag = incremental.lag or _default(type_)
    return f"looks back {lag} and leaves out known keys"


def _unsafe(resource: Resource, incremental: Incremental) -> str:
    return (
        f"warning: {resource.name} compares {incremental.column} strictly; rows that commit late, below the "
        "watermark, are never loaded"
    )


def _equal_times(resource: Resource, incremental: Incremental) -> str:
    return (
        f"{resource.name} compares {incremental.column} strictly: a row that gets the time of the watermark, or an "
        "earlier one, after this run is never loaded; with a primary_key the next runs look back"
    )


def _refuse_accumulating(resource: Resource, accumulates: bool) -> None:
    if accumulates:
        raise ConfigError(
            f"resource {resource.name}: `update:` adds to the target, so a row that is read twice would count twice; "
            "looking back for late rows does read rows twice",
            hint="say `incremental: {column: …, safety: none}` and accept that late rows are not loaded",
        )
