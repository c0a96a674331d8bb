"""A read in ranges that is killed: nothing half done, and the next run reads what is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conduit.faults import CRASH_POINTS
from tests.faults.bench import CHECKPOINT, Bench
from tests.support.ends import NAMES
from tests.support.postgres import Server

MakeBench = Callable[..., Bench]


@pytest.fixture
def ranges(bench: MakeBench, postgres_server: Server) -> Iterator[MakeBench]:
    """`ranges("parquet")`: a pipeline out of a PostgreSQL database, in three ranges, into that destination."""
    with postgres_server.database() as source:
        yield lambda name: bench(name, source=source, partition={"column": "id", "number": 3})


POINTS = [point for point in CRASH_POINTS if point.startswith(("load.", "run.batch", "run.committed"))]


@pytest.mark.parametrize("name", ["postgresql", "parquet", "csv", "csv-file", "iceberg"])
@pytest.mark.parametrize("point", POINTS)
def test_a_first_run_in_ranges_killed_at_any_point_is_completed_by_the_next(
    ranges: MakeBench, name: str, point: str
) -> None:
    pipeline = ranges(name)
    pipeline.origin.add(3 * CHECKPOINT)
    nth = 2 if pipeline.end.checkpoints else 1
    assert pipeline.run(crash_at=f"{point}:{nth}").code == -9
    pipeline.nothing_doubled()
    pipeline.exact()


@pytest.mark.parametrize("name", NAMES)
def test_a_later_run_in_ranges_that_is_killed_is_completed_by_the_next(ranges: MakeBench, name: str) -> None:
    pipeline = ranges(name)
    pipeline.origin.add(CHECKPOINT)
    pipeline.run().ok()
    pipeline.origin.add(3 * CHECKPOINT)
    assert pipeline.run(crash_at="load.marked").code == -9
    pipeline.nothing_doubled()
    pipeline.exact()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("csv-file", "json")])
def test_a_killed_first_load_goes_on_where_it_was(ranges: MakeBench, name: str) -> None:
    pipeline = ranges(name)
    pipeline.origin.add(10 * CHECKPOINT)
    assert pipeline.run(crash_at="run.committed:4").code == -9
    loaded = pipeline.end.read()
    assert 2 * CHECKPOINT < loaded.total() < 8 * CHECKPOINT
    assert max(row[0] for row in loaded) < min(row[0] for row in pipeline.origin.rows() - loaded)
    pipeline.origin.add(10)
    again: dict[str, Any] = pipeline.run().ok().json["resources"][0]
    assert again["read"] == pipeline.origin.rows().total() - loaded.total()
    pipeline.exact()
