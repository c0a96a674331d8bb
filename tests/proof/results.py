"""What a proof found, as a table for people, and as a dated JSON file that docs/guarantees.md shows and links."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from conduit.faults import CRASH_POINTS
from tests.proof import ice, plan
from tests.proof.tally import RANDOM, Tally
from tests.support import postgres
from tests.support.processes import ROOT

PAGE = ROOT / "docs" / "guarantees.md"
FOLDER = ROOT / "docs" / "proof"
BEGIN, END = "<!-- measured: make soak writes what follows -->", "<!-- end of what make soak writes -->"
PACKAGES = (
    "conduit-iceframe", "duckdb", "pyarrow", "pyiceberg", "polars", "psycopg2-binary", "adbc-driver-postgresql",
    "adbc-driver-sqlite",
)  # fmt: skip


HEADINGS = (
    "destination", "kills", "at the rarest point", "that hit nothing", "comparisons", "rows compared", "lost",
    "doubled",
)  # fmt: skip


def rows_of(tally: Tally) -> list[tuple[str, ...]]:
    """One line a destination, as HEADINGS says; and all together."""
    columns = (tally.missed, tally.compared, tally.rows, tally.lost, tally.doubled)
    kills = {one: sum(tally.kills.get(one, {}).values()) for one in tally.destinations}
    rarest = {one: _rarest(tally, one) for one in kills}
    lines = [_line(one, kills[one], rarest[one], *(counts[one] for counts in columns)) for one in kills]
    over_all = min(tally.points[point] for point in CRASH_POINTS)
    return [*lines, _line("**all**", sum(kills.values()), over_all, *(counts.total() for counts in columns))]


def _rarest(tally: Tally, destination: str) -> int | None:
    """Kills at the named point that was hit least; None: nobody is killed at points there."""
    if destination == ice.NAME:
        return tally.rarest(destination, plan.STEPS)
    return tally.rarest(destination, CRASH_POINTS) if tally.kills.get(destination) else None


def _line(name: str, *numbers: int | None) -> tuple[str, ...]:
    return name, *("" if number is None else f"{number:,}" for number in numbers)


def told(tally: Tally) -> dict[str, str]:
    """What else was done, and how often."""
    rest, equal = tally.counts, tally.counts["history equal to the oracle"]
    numbers = {
        "kills at random moments": tally.points[RANDOM],
        "runs frozen at a named point while another did their work": rest["freeze"],
        "runs at once": rest["runs at once"],
        "connections closed, and reset, at COMMIT": rest["cut at COMMIT"] + rest["reset at COMMIT"],
        "runs over a line that is late or carries single bytes": rest["slow line"],
        "runs that SIGTERM ended before a silent server": rest["silent line ended by SIGTERM"],
        "PostgreSQL servers restarted under a run": rest["server restarted"],
        "runs whose sessions were terminated": rest["sessions terminated"],
        "rows of hostile writers": rest["hostile rows"],
        "state files broken in some way": rest["state case"] + rest["state file spoilt"],
        "operations on files that failed, in the process": rest["I/O failure"],
        "system calls that failed, by strace": rest["system call failed"],
        "runs that met a full disk": rest["full disk"],
        "random histories of an Iceberg table": equal + rest["history stopped by a named error"],
        "of these, equal to the oracle to the end": equal,
    }
    return {
        **{what: f"{number:,}" for what, number in numbers.items()},
        "parts of the schedule, and those that ended in an error": f"{tally.parts.total():,}, {rest['failed part']:,}",
        "malformed inputs, and told as they must be": f"{tally.malformed_told:,}/{tally.malformed:,}",
        "rules broken on purpose, and noticed": tally.mutants,
    }


def table(tally: Tally) -> str:
    """For a terminal."""
    lines = [HEADINGS, *((name.strip("*"), *numbers) for name, *numbers in rows_of(tally))]
    points = [("named point", "kills"), *((point, f"{tally.points[point]:,}") for point in CRASH_POINTS)]
    rest = [("what else was done", "how often"), *told(tally).items()]
    return "\n".join([*_aligned(lines), "", *_aligned(points), "", *_aligned(rest), *_missed(tally)])


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def _missed(tally: Tally) -> list[str]:
    return [f"NOT noticed: {', '.join(sorted(tally.missed_mutants))}"] if tally.missed_mutants else []


# --- the dated file -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Code:
    """What was tested.

    Attributes:
        commit: what HEAD was when the soak began.
        changed: whether files differed from it, those aside that a soak writes.
    """

    commit: str
    changed: bool

    def __str__(self) -> str:
        """For a terminal."""
        return f"commit {self.commit[:12]}" + (" and uncommitted changes" if self.changed else "")


def code() -> Code:
    """The code as it stands now."""
    written = (f":!{FOLDER.relative_to(ROOT)}", f":!{PAGE.relative_to(ROOT)}")
    return Code(_git("rev-parse", "HEAD") or "unknown", bool(_git("status", "--porcelain", "--", ".", *written)))


def publish(tally: Tally, *, code: Code, seed: int, minutes: float) -> Path:
    """Write the JSON, and the table of the page. The path of the JSON."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{datetime.now(UTC):%Y-%m-%d}-{seed}.json"
    found = as_dict(tally, code=code, seed=seed, minutes=minutes)
    path.write_text(json.dumps(found, indent=2) + "\n")
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{_shown(tally, found, path)}{END}{after}")
    return path


