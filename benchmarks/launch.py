"""Runs one command and says what it took: `python launch.py RESULT LOG TIMEOUT COMMAND …`.

It is a small process of its own, because Linux counts the memory of the process that forks as a peak of its child: a
runner that holds Arrow and DuckDB would make a `psql` of 15 MB look like 300 MB. It imports nothing but the standard
library, and runs nothing else at the same time but a look at the tree's memory every 20 milliseconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

EVERY = 0.02
PAGE = os.sysconf("SC_PAGE_SIZE")
UNIT = 1 if sys.platform == "darwin" else 1024
"""`ru_maxrss` is in bytes there, in kilobytes elsewhere."""


def tree(root: int) -> list[int]:
    """A process and all that descend from it, as far as /proc tells."""
    found = [root]
    for process in found:
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:  # it ended meanwhile
                continue
    return found


def resident(process: int) -> int:
    """Its memory in bytes; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * PAGE
    except (OSError, IndexError):
        return 0


def watch(root: int, ended: threading.Event, peaks: list[int]) -> None:
    """Keep the largest sum of the tree's memory."""
    while not ended.wait(EVERY):
        peaks[0] = max(peaks[0], sum(map(resident, tree(root))))


def main(result: str, log: str, timeout: str, *command: str) -> None:
    """Run, and write down."""
    ended, peaks = threading.Event(), [0]
    late: list[bool] = []
    with Path(log).open("wb") as out:
        began = time.perf_counter()
        # A command that is not there ends this process with its error, which the runner tells.
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)

        def kill() -> None:
            late.append(True)
            os.killpg(process.pid, signal.SIGKILL)

        alarm = threading.Timer(float(timeout), kill)
        watcher = threading.Thread(target=watch, args=(process.pid, ended, peaks), daemon=True)
        alarm.start()
        watcher.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        alarm.cancel()
        ended.set()
    largest = usage.ru_maxrss * UNIT
    found = {
        "code": os.waitstatus_to_exitcode(status),
        "late": bool(late),
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "largest": largest,
        "sum": max(peaks[0], largest),
    }
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
