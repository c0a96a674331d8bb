"""A hundred kills at random moments, over all destinations: nothing lost, nothing doubled."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from tests.faults.bench import Bench
from tests.support.ends import NAMES

KILLS = 15


@pytest.mark.parametrize("name", NAMES)
def test_random_kills_lose_nothing_and_double_nothing(bench: Callable[..., Bench], name: str) -> None:
    schedule = random.Random(f"kills/{name}")
    pipeline = bench(name, checkpoint_interval=500) if name not in ("csv-file", "json") else bench(name)
    pipeline.origin.add(2_000)
    began = time.monotonic()
    pipeline.run().ok()
    whole = time.monotonic() - began
    killed = 0
    while killed < KILLS:
        pipeline.origin.add(2_000)
        killed += pipeline.run(kill_after=schedule.uniform(0, whole)).code == -9
        pipeline.nothing_doubled()
    pipeline.exact()
