"""Runs as processes of their own, that can be stopped and woken."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(folder: Path, crash_at: str = "", mutant: str = "") -> subprocess.Popen[str]:
    """`conduit run` in a process of its own; `mutant` names a function of tests.support.mutants that breaks it."""
    breaking = f"from tests.support import mutants; mutants.{mutant}(); " if mutant else ""
    extra = {"CONDUIT_CRASH_AT": crash_at} if crash_at else {}
    return subprocess.Popen(
        [sys.executable, "-c", f"{breaking}from conduit.cli import main; main()", "run", "ingest.yml"],
        cwd=folder,
        env={**os.environ, "CONDUIT_TESTING": "1", "PYTHONPATH": str(ROOT), **extra},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_stopped(process: subprocess.Popen[str]) -> None:
    """Wait until SIGSTOP has reached it."""
    for _ in range(600):
        if Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T":
            return
        time.sleep(0.05)
    raise AssertionError("the process did not stop")
