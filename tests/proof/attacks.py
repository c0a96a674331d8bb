"""What is done to one pipeline, drawn from a seed: kills, freezes, runs at once, cut connections, spoilt state files.

After each attack the oracle compares; see `tests/faults/bench.py`. A part of a soak is called an episode: it has a
folder, a destination and a seed of its own, so that it can be repeated alone.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from conduit.faults import CRASH_POINTS
from tests.faults.bench import CHECKPOINT, Bench
from tests.proof import tally
from tests.proof.sums import Sums
from tests.support.postgres import Database, Server
from tests.support.proxy import proxy
from tests.support.zygote import Zygote

ENDED = (0, 75)
"""Exit codes of runs beside others: they did it, or another one did."""
AT_ONCE = 3
"""Kills at named points, one upon the other, before a clean run."""

Attack = Callable[[Bench, random.Random], None]


def episode(zygote: Zygote, server: Server | None, folder: Path, kind: str, seed: str, points: Sequence[str]) -> None:
    """Attack one pipeline: killed at each of the points, and something else after each few of them.

    Args:
        zygote: forks the runs.
        server: PostgreSQL; None: there is none.
        folder: of the episode.
        kind: a destination, or `sums in` and a destination.
        seed: says what is drawn.
        points: where it is killed, in this order.
    """
    schedule = random.Random(seed)
    name = kind.removeprefix("sums in ")
    with ExitStack() as opened:
        database = opened.enter_context(server.database()) if server and name == "postgresql" else None
        bench = _bench(zygote, folder, kind, database, schedule)
        for start in range(0, len(points), AT_ONCE):
            for point in points[start : start + AT_ONCE]:
                rows = schedule.randrange(20, 5 * CHECKPOINT)
                bench.origin.add(rows)
                _kill_at(bench, point, schedule, repeated=rows > 2 * CHECKPOINT)
            bench.nothing_doubled()
            bench.exact()
            bench.origin.add(schedule.randrange(20, 3 * CHECKPOINT))
            schedule.choice(_attacks(bench))(bench, schedule)
            bench.nothing_doubled()
            bench.exact()


def _bench(zygote: Zygote, folder: Path, kind: str, database: Database | None, schedule: random.Random) -> Bench:
    if kind.startswith("sums in "):
        return Sums.added_up(zygote, folder, kind.removeprefix("sums in "), database)
    bench = Bench.set_up(zygote, folder, kind, database)
    if bench.end.merges and schedule.random() < 0.3:
        (folder / "in.sqlite").unlink()
        return Bench.set_up(zygote, folder, kind, database, mode="merge", primary_key="id")
    return bench


def _attacks(bench: Bench) -> list[Attack]:
    found: list[Attack] = [kill_at_random, kill_at_random, freeze, together, spoil]
    return [*found, cut, cut] if bench.end.name == "postgresql" else found


def _kill_at(bench: Bench, point: str, schedule: random.Random, *, repeated: bool) -> None:
    passed_again = repeated and bench.end.checkpoints and point.startswith(("load.", "run.batch", "run.committed"))
    bench.run(crash_at=f"{point}:{schedule.choice((1, 1, 1, 2)) if passed_again else 1}")


def kill_at_random(bench: Bench, schedule: random.Random) -> None:
    """Some kills, a moment after the start each."""
    for _ in range(schedule.randrange(1, 4)):
        bench.run(kill_after=schedule.uniform(0, 0.25))
        bench.nothing_doubled()


def freeze(bench: Bench, schedule: random.Random) -> None:
    """Runs are stopped, others from elsewhere do the work, the first wake up."""
    for point in schedule.sample(CRASH_POINTS, k=3):
        bench.frozen(point)
        bench.origin.add(schedule.randrange(20, 2 * CHECKPOINT))


def together(bench: Bench, schedule: random.Random) -> None:
    """Two to four runs at once, with no lock in common."""
    folders = [bench.folder, *(_twin(bench, number) for number in range(schedule.randrange(1, 4)))]
    runs = [(folder, bench.zygote.start(folder, "run", "ingest.yml")) for folder in folders]
    ended = [bench.zygote.finish(run) for _, run in runs]
    tally.note("runs at once", count=len(runs))
    assert all(run.code in ENDED for run in ended), ended


def spoil(bench: Bench, schedule: random.Random) -> None:
    """The state file says something else, or all local files are gone."""
    state = bench.folder / ".conduit_state.json"
    if schedule.random() < 0.3:
        shutil.rmtree(bench.folder / ".conduit", ignore_errors=True)
        state.unlink(missing_ok=True)
    elif state.exists() and bench.end.read():
        content = state.read_bytes()
        wrong = json.dumps({"r": schedule.randrange(10**6)}).encode()
        state.write_bytes(schedule.choice((content[: schedule.randrange(len(content))], wrong, b"{}", b"[1]", b"\x00")))
    tally.note("state file spoilt")


def cut(bench: Bench, schedule: random.Random) -> None:
    """The connection to PostgreSQL breaks at COMMIT: before the server sees it, or before the answer comes back."""
    keys = bench.end.keys
    with proxy(keys["host"], keys["port"]) as between:
        between.before, between.reset = schedule.random() < 0.3, schedule.random() < 0.5
        between.within, between.lose_commits = b"COPY ", 1
        bench.change_port(between.port)
        bench.run()
        tally.note("reset at COMMIT" if between.reset else "cut at COMMIT", count=between.lost)
    bench.change_port(keys["port"])


def _twin(bench: Bench, number: int) -> Path:
    there = bench.folder / f"twin{number}"
    return there if there.exists() else bench.twin(number)
