"""Conduit: move only what is new from a source to a destination, and never lose or double a row.

The door of the package: `run` and `plan` do what the commands of the same names do, and errors are in
`conduit.errors`. A name is imported from its module when it is first used, so that a command pays for its own verb.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from conduit.errors import ConduitError

if TYPE_CHECKING:  # what `_Door` imports at the first use
    from conduit.job import Backfill, Event  # noqa: TC004
    from conduit.plan import ResourcePlan, plan  # noqa: TC004
    from conduit.report import Report, ResourceReport  # noqa: TC004
    from conduit.run import run  # noqa: TC004

__version__ = "0.1.0"

__all__ = [
    "Backfill",
    "ConduitError",
    "Event",
    "Report",
    "ResourcePlan",
    "ResourceReport",
    "__version__",
    "plan",
    "run",
]

_HOMES = {
    "Backfill": "conduit.job",
    "Event": "conduit.job",
    "Report": "conduit.report",
    "ResourcePlan": "conduit.plan",
    "ResourceReport": "conduit.report",
    "plan": "conduit.plan",
    "run": "conduit.run",
}


class _Door(ModuleType):
    """This package. `run` and `plan` are functions in it, and stay so when the modules of their names are imported."""

    def __getattr__(self, name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        found: object = getattr(import_module(_HOMES[name]), name)
        setattr(self, name, found)
        return found

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_HOMES})

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Door
