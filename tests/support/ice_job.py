"""The accumulating job in a process of its own, which dies at a named step; forked from a server that imported it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

import polars as pl

from iceframe import IceFrame, commit, files, jobs
from iceframe.errors import IceFrameError
from iceframe.sqlite import SqliteCatalog

KEYS = ["event_date", "category"]
STEPS: dict[str, tuple[Any, str, str]] = {
    "reader registered": (jobs, "register", "after"),
    "rows read": (jobs, "changes", "after"),
    "first data file written": (files._Lane, "close", "after"),
    "all data files written": (commit, "stage_snapshot", "before"),
    "manifests written": (commit, "send", "before"),
    "metadata written": (SqliteCatalog, "_write_metadata", "after"),
    "committed": (commit, "send", "after"),
}
"""Where the job can be killed: the function, and whether it has done its work."""
REFUSED = 3
"""The exit code of a job that stopped with an error of ours."""


def forkserver() -> ForkServerContext:
    """Processes that start in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.ice_job"])
    return context


def started(context: ForkServerContext, config: dict[str, str], step: str = "", nth: int = 1) -> BaseProcess:
    """The job, running; with a step it dies there, at the nth time."""
    process = context.Process(target=_run, args=(config, step, nth))
    process.start()
    return process


def run(ice: IceFrame) -> int | None:
    """Add what is new in raw_events to daily_summary: not idempotent, so that a window that is applied twice shows."""
    with ice.incremental("raw_events", into="daily_summary", job="daily") as window:
        if window.frame.height:
            totals = [pl.len().alias("event_count"), pl.sum("amount").alias("total_amount")]
            window.merge(window.frame.group_by(KEYS).agg(totals), on=KEYS).when_matched_update(
                {
                    "event_count": pl.col("target.event_count") + pl.col("source.event_count"),
                    "total_amount": pl.col("target.total_amount") + pl.col("source.total_amount"),
                }
            ).when_not_matched_insert()
    return window.snapshot_id


def _run(config: dict[str, str], step: str, nth: int) -> None:
    if step:
        _die_at(step, nth)
    try:
        run(IceFrame(config))
    except IceFrameError as error:
        print(error, flush=True)
        os._exit(REFUSED)
    os._exit(0)


def _die_at(step: str, nth: int) -> None:
    owner, name, when = STEPS[step]
    work: Callable[..., Any] = getattr(owner, name)
    passed = 0

    def deadly(*args: Any, **options: Any) -> Any:
        nonlocal passed
        passed += 1
        last = passed == nth
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = work(*args, **options)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(owner, name, staticmethod(deadly) if name == "_write_metadata" else deadly)
