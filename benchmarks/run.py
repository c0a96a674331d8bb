"""`make bench`: all scenarios, or some, and what they gave into `results.json` and docs/benchmarks.md.

    python -m benchmarks.run [--only "pg-to-pg csv-to-pg"] [--huge] [--rounds 3] [--peers FOLDER]
    python -m benchmarks.run --quick

A result is saved as soon as its scenario is done; scenarios that do not run keep the one that they had, with its own
day and commit. `--quick` runs all of them with few rows, once, with peers left out, and writes nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks import picture, report, results
from benchmarks.environments import DEFAULT, Environments
from benchmarks.figures import Outcome
from benchmarks.machine import commit, machine
from benchmarks.running import Places, Wanted, outcomes
from benchmarks.scenario import Scenario
from benchmarks.scenarios import MEMORY, SCENARIOS
from benchmarks.sizes import sizes
from tests.support.postgres import server

QUICK = Wanted(rows=2_000, rounds=1, timeout=60, peers=False, downloads=False)


def main() -> None:
    """Run what was asked for."""
    asked = arguments()
    wanted = Wanted(rows=asked.rows, rounds=asked.rounds, timeout=asked.timeout, peers=not asked.no_peers)
    chosen = choice(asked.only.split(), huge=asked.huge)
    failed = [
        f"{scenario.name}: {trouble}"
        for scenario, found in measured(chosen, QUICK if asked.quick else wanted, asked.peers.resolve())
        for trouble in written(scenario, wanted, found, keep=not asked.quick)
    ]
    print("\n".join(["", f"{len(failed)} of ours failed", *failed] if failed else ["", "all of ours did their work"]))
    if asked.quick and failed:
        sys.exit(1)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="names of scenarios, and `memory`; all of them when it is empty")
    parser.add_argument("--quick", action="store_true", help="few rows, one round, nobody else, nothing written")
    parser.add_argument("--huge", action="store_true", help="20 times the rows too")
    parser.add_argument("--rows", type=int, default=Wanted.rows, help="the size of a run")
    parser.add_argument("--rounds", type=int, default=Wanted.rounds)
    parser.add_argument("--timeout", type=float, default=Wanted.timeout, help="seconds for one turn of a peer")
    parser.add_argument("--no-peers", action="store_true", help="the limits and ours only")
    parser.add_argument("--peers", type=Path, default=DEFAULT, help="folder of the environments of the others")
    return parser.parse_args()


def choice(names: list[str], *, huge: bool) -> list[Scenario]:
    """The scenarios with these names, or all.

    Raises:
        SystemExit: there is no such name.
    """
    known = {one.name: one for one in SCENARIOS}
    wanted = [each for name in names for each in (MEMORY.scenarios if name == "memory" else (name,))]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"there is no scenario {unknown[0]!r}; there are: memory, {', '.join(known)}")
    return [one for one in SCENARIOS if (one.name in wanted or not wanted) and (huge or not one.huge)]


def measured(chosen: list[Scenario], wanted: Wanted, peers: Path) -> Iterator[tuple[Scenario, list[Outcome]]]:
    """One scenario after the other, on one server."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conduit-bench-")))
        environments = Environments(peers)
        places = Places(stack.enter_context(server(measured=True)), folder, environments, stack)
        for scenario in chosen:
            began = time.perf_counter()
            if scenario.sizes:
                found = sizes(environments, peers=wanted.peers, downloads=wanted.downloads, say=say)
            else:
                found = outcomes(scenario, wanted, places, say)
            say(f"{scenario.name}: {time.perf_counter() - began:.0f} s")
            yield scenario, found


def written(scenario: Scenario, wanted: Wanted, found: list[Outcome], *, keep: bool) -> list[str]:
    """Save a result and draw everything anew; what ours did wrong, or could not do although there is a goal."""
    if keep:
        saved = results.read()
        rows = 0 if scenario.sizes else int(wanted.rows * scenario.times)
        saved[scenario.name] = results.result(scenario, rows, machine(), commit(), found)
        ordered = {one.name: saved[one.name] for one in SCENARIOS if one.name in saved}
        results.save(ordered)
        # Read again, so that the page says exactly what the file says.
        shown = results.read()
        report.write(shown)
        picture.write(shown)
    ours = [one for one in found if one.role == "ours"]
    return [trouble for one in ours if (trouble := one.wrong or (one.cannot if scenario.goal else ""))]


def say(line: str) -> None:
    """Tell the person who waits."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
