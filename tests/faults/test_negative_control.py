"""The harness can fail: conduit with one rule broken loses or doubles rows, and the oracle says so."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from tests.faults.bench import CHECKPOINT, Bench
from tests.support.processes import is_stopped


def test_data_first_json_after_is_caught(bench: Callable[..., Bench]) -> None:
    pipeline = bench("sqlite", checkpoint_interval=10**9)
    pipeline.origin.add(CHECKPOINT)
    assert pipeline.run(mutant="data_first_json_after").code == 0
    assert pipeline.lost_and_doubled() == (0, 0)
    pipeline.origin.add(CHECKPOINT)
    assert pipeline.run(mutant="data_first_json_after", crash_at="load.committed").code == -9
    assert pipeline.run(mutant="data_first_json_after").code == 0
    assert pipeline.lost_and_doubled() == (0, CHECKPOINT)


def test_the_same_attack_does_nothing_to_the_mark_in_the_commit(bench: Callable[..., Bench]) -> None:
    pipeline = bench("sqlite", checkpoint_interval=10**9)
    pipeline.origin.add(CHECKPOINT)
    pipeline.run().ok()
    pipeline.origin.add(CHECKPOINT)
    assert pipeline.run(crash_at="load.committed").code == -9
    pipeline.exact()


def test_a_mark_without_compare_and_swap_is_caught(bench: Callable[..., Bench]) -> None:
    pipeline = bench("postgresql", checkpoint_interval=10**9)
    pipeline.origin.add(CHECKPOINT)
    zombie = pipeline.zygote.start(
        pipeline.folder, "run", "ingest.yml", crash_at="load.staged:1:STOP", mutant="no_compare_and_swap"
    )
    assert is_stopped(zombie)
    pipeline.zygote.conduit(pipeline.twin(), "run", "ingest.yml").ok()
    os.kill(zombie, signal.SIGCONT)
    pipeline.zygote.finish(zombie)
    assert pipeline.lost_and_doubled() == (0, CHECKPOINT)
