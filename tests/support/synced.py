"""Whether what a run renames into place was on the disk before: by the system's own record of the calls, or by ours.

`strace` is asked where it exists and may trace; elsewhere the calls are written down in the process (`failing_io`).
A rename of a file needs an fsync of that file before it; a rename of a folder needs one of the folder and of every
file that was written in it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import failing_io
from tests.support.processes import ROOT
from tests.support.zygote import Zygote

_CALLS = "fsync,fdatasync,rename,renameat,renameat2"
_SYNC = re.compile(r"f(?:data)?sync\(\d+<(?P<path>[^>]+)>\)\s+= 0")
_RENAME = re.compile(r'rename(?:at2?)?\((?:[^"]*)"(?P<old>[^"]+)",\s*(?:[^"]*)"(?P<new>[^"]+)".*= 0')

Call = tuple[str, str, str]


def unsynced(zygote: Zygote, folder: Path, mutant: str = "") -> tuple[list[str], list[str]]:
    """Run in `folder`: what was renamed into place, and what of it was not on the disk before."""
    calls = _traced(folder, mutant) or _recorded(zygote, folder, mutant)
    synced: set[str] = set()
    renamed, missing = [], []
    for what, path, new in calls:
        if what == "fsync":
            synced.add(path)
            continue
        renamed.append(new)
        missing += [one for one in _must_be_synced(path, new) if one not in synced]
        synced = {one.replace(path, new, 1) if one.startswith(path) else one for one in synced}
    return renamed, missing


def _must_be_synced(old: str, new: str) -> list[str]:
    """The old names of what stands under the new name now; locks hold no content."""
    place = Path(new)
    if not place.is_dir():
        return [old]
    below = [path for path in place.rglob("*") if path.name != "lock"]
    return [old, *(str(path).replace(new, old, 1) for path in below)]


def _traced(folder: Path, mutant: str) -> list[Call]:
    """By strace; nothing where there is none, or where it may not trace."""
    strace, log = shutil.which("strace"), folder / ".calls"
    if strace is None:
        return []
    breaking = f"from tests.support import mutants; mutants.apply({mutant!r}); " if mutant else ""
    done = subprocess.run(
        [strace, "-f", "-y", "-s", "4096", "-e", f"trace={_CALLS}", "-o", log,
         sys.executable, "-c", f"{breaking}from conduit.cli import main; main()", "run", "ingest.yml"],
        cwd=folder, env={**os.environ, "CONDUIT_TESTING": "1", "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    calls = [call for line in log.read_text().splitlines() if (call := _parsed(folder, line))] if log.exists() else []
    assert done.returncode == 0 or not calls, done.stderr
    return calls


def _parsed(folder: Path, line: str) -> Call | None:
    if found := _SYNC.search(line):
        return "fsync", found["path"], ""
    if found := _RENAME.search(line):
        return "rename", str(folder / found["old"]), str(folder / found["new"])
    return None


def _recorded(zygote: Zygote, folder: Path, mutant: str) -> list[Call]:
    """By the process itself."""
    how = "io_is_written_down" if not mutant else f"io_is_written_down+{mutant}"
    zygote.conduit(folder, "run", "ingest.yml", mutant=how).ok()
    lines = (folder / failing_io.HIT).read_text().splitlines()
    calls: list[Call] = []
    for line in lines:
        what, _, path = line.partition(" ")
        old, _, new = path.partition(" -> ")
        if what in ("fsync", "rename", "replace"):
            calls.append((("fsync" if what == "fsync" else "rename"), old, new))
    return calls
