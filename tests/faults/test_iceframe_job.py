"""The accumulating job under kill -9 at every step, twice at once, and while rows arrive: equal to the oracle."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from iceframe import IceFrame
from tests.proof import tally
from tests.support import ice_job

KILLS = int(os.environ.get("ICEFRAME_KILLS", "4"))
"""At each step; a soak kills many more times."""
SCHEMA = {"event_date": "long", "category": "string", "amount": "long"}
SUMMARY = {"event_date": "long", "category": "string", "event_count": "long", "total_amount": "long"}


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    return ice_job.forkserver()


class Bench:
    """A source, a target, and writers that are seeded."""

    def __init__(self, folder: Path, seed: str) -> None:
        self.config = {
            "type": "sql",
            "uri": f"sqlite:///{folder}/catalog.db",
            "warehouse": (folder / "warehouse").as_uri(),
        }
        self.ice = IceFrame(self.config)
        self.ice.create_table("raw_events", SCHEMA)
        self.ice.create_table("daily_summary", SUMMARY)
        self._random = random.Random(seed)

    def add(self, rows: int = 200) -> None:
        frame = pl.DataFrame(
            {
                "event_date": [self._random.randrange(5) for _ in range(rows)],
                "category": [self._random.choice("abcdef") for _ in range(rows)],
                "amount": [self._random.randrange(1000) for _ in range(rows)],
            }
        )
        self.ice.append_to_table("raw_events", frame)

    def exact(self) -> None:
        """The summary is what the source says, and a second run has nothing to do."""
        found = self.ice.read_table("daily_summary").sort(ice_job.KEYS)
        totals = [pl.len().cast(pl.Int64).alias("event_count"), pl.sum("amount").alias("total_amount")]
        wanted = self.ice.read_table("raw_events").group_by(ice_job.KEYS).agg(totals).sort(ice_job.KEYS)
        assert_frame_equal(found, wanted, check_dtypes=False)
        tally.compared("iceframe job", int(wanted["event_count"].sum()), 0, 0)
        assert ice_job.run(self.ice) is None


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(tmp_path, request.node.name)
    yield made
    made.ice.catalog.close()


def code_of(process: object) -> int | None:
    process.join(60)  # type: ignore[attr-defined]
    return process.exitcode  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("step", ice_job.STEPS)
def test_a_kill_at_any_step_loses_nothing_and_doubles_nothing(
    bench: Bench, context: ForkServerContext, step: str
) -> None:
    if step != "reader registered":  # which happens in the first run only
        bench.add()
        assert code_of(ice_job.started(context, bench.config)) == 0
    for _ in range(KILLS if step != "reader registered" else 1):
        bench.add()
        code = code_of(ice_job.started(context, bench.config, step))
        tally.killed("iceframe job", step, code or 0)
        assert code == -9
        assert code_of(ice_job.started(context, bench.config)) == 0
        bench.exact()


def test_two_runs_of_one_window_apply_it_once(bench: Bench, context: ForkServerContext) -> None:
    for _ in range(4):
        bench.add()
        both = [ice_job.started(context, bench.config) for _ in range(2)]
        assert {code_of(one) for one in both} <= {0, ice_job.REFUSED}
        assert code_of(ice_job.started(context, bench.config)) == 0
        bench.exact()


def test_rows_that_are_appended_while_the_job_runs_are_counted_once(bench: Bench, context: ForkServerContext) -> None:
    bench.add()
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            bench.add(20)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(6):
            assert code_of(ice_job.started(context, bench.config)) in {0, ice_job.REFUSED}
    finally:
        stop.set()
        writer.join()
    assert code_of(ice_job.started(context, bench.config)) == 0
    bench.exact()


def test_random_kills_lose_nothing_and_double_nothing(bench: Bench, context: ForkServerContext) -> None:
    schedule = random.Random(7)
    for _ in range(KILLS * 2):
        bench.add()
        process = ice_job.started(context, bench.config)
        process.join(schedule.uniform(0, 0.6))
        process.kill()
        code = code_of(process)
        tally.killed("iceframe job", tally.RANDOM, code or 0)
        assert code in {0, -9}
    assert code_of(ice_job.started(context, bench.config)) == 0
    bench.exact()
