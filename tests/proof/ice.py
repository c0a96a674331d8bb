"""`ice.incremental` without conduit: jobs that add to their target, killed; and random histories of their source."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.faults.test_iceframe_histories import History, lived
from tests.faults.test_iceframe_job import Bench, code_of
from tests.proof import tally
from tests.support import ice_job

NAME = "iceframe job"
HISTORIES = 5
_FIRST = "reader registered"


def jobs(folder: Path, seed: str, steps: Sequence[str]) -> None:
    """A job that is killed at each of the steps, then at a random moment or beside another one; exact after each."""
    schedule = random.Random(seed)
    context = ice_job.forkserver()
    bench = Bench(folder, seed)
    with closing(bench.ice.catalog):
        bench.add()
        _killed(bench, _FIRST)
        for step in steps:
            bench.add(schedule.randrange(1, 300))
            _killed(bench, step)
            bench.add(schedule.randrange(1, 300))
            if schedule.random() < 0.5:
                process = ice_job.started(context, bench.config)
                process.join(schedule.uniform(0, 0.3))
                process.kill()
                tally.killed(NAME, tally.RANDOM, code_of(process) or 0)
            else:
                both = [ice_job.started(context, bench.config) for _ in range(2)]
                assert {code_of(one) for one in both} <= {0, ice_job.REFUSED}
                tally.note("runs at once", count=2)
            assert code_of(ice_job.started(context, bench.config)) == 0
            bench.exact()


def _killed(bench: Bench, step: str) -> None:
    tally.killed(NAME, step, code_of(ice_job.started(ice_job.forkserver(), bench.config, step)) or 0)


def histories(folder: Path, seed: str) -> None:
    """Some random lives of a source."""
    schedule = random.Random(seed)
    for _ in range(HISTORIES):
        history = History(folder, schedule.randrange(10**9))
        with closing(history.ice.catalog):
            lived(history, calm=schedule.random() < 0.5)
