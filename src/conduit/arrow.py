"""The one door to Arrow. pyarrow costs 0.1 s to import, so it is loaded at the first use, never for `--help`.

Other modules write `from conduit.arrow import pa, pc` and use the names as if they had imported them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from conduit.late import late

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    AnyArray = pa.Array[Any]
    AnyField = pa.Field[Any]
    AnyScalar = pa.Scalar[Any]
else:
    AnyArray = AnyField = AnyScalar = Any
    pa, pc, pq = late("pyarrow"), late("pyarrow.compute"), late("pyarrow.parquet")

__all__ = ["AnyArray", "AnyField", "AnyScalar", "LateSchema", "SchemaOnce", "pa", "pc", "pq"]


class LateSchema(msgspec.Struct, frozen=True):
    """Columns whose names are known, and whose Arrow types are made when somebody asks for them.

    A source that can find that there is nothing new without pyarrow describes itself with one.
    """

    names: tuple[str, ...]
    make: Callable[[], pa.Schema]


class SchemaOnce:
    """An attribute `schema` that is given as a schema or as a LateSchema, and always read as a schema."""

    def __get__(self, owner: object | None, _: type) -> pa.Schema:
        if owner is None:
            raise AttributeError  # dataclasses ask for a default, and there is none
        given: pa.Schema | LateSchema = owner.__dict__["schema"]
        made = given.make() if isinstance(given, LateSchema) else given
        owner.__dict__["schema"] = made
        return made

    def __set__(self, owner: object, given: pa.Schema | LateSchema) -> None:
        owner.__dict__["schema"] = given

    @staticmethod
    def names(owner: object) -> Sequence[str]:
        """The names of the columns of `owner`; nothing is made."""
        given: pa.Schema | LateSchema = owner.__dict__["schema"]
        return given.names
