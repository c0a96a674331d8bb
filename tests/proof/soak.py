"""`make soak MINUTES=20 SEED=7`: a seeded schedule of attacks, two at a time, and what they found.

The schedule is a list of parts, each with a number and a seed of its own: the parts of the test suite that a soak runs
in full, then episodes until the time is up. The seed says what every part does; how long a run takes, and so what a
kill at a random moment hits, is the machine's. A part that fails says how to repeat it alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path

from tests.proof import attacks, ice, late, results, sums, tally
from tests.support import ends, postgres
from tests.support.processes import ROOT
from tests.support.zygote import Zygote

LANES = 2
LONG = 10.0
"""Minutes from which a soak lets every operation fail, and not each seventh."""
STATE_CASES = 10_000
SUITE = ("mutants", "state", "failures")
"""What comes from the test suite, once a soak."""
EPISODES = (
    *ends.NAMES, "jobs", "hostile writers", *(f"sums in {name}" for name in sums.NAMES), *ends.NAMES, "jobs",
    "hostile writers", "histories",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """One piece of the schedule.

    Attributes:
        number: its place; `PART=` repeats it alone.
        kind: what it does.
        seed: of the whole soak.
        minutes: of the whole soak.
    """

    number: int
    kind: str
    seed: int
    minutes: float

    def run(self, server: postgres.Server | None) -> None:
        """Do it; an AssertionError says what did not hold."""
        if self.kind in SUITE:
            _suite(self)
            return
        own = f"{self.seed}/{self.number}"
        with tempfile.TemporaryDirectory(prefix="conduit-soak-") as place:
            folder = Path(place).resolve()
            if self.kind == "jobs":
                ice.jobs(folder, own)
            elif self.kind == "histories":
                ice.histories(folder, own)
            elif self.kind == "hostile writers":
                assert server is not None
                late.episode(_zygote(), server, folder, own)
            else:
                attacks.episode(_zygote(), server, folder, self.kind, own)


def schedule(seed: int, minutes: float, *, with_postgresql: bool) -> Iterator[Part]:
    """All parts, in their order, without end."""
    kinds = [one for one in EPISODES if with_postgresql or ("postgresql" not in one and one != "hostile writers")]
    for number in count():
        kind = SUITE[number] if number < len(SUITE) else kinds[(number - len(SUITE)) % len(kinds)]
        yield Part(number, kind, seed, minutes)


@cache
def _zygote() -> Zygote:
    """One a lane; it ends with its lane, when its stdin does."""
    return Zygote.started()


def _suite(part: Part) -> None:
    """Tests of the suite, with the numbers of a soak."""
    long = part.minutes >= LONG
    files = {"mutants": "test_mutants.py", "state": "test_state_fuzz.py", "failures": "test_io_failures.py"}
    more = {"STATE_CASES": str(STATE_CASES), "STATE_SEED": str(part.seed), "PROOF_IO": "all" if long else ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/faults/{files[part.kind]}"],
        cwd=ROOT, env={**os.environ, **more}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]


# --- running it -----------------------------------------------------------------------------------------


def soak(seed: int, minutes: float, only: int | None) -> list[Part]:
    """Run the schedule, or one part of it. The parts that failed."""
    if postgres.binaries() is None and not os.environ.get("CONDUIT_TEST_POSTGRES"):
        print("NO POSTGRESQL SERVER ON THIS MACHINE: nothing that concerns PostgreSQL is tested")
        return _lanes(seed, minutes, only, None)
    with postgres.server() as server:
        return _lanes(seed, minutes, only, server)


def _lanes(seed: int, minutes: float, only: int | None, server: postgres.Server | None) -> list[Part]:
    parts = schedule(seed, minutes, with_postgresql=server is not None)
    if only is not None:
        next(part for part in parts if part.number == only).run(server)
        return []
    until = time.monotonic() + 60 * minutes
    failed: list[Part] = []
    running: dict[Future[None], Part] = {}
    with ProcessPoolExecutor(LANES) as lanes:
        while running or time.monotonic() < until:
            while len(running) < LANES and time.monotonic() < until:
                part = next(parts)
                running[lanes.submit(part.run, server)] = part
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            failed += [part for future in done if not _told(future, part := running.pop(future))]
    return failed


def _told(future: Future[None], part: Part) -> bool:
    """Say when a part failed, and how to repeat it."""
    error = future.exception()
    tally.note("part", kind=part.kind)
    if error is None:
        return True
    tally.note("failed part", kind=part.kind)
    print("".join(traceback.format_exception(error))[-6000:])
    print(f"FAILED: {part.kind}\n  repeat: make soak SEED={part.seed} MINUTES={part.minutes:g} PART={part.number}")
    return False


def main() -> int:
    """The command line; 1 when a part failed."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--minutes", type=float, default=20.0)
    given.add_argument("--seed", type=int, required=True)
    given.add_argument("--part", type=int, help="repeat one part of that seed")
    asked = given.parse_args()
    os.environ.setdefault("CONDUIT_TESTING", "1")
    began = time.monotonic()
    print(f"soak: seed {asked.seed}, {asked.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="conduit-proof-") as place:
        os.environ[tally.LOG] = str(Path(place) / "log.jsonl")
        failed = soak(asked.seed, asked.minutes, asked.part)
        if asked.part is not None:
            print(f"part {asked.part} of seed {asked.seed} holds")
            return 0
        found = tally.Tally.of(Path(place) / "log.jsonl")
    print(results.table(found))
    if failed:
        print(f"{len(failed)} parts failed: nothing is published")
        return 1
    written = results.publish(found, seed=asked.seed, minutes=round((time.monotonic() - began) / 60, 1))
    print(f"written: {written}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
