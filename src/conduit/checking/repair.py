"""What `conduit repair` does: brings the rows that a comparison found different again, in one atomic commit.

Rows are found by their key, or without one by their cursor: those of the destination are removed, those of the source
inserted. The mark is compared as by any commit, and keeps its position. Nothing is committed when either side is not as
it was when it was compared.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from conduit import locks, shrink
from conduit.checking.comparison import by_ranges, by_rows
from conduit.checking.differing import Difference, Differing, differing
from conduit.checking.replacement import Replacement, replacement
from conduit.checking.scope import Scope, scope
from conduit.config.load import load
from conduit.config.models import Project
from conduit.contract import SHRINK
from conduit.errors import ConduitError, ConfigError, StateConflict
from conduit.history import utc_now
from conduit.job import Job, choose, opened
from conduit.report import ResourceReport
from conduit.run import keep_history

Status = Literal["nothing to repair", "planned", "repaired", "failed"]


@dataclass(slots=True, kw_only=True)
class Repair:
    """What a repair of one resource did, or would do.

    Attributes:
        resource: its name.
        table: the table of the destination.
        status: nothing to repair, planned, repaired, or failed.
        missing: rows that the destination lacks.
        extra: rows that only the destination has.
        changed: rows with other values.
        removed: rows that go; those that come back with other values are among them.
        inserted: rows that come.
        target_rows: rows of the destination before.
        differences: some of the rows.
        run_id: of the commit; empty: none was made.
        seconds: wall time.
        notes: what a person should know.
        error: why it cannot be done; empty otherwise.
        exit_code: 0, or the error's.
    """

    resource: str
    table: str
    status: Status = "nothing to repair"
    missing: int = 0
    extra: int = 0
    changed: int = 0
    removed: int = 0
    inserted: int = 0
    target_rows: int = 0
    differences: list[Difference] = field(default_factory=list)
    run_id: str = ""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    error: str = ""
    exit_code: int = 0

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def repair(
    file: str | Path,
    resource: str,
    *,
    plan: bool = False,
    allow_shrink: float = SHRINK,
    limit: int = 20,
    sources: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Repair:
    """Load again the rows of one resource that differ, in one commit. The mark stays where it is.

    Args:
        file: the ingest.yml.
        resource: its name.
        plan: say what would be done, and do nothing.
        allow_shrink: the share of the destination's rows that may go away for good.
        limit: how many differences are named.
        sources: Python objects for sources of `type: python`.
        environment: what `${VAR}` sees.

    Raises:
        ConfigError: the file, or the name, is wrong.
    """
    project = load(file, environment=environment)
    chosen = choose(project, [resource])[0]
    done = Repair(resource=chosen.name, table=chosen.into)
    started = time.perf_counter()
    run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}"
    try:
        _refuse_unable(project, resource)
        with opened(project, chosen, sources or {}) as (source, destination):
            job = Job(project=project, resource=chosen, source=source, destination=destination, run_id=run_id)
            with locks.resource_lock(job.private, f"{project.pipeline}.{chosen.name}"):
                _repair(job, done, plan=plan, allow_shrink=allow_shrink, limit=limit)
    except ConduitError as error:
        done.status, done.error, done.exit_code = "failed", str(error), error.exit_code
    done.seconds = round(time.perf_counter() - started, 3)
    return done


def _refuse_unable(project: Project, name: str) -> None:
    resource = choose(project, [name])[0]
    reason = project.destinations[resource.destination].connection.cannot().get("repair")
    if reason:
        raise ConfigError(
            f"resource {name}: {resource.destination} cannot be repaired: {reason}",
            hint=f"load it anew: `conduit run {project.file.name} {name} --full-refresh {name}`",
        )


def _repair(job: Job, done: Repair, *, plan: bool, allow_shrink: float, limit: int) -> None:
    started_at = utc_now()
    found = scope(job)
    if not found.identity:
        again = "conduit run" if job.resource.mode == "replace" else f"conduit run --full-refresh {job.resource.name}"
        raise ConfigError(
            f"resource {job.resource.name} cannot be repaired: it has neither a key nor a cursor to find rows by",
            hint=f"load it anew: `{again}`",
        )
    done.notes += found.notes
    counted = by_ranges(found)
    done.target_rows = counted.target_rows
    if not len(counted.differing):
        return
    with differing() as heaps:
        by_rows(found, counted, heaps)
        _count(done, heaps, limit)
        if not (done.missing or done.extra or done.changed):
            return
        _require_repairable(found, done, heaps, allow_shrink)
        done.status = "planned"
        if not plan:
            with replacement(found, counted, heaps) as rows:
                _put_right(job, done, rows, started_at)


def _count(done: Repair, heaps: Differing, limit: int) -> None:
    done.missing, done.extra, done.changed = heaps.count("missing"), heaps.count("extra"), heaps.count("changed")
    done.removed, done.inserted = heaps.checksum("target")[0], heaps.checksum("source")[0]
    done.differences = heaps.first(limit)


def _require_repairable(found: Scope, done: Repair, heaps: Differing, allow_shrink: float) -> None:
    """No more is taken away than was allowed, and nothing that cannot be brought back.

    Raises:
        StateConflict: the table would shrink too much, or rows of the next run cannot be told from those to repair.
        ConfigError: the rows have columns that are not loaded.
    """
    name, lost, before = found.job.resource.name, done.removed - done.inserted, done.target_rows
    if shrink.is_too_much(before, before - lost, allow_shrink):
        raise StateConflict(
            f"{name}: the repair would take {lost:,} of {before:,} rows ({lost / before:.1%}) from {done.table}",
            hint=f"look at them with `--plan --allow-shrink {shrink.enough(before, before - lost)}`; without --plan it "
            "does it",
        )
    if not found.key and heaps.explained():
        raise StateConflict(
            f"{name}: the next run brings rows with the same cursor, and without a key they cannot be told apart",
            hint="`conduit run` first",
        )
    if found.unloaded and done.removed > done.extra:
        raise ConfigError(
            f"{name}: {done.table} has columns that are not loaded ({', '.join(found.unloaded)}); their values would "
            "be lost with the rows that are replaced",
            hint="correct these rows by hand: `conduit verify` names them",
        )


def _put_right(job: Job, done: Repair, rows: Replacement, started_at: str) -> None:
    """The one commit, and its record."""
    committed = rows.commit()
    done.status, done.run_id = "repaired", job.run_id
    shown = rows.scope.mark.position.shown() if rows.scope.mark.position else None
    report = ResourceReport(
        resource=job.resource.name,
        status="loaded",
        read=committed.inserted,
        inserted=committed.inserted,
        commits=1,
        since=shown,
        until=shown,
        notes=[f"repair: {committed.deleted:,} rows removed, {committed.inserted:,} inserted"],
    )
    keep_history(job, report, started_at)
    done.notes += report.notes[1:]
