"""What was measured of one participant, and what follows from it: medians, and ratios paired by round. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from benchmarks.scenario import Role


@dataclass(frozen=True, kw_only=True)
class Taken:
    """One process and all that descend from it.

    Attributes:
        round: in which it ran, from 0.
        seconds: from its start to its end.
        cpu: seconds of processor time of the tree.
        largest_mb: most memory of one process.
        sum_mb: most memory of the tree at one moment, looked at every 20 milliseconds.
    """

    round: int
    seconds: float
    cpu: float
    largest_mb: float
    sum_mb: float


@dataclass(kw_only=True)
class Outcome:
    """All turns of one participant in one scenario.

    Attributes:
        wrong: what its result should not have been; empty: right.
        cannot: why it did not do the job; empty: it did.
        size_mb: of its installation, where that is what is looked at.
    """

    name: str
    role: Role
    version: str = ""
    taken: list[Taken] = field(default_factory=list)
    wrong: str = ""
    cannot: str = ""
    size_mb: float | None = None

    @property
    def seconds(self) -> float | None:
        """Median; None: it never ran."""
        return statistics.median(one.seconds for one in self.taken) if self.taken else None

    @property
    def cpu(self) -> float | None:
        """Median."""
        return statistics.median(one.cpu for one in self.taken) if self.taken else None

    @property
    def largest_mb(self) -> float | None:
        """Most of all rounds."""
        return max((one.largest_mb for one in self.taken), default=None)

    @property
    def sum_mb(self) -> float | None:
        """Most of all rounds."""
        return max((one.sum_mb for one in self.taken), default=None)

    def slower_than(self, seconds: float) -> bool:
        """Whether a turn took longer."""
        return any(one.seconds > seconds for one in self.taken)


def paired(one: Outcome, limit: Outcome) -> float | None:
    """The median of the ratios of each round; None: there is no round in which both ran."""
    limits = {taken.round: taken.seconds for taken in limit.taken}
    ratios = [taken.seconds / limits[taken.round] for taken in one.taken if taken.round in limits]
    return statistics.median(ratios) if ratios else None
