"""I1 to I7 of docs/invariants.md, each held by killing, stopping or cutting a run."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from conduit.faults import CRASH_POINTS
from tests.faults.bench import CHECKPOINT, Bench
from tests.proof import tally
from tests.support.ends import NAMES
from tests.support.processes import is_stopped
from tests.support.proxy import proxy

MakeBench = Callable[..., Bench]
ONE_COMMIT = 10**9


def keep_no_memory(folder: Path) -> None:
    """Forget everything that is not the destination: state file, locks, history."""
    shutil.rmtree(folder / ".conduit", ignore_errors=True)
    (folder / ".conduit_state.json").unlink(missing_ok=True)


# I1: the mark in the destination is the truth


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("point", ["load.marked", "load.committed", "state.written"])
def test_i1_a_killed_run_goes_on_without_any_local_file(bench: MakeBench, name: str, point: str) -> None:
    pipeline = bench(name)
    pipeline.origin.add(2 * CHECKPOINT)
    assert pipeline.run(crash_at=point).code == -9
    keep_no_memory(pipeline.folder)
    pipeline.exact()


@pytest.mark.parametrize(
    "content", ['{"r": 1}', '{"r": 999999}', "{}", "", '{"r": 1', "[1, 2]", "\x00\x01", '{"r": "1"}']
)
def test_i1_whatever_the_state_file_says_the_mark_decides(bench: MakeBench, content: str) -> None:
    pipeline = bench("sqlite")
    pipeline.origin.add(2 * CHECKPOINT)
    pipeline.run().ok()
    pipeline.origin.add(CHECKPOINT)
    (pipeline.folder / ".conduit_state.json").write_text(content)
    pipeline.exact()
    assert json.loads((pipeline.folder / ".conduit_state.json").read_text())["r"] == max(
        i for i, *_ in pipeline.origin.rows()
    )


# I2: rows and mark become visible in one commit


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("point", ["run.batch", "load.staged", "load.marked"])
def test_i2_before_the_commit_neither_row_nor_mark_is_visible(bench: MakeBench, name: str, point: str) -> None:
    pipeline = bench(name)
    pipeline.origin.add(CHECKPOINT)
    pipeline.run().ok()
    before = pipeline.end.read()
    pipeline.origin.add(CHECKPOINT)
    assert pipeline.run(crash_at=point).code == -9
    assert pipeline.end.read() == before
    assert pipeline.run().ok().json["resources"][0]["written"] == CHECKPOINT
    pipeline.exact()


@pytest.mark.parametrize("name", NAMES)
def test_i2_after_the_commit_both_are(bench: MakeBench, name: str) -> None:
    pipeline = bench(name)
    pipeline.origin.add(CHECKPOINT // 2)
    assert pipeline.run(crash_at="load.committed").code == -9
    assert pipeline.lost_and_doubled() == (0, 0)
    assert pipeline.run().ok().json["resources"][0]["written"] == 0


# I3: the commit is a compare-and-swap


@pytest.mark.parametrize("name", NAMES)
def test_i3_a_zombie_that_wakes_up_late_is_fenced_at_every_point(bench: MakeBench, name: str) -> None:
    pipeline = bench(name)
    for point in CRASH_POINTS:
        pipeline.origin.add(CHECKPOINT // 2)
        assert pipeline.frozen(point), point
    pipeline.exact()


@pytest.mark.parametrize("name", NAMES)
def test_i3_four_runs_at_once_load_every_row_once(bench: MakeBench, name: str) -> None:
    pipeline = bench(name)
    pipeline.origin.add(3 * CHECKPOINT)
    folders = [pipeline.folder, *(pipeline.twin(number) for number in range(3))]
    runs = [(folder, pipeline.zygote.start(folder, "run", "ingest.yml")) for folder in folders]
    ended = [pipeline.zygote.finish(run) for _, run in runs]
    tally.note("runs at once", count=len(runs))
    assert {0} <= {run.code for run in ended} <= {0, 75}, [run for run in ended if run.code not in (0, 75)]
    pipeline.nothing_doubled()
    pipeline.exact()


# I4: after an unknown outcome, read the mark


@pytest.mark.parametrize("before", [True, False], ids=["cut before COMMIT", "cut after COMMIT"])
@pytest.mark.parametrize("commits", [1, 2])
def test_i4_a_lost_answer_to_commit_is_resolved_by_the_mark(bench: MakeBench, before: bool, commits: int) -> None:
    pipeline = bench("postgresql", checkpoint_interval=ONE_COMMIT)
    pipeline.origin.add(CHECKPOINT)
    keys = pipeline.end.keys
    with proxy(keys["host"], keys["port"]) as between:
        between.before = before
        pipeline.change_port(between.port)
        pipeline.run().ok()  # the table of marks is made here
        pipeline.origin.add(CHECKPOINT)
        between.within, between.lose_commits = b"COPY ", commits  # the commit of rows, not of a look at the marks
        report = pipeline.run().ok().json["resources"][0]
        assert between.lost == (commits if before else 1)  # one that took place is found by its mark
    assert report["written"] == CHECKPOINT
    assert pipeline.lost_and_doubled() == (0, 0)
    pipeline.change_port(keys["port"])
    pipeline.exact()


# I5: the bound is fixed before the first row


def test_i5_rows_that_arrive_during_a_run_wait_for_the_next(bench: MakeBench) -> None:
    pipeline = bench("sqlite", checkpoint_interval=ONE_COMMIT)
    pipeline.origin.add(CHECKPOINT)
    first = max(i for i, *_ in pipeline.origin.rows())
    run = pipeline.zygote.start(pipeline.folder, "run", "ingest.yml", crash_at="run.bounded:1:STOP")
    assert is_stopped(run)
    pipeline.origin.add(CHECKPOINT)
    os.kill(run, signal.SIGCONT)
    pipeline.zygote.finish(run).ok()
    assert max(i for i, *_ in pipeline.end.read()) == first
    assert json.loads((pipeline.folder / ".conduit_state.json").read_text()) == {"r": first}
    pipeline.exact()


# I6: identity is pipeline, resource, since and until; never a path or a local counter


@pytest.mark.parametrize("name", ["postgresql"])
def test_i6_a_fresh_container_finds_its_mark(bench: MakeBench, name: str) -> None:
    pipeline = bench(name)
    pipeline.origin.add(3 * CHECKPOINT)
    assert pipeline.run(crash_at="load.committed:2").code == -9
    elsewhere = pipeline.folder / "another place"
    elsewhere.mkdir()
    for file in ("ingest.yml", "in.sqlite", "in.sqlite-wal"):
        if (pipeline.folder / file).exists():
            shutil.copy(pipeline.folder / file, elsewhere / file)
    report = pipeline.zygote.conduit(elsewhere, "run", "ingest.yml", "--output", "json").ok().json["resources"][0]
    assert report["written"] == CHECKPOINT
    assert pipeline.lost_and_doubled() == (0, 0)


# I7: no checkpoint between rows of equal cursor value


@pytest.mark.parametrize("name", ["sqlite", "postgresql", "duckdb", "parquet", "iceberg"])
def test_i7_a_kill_at_any_checkpoint_loses_no_tie(bench: MakeBench, name: str) -> None:
    pipeline = bench(name, incremental_column="key", checkpoint_interval=7)
    pipeline.origin.add(300)  # 50 keys: ties of about six rows everywhere
    for nth in (1, 2, 3):
        assert pipeline.run(crash_at=f"run.committed:{nth}").code == -9
        pipeline.nothing_doubled()
    pipeline.exact()
