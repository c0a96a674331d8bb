"""The Nth operation on a file fails, once or from then on, or a disk is full: a clear error, then an exact run.

`PROOF_IO=all` lets every N fail; without it every seventh does, from another one on for each destination.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.bench import CHECKPOINT, Bench
from tests.proof import tally
from tests.support.failing_io import HIT
from tests.support.processes import Ran

MakeBench = Callable[..., Bench]
NAMES = ("parquet", "csv", "csv-file", "json", "iceberg", "sqlite")
"""Of SQLite, whose own I/O is not seen, only the state file and the history are meant."""
STEP = 1 if os.environ.get("PROOF_IO") == "all" else 7
MOST = 400
"""Operations of one run, at most."""
SILENT = 7
"""A catalog that stays silent is asked for half a minute, so all fails for ever at each so many operations only."""


def clear(ran: Ran) -> None:
    """One error that says what failed, without a traceback; or a run that did all of its work."""
    told = ran.out + ran.err
    assert ran.code in (0, 3, 5), told
    assert "Traceback" not in told
    assert "internal error" not in told
    assert ran.code == 0 or "error" in told


def ways(name: str, nth: int) -> list[tuple[str, str]]:
    """How the Nth operation fails: one error once, the other one for ever; of a sample, one of the two."""
    once, for_ever = ("EIO", "ENOSPC") if nth % 2 else ("ENOSPC", "EIO")
    if name == "iceberg" and (STEP > 1 or nth % SILENT):
        return [(once, "once")]
    both = [(once, "once"), (for_ever, "for ever")]
    return both if STEP == 1 else [both[nth // STEP % 2]]


def attack(pipeline: Bench, nth: int, error: str, how_often: str) -> bool:
    """Let the Nth operation of a run fail, and then the clean run be exact; False: the run had fewer operations."""
    (pipeline.folder / HIT).unlink(missing_ok=True)
    pipeline.origin.add(20)
    ran = pipeline.run(mutant=f"io_fails:{nth}:{error}:{how_often}")
    if not (pipeline.folder / HIT).exists():
        ran.ok()
        return False
    where = (pipeline.folder / HIT).read_text()
    try:
        clear(ran)
        pipeline.nothing_doubled()
        pipeline.run().ok()
        assert pipeline.lost_and_doubled() == (0, 0)
    except AssertionError as failed:
        raise AssertionError(f"operation {nth} ({where}), {error} {how_often}: {failed}") from failed
    tally.note("I/O failure", destination=pipeline.end.name)
    return True


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", NAMES)
def test_an_operation_that_fails_ends_in_a_clear_error_and_the_next_run_is_exact(bench: MakeBench, name: str) -> None:
    pipeline = bench(name)
    pipeline.origin.add(CHECKPOINT)
    first = 1 + NAMES.index(name) if STEP > 1 else 1
    tried = 0
    for nth in range(first, MOST, STEP):
        for error, how_often in ways(name, nth):
            tried += attack(pipeline, nth, error, how_often)
        if not (pipeline.folder / HIT).exists():
            break
    else:
        pytest.fail(f"a run has more than {MOST} operations")
    assert tried > 1
    pipeline.exact()


# --- a full disk ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of two megabytes; skipped where none can be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("name", ["parquet", "csv", "csv-file", "json", "iceberg", "sqlite", "duckdb"])
def test_a_full_disk_ends_in_a_clear_error_and_the_next_run_is_exact(
    bench: MakeBench, small_disk: Path, name: str
) -> None:
    pipeline = bench(name, folder=small_disk)
    pipeline.origin.add(CHECKPOINT)
    pipeline.run().ok()
    pipeline.origin.add(5 * CHECKPOINT)
    ballast = small_disk / "ballast"
    hit = 0
    for left in (4_000, 16_000, 60_000):
        fill(ballast, left)
        ran = pipeline.run()
        ballast.unlink()
        clear(ran)
        hit += ran.code != 0
        pipeline.nothing_doubled()
    tally.note("full disk", destination=name, count=hit)
    assert hit
    pipeline.exact()


def fill(ballast: Path, left: int) -> None:
    """Leave so many bytes on the disk."""
    free = os.statvfs(ballast.parent)
    ballast.write_bytes(b"0" * max(0, free.f_bavail * free.f_bsize - left))
