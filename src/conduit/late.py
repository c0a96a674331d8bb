"""Modules that are imported when the first of their names is used: a run pays for what it needs, `--help` for nothing.

Late are third-party modules that cost tens of milliseconds, and our own modules that a run with nothing new has no use
for. Write

    if TYPE_CHECKING:
        import heavy
    else:
        heavy = late("heavy")

and use the names of `heavy` inside functions only.
"""

from __future__ import annotations

import importlib
from typing import Any


class _Late:
    """Stands for a module until the first of its names is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        module = importlib.import_module(self._name)
        value = getattr(module, attribute)
        self.__dict__[attribute] = value
        return value


def late(name: str) -> Any:
    """The module `name`, imported at the first use of one of its names."""
    return _Late(name)
