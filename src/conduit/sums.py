"""Rows added up where they are: what two sides are asked for when they are compared, and the forms of their values.

A side that can gives, for ranges of its cursor, how many rows there are and two sums of 64 bits over their hashes.
Both sides must write equal values the same and others otherwise: a `Form` names one such way to write, and each system
knows for itself which of its types it can write so. Knows no system.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from conduit.arrow import AnyField, pa
from conduit.contract import Read
from conduit.schemas import is_text, native

Form = Literal[
    "bool", "int", "decimal", "real", "double", "text", "json", "binary", "uuid", "date", "timestamp", "timestamptz"
]

ORDINAL: tuple[Form, ...] = ("int", "date", "timestamp", "timestamptz")
"""Forms of a cursor whose values have a distance: its ranges are intervals."""


def form_of(field: AnyField) -> Form | None:
    """The form of a column of the destination; None: its values are compared as Arrow values only."""
    type_ = field.type
    if native(field, "postgresql") == "numeric":
        return "decimal"
    if isinstance(type_, pa.UuidType | pa.JsonType):
        return "uuid" if isinstance(type_, pa.UuidType) else "json"
    return None if isinstance(type_, pa.BaseExtensionType) else _plain(type_)


def _plain(type_: pa.DataType) -> Form | None:
    if isinstance(type_, pa.TimestampType):
        return None if type_.unit != "us" else "timestamptz" if type_.tz else "timestamp"
    forms: Sequence[tuple[Form, bool]] = (
        ("bool", pa.types.is_boolean(type_)),
        ("int", pa.types.is_integer(type_)),
        ("decimal", pa.types.is_decimal(type_)),
        ("real", pa.types.is_float32(type_)),
        ("double", pa.types.is_float64(type_)),
        ("text", is_text(type_)),
        ("binary", pa.types.is_binary(type_)),
        ("date", pa.types.is_date32(type_)),
    )
    return next((form for form, fits in forms if fits), None)


@dataclass(frozen=True, slots=True)
class Interval:
    """Places of the cursor from `low` to `high`, both included: integers, days or microseconds since 1970."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Cells:
    """Some of the ranges of one width: their places, shifted."""

    shift: int
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows of a read are asked for, and in ranges of which width.

    Attributes:
        hash: by which rows become numbers; one that both sides know.
        shift: a range holds 2**shift places.
        within: only rows whose cursor lies in one of these few, for an index; None: all.
        cells: and of those only what lies in one of these; None: all.
        nulls: rows without a cursor too.
    """

    hash: str
    shift: int = 0
    within: tuple[Interval, ...] | None = None
    cells: Cells | None = None
    nulls: bool = True


@dataclass(frozen=True, slots=True)
class RangeSum:
    """What the rows of one range add up to.

    Attributes:
        range: the place of its rows, shifted; None: they have no cursor.
        rows: how many.
        a: the sum of their hashes, modulo 2**64.
        b: the same of other hashes.
        low: the lowest place.
        high: the highest.
        odd: rows with a value that has no exact form, such as an infinite time.
    """

    range: int | None
    rows: int
    a: int
    b: int
    low: int | None
    high: int | None
    odd: int


class Summing(Protocol):
    """The rows of one read, added up in the session's snapshot."""

    @property
    def hashes(self) -> Sequence[str]:
        """What rows can be hashed by; the cheapest first."""
        ...

    def extent(self) -> Interval | None:
        """The lowest and the highest place; None: there is no row with a cursor, or the cursor has no places."""
        ...

    def sums(self, wanted: Wanted) -> Sequence[RangeSum]:
        """The rows that are wanted, range by range."""
        ...

    def rows(self, wanted: Wanted) -> Iterator[pa.RecordBatch]:
        """The same rows themselves, as the session reads them."""
        ...


@runtime_checkable
class SupportsSums(Protocol):
    """A source whose system can add up rows."""

    def summing(self, read: Read, schema: pa.Schema, cursor: str | None) -> AbstractContextManager[Summing | str]:
        """The rows of a read, to be added up in one snapshot; or why a value of them could not be told exactly.

        Args:
            read: which rows.
            schema: the columns that count, in the types of the destination.
            cursor: the column that ranges are intervals of.
        """
        ...


def forms_of(schema: pa.Schema, known: Callable[[str], Sequence[Form]]) -> list[tuple[str, Form]] | str:
    """Name and form of each column, or why one has none.

    Args:
        schema: in the types of the destination.
        known: the forms that a system can write a column of its own in.
    """
    found: list[tuple[str, Form]] = []
    for field in schema:
        form = form_of(field)
        if form is None or form not in known(field.name):
            return f"column {field.name}, {field.type}, can only be compared here, so all rows were read"
        found.append((field.name, form))
    return found
