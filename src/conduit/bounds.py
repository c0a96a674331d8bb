"""The ends of a read by cursor, and what follows from them alone: the same for every source. Knows no system.

`ends` says where a read begins and ends, as positions; `Bounds` compares Arrow rows with them, exactly for every type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from conduit.arrow import AnyArray, AnyField, AnyScalar, pa, pc
from conduit.contract import Read, Split, Until
from conduit.errors import ConfigError, StateConflict
from conduit.late import late
from conduit.positions import CursorType, Position, after, cursor, parse_shown

if TYPE_CHECKING:
    import pyarrow.dataset as ds

    from conduit import rows, schemas
else:
    rows, schemas = late("conduit.rows"), late("conduit.schemas")

_WIDE = 76, 38
"""Precision and scale that hold every integer and every decimal128 of Arrow."""

_INT64 = 2**63


ROWS, NULL_CURSORS = "rows", "null cursors"
"""The names of the two splits that a read by cursor can have."""


class Ends(msgspec.Struct, frozen=True):
    """Where a read begins (exclusive) and ends (inclusive); None: open."""

    lower: Position | None = None
    upper: Position | None = None


def ends(read: Read, type_: CursorType | None, unit: str = "") -> Ends:
    """The ends of a read whose cursor is of this type; a first run begins at `initial_value`.

    Raises:
        ConfigError: `initial_value`, or the end of a range, is not a value of that type.
    """
    lower = read.since or _given(read, "initial_value", read.initial_value, type_, unit)
    return Ends(lower, _given(read, "the end of the range", read.through, type_, unit))


def _given(read: Read, what: str, value: str | None, type_: CursorType | None, unit: str) -> Position | None:
    if value is None or type_ is None:
        return None
    try:
        return parse_shown(value, type_, unit)
    except StateConflict as error:
        raise ConfigError(f"resource {read.resource}: {what}: {error.message}") from error


def require_columns(read: Read, names: Sequence[str]) -> None:
    """The incremental column and those of `columns:` are among the columns that there are.

    Raises:
        ConfigError: one is not.
    """
    listed = ", ".join(names)
    if read.cursor is not None and read.cursor not in names:
        raise ConfigError(
            f"resource {read.resource}: incremental_column {read.cursor} is not among the columns {listed}",
            hint="select it, or give the column this name with AS",
        )
    unknown = [name for name in read.columns if name not in names]
    if unknown:
        raise ConfigError(f"resource {read.resource}: `columns:` names {', '.join(unknown)}, not among {listed}")


def until_of_table(read: Read, lower: Position | None, highest: Position | None, null_cursors: int) -> Until:
    """The bound of a table whose highest cursor is known; None: it has no row with a cursor."""
    wants_nulls = read.on_null == "include" and null_cursors > 0
    above = highest is not None and (lower is None or after(highest, lower))
    return Until(nothing_new=not above and not wants_nulls, position=highest)


def splits_of(read: Read, null_cursors: int) -> list[Split]:
    """The rows; and those without a cursor, when they are wanted and there are any."""
    wants_nulls = read.cursor is not None and read.on_null == "include" and null_cursors > 0
    return [Split(ROWS), Split(NULL_CURSORS)] if wants_nulls else [Split(ROWS)]


class Bounds(msgspec.Struct, frozen=True):
    """Rows above `lower`, up to `upper`.

    Attributes:
        field: the incremental column.
        type: its type as a cursor.
        unit: its unit, for times.
        lower: exclusive; None: open.
        upper: inclusive; None: open.
    """

    field: AnyField
    type: CursorType
    unit: str
    lower: Position | None
    upper: Position | None

    def keep(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows within the bounds. Rows without a cursor are within a read that has no bounds at all."""
        mask = self._within(batch.column(self.field.name))
        return batch if mask is None else batch.filter(mask)

    def _within(self, column: AnyArray) -> Any:
        values = self._comparable(column)
        mask = None
        if self.lower is not None:
            mask = pc.greater(values, self._scalar(self.lower, values.type))
        if self.upper is not None:
            below = pc.less_equal(values, self._scalar(self.upper, values.type))
            mask = below if mask is None else pc.and_(mask, below)
        return mask

    def _comparable(self, column: AnyArray) -> AnyArray:
        """The values in a type that both bounds can be expressed in."""
        plain = column.storage if isinstance(column, pa.ExtensionArray) else column
        if self.type not in ("int", "decimal"):
            return plain
        ends = [int(end.value) for end in (self.lower, self.upper) if end is not None and self.type == "int"]
        if self.type == "int" and not pa.types.is_uint64(plain.type) and all(-_INT64 <= end < _INT64 for end in ends):
            return plain.cast(pa.int64())
        return plain.cast(pa.decimal256(*_WIDE))

    def _scalar(self, position: Position, type_: pa.DataType) -> AnyScalar:
        return rows.scalar_of(cursor(position.value, self.type, self.unit), type_)

    def predicate(self) -> ds.Expression | None:
        """The same as an expression over the file's own column, to pass over row groups; None: no such comparison."""
        type_ = schemas.storage(self.field.type)
        if isinstance(self.field.type, pa.BaseExtensionType) or pa.types.is_dictionary(type_):
            return None
        wanted: ds.Expression | None = None
        for position, compare in ((self.lower, pc.greater), (self.upper, pc.less_equal)):
            if position is None:
                continue
            try:
                part: Any = compare(pc.field(self.field.name), self._scalar(position, type_))
            except pa.ArrowInvalid:  # the value has no place in the column's type, so only `keep` can compare it
                return None
            wanted = part if wanted is None else wanted & part
        return wanted


def bounds(source: str, read: Read, schema: pa.Schema) -> Bounds | None:
    """The bounds of a read over rows of `schema`; None without an incremental column.

    Raises:
        ConfigError: there is no such column, its values have no exact order, or an end is no value of its type.
        StateConflict: the mark is of another type.
    """
    require_columns(read, schema.names)
    if read.cursor is None:
        return None
    field = schema.field(read.cursor)
    type_, unit = schemas.cursor_type(field)
    if read.since is not None and (read.since.kind, read.since.type) != ("cursor", type_):
        raise StateConflict(
            f"{source}: the mark is of type {read.since.type or read.since.kind}, {read.cursor} is of type {type_}",
            hint=f"declare the type with `columns: {{{read.cursor}: …}}`, or start anew with `conduit state reset`",
        )
    found = ends(read, type_, unit)
    return Bounds(field, type_, unit, found.lower, found.upper)