def as_dict(tally: Tally, *, code: Code, seed: int, minutes: float) -> dict[str, Any]:
    """Everything that was counted, and where."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seed": seed,
        "minutes": minutes,
        "commit": code.commit,
        "uncommitted_changes": code.changed,
        "machine": machine(),
        "versions": versions(),
        "kills": tally.points.total(),
        "kills_that_hit_nothing": tally.missed.total(),
        "kills_by_point": dict(tally.points.most_common()),
        "kills_at_the_rarest_named_point": min(tally.points[point] for point in CRASH_POINTS),
        "points_never_hit": [point for point in CRASH_POINTS if not tally.points[point]],
        "destinations": {
            one: {
                "kills": dict(sorted(tally.kills.get(one, {}).items())),
                "kills_at_the_rarest_named_point": _rarest(tally, one),
                "kills_that_hit_nothing": tally.missed[one],
                "comparisons": tally.compared[one],
                "rows_compared": tally.rows[one],
                "lost": tally.lost[one],
                "doubled": tally.doubled[one],
            }
            for one in tally.destinations
        },
        "lost": tally.lost.total(),
        "doubled": tally.doubled.total(),
        "mutants_caught": tally.mutants,
        "mutants": sorted(tally.caught),
        "mutants_not_caught": sorted(tally.missed_mutants),
        "malformed_inputs": {"tried": tally.malformed, "told_as_they_must_be": tally.malformed_told},
        "parts": dict(sorted(tally.parts.items())),
        "counts": dict(sorted(tally.counts.items())),
    }


def machine() -> dict[str, Any]:
    """What it ran on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"system": platform.platform(), "cpus": os.cpu_count(), "memory_gb": round(memory, 1)}


def versions() -> dict[str, str]:
    """Of what took part."""
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    found |= {name: version(name) for name in PACKAGES}
    place = postgres.binaries()
    if place is not None:
        told = subprocess.run([place / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
        found["postgresql"] = told.split()[2]
    return found


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


# --- the page -------------------------------------------------------------------------------------------


def _shown(tally: Tally, found: dict[str, Any], path: Path) -> str:
    where = f"{found['minutes']:g} minutes on one machine with {found['machine']['cpus']} cores"
    lines = [
        f"{found['date']}, seed {found['seed']}, {where}.",
        f"All counts, versions and the commit: [{path.name}](proof/{path.name}).",
        "",
        *_table([HEADINGS, *rows_of(tally)]),
        "",
        *_table([("named point", "kills"), *((f"`{point}`", f"{tally.points[point]:,}") for point in CRASH_POINTS)]),
        "",
        *_table([("what else was done", "how often"), *told(tally).items()]),
        "",
    ]
    return "\n".join(lines)


def _table(lines: Sequence[tuple[str, ...]]) -> list[str]:
    under = ("---", *("---:" for _ in lines[0][1:]))
    return ["| " + " | ".join(line) + " |" for line in (lines[0], under, *lines[1:])]
