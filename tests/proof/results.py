"""What a proof found, as a table for people, and as a dated JSON file that docs/guarantees.md shows and links."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from conduit.faults import CRASH_POINTS
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


def rows_of(tally: Tally) -> list[tuple[str, ...]]:
    """One line a destination: kills, kills that hit nothing, comparisons, rows, lost, doubled; and all together."""
    columns = (tally.missed, tally.compared, tally.rows, tally.lost, tally.doubled)
    kills = {one: sum(tally.kills.get(one, {}).values()) for one in tally.destinations}
    lines = [_line(one, kills[one], *(counts[one] for counts in columns)) for one in kills]
    return [*lines, _line("**all**", sum(kills.values()), *(counts.total() for counts in columns))]


def _line(name: str, *numbers: int) -> tuple[str, ...]:
    return name, *(f"{number:,}" for number in numbers)


HEADINGS = ("destination", "kills", "that hit nothing", "comparisons", "rows compared", "lost", "doubled")


def table(tally: Tally) -> str:
    """For a terminal."""
    lines = [HEADINGS, *((name.strip("*"), *numbers) for name, *numbers in rows_of(tally))]
    widths = [max(len(line[place]) for line in lines) for place in range(len(HEADINGS))]
    shown = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join(
        [*shown, "", *(f"{name}: {number:,}" for name, number in sorted(tally.counts.items())), _caught(tally)]
    )


def _caught(tally: Tally) -> str:
    missed = f"; NOT caught: {', '.join(sorted(tally.missed_mutants))}" if tally.missed_mutants else ""
    return f"mutants caught {tally.mutants}{missed}"


# --- the dated file -------------------------------------------------------------------------------------


def publish(tally: Tally, *, seed: int, minutes: float) -> Path:
    """Write the JSON, and the table of the page. The path of the JSON."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{datetime.now(UTC):%Y-%m-%d}-{seed}.json"
    found = as_dict(tally, seed=seed, minutes=minutes)
    path.write_text(json.dumps(found, indent=2) + "\n")
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{_shown(tally, found, path)}{END}{after}")
    return path


def as_dict(tally: Tally, *, seed: int, minutes: float) -> dict[str, Any]:
    """Everything that was counted, and where."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "seed": seed,
        "minutes": minutes,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--", "src", "tests")),
        "machine": machine(),
        "versions": versions(),
        "kills": tally.points.total(),
        "kills_that_hit_nothing": tally.missed.total(),
        "kills_by_point": dict(tally.points.most_common()),
        "points_never_hit": [point for point in CRASH_POINTS if not tally.points[point]],
        "destinations": {
            one: {
                "kills": dict(sorted(tally.kills.get(one, {}).items())),
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
    rest, equal = tally.counts, tally.counts["history equal to the oracle"]
    told = {
        f"kills at each of the {len(CRASH_POINTS)} named points, at least": min(
            tally.points[one] for one in CRASH_POINTS
        ),
        "kills at random moments": tally.points[RANDOM],
        "runs frozen while another did their work": rest["freeze"],
        "runs at once": rest["runs at once"],
        "connections cut at COMMIT": rest["cut at COMMIT"],
        "rows of hostile writers": rest["hostile rows"],
        "state files broken in some way": rest["state case"] + rest["state file spoilt"],
        "operations on files that failed": rest["I/O failure"],
        "runs that met a full disk": rest["full disk"],
        "random histories of an Iceberg table": equal + rest["history stopped by a named error"],
        "of these, equal to the oracle to the end": equal,
    }
    where = f"{found['minutes']:g} minutes on one machine with {found['machine']['cpus']} cores"
    lines = [
        f"{found['date']}, seed {found['seed']}, {where}.",
        f"All counts, versions and the commit: [{path.name}](proof/{path.name}).",
        "",
        *_table([HEADINGS, *rows_of(tally)]),
        "",
        *_table([("what else was done", "how often"), *((what, f"{number:,}") for what, number in told.items())]),
        f"| rules broken on purpose, and noticed | {tally.mutants} |",
        "",
    ]
    return "\n".join(lines)


def _table(lines: list[tuple[str, ...]]) -> list[str]:
    under = ("---", *("---:" for _ in lines[0][1:]))
    return ["| " + " | ".join(line) + " |" for line in (lines[0], under, *lines[1:])]
