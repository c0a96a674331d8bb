"""The rows on their way from a source: checked, cast, counted; and how their cursor becomes a watermark.

Only Arrow batches pass here; no row becomes a Python object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from conduit.arrow import AnyArray, AnyScalar, pa, pc
from conduit.contract import CURSOR_TEXT, OnNull
from conduit.errors import DataError
from conduit.positions import CursorType, Position, cursor, from_epoch, to_epoch
from conduit.schemas import conform, is_text, storage

RUN_ID, LOADED_AT = "_conduit_run_id", "_conduit_loaded_at"
METADATA_COLUMNS = (RUN_ID, LOADED_AT)


# --- the watermark --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CursorColumn:
    """The incremental column of a stream: where it is, and how its values become positions."""

    name: str
    type: CursorType
    unit: str = ""

    def of(self, batch: pa.RecordBatch) -> AnyArray:
        """The cursor values in a form that Arrow can compare: the source's own text where it gave one."""
        if CURSOR_TEXT in batch.schema.names:
            return batch.column(CURSOR_TEXT)
        column = batch.column(self.name)
        plain = column.storage if isinstance(column, pa.ExtensionArray) else column
        if self.type == "decimal" and is_text(plain.type):
            return plain.cast(pa.decimal256(76, 38))
        return plain

    def highest(self, values: AnyArray) -> Position | None:
        """The highest of the values as a position; None when there is none."""
        top: AnyScalar = pc.max(values)
        return self._position(top) if top.is_valid else None

    def _position(self, value: AnyScalar) -> Position:
        if self.type in ("timestamp", "timestamptz") and isinstance(value, pa.TimestampScalar):
            return from_epoch(value.value or 0, self.unit, aware=self.type == "timestamptz")
        plain = value.as_py()
        if isinstance(plain, bytes):  # a uuid's storage
            return cursor(plain.hex(), "uuid")
        if self.type == "decimal" and pa.types.is_decimal256(value.type):
            plain = plain.normalize()
        return cursor(str(plain), self.type, self.unit)


# --- what passes, counted -------------------------------------------------------------------------------


class Stream:
    """The batches of a read, made ready for the write, and how many rows they held so far.

    Attributes:
        read: rows that the source gave.
        filtered: rows left out because their cursor is NULL.
    """

    def __init__(
        self,
        schema: pa.Schema,
        *,
        cursor_column: CursorColumn | None,
        on_null: OnNull = "error",
        key: Sequence[str] = (),
        ordered: bool = False,
        run_id: str | None = None,
    ) -> None:
        """Set up a stream.

        Args:
            schema: what the batches are cast to.
            cursor_column: the incremental column, or None.
            on_null: what happens to rows without a cursor.
            key: columns that may not be NULL.
            ordered: the source promised cursor order; a batch that breaks it is an error.
            run_id: the run, when rows carry it and their load time.
        """
        self.read = 0
        self.filtered = 0
        self._schema = schema
        self._cursor = cursor_column
        self._on_null = on_null
        self._key = key
        self._ordered = ordered
        self._run_id = run_id
        self._loaded_at = datetime.now(UTC)
        self._last: AnyScalar | None = None

    def pass_on(self, batch: pa.RecordBatch, *, nulls_follow: bool = False) -> pa.RecordBatch:
        """Count a batch, check it, cast it. Its cursor goes along in the column CURSOR_TEXT, in a comparable form.

        Args:
            batch: rows as the source gives them.
            nulls_follow: rows with a NULL cursor come in a split of their own and are skipped here.

        Raises:
            DataError: a NULL where none may be, a value that does not fit, or rows out of order.
        """
        self.read += batch.num_rows
        if self._cursor is not None:
            batch = self._without_null_cursors(batch, nulls_follow=nulls_follow)
        for name in self._key:
            if batch.column(name).null_count:
                raise DataError(f"primary_key column {name} is NULL in {batch.column(name).null_count} rows of a batch")
        ready = conform(self._with_metadata(batch), self._schema)
        if self._cursor is None:
            return ready
        values = self._cursor.of(batch)
        self._check_order(values)
        return ready.append_column(CURSOR_TEXT, values)

    def _without_null_cursors(self, batch: pa.RecordBatch, *, nulls_follow: bool) -> pa.RecordBatch:
        column = batch.column(self._cursor.name) if self._cursor else None
        if column is None or not column.null_count:
            return batch
        if self._on_null == "error":
            raise DataError(
                f"incremental column {self._cursor.name if self._cursor else ''} is NULL in {column.null_count} rows",
                hint="set `incremental: {on_null: exclude}` (or `include`), or filter them in the query",
            )
        if self._on_null == "include" and not nulls_follow:
            return batch
        if nulls_follow:
            self.read -= column.null_count
        else:
            self.filtered += column.null_count
        return batch.filter(pc.is_valid(column))

    def _check_order(self, values: AnyArray) -> None:
        if not self._ordered or not len(values):
            return
        falls = len(values) > 1 and pc.any(pc.less(values.slice(1), values.slice(0, len(values) - 1))).as_py()
        if falls or (self._last is not None and pc.less(values[0], self._last).as_py()):
            raise DataError(
                f"rows came out of the order of {self._cursor.name if self._cursor else ''}, which the query promised",
                hint="take checkpoint_interval out: without it the order does not matter",
            )
        self._last = values[len(values) - 1]

    def _with_metadata(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._run_id is None:
            return batch
        count = batch.num_rows
        batch = batch.append_column(RUN_ID, pa.repeat(pa.scalar(self._run_id), count))
        return batch.append_column(LOADED_AT, pa.repeat(pa.scalar(self._loaded_at, pa.timestamp("us", "UTC")), count))


def with_metadata(schema: pa.Schema) -> pa.Schema:
    """The schema with the two metadata columns."""
    return schema.append(pa.field(RUN_ID, pa.string())).append(pa.field(LOADED_AT, pa.timestamp("us", "UTC")))


def scalar_of(position: Position, type_: pa.DataType) -> AnyScalar:
    """A watermark as an Arrow scalar of the column's (storage) type, to compare a column with."""
    plain = storage(type_)
    if isinstance(plain, pa.TimestampType):
        return pa.scalar(to_epoch(position, plain.unit), pa.int64()).cast(plain)
    if position.type == "uuid":
        return pa.scalar(bytes.fromhex(position.value.replace("-", "")), plain)
    return pa.scalar(position.value).cast(plain)
