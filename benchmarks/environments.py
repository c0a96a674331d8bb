"""Where the programs that are compared come from: a virtual environment for each, made at its first need.

Nothing of them is ever installed beside conduit. The versions are pinned, so that a repetition compares the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
DEFAULT = ROOT / "build" / "peers"
PACKAGES: dict[str, tuple[str, ...]] = {
    "conduit": (),
    "dlt": (
        "dlt[postgres,duckdb,parquet,filesystem]==1.31.0", "sqlalchemy>=2,<3", "connectorx==0.4.6", "pyarrow==26.*",
        "adbc-driver-manager==1.*", "adbc-driver-postgresql==1.13.*", "pyiceberg[sql-sqlite]==0.12.*", "pandas>=2",
    ),
    "ingestr": ("ingestr<1",),
    "sling": ("sling",),
    "conduit-core": ("conduit-core==1.1.2",),
    "iceframe": ("iceframe==0.14.0", "pyiceberg[sql-sqlite]==0.12.*"),
    "duckdb": ("duckdb==1.5.5", "duckdb-extensions==1.5.*", "duckdb-extension-postgres-scanner==1.5.5"),
}  # fmt: skip
"""What is installed for a tool. ingestr 1 and sling load their program from elsewhere when they first run. DuckDB's
PostgreSQL scanner needs one exact DuckDB. dlt writes decimals by ADBC, which
the optimised build that conduit reads with (decision 2) does wrong."""
SHOWN = {
    "conduit": (
        "conduit-iceframe",
        "pyarrow",
        "adbc-driver-postgresql",
        "psycopg2-binary",
        "pgpq",
        "duckdb",
        "pyiceberg",
    ),
    "duckdb": ("duckdb",),
}
"""The packages whose versions are told; else the one with the tool's own name."""


class Cannot(Exception):
    """A tool does not run here, or cannot do the job; the message is its own."""


@dataclass
class Environments:
    """One virtual environment a tool, in a folder that outlives the run."""

    folder: Path
    found: dict[str, tuple[Path, str]] = field(default_factory=dict)

    def of(self, tool: str) -> tuple[Path, str]:
        """The Python of a tool, and its version.

        Raises:
            Cannot: it cannot be installed.
        """
        if tool not in self.found:
            python = self._made(tool)
            name = SHOWN.get(tool, (tool,))[0]
            self.found[tool] = python, versions(python, (name,))[name]
        return self.found[tool]

    def installed(self, tool: str) -> bool:
        """Whether the tool is there without a download."""
        return not PACKAGES[tool] or self._stamp(tool).is_file()

    def _made(self, tool: str) -> Path:
        if not PACKAGES[tool]:
            return Path(sys.executable)
        stamp, place = self._stamp(tool), self.folder / tool
        python = place / "bin" / "python"
        wanted = "\n".join(PACKAGES[tool])
        if not stamp.is_file() or stamp.read_text() != wanted:
            shutil.rmtree(place, ignore_errors=True)
            require([sys.executable, "-m", "venv", str(place)])
            require([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *PACKAGES[tool]])
            stamp.write_text(wanted)
        return python

    def _stamp(self, tool: str) -> Path:
        return self.folder / tool / "packages.txt"


def surroundings(folder: Path) -> dict[str, str]:
    """The environment of a command: a home of its own, and nothing that calls home."""
    own = {"HOME": str(folder), "RUNTIME__DLTHUB_TELEMETRY": "false", "DISABLE_TELEMETRY": "true"}
    return {**os.environ, **own}


def versions(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The versions of packages in an environment."""
    asked = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    printed = require([str(python), "-c", asked, *names])
    return dict(zip(names, printed.split(), strict=True))


def require(command: list[str]) -> str:
    """What a command prints.

    Raises:
        Cannot: it fails.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Cannot(last_line(done.stdout + done.stderr))
    return done.stdout


def last_line(text: str) -> str:
    """The last line of an output, shortened."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no output"
