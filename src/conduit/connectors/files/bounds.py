"""The ends of a read by cursor, as comparisons that Arrow makes. Exact for every type of cursor; knows no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conduit.arrow import AnyArray, AnyField, AnyScalar, pa, pc
from conduit.contract import Read
from conduit.errors import ConfigError, StateConflict
from conduit.positions import CursorType, Position, cursor, parse_shown
from conduit.rows import scalar_of
from conduit.schemas import cursor_type, storage

if TYPE_CHECKING:
    import pyarrow.dataset as ds

_WIDE = 76, 38
"""Precision and scale that hold every integer and every decimal128 of Arrow."""

_INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Bounds:
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
        return scalar_of(cursor(position.value, self.type, self.unit), type_)

    def predicate(self) -> ds.Expression | None:
        """The same as an expression over the file's own column, to pass over row groups; None: no such comparison."""
        type_ = storage(self.field.type)
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
    """The bounds of a read; None without an incremental column.

    Raises:
        ConfigError: there is no such column, or its values have no exact order.
        StateConflict: the mark is of another type.
    """
    if read.cursor is None:
        return None
    if read.cursor not in schema.names:
        raise ConfigError(
            f"{source}: incremental_column {read.cursor} is not among the columns {', '.join(schema.names)}"
        )
    field = schema.field(read.cursor)
    type_, unit = cursor_type(field)
    if read.since is not None and (read.since.kind, read.since.type) != ("cursor", type_):
        raise StateConflict(
            f"{source}: the mark is of type {read.since.type or read.since.kind}, {read.cursor} is of type {type_}",
            hint=f"declare the type with `columns: {{{read.cursor}: …}}`, or start anew with `conduit state reset`",
        )
    first = parse_shown(read.initial_value, type_, unit) if read.initial_value is not None else None
    last = parse_shown(read.through, type_, unit) if read.through is not None else None
    return Bounds(field, type_, unit, read.since or first, last)
