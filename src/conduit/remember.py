"""What `conduit state` does: look at marks, and move them by hand. Every change is a compare-and-swap, and is recorded.

The mark lives in the destination; the state file follows it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import msgspec

from conduit import locks, planning
from conduit.config.models import Project, Resource
from conduit.connectors import registry
from conduit.contract import Described, SupportsHistory
from conduit.errors import ConfigError, StateConflict
from conduit.history import History, HistoryUnavailable, Verified, utc_now
from conduit.job import PRIVATE, Job, opened
from conduit.marks import Identity, Mark, mark_of
from conduit.positions import CursorType, Position, parse_shown, snapshot
from conduit.state import FILE_NAME, BrokenStateFile, StateFile, Value
from conduit.state_log import BY_HAND
from conduit.watermarks import Watermark


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What is known about one resource.

    Attributes:
        resource: its name.
        file: the value in the state file, `missing` or what is wrong with it.
        mark: what the destination holds; None: nothing.
        verified: how far `conduit verify` found both sides to be the same; None: that is not known.
    """

    resource: str
    file: str
    mark: Mark | None
    verified: Verified | None = None

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "resource": self.resource,
            "file": self.file,
            "mark": msgspec.to_builtins(self.mark),
            "verified": msgspec.to_builtins(self.verified),
        }


def show(project: Project, resource: Resource) -> Remembered:
    """The two records of a resource, side by side."""
    try:
        value = state_file(project).value(resource.name)
        file = "missing" if value is None else repr(value)
    except BrokenStateFile as error:
        file = f"broken: {error}"
    return Remembered(
        resource=resource.name, file=file, mark=mark_now(project, resource), verified=_verified(project, resource)
    )


def _verified(project: Project, resource: Resource) -> Verified | None:
    try:
        return History(project.folder / PRIVATE).verified(project.pipeline, resource.name)
    except HistoryUnavailable:  # a record, which may be lost
        return None


def set_value(project: Project, resource: Resource, value: str) -> Remembered:
    """Move the mark to `value`; the next run goes on above it.

    Raises:
        ConfigError: the resource has no cursor.
        StateConflict: the value is not of the cursor's type.
    """
    described = _describe(project, resource)
    position = _position(project, resource, described, value)
    return _change(project, resource, "set", lambda _: (position, described.fingerprint))


def reset(project: Project, resource: Resource) -> Remembered:
    """Forget the position; the next run loads everything again. Rows that are loaded stay where they are."""
    return _change(project, resource, "reset", lambda old: (None, old.source if old else ""))


def adopt(project: Project, resource: Resource) -> Remembered:
    """Take what is found for the truth: the file's value where there is no mark, the source that is there now.

    Raises:
        StateConflict: there is neither a mark nor a value.
    """
    described = _describe(project, resource)

    def adopted(old: Mark | None) -> tuple[Position | None, str]:
        if old is not None and old.position is not None:
            return old.position, described.fingerprint
        value = _file_value(project, resource)
        if value is None:
            raise StateConflict(f"{resource.name}: there is neither a mark nor a value in {FILE_NAME} to adopt")
        return _position(project, resource, described, value), described.fingerprint

    return _change(project, resource, "adopt", adopted)


def move(project: Project, old_name: str, resource: Resource) -> Remembered:
    """Give the mark of `old_name`, a resource that was renamed, to `resource`.

    Raises:
        ConfigError: the two names are one.
        StateConflict: there is no such mark.
    """
    if old_name == resource.name:
        raise ConfigError(f"{old_name} has that name already", hint="say the old name, then the new one")
    with locks.resource_lock(project.folder / PRIVATE, f"{project.pipeline}.{old_name}"):
        before = mark_now(project, resource, name=old_name)
        if before is None or before.position is None:
            raise StateConflict(f"{resource.into} has no mark of a resource {old_name}")
        remembered = _change(project, resource, "move", lambda _: (before.position, before.source))
        gone = next_mark(before, before.identity, None, before.source)
        _set(project, resource, before, gone)
        state_file(project).put(old_name, None)
    return remembered


