"""What happens to PostgreSQL under a run: restarted, its sessions ended, its lines slow, cut, reset or silent.

Each attack stops a run at a named point, does its harm, and wakes the run. The run may then end with exit code 3, or
try again and do all of its work; it never says more than that, and the next run is exact.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.faults.bench import CHECKPOINT, Bench
from tests.proof import tally
from tests.support.postgres import Database, Restartable, Server, restartable
from tests.support.processes import Ran, is_stopped
from tests.support.proxy import Proxy, proxy
from tests.support.zygote import Zygote

SIDES = ("source", "destination", "both")
POINTS = {
    "source": ("run.locked", "run.recovered", "run.bounded", "run.batch", "load.staged"),
    "destination": ("run.bounded", "load.begun", "load.staged", "load.marked", "load.committed", "run.committed"),
}
"""Where a run has something to lose on this side. At `run.batch` the destination waits within a statement."""
POINTS["both"] = POINTS["destination"]
SILENT_AT = ("run.recovered", "load.begun", "load.marked")
"""Where a line falls silent: the source is asked next, rows are sent next, COMMIT is sent next."""
ENDS_WITHIN = 25.0
"""Seconds from SIGTERM to the end of a run whose server is silent, on a busy machine."""
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'conduit' AND datname = ANY(%s)"
)


@dataclass
class Served(Bench):
    """A pipeline from, into, or from and into PostgreSQL; the other end is SQLite."""

    side: str = "both"

    @classmethod
    def between(cls, zygote: Zygote, folder: Path, side: str, source: Database, destination: Database) -> Self:
        """A project whose `side` is PostgreSQL."""
        at, into = side != "destination", side != "source"
        bench = cls.set_up(
            zygote, folder, "postgresql" if into else "sqlite", destination if into else None, source if at else None
        )
        bench.side = side
        return bench

    @property
    def name(self) -> str:
        """The destination, as a tally calls it; what comes from PostgreSQL is counted apart."""
        return self.end.name if self.side == "destination" else f"{self.end.name}, from postgresql"

    def databases(self) -> list[str]:
        """The names of its databases."""
        found = [self.end.keys] if self.side != "source" else []
        found += [self.origin.database.keys] if self.side != "destination" else []  # type: ignore[attr-defined]
        return [keys["database"] for keys in found]

    def stopped_for(self, point: str, harm: Callable[[], object]) -> Ran:
        """A run that is stopped at a point while `harm` is done, then wakes up."""
        run = self.zygote.start(self.folder, "run", "ingest.yml", crash_at=f"{point}:1:STOP")
        assert is_stopped(run), f"the run never came to {point}"
        harm()
        os.kill(run, signal.SIGCONT)
        return self.zygote.finish(run)


def survived(bench: Served, ran: Ran) -> None:
    """One error or all of the work, then the clean run."""
    told = ran.out + ran.err
    assert ran.code in (0, 3), (ran.code, told)
    assert "Traceback" not in told
    assert "internal error" not in told
    bench.nothing_doubled()
    bench.exact()


def restarted(bench: Served, own: Restartable, mode: str, point: str) -> None:
    """The server is restarted under a stopped run."""
    survived(bench, bench.stopped_for(point, lambda: own.restart(mode)))
    tally.note("server restarted", mode=mode, side=bench.side, point=point)


def terminated(bench: Served, server: Server, point: str) -> None:
    """All sessions of a stopped run are ended."""
    survived(bench, bench.stopped_for(point, lambda: terminate(server, bench.databases())))
    tally.note("sessions terminated", side=bench.side, point=point)


def terminate(server: Server, databases: list[str]) -> None:
    """End every session that a run has in these databases."""
    Database(server, "postgres").execute(TERMINATE, databases)


def slow(bench: Served, schedule: random.Random) -> None:
    """The line is late, or carries one byte at a time; the run does all of its work."""
    with through_proxy(bench) as between:
        if schedule.random() < 0.5:
            between.latency = schedule.uniform(0.005, 0.03)
        else:
            between.pieces = 1
        bench.run().ok()
    tally.note("slow line", side=bench.side)
    bench.exact()


def cut(bench: Served, *, before: bool, reset: bool) -> None:
    """The line to the destination breaks at COMMIT: before the server sees it, or before its answer comes back."""
    with through_proxy(bench) as between:
        between.before, between.reset = before, reset
        between.within, between.lose_commits = b"COPY ", 1
        survived(bench, bench.run())
        tally.note("reset at COMMIT" if between.reset else "cut at COMMIT", count=between.lost)


def silent(bench: Served, point: str) -> None:
    """The line falls silent and stays open; SIGTERM ends the run all the same."""
    with through_proxy(bench) as between:
        run = bench.zygote.start(bench.folder, "run", "ingest.yml", crash_at=f"{point}:1:STOP")
        assert is_stopped(run)
        between.silent = True
        os.kill(run, signal.SIGCONT)
        time.sleep(0.5)
        os.kill(run, signal.SIGTERM)
        began = time.monotonic()
        ran = bench.zygote.finish(run)
        assert time.monotonic() - began < ENDS_WITHIN
    assert ran.code == 143, ran
    assert "Traceback" not in ran.out + ran.err
    tally.note("silent line ended by SIGTERM", side=bench.side, point=point)
    bench.nothing_doubled()
    bench.exact()


class through_proxy:  # noqa: N801 - used as a function
    """The project reaches its PostgreSQL through a proxy: the destination, or the source where only that is one."""

    def __init__(self, bench: Served) -> None:
        self._bench = bench
        self._side = "sources" if bench.side == "source" else "destinations"
        self._keys = bench.origin.database.keys if bench.side == "source" else bench.end.keys  # type: ignore[attr-defined]
        self._opened = ExitStack()

    def __enter__(self) -> Proxy:
        between = self._opened.enter_context(proxy(self._keys["host"], self._keys["port"]))
        self._bench.change_port(between.port, self._side)
        return between

    def __exit__(self, *_: object) -> None:
        self._bench.change_port(self._keys["port"], self._side)
        self._opened.close()


def episode(zygote: Zygote, folder: Path, seed: str) -> None:
    """A server of its own, restarted and mistreated under pipelines on each side of it."""
    schedule = random.Random(seed)
    with restartable() as own:
        for side in SIDES:
            with own.server.database() as source, own.server.database() as destination:
                there = folder / side
                there.mkdir()
                bench = Served.between(zygote, there, side, source, destination)
                for harm in _harms(own, side, schedule):
                    bench.origin.add(schedule.randrange(CHECKPOINT, 3 * CHECKPOINT))
                    harm(bench)


def _harms(own: Restartable, side: str, schedule: random.Random) -> list[Callable[[Served], None]]:
    point, other = schedule.choices(POINTS[side], k=2)
    quiet = schedule.choice(SILENT_AT if side != "source" else SILENT_AT[:1])
    found: list[Callable[[Served], None]] = [
        lambda bench: restarted(bench, own, "fast", point),
        lambda bench: restarted(bench, own, "immediate", other),
        lambda bench: terminated(bench, own.server, schedule.choice(POINTS[side])),
        lambda bench: slow(bench, schedule),
        lambda bench: silent(bench, quiet),
    ]
    if side != "source":
        found.append(lambda bench: cut(bench, before=schedule.random() < 0.5, reset=schedule.random() < 0.5))
    schedule.shuffle(found)
    return found
