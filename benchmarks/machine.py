"""What it was measured on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

from benchmarks.environments import ROOT, SHOWN


def machine() -> dict[str, object]:
    """Cores, processor, memory, kernel, Python, the packages of this project, and the day."""
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "processor": _after("/proc/cpuinfo", "model name") or platform.processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in SHOWN["conduit"]},
        "date": time.strftime("%Y-%m-%d"),
    }


def commit() -> str:
    """The state of the project: a commit, with `+` when files differ from it."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--", "src") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _after(file: str, key: str) -> str:
    if sys.platform != "linux":
        return ""
    lines = Path(file).read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
