"""One resource of one run, with its two ends: chosen, opened, and handed from step to step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from conduit import state
from conduit.config.models import Project, Resource
from conduit.connectors import registry
from conduit.contract import Destination, Source
from conduit.errors import ConfigError
from conduit.marks import Identity

PRIVATE = ".conduit"
"""The folder beside ingest.yml for locks and history; it may be deleted at any time."""


class Event(msgspec.Struct, frozen=True):
    """Something that a watcher of a run may show: `rows` were staged, or a note was made."""

    resource: str
    rows: int = 0
    note: str = ""


class Backfill(msgspec.Struct, frozen=True):
    """A stateless load of the range (start, end] of the cursor; merge only. The mark stays where it is."""

    start: str
    end: str


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One resource of one run, with its two ends.

    Attributes:
        full_refresh: forget the watermark and replace the table.
        backfill: load this range instead of what is new.
        allow_shrink: the share of its rows that a table may lose; None: as the resource says.
        watch: told about progress.
    """

    project: Project
    resource: Resource
    source: Source
    destination: Destination
    run_id: str
    full_refresh: bool = False
    backfill: Backfill | None = None
    allow_shrink: float | None = None
    watch: Callable[[Event], None] = lambda _: None

    @property
    def identity(self) -> Identity:
        """Who the mark belongs to (I6)."""
        return Identity(self.project.pipeline, self.resource.name, self.resource.into)

    @property
    def stamp(self) -> str | None:
        """The run id that every row carries; None: rows carry none."""
        return self.run_id if self.resource.metadata_columns else None

    @property
    def may_shrink(self) -> float:
        """The share of its rows that the table may lose when it is replaced."""
        return self.resource.allow_shrink if self.allow_shrink is None else self.allow_shrink

    @property
    def private(self) -> Path:
        """`.conduit/` beside ingest.yml."""
        return self.project.folder / PRIVATE

    @property
    def state_file(self) -> state.StateFile:
        """`.conduit_state.json` beside ingest.yml."""
        return state.StateFile(self.project.folder / state.FILE_NAME, self.private)


def choose(project: Project, wanted: Sequence[str], full_refresh: Sequence[str] = ()) -> Sequence[Resource]:
    """The resources with these names, in file order; all of them when none is named.

    Raises:
        ConfigError: a name is unknown.
    """
    known = [resource.name for resource in project.resources]
    unknown = [name for name in (*wanted, *full_refresh) if name not in known]
    if unknown:
        raise ConfigError(f"unknown resource {', '.join(unknown)}", hint=f"{project.file.name} has: {', '.join(known)}")
    picked = wanted or full_refresh or known
    return [resource for resource in project.resources if resource.name in picked]


def refuse_backfill(resources: Sequence[Resource]) -> None:
    """A range can be loaded again only where the rows have a key, and loading one twice changes nothing.

    Raises:
        ConfigError: a resource appends, replaces, adds to the target, or has no cursor.
    """
    for resource in resources:
        if resource.mode != "merge" or resource.incremental is None or resource.accumulates:
            raise ConfigError(
                f"resource {resource.name}: a range can be loaded again only by a merge with an incremental_column "
                "that does not add to its target; anything else would double rows",
                hint="name the resources to run, or use --full-refresh",
            )


@contextmanager
def opened(project: Project, resource: Resource, objects: Mapping[str, object]) -> Iterator[tuple[Source, Destination]]:
    """The two ends of a resource; nothing is connected to yet."""
    source = registry.source(project.sources[resource.source], project.folder, objects.get(resource.source))
    destination = registry.destination(project.destinations[resource.destination], project.folder)
    with closing(destination):
        yield source, destination