def forget(project: Project, old_name: str) -> None:
    """Reset a resource that is not in ingest.yml any more, in whatever table it has a mark.

    Raises:
        StateConflict: no destination table of this file has a mark of it.
    """
    for resource in project.resources:
        before = mark_now(project, resource, name=old_name)
        if before is not None and before.position is not None:
            _set(project, resource, before, next_mark(before, before.identity, None, before.source))
            record(project, old_name, "reset", before, None)
            state_file(project).put(old_name, None)
            return
    raise StateConflict(f"no table of {project.file.name} has a mark of a resource {old_name}")


def _change(
    project: Project, resource: Resource, verb: str, decide: Callable[[Mark | None], tuple[Position | None, str]]
) -> Remembered:
    """Compare-and-swap the mark under the resource's lock, then file and history."""
    with locks.resource_lock(project.folder / PRIVATE, f"{project.pipeline}.{resource.name}"):
        old = mark_now(project, resource)
        position, source = decide(old)
        new = next_mark(old, identity(project, resource), position, source)
        if old is not None or position is not None or _has_history(project, resource):
            _set(project, resource, old, new)
        shown = position.shown() if position else None
        state_file(project).put(resource.name, shown)
        record(project, resource.name, verb, old, position)
    return show(project, resource)


def next_mark(
    old: Mark | None, identity: Identity, position: Position | None, source: str, *, complete: bool = True
) -> Mark:
    """The mark that a command sets."""
    return Mark(
        identity=identity,
        position=position,
        since=old.position if old else None,
        run_id=f"{BY_HAND}{secrets.token_hex(8)}",
        complete=complete,
        rows=0,
        source=source,
        committed_at=utc_now(),
    )


def record(project: Project, name: str, verb: str, old: Mark | None, new: Position | None) -> None:
    """Write a change by hand down: who, when, old and new."""
    History(project.folder / PRIVATE).record_state_change(
        pipeline=project.pipeline,
        resource=name,
        verb=verb,
        old=old.token() if old else None,
        new=new.token() if new else None,
    )


def identity(project: Project, resource: Resource, name: str = "") -> Identity:
    """Who the mark of a resource belongs to."""
    return Identity(project.pipeline, name or resource.name, resource.into)


def mark_now(project: Project, resource: Resource, *, name: str = "") -> Mark | None:
    """What the destination holds."""
    with closing(registry.destination(project.destinations[resource.destination], project.folder)) as destination:
        return mark_of(destination.marks(resource.into), identity(project, resource, name))


def _set(project: Project, resource: Resource, old: Mark | None, new: Mark) -> None:
    with closing(registry.destination(project.destinations[resource.destination], project.folder)) as destination:
        destination.set_mark(resource.into, old, new)


def _has_history(project: Project, resource: Resource) -> bool:
    """Whether the table can tell that a mark was removed, and so has to be told that it was meant."""
    with closing(registry.destination(project.destinations[resource.destination], project.folder)) as destination:
        return isinstance(destination, SupportsHistory) and destination.describe(resource.into) is not None


def _describe(project: Project, resource: Resource) -> Described:
    with opened(project, resource, {}) as (source, destination):
        job = Job(project=project, resource=resource, source=source, destination=destination, run_id="state")
        with source.open(planning.request(job, Watermark(), None)) as session:
            return session.describe()


def _position(project: Project, resource: Resource, described: Described, value: Value) -> Position:
    """What a value means for this resource: a snapshot of its source, or a watermark."""
    if resource.incremental is None and project.sources[resource.source].connection.snapshots:
        return snapshot(value)
    return parse_shown(value, _cursor_type(resource, described), described.cursor_unit)


def _cursor_type(resource: Resource, described: Described) -> CursorType:
    if described.cursor_type is None:
        raise ConfigError(f"{resource.name} has no incremental_column, so there is no value to remember")
    return described.cursor_type


def state_file(project: Project) -> StateFile:
    """`.conduit_state.json` of a project."""
    return StateFile(project.folder / FILE_NAME, project.folder / PRIVATE)


def _file_value(project: Project, resource: Resource) -> Value | None:
    try:
        return state_file(project).value(resource.name)
    except BrokenStateFile as error:
        raise StateConflict(f"{FILE_NAME}: {error}", hint="correct the file by hand, or use `state set`") from error
