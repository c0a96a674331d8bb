"""`make prove`: all of tests/faults once, and a table of what was attacked and what was lost, doubled and noticed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.proof import results
from tests.proof.tally import LOG, Tally
from tests.support.processes import ROOT


def main() -> int:
    """Run the tests with the options that were given; pytest's exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="conduit-proof-") as folder:
        log = Path(folder) / "log.jsonl"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--dist", "loadgroup", *sys.argv[1:], "tests/faults"],
            cwd=ROOT, env={**os.environ, LOG: str(log)}, check=False,
        )  # fmt: skip
        found = Tally.of(log)
    print(f"\n{results.table(found)}\n\n{time.monotonic() - began:.0f} s")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
