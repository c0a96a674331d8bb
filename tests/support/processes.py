"""Runs as processes of their own, that can be stopped and woken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Ran:
    """What a run of the command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, as JSON."""
        return json.loads(self.out)

    def ok(self) -> Ran:
        """The same, if the command succeeded."""
        assert self.code == 0, f"exit {self.code}\n{self.out}\n{self.err}"
        return self


def cold(folder: Path, *arguments: str, **environment: str) -> Ran:
    """`python -m conduit ARGUMENTS` in `folder`: a process that starts from nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "conduit", *arguments],
        cwd=folder,
        env={**os.environ, "CONDUIT_TESTING": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def start(folder: Path, crash_at: str = "", mutant: str = "") -> subprocess.Popen[str]:
    """`conduit run` in a process of its own; `mutant` says how tests.support.mutants breaks it."""
    breaking = f"from tests.support import mutants; mutants.apply({mutant!r}); " if mutant else ""
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
    assert is_stopped(process.pid), "the process ended instead"


def is_stopped(process: int) -> bool:
    """Wait until SIGSTOP has reached it; False: it has ended."""
    for _ in range(60_000):
        state = _state(process)
        if state in "TZ":
            return state == "T"
        time.sleep(0.001)
    raise AssertionError("the process neither stopped nor ended")


def has_ended(process: int, seconds: float) -> bool:
    """Wait so long until a child that nobody has waited for has ended."""
    until = time.monotonic() + seconds
    while _state(process) != "Z":
        if time.monotonic() > until:
            return False
        time.sleep(0.002)
    return True


def _state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
