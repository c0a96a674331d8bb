"""Killed at every named point, on every destination, a run leaves nothing half done and the next one completes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from conduit.faults import CRASH_POINTS
from tests.faults.bench import CHECKPOINT, Bench
from tests.support.ends import NAMES

MakeBench = Callable[..., Bench]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_first_run_killed_at_any_point_is_completed_by_the_next(bench: MakeBench, name: str, point: str) -> None:
    pipeline = bench(name)
    pipeline.origin.add(3 * CHECKPOINT)
    assert pipeline.run(crash_at=point).code == -9
    pipeline.nothing_doubled()
    pipeline.exact()


@pytest.mark.parametrize("name", NAMES)
def test_later_runs_killed_at_every_point_are_completed_by_the_next(bench: MakeBench, name: str) -> None:
    pipeline = bench(name)
    pipeline.origin.add(CHECKPOINT)
    pipeline.run().ok()
    for point in CRASH_POINTS:
        pipeline.origin.add(3 * CHECKPOINT)
        nth = 2 if pipeline.end.checkpoints and point.startswith(("load.", "run.batch", "run.committed")) else 1
        assert pipeline.run(crash_at=f"{point}:{nth}").code == -9, point
        pipeline.nothing_doubled()
        pipeline.exact()


@pytest.mark.parametrize("name", ["postgresql", "sqlite", "duckdb", "iceberg"])
def test_merges_killed_at_every_point_are_completed_by_the_next(bench: MakeBench, name: str) -> None:
    pipeline = bench(name, mode="merge", primary_key="id")
    pipeline.origin.add(2 * CHECKPOINT)
    pipeline.run().ok()
    for point in CRASH_POINTS:
        if point.startswith(("load.", "state.")):
            pipeline.origin.add(2 * CHECKPOINT)
            assert pipeline.run(crash_at=point).code == -9, point
            pipeline.nothing_doubled()
            pipeline.exact()
