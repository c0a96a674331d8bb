"""What a proof has seen: one line of JSON per event, so that processes can write side by side; and what it adds up to.

Nothing is written unless CONDUIT_PROOF_LOG names a file. An attack that hit nothing is an event of its own and never
counts as a kill.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOG = "CONDUIT_PROOF_LOG"
RANDOM = "a random moment"


def note(event: str, **what: Any) -> None:
    """Write one event down, whole or not at all."""
    path = os.environ.get(LOG)
    if not path:
        return
    line = json.dumps({"event": event, **what}) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def killed(destination: str, point: str, code: int) -> None:
    """A kill was tried: `code` -9 says that it hit the run, anything else that the run had ended."""
    note("kill" if code == -9 else "kill that hit nothing", destination=destination, point=point.partition(":")[0])


def compared(destination: str, rows: int, lost: int, doubled: int) -> None:
    """The oracle compared source and destination after a clean run."""
    note("compared", destination=destination, rows=rows, lost=lost, doubled=doubled)


@dataclass
class Tally:
    """The events of a log, added up.

    Attributes:
        kills: by destination, then by point.
        missed: kills that hit nothing, by destination.
        compared: how often the oracle compared, by destination.
        rows: rows that it compared, by destination.
        lost: rows that were missing, by destination.
        doubled: rows that stood too often, by destination.
        caught: mutants that were seen.
        missed_mutants: mutants that were not.
        parts: parts of a soak that were done, by kind.
        malformed: malformed inputs that were tried.
        malformed_told: those of them that ended as they must.
        counts: every other event, by name.
    """

    kills: dict[str, Counter[str]] = field(default_factory=dict)
    missed: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    doubled: Counter[str] = field(default_factory=Counter)
    caught: set[str] = field(default_factory=set)
    missed_mutants: set[str] = field(default_factory=set)
    parts: Counter[str] = field(default_factory=Counter)
    malformed: int = 0
    malformed_told: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, path: Path) -> Tally:
        """What the log says."""
        tally = cls()
        for event in _events(path):
            tally.add(event)
        return tally

    def add(self, event: dict[str, Any]) -> None:
        """Count one event."""
        match event["event"]:
            case "kill":
                self.kills.setdefault(event["destination"], Counter())[event["point"]] += 1
            case "kill that hit nothing":
                self.missed[event["destination"]] += 1
            case "compared":
                self.compared[event["destination"]] += 1
                for name in ("rows", "lost", "doubled"):
                    getattr(self, name)[event["destination"]] += event[name]
            case "mutant":
                (self.caught if event["caught"] else self.missed_mutants).add(event["name"])
            case "malformed inputs":
                self.malformed += event["tried"]
                self.malformed_told += event["told"]
            case "part":
                self.parts[event["kind"]] += 1
            case name:
                self.counts[name] += event.get("count", 1)

    def rarest(self, destination: str, points: Iterable[str]) -> int:
        """Kills at that of the points which was hit least."""
        kills = self.kills.get(destination, Counter())
        return min(kills[point] for point in points)

    @property
    def points(self) -> Counter[str]:
        """Kills by point, over all destinations."""
        return sum(self.kills.values(), Counter())

    @property
    def destinations(self) -> list[str]:
        """Those that were attacked or compared, in the order of their names."""
        return sorted({*self.kills, *self.compared})

    @property
    def mutants(self) -> str:
        """`k/k` when all were caught."""
        return f"{len(self.caught)}/{len(self.caught | self.missed_mutants)}"


def _events(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text().splitlines():
            yield json.loads(line)
