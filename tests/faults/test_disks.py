"""Disks that are full, folders that cannot be written: exit code 3, nothing of the commit kept, the next run exact."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.bench import Bench
from tests.support.processes import Ran

NAMES = ("sqlite", "duckdb", "parquet", "csv", "csv-file", "json", "iceberg")
"""Destinations whose files this process writes; a database server has a disk of its own."""


def _limited(folder: Path, size: int) -> Ran:
    """`conduit run` where no file can grow beyond `size` bytes: what a full disk is to a program."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    done = subprocess.run(
        [sys.executable, "-m", "conduit", "run"], cwd=folder, preexec_fn=limit, capture_output=True, text=True,
        timeout=60, check=False, env={**os.environ, "CONDUIT_TESTING": "1"},
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_told_and_the_next_run_is_exact(bench: Callable[..., Bench], name: str) -> None:
    pair = bench(name, checkpoint_interval=None)
    pair.origin.add(5_000)
    ran = _limited(pair.folder, 25_000)
    assert ran.code == 3, ran
    assert "Traceback" not in ran.err
    assert "internal error" not in ran.out + ran.err
    pair.nothing_doubled()
    assert pair.end.read() == Counter()
    pair.exact()
