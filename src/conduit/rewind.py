"""What `conduit state log`, `diff` and `rewind` do: read the history of a mark, and move it back along that history.

A rewind is decided first, without an effect, so that a person sees what it does; then it is one compare-and-swap, with
the rows of the later runs in the same step where they are taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from conduit import locks, planning, remember
from conduit.config.models import Project, Resource
from conduit.connectors import registry
from conduit.contract import Destination, SupportsHistory
from conduit.errors import ConfigError, InternalError, StateConflict
from conduit.history import History, HistoryUnavailable
from conduit.job import PRIVATE, Job, opened
from conduit.marks import Mark, mark_of
from conduit.state_log import Difference, Entry, SupportsLog, SupportsTakingBack, ahead, difference, find


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What is known of the marks of a resource.

    Attributes:
        resource: its name.
        entries: oldest first.
        note: what could not be read; empty: nothing.
    """

    resource: str
    entries: tuple[Entry, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewind:
    """A mark that is to be moved back, decided and not done.

    Attributes:
        old: the mark now.
        to: where it goes.
        later: what was committed after that.
        removed: rows that are taken back with it; None: the rows stay.
        told: what it does, for people.
    """

    old: Mark
    to: Entry
    later: tuple[Entry, ...]
    removed: int | None
    told: str


# --- log and diff ---------------------------------------------------------------------------------------


def log(project: Project, resource: Resource) -> Log:
    """Every position that was committed: from the destination's own log, and from the history for what is older."""
    with closing(registry.destination(project.destinations[resource.destination], project.folder)) as destination:
        kept = _kept(project, resource, destination)
    try:
        written = History(project.folder / PRIVATE).entries(project.pipeline, resource.name)
    except HistoryUnavailable as error:
        return Log(resource=resource.name, entries=tuple(kept), note=error.message)
    known = {one.run_id for one in kept}
    older = [one for one in written if not kept or one.committed_at < kept[0].committed_at]
    return Log(resource=resource.name, entries=(*(one for one in older if one.run_id not in known), *kept))


def _kept(project: Project, resource: Resource, destination: Destination) -> Sequence[Entry]:
    return destination.log(remember.identity(project, resource)) if isinstance(destination, SupportsLog) else ()


def diff(project: Project, resource: Resource, one: str, other: str | None) -> Difference:
    """What changed between two entries of the log; without a second one, between the first and the newest.

    Raises:
        ConfigError: there is no such entry.
    """
    entries = log(project, resource).entries
    return difference(entries, find(entries, one), find(entries, other) if other else len(entries) - 1)


# --- rewind: decided ------------------------------------------------------------------------------------


def decide(project: Project, resource: Resource, to: str, *, with_data: bool, keep_data: bool) -> Rewind:
    """What moving the mark back to an entry would do. Nothing is changed.

    Args:
        project: the project.
        resource: whose mark.
        to: a run, a moment or a value of the log.
        with_data: take the rows of the later runs back in the same step.
        keep_data: let them stay, although they will be loaded again and stand twice.

    Raises:
        ConfigError: there is no such entry, or it has to be said what happens to the rows.
        StateConflict: the mark cannot go there, or the rows cannot be taken back.
    """
    if with_data and keep_data:
        raise ConfigError("--with-data and --keep-data exclude each other", hint="say one of them")
    if resource.mode == "replace":
        raise ConfigError(f"{resource.name}: every run loads everything, so there is nothing to go back to")
    with opened(project, resource, {}) as (source, destination):
        job = Job(project=project, resource=resource, source=source, destination=destination, run_id="state")
        old, to_entry, later = _places(job, to)
        removed = _removable(job, to_entry, later) if with_data else None
        if removed is None and not keep_data and _doubles(job, to_entry):
            raise _undecided(job, to_entry, later)
        return Rewind(old=old, to=to_entry, later=later, removed=removed, told=_told(job, to_entry, later, removed))


def _places(job: Job, to: str) -> tuple[Mark, Entry, tuple[Entry, ...]]:
    """The mark, the entry that is meant, and what came after it."""
    name = job.resource.name
    if isinstance(job.destination, SupportsHistory):
        job.destination.refuse_rolled_back(job.identity)
    mark = mark_of(job.destination.marks(job.resource.into), job.identity)
    entries = log(job.project, job.resource).entries
    if mark is None or not entries:
        raise StateConflict(f"{name}: nothing was ever committed, so there is nothing to go back to")
    place = find(entries, to)
    _require_token(name, entries[place])
    if entries[-1].token != mark.token():
        raise StateConflict(
            f"{name}: its log does not end with the mark that is in force, so what came last is not known",
            hint=f"`conduit state set {name} VALUE` moves the mark without the log",
        )
    if entries[place].token == mark.token() and entries[place].complete == mark.complete:
        raise ConfigError(f"{name}: the mark is at {entries[place].value} already")
    if ahead(entries, place):
        raise StateConflict(
            f"{name}: {entries[place].value} lies ahead of the mark, and the rows in between would never be loaded",
            hint=f"`conduit run` goes there; `conduit state set {name} VALUE` if the rows are to be passed over",
        )
    return mark, entries[place], entries[place + 1 :]


def _require_token(name: str, to: Entry) -> None:
    if to.origin == "history":
        raise StateConflict(
            f"{name}: of run {to.run_id} only the value {to.value} is known, from .conduit/history.db",
            hint=f"`conduit state set {name} {to.value}` goes there without what belonged to it",
        )
    if to.position is None:
        raise ConfigError(f"{name}: run {to.run_id} reset the mark", hint=f"`conduit state reset {name}` does it again")
    if to.position.kind == "files" and not to.position.files:
        raise StateConflict(
            f"{name}: the log of this destination keeps the checksum of the list of files, not the list",
            hint=f"`conduit state reset {name}` loads all files again",
        )


def _doubles(job: Job, to: Entry) -> bool:
    """Whether rows that are read again would stand, or count, twice."""
    if job.resource.mode == "merge":
        return job.resource.accumulates
    return not planning.rereads(job, planning.guard(job, to.position))


def _undecided(job: Job, to: Entry, later: Sequence[Entry]) -> ConfigError:
    name, rows = job.resource.name, sum(one.rows for one in later)
    try:
        offer = f"--with-data takes {_removable(job, to, later):,} rows back; --keep-data lets them stand twice"
    except (ConfigError, StateConflict) as error:
        offer = f"--keep-data lets them stand twice; they cannot be taken back: {error.message}"
    return ConfigError(f"{name}: {rows:,} rows that were committed later would be loaded again and doubled", hint=offer)


def _told(job: Job, to: Entry, later: Sequence[Entry], removed: int | None) -> str:
    where = f"{job.resource.name}: back to {to.value}, which run {to.run_id} committed at {to.committed_at}"
    if removed is not None:
        undone = "" if job.resource.mode == "append" else ", and what they changed is undone"
        return f"{where}; {removed:,} rows of the later runs are taken out of {job.resource.into}{undone}"
    rows = f"{sum(one.rows for one in later):,} rows that were committed later stay, and are loaded again"
    if _doubles(job, to):
        return f"{where}; {rows}: they will stand or count twice"
    return f"{where}; {rows}: {'updated' if job.resource.mode == 'merge' else 'left out by their key'}"


# --- rewind: the rows that can be taken back ------------------------------------------------------------


def _removable(job: Job, to: Entry, later: Sequence[Entry]) -> int:
    """How many rows the table loses.

    Raises:
        ConfigError: this destination, or this resource, cannot take rows back.
        StateConflict: the later rows cannot be told from others.
    """
    destination = job.destination
    if not isinstance(destination, SupportsTakingBack):
        raise ConfigError(
            f"{job.resource.destination} cannot take rows back in one step with the mark",
            hint="SQL databases with `metadata_columns: true` can, and Iceberg tables",
        )
    if destination.by_run_id:
        _require_run_ids(job, to, later)
    rows = destination.later_rows(job.identity, to, later)
    if destination.by_run_id:
        _require_all(job, to, later, rows)
    return rows


def _require_run_ids(job: Job, to: Entry, later: Sequence[Entry]) -> None:
    """The run ids in the rows tell exactly the rows of the later entries."""
    resource = job.resource
    if resource.mode != "append" or not resource.metadata_columns:
        raise ConfigError(
            f"{resource.name}: rows can be taken back where they carry their run: `mode: append` with "
            "`metadata_columns: true`"
        )
    if any(mark.identity != job.identity for mark in job.destination.marks(resource.into)):
        raise StateConflict(f"another resource loads into {resource.into} too, perhaps in the same runs")
    if any(one.run_id == to.run_id for one in later):
        raise StateConflict(f"run {to.run_id} went on after this checkpoint, and its rows carry one run id")
    anew = next((one.run_id for one in later if one.anew and not one.by_hand), None)
    if anew is not None:
        raise StateConflict(f"run {anew} loaded everything anew, so the rows before it are not known to be there")


def _require_all(job: Job, to: Entry, later: Sequence[Entry], rows: int) -> None:
    """The table holds what the later runs committed; those that leave out known keys may have written less."""
    committed = sum(one.rows for one in later)
    if rows > committed or (rows < committed and _doubles(job, to)):
        raise StateConflict(
            f"{job.resource.into} holds {rows:,} rows of the later runs, {committed:,} were committed: rows were "
            "changed, or `metadata_columns` was off"
        )


# --- rewind: done ---------------------------------------------------------------------------------------


def carry_out(project: Project, resource: Resource, decided: Rewind) -> remember.Remembered:
    """Move the mark if it still is what was decided about, and write it down.

    Raises:
        Fenced: another run, or another rewind, moved the mark meanwhile; nothing was changed.
    """
    old, to = decided.old, decided.to
    new = remember.next_mark(old, old.identity, to.position, old.source, complete=to.complete)
    with locks.resource_lock(project.folder / PRIVATE, f"{project.pipeline}.{resource.name}"):
        with closing(registry.destination(project.destinations[resource.destination], project.folder)) as destination:
            if decided.removed is None:
                destination.set_mark(resource.into, old, new)
            elif isinstance(destination, SupportsTakingBack):
                destination.take_back(old, new, to, decided.later, decided.removed)
            else:
                raise InternalError(f"{resource.destination} was asked to take rows back")
        remember.state_file(project).put(resource.name, to.value)
        remember.record(project, resource.name, "rewind", old, to.position)
    return remember.show(project, resource)
