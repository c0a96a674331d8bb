"""Polars, imported when the first of its names is used: a process that appends and reads marks pays nothing for it.

Write

    if TYPE_CHECKING:
        import polars as pl
    else:
        pl = late("polars")

and use the names of `pl` inside functions only. Before a value is compared with a class of Polars, ask `is_frame` and
its like: as long as nobody has imported Polars, nothing is a frame.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from typing_extensions import TypeIs


class _Late:
    """Stands for a module until the first of its names is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(importlib.import_module(self._name), attribute)
        self.__dict__[attribute] = value
        return value


def late(name: str) -> Any:
    """The module `name`, imported at the first use of one of its names."""
    return _Late(name)


def is_frame(value: object) -> TypeIs[pl.DataFrame]:
    """Whether this is a Polars frame."""
    return isinstance(value, _classes("DataFrame"))


def is_lazy(value: object) -> TypeIs[pl.LazyFrame]:
    """Whether this is a lazy frame of Polars."""
    return isinstance(value, _classes("LazyFrame"))


def is_expression(value: object) -> TypeIs[pl.Expr]:
    """Whether this is an expression of Polars."""
    return isinstance(value, _classes("Expr"))


def is_schema(value: object) -> TypeIs[pl.Schema]:
    """Whether this is the schema of a Polars frame."""
    return isinstance(value, _classes("Schema"))


def is_type(value: object) -> TypeIs[pl.DataType | type[pl.DataType]]:
    """Whether this is a type of Polars, or the class of one."""
    known = _classes("DataType")
    return isinstance(value, known) or (isinstance(value, type) and issubclass(value, known))


def _classes(name: str) -> tuple[type, ...]:
    """The class of Polars with this name; none while nobody has imported Polars."""
    found = getattr(sys.modules.get("polars"), name, None)
    return (found,) if found is not None else ()
