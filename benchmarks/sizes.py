"""How much disk an installation takes: what pip put into an environment, without pip itself."""

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
    """Bytes of the packages of an environment."""
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(require([str(python), "-c", asked]).strip())
    counted = [place for place in packages.iterdir() if not place.name.startswith(NOT_COUNTED)]
    files = [file for place in counted for file in (place.rglob("*") if place.is_dir() else (place,))]
    return sum(file.lstat().st_size for file in files if file.is_file())
