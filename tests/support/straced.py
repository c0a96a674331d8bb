"""A run in which a call to the system fails, injected by strace: in any library, SQLite's and DuckDB's own included."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.processes import Ran


def reason_against() -> str:
    """Why strace can inject nothing here; empty: it can."""
    if shutil.which("strace") is None:
        return "no strace on this machine: no call to the system was made to fail"
    tried = subprocess.run(
        ["strace", "-f", "-o", os.devnull, "-e", "inject=fsync:error=EIO", "true"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "" if tried.returncode == 0 else f"strace may not trace here: {tried.stderr.strip()[-200:]}"


def run(folder: Path, calls: str, error: str, nth: int) -> tuple[Ran, bool]:
    """`conduit run` where the nth of some calls fails once, in each thread; and whether any did.

    Args:
        folder: of the project.
        calls: names of system calls, joined by commas.
        error: EIO, ENOSPC.
        nth: from 1.
    """
    log = folder / ".calls"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", log, "-e", f"trace={calls}", "-e", f"inject={calls}:error={error}:when={nth}",
         sys.executable, "-m", "conduit", "run", "ingest.yml"],
        cwd=folder, env={**os.environ, "CONDUIT_TESTING": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr), "(INJECTED)" in log.read_text()
