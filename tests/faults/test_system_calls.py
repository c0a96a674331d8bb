"""A call to the system fails inside of whatever made it: a clear error or all of the work, then an exact run.

Injected by strace, so that SQLite and DuckDB are met within. `PROOF_IO=all` goes on, call by call, until a run has no
further one; without it a few are tried.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.faults.bench import CHECKPOINT, Bench
from tests.faults.test_io_failures import clear
from tests.proof import tally
from tests.support import straced

SYNC, MOVE, PUT = "fsync,fdatasync", "rename,renameat,renameat2,link,linkat", "pwrite64"
ERRORS = {SYNC: "EIO", MOVE: "ENOSPC", PUT: "ENOSPC"}
SAMPLE = (
    ("parquet", SYNC, 1), ("parquet", MOVE, 1), ("csv-file", MOVE, 1), ("json", SYNC, 2), ("sqlite", SYNC, 1),
    ("sqlite", PUT, 3), ("duckdb", PUT, 2), ("iceberg", SYNC, 2),
)  # fmt: skip
MOST = 8
"""Calls of a kind that are tried for a destination, at most."""


def attempts() -> Iterator[tuple[str, str, int]]:
    """Destination, calls, and which of them fails first."""
    if os.environ.get("PROOF_IO") != "all":
        yield from SAMPLE
        return
    for name in ("parquet", "csv", "csv-file", "json", "sqlite", "duckdb", "iceberg"):
        for calls in ERRORS:
            yield name, calls, 1


@pytest.fixture(scope="module", autouse=True)
def able() -> None:
    """Skipped, loudly, where calls cannot be made to fail."""
    if reason := straced.reason_against():
        pytest.skip(reason)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "calls", "first"), list(attempts()))
def test_a_call_that_fails_ends_in_a_clear_error_and_the_next_run_is_exact(
    bench: Callable[..., Bench], name: str, calls: str, first: int
) -> None:
    pipeline = bench(name)
    for nth in range(first, first + (MOST if os.environ.get("PROOF_IO") == "all" else 1)):
        pipeline.origin.add(CHECKPOINT // 2)
        ran, hit = straced.run(pipeline.folder, calls, ERRORS[calls], nth)
        if not hit:
            ran.ok()
            break
        clear(ran)
        tally.note("system call failed", destination=name, calls=calls, nth=nth)
        pipeline.nothing_doubled()
    pipeline.exact()
