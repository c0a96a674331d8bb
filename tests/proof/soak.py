"""`make soak MINUTES=20 SEED=7`: attacks by a seed, two at a time, and what they found.

First the parts of the test suite that a soak runs in full, then episodes until the time is up: each time of the kind,
and at the named points, of which least has been shown (`plan.py`). With its number, kind and points the seed says what
a part does; how long a run takes, and so what a kill at a random moment hits, is the machine's. A part that fails says
how to repeat it alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import cache
from itertools import count
from pathlib import Path

from tests.proof import attacks, ice, late, plan, results, servers, tally
from tests.proof.plan import Part
from tests.support import postgres
from tests.support.processes import ROOT
from tests.support.zygote import Zygote

LANES = 2
LONG = 10.0
"""Minutes from which a soak tries everything of a kind, and not a sample of it."""
STATE_CASES = 10_000
FILES = {
    "mutants": ("test_mutants.py", "test_pass_through.py"), "state": ("test_state_fuzz.py",),
    "failures": ("test_io_failures.py",), "malformed": ("test_malformed.py",),
    "system calls": ("test_system_calls.py",),
}  # fmt: skip
"""What of the test suite a part of it runs."""


def do(part: Part, server: postgres.Server | None, minutes: float) -> None:
    """Do a part; an AssertionError says what did not hold."""
    if part.kind in plan.SUITE:
        _suite(part, minutes)
        return
    with tempfile.TemporaryDirectory(prefix="conduit-soak-") as place:
        folder = Path(place).resolve()
        if part.kind == plan.JOB:
            ice.jobs(folder, part.own_seed, part.points)
        elif part.kind == "histories":
            ice.histories(folder, part.own_seed)
        elif part.kind == plan.SERVERS:
            servers.episode(_zygote(), folder, part.own_seed)
        elif part.kind == plan.WRITERS:
            with postgres.server() as own:  # any transaction of a server holds back the rows of all of it
                late.episode(_zygote(), own, folder, part.own_seed, part.points)
        else:
            attacks.episode(_zygote(), server, folder, part.kind, part.own_seed, part.points)


@cache
def _zygote() -> Zygote:
    """One a lane; it ends with its lane, when its stdin does."""
    return Zygote.started()


def _suite(part: Part, minutes: float) -> None:
    """Tests of the suite, with the numbers of a soak."""
    more = {"STATE_CASES": str(STATE_CASES), "STATE_SEED": str(part.seed), "PROOF_IO": "all" if minutes >= LONG else ""}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         *(f"tests/faults/{name}" for name in FILES[part.kind])],
        cwd=ROOT, env={**os.environ, **more}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]


# --- running it -----------------------------------------------------------------------------------------


def soak(seed: int, minutes: float, only: Part | None) -> list[Part]:
    """Attack until the time is up, or do one part alone. The parts that failed."""
    if postgres.binaries() is None and not os.environ.get("CONDUIT_TEST_POSTGRES"):
        print("NO POSTGRESQL SERVER ON THIS MACHINE: nothing that concerns PostgreSQL is tested")
        return _lanes(seed, minutes, only, None)
    with postgres.server() as server:
        return _lanes(seed, minutes, only, server)


def _lanes(seed: int, minutes: float, only: Part | None, server: postgres.Server | None) -> list[Part]:
    if only is not None:
        do(only, server, minutes)
        return []
    until = time.monotonic() + 60 * minutes
    numbers = count()
    failed: list[Part] = []
    running: dict[Future[None], Part] = {}
    with ProcessPoolExecutor(LANES) as lanes:
        while running or time.monotonic() < until:
            while len(running) < LANES and time.monotonic() < until:
                kinds = [part.kind for part in running.values()]
                found = tally.Tally.of(Path(os.environ[tally.LOG]))
                part = plan.next_part(next(numbers), seed, found, kinds, with_postgresql=server is not None)
                running[lanes.submit(do, part, server, minutes)] = part
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            failed += [part for future in done if not _told(future, part := running.pop(future), minutes)]
    return failed


def _told(future: Future[None], part: Part, minutes: float) -> bool:
    """Say when a part failed, and how to repeat it."""
    error = future.exception()
    tally.note("part", kind=part.kind)
    if error is None:
        return True
    tally.note("failed part", kind=part.kind)
    print("".join(traceback.format_exception(error))[-6000:])
    print(
        f"FAILED: {part.kind}\n  repeat: make soak SEED={part.seed} MINUTES={minutes:g} PART='{part.name}'", flush=True
    )
    return False


def main() -> int:
    """The command line; 1 when a part failed."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--minutes", type=float, default=20.0)
    given.add_argument("--seed", type=int, required=True)
    given.add_argument("--part", help="repeat one part of that seed: NUMBER:KIND:POINTS")
    asked = given.parse_args()
    os.environ.setdefault("CONDUIT_TESTING", "1")
    began, code = time.monotonic(), results.code()
    only = Part.named(asked.part, asked.seed) if asked.part else None
    print(f"soak: seed {asked.seed}, {asked.minutes:g} minutes, {code}", flush=True)
    with tempfile.TemporaryDirectory(prefix="conduit-proof-") as place:
        os.environ[tally.LOG] = str(Path(place) / "log.jsonl")
        failed = soak(asked.seed, asked.minutes, only)
        if only is not None:
            print(f"part {asked.part} of seed {asked.seed} holds")
            return 0
        found = tally.Tally.of(Path(place) / "log.jsonl")
    print(results.table(found))
    minutes = round((time.monotonic() - began) / 60, 1)
    written = results.publish(found, code=code, seed=asked.seed, minutes=minutes)
    print(f"written: {written}")
    if failed:
        print(f"{len(failed)} parts failed, and what is written says so")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
