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
    from pyarrow import csv

    AnyArray = pa.Array[Any]
    AnyField = pa.Field[Any]
    AnyScalar = pa.Scalar[Any]
else:
    AnyArray = AnyField = AnyScalar = Any
    pa, pc, pq = late("pyarrow"), late("pyarrow.compute"), late("pyarrow.parquet")
    csv = late("pyarrow.csv")

__all__ = ["AnyArray", "AnyField", "AnyScalar", "LateSchema", "SchemaOnce", "csv", "made", "pa", "pc", "pq"]


class LateSchema(msgspec.Struct, frozen=True):
    """Columns whose names are known, and whose Arrow types are made when somebody asks for them.

    An end that can do its work without pyarrow describes itself with one.

    Attributes:
        names: of the columns.
        make: makes the schema.
        exact: all that the schema is made from, so that two with the same are the same; empty: that is not known.
    """

    names: tuple[str, ...]
    make: Callable[[], pa.Schema]
    exact: tuple[object, ...] = ()


def made(schema: pa.Schema | LateSchema) -> pa.Schema:
    """The schema itself."""
    return schema.make() if isinstance(schema, LateSchema) else schema


class SchemaOnce:
    """An attribute `schema` that is given as a schema or as a LateSchema, and always read as a schema."""

    def __get__(self, owner: object | None, _: type) -> pa.Schema:
        if owner is None:
            raise AttributeError  # dataclasses ask for a default, and there is none
        given: pa.Schema | LateSchema = owner.__dict__["schema"]
        owner.__dict__["schema"] = schema = made(given)
        return schema

    def __set__(self, owner: object, given: pa.Schema | LateSchema) -> None:
        owner.__dict__["schema"] = given

    @staticmethod
    def given(owner: object) -> pa.Schema | LateSchema:
        """What `owner` has; nothing is made."""
        given: pa.Schema | LateSchema = owner.__dict__["schema"]
        return given

    @staticmethod
    def names(owner: object) -> Sequence[str]:
        """The names of the columns of `owner`; nothing is made."""
        return SchemaOnce.given(owner).names
