"""What a soak does next: that of which it has shown least, measured by what it is to show.

The suite's parts come first, the rest is counted in the log. A kind that is at work already counts as done once more,
so that two lanes do not do the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from conduit.faults import CRASH_POINTS
from tests.proof import ice, late, sums
from tests.proof.tally import Tally
from tests.support import ends, ice_job

SUITE = ("mutants", "state", "failures", "malformed", "system calls")
"""What comes from the test suite, once a soak."""
HITS = 20
"""Kills at each named point of each destination."""
HOSTILE_ROWS = 400_000
JOB = "jobs"
WRITERS = "hostile writers"
SERVERS = "servers restarted"
TIMES = {**{f"sums in {name}": 6 for name in sums.NAMES}, SERVERS: 8, "histories": 10}
"""Episodes that are counted by themselves, and how many of them there are to be."""
EPISODES = (WRITERS, *ends.NAMES, JOB, *TIMES)
TOLD_AS = {JOB: ice.NAME, WRITERS: late.NAME}
"""What a tally calls the destination of a kind, where it is not the kind's own name."""
ON_POSTGRESQL = ("postgresql", "sums in postgresql", WRITERS, SERVERS)
STEPS = tuple(step for step in ice_job.STEPS if step != "reader registered")
"""Of the job; a reader is registered once in its life."""


@dataclass(frozen=True)
class Part:
    """One piece of the schedule.

    Attributes:
        number: its place.
        kind: what it does.
        seed: of the whole soak; with the number it says all that is drawn.
        points: named points at which it kills, in this order.
    """

    number: int
    kind: str
    seed: int
    points: tuple[str, ...] = ()

    @property
    def own_seed(self) -> str:
        """The seed of this part."""
        return f"{self.seed}/{self.number}"

    @property
    def name(self) -> str:
        """What PART= takes to repeat it."""
        return ":".join((str(self.number), self.kind, ",".join(self.points)))

    @classmethod
    def named(cls, name: str, seed: int) -> Part:
        """The part of that name."""
        number, kind, points = name.split(":")
        return cls(int(number), kind, seed, tuple(points.split(",")) if points else ())


def next_part(number: int, seed: int, found: Tally, at_work: Iterable[str], *, with_postgresql: bool) -> Part:
    """The part with this number, when so much was found and such kinds are at work."""
    if number < len(SUITE):
        return Part(number, SUITE[number], seed)
    busy = Counter(at_work)
    kinds = [one for one in EPISODES if with_postgresql or one not in ON_POSTGRESQL]
    kind = min(kinds, key=lambda one: done(one, found) + busy[one] * step(one))
    hit = found.kills.get(TOLD_AS.get(kind, kind.removeprefix("sums in ")), Counter())
    return Part(number, kind, seed, fewest_first(hit, points_of(kind)))


def points_of(kind: str) -> tuple[str, ...]:
    """The named points that an episode of a kind goes through."""
    if kind == JOB:
        return STEPS
    return CRASH_POINTS if kind in (*ends.NAMES, WRITERS) or kind.startswith("sums in ") else ()


def fewest_first(kills: Counter[str], points: Iterable[str]) -> tuple[str, ...]:
    """The points, in the order of how seldom they were hit."""
    return tuple(sorted(points, key=lambda one: kills[one]))


def done(kind: str, found: Tally) -> float:
    """How much of what is to be shown was; 1: all of it. A point that is never hit keeps no other kind waiting."""
    if kind == WRITERS:
        return found.rows[late.NAME] / HOSTILE_ROWS
    if kind in TIMES:
        return found.parts[kind] / TIMES[kind]
    hits = found.rarest(TOLD_AS.get(kind, kind), points_of(kind))
    return max(hits, found.parts[kind] // 2) / HITS


def step(kind: str) -> float:
    """What one more episode adds to `done`, about."""
    if kind == WRITERS:
        return 50_000 / HOSTILE_ROWS
    return 1 / TIMES.get(kind, HITS)
