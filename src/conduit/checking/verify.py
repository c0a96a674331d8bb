"""What `conduit verify` does: says whether a destination holds what its source has, up to the mark. Changes nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from conduit.checking.comparison import by_ranges, by_rows
from conduit.checking.differing import Difference, differing
from conduit.checking.ranges import Counted
from conduit.checking.scope import Scope, scope
from conduit.config.load import load
from conduit.config.models import Project, Resource
from conduit.errors import ConduitError, exit_code
from conduit.history import History, HistoryUnavailable
from conduit.job import Job, choose, opened

DIFFERENT = 6
"""The exit code of a comparison that found a difference."""

Status = Literal["same", "different", "failed"]


@dataclass(slots=True, kw_only=True)
class ResourceCheck:
    """What a comparison of one resource found.

    Attributes:
        resource: its name.
        table: the table of the destination.
        status: same, different, or failed.
        through: the mark that both sides were compared up to; None: the resource has no watermark.
        since: compared from above this value; None: from the beginning.
        source_rows: rows of the source up to the mark.
        target_rows: rows of the destination up to the mark.
        ranges: into how many ranges they were divided.
        ranges_compared: how many of them were compared: fewer with a sample.
        ranges_different: how many differ.
        pushed_down: both databases added up their rows themselves; only rows of ranges that differ were read.
        missing: rows that the source has and the destination has not.
        extra: rows that the destination has and the source has not.
        changed: rows that both have, by the key, with other values.
        next_run: rows that differ now, and that the next run brings.
        differences: some of the rows.
        seconds: wall time.
        notes: what a person should know.
        error: why nothing could be said; empty otherwise.
        exit_code: 0, 6, or the error's.
    """

    resource: str
    table: str
    status: Status = "same"
    through: int | str | None = None
    since: str | None = None
    source_rows: int = 0
    target_rows: int = 0
    ranges: int = 0
    ranges_compared: int = 0
    ranges_different: int = 0
    pushed_down: bool = False
    missing: int = 0
    extra: int = 0
    changed: int = 0
    next_run: int = 0
    differences: list[Difference] = field(default_factory=list)
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    error: str = ""
    exit_code: int = 0

    def count(self, found: Counted) -> None:
        """Take over what the ranges say."""
        self.source_rows, self.target_rows = found.source_rows, found.target_rows
        self.ranges, self.ranges_compared, self.ranges_different = found.ranges, found.compared, len(found.differing)
        self.pushed_down = found.pushed_down
        self.notes += [found.why_not] if found.why_not else []

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much is compared.

    Attributes:
        since: only what is above this value of the cursor.
        sample: only this share of the ranges.
        seed: which ones.
        limit: how many differences are named; all are counted.
    """

    since: str | None = None
    sample: float | None = None
    seed: int = 0
    limit: int = 20


def verify(
    file: str | Path = "ingest.yml",
    resources: Sequence[str] = (),
    *,
    extent: Extent | None = None,
    sources: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> list[ResourceCheck]:
    """Compare the destinations with their sources, row by row, without moving one.

    Args:
        file: the ingest.yml.
        resources: names; none: all.
        extent: how much is compared; everything when left out.
        sources: Python objects for sources of `type: python`.
        environment: what `${VAR}` sees.

    Raises:
        ConfigError: the file, or a name, is wrong.
    """
    project = load(file, environment=environment)
    return [_checked(project, one, extent or Extent(), sources or {}) for one in choose(project, resources)]


def checks_exit_code(checks: Sequence[ResourceCheck]) -> int:
    """0 when every destination holds what its source has; an error goes before a difference."""
    return exit_code([check.exit_code for check in checks])


def _checked(project: Project, resource: Resource, extent: Extent, sources: Mapping[str, object]) -> ResourceCheck:
    """One resource; an error is part of what was found."""
    check = ResourceCheck(resource=resource.name, table=resource.into, since=extent.since)
    started = time.perf_counter()
    try:
        with opened(project, resource, sources) as (source, destination):
            job = Job(project=project, resource=resource, source=source, destination=destination, run_id="verify")
            _compare(scope(job, extent.since), extent, check)
    except ConduitError as error:
        check.status, check.error, check.exit_code = "failed", str(error), error.exit_code
    check.seconds = round(time.perf_counter() - started, 3)
    return check


def _compare(found: Scope, extent: Extent, check: ResourceCheck) -> None:
    check.through = found.mark.position.shown() if found.mark.position else None
    check.notes += found.notes
    counted = by_ranges(found, sample=extent.sample, seed=extent.seed)
    check.count(counted)
    if extent.sample is not None:
        check.notes.append(
            f"a sample (seed {extent.seed}): {counted.compared:,} of {counted.ranges:,} ranges were compared"
        )
    if len(counted.differing):
        with differing() as heaps:
            by_rows(found, counted, heaps)
            check.missing, check.extra, check.changed = (
                heaps.count("missing"), heaps.count("extra"), heaps.count("changed"),
            )  # fmt: skip
            check.next_run, check.differences = heaps.explained(), heaps.first(extent.limit)
    if check.missing or check.extra or check.changed:
        check.status, check.exit_code = "different", DIFFERENT
    elif extent.sample is None and extent.since is None:
        _remember(found, check)


def _remember(found: Scope, check: ResourceCheck) -> None:
    """Write down how far the destination is known to be right."""
    job = found.job
    try:
        History(job.private).record_verified(
            pipeline=job.project.pipeline, resource=job.resource.name, through=check.through, rows=check.target_rows
        )
    except HistoryUnavailable as error:
        check.notes.append(str(error))
