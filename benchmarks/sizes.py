"""How much disk an installation takes: an environment without pip itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.environments import ROOT, Cannot, Environments, require, versions
from benchmarks.figures import Outcome

OWN = {"conduit": str(ROOT), "conduit[postgres]": f"{ROOT}[postgres]"}
PEERS = ("dlt", "ingestr", "conduit-core")
NOT_COUNTED = ("pip", "setuptools", "_distutils_hack")


def sizes(environments: Environments, *, peers: bool, downloads: bool, say: Callable[[str], None]) -> list[Outcome]:
    """The environments of everybody; ours are made anew."""
    found = [own(environments, name) for name in OWN] if downloads else []
    found += [others(environments, tool) for tool in PEERS] if peers else []
    for outcome in found:
        say(f"size {outcome.name}: {outcome.cannot or f'{outcome.size_mb:.0f} MB'}")
    return found


def own(environments: Environments, name: str) -> Outcome:
    """This project, with or without an extra."""
    outcome = Outcome(name=name, role="ours")
    try:
        python = installed_anew(environments.folder / f"size-{len(name)}", OWN[name])
        outcome.version = versions(python, ("conduit-iceframe",))["conduit-iceframe"]
        outcome.size_mb = size_of(python) / 1e6
    except Cannot as error:
        outcome.cannot = str(error)
    return outcome


def others(environments: Environments, tool: str) -> Outcome:
    """The environment that the other scenarios use too."""
    outcome = Outcome(name=tool, role="peer")
    try:
        python, outcome.version = environments.of(tool)
        outcome.size_mb = size_of(python) / 1e6
    except Cannot as error:
        outcome.cannot = str(error)
    return outcome


def installed_anew(folder: Path, what: str) -> Path:
    """The Python of an environment with nothing else in it."""
    python = folder / "bin" / "python"
    require([sys.executable, "-m", "venv", "--clear", str(folder)])
    require([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", what])
    return python


def size_of(python: Path) -> int:
    """Bytes of all files of an environment: packages, programs, compiled modules."""
    files = (file for file in python.parents[1].rglob("*") if not file.is_symlink() and file.is_file())
    return sum(file.stat().st_size for file in files if not counted_out(file))


def counted_out(file: Path) -> bool:
    """Whether it belongs to pip and what comes with it."""
    folders = file.parts[file.parts.index("site-packages") + 1 :] if "site-packages" in file.parts else ()
    return bool(folders) and folders[0].startswith(NOT_COUNTED)
