"""The rows of a statement as typed Arrow batches. What SQLite holds is checked value by value, never converted.

ADBC takes a column's type from the first values that it sees. So a row of typed literals stands before the rows, and
an extra column tells of values that ADBC would convert in silence. Knows no resource.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from conduit.arrow import AnyArray, pa
from conduit.connectors.sqlite.connection import BATCH_ROWS, Database
from conduit.connectors.sqlite.types import Column, quote
from conduit.contract import CURSOR_TEXT
from conduit.errors import DataError, InternalError

_MISFIT = "__conduit_misfit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What is read.

    Attributes:
        columns: the columns of the output.
        select: from expressions over `q` to the statement that brings them.
        values: its parameters.
        cursor_text: name of the column whose text goes along as CURSOR_TEXT.
        not_null: name of the column whose NULLs are left out.
        batch_rows: rows of a batch; None: the default.
    """

    columns: Sequence[Column]
    select: Callable[[Sequence[str]], str]
    values: Sequence[object] = ()
    cursor_text: str | None = None
    not_null: str | None = None
    batch_rows: int | None = None

    def statement(self) -> str:
        """The statement that is sent: typed literals first, then the rows in the order that `select` gave them.

        LIMIT -1 keeps SQLite from dropping an ORDER BY that stands in a subquery.
        """
        named = [f"{column.select()} AS {quote(column.name)}" for column in self.columns]
        literals = [column.typed_literal() for column in self.columns]
        if self.cursor_text is not None:
            named.append(f"q.{quote(self.cursor_text)} AS {quote(CURSOR_TEXT)}")
            literals.append("''")
        if self.guarded:
            misfits = [f"WHEN {column.misfit()} THEN 1" for column in self.columns if column.needs_guard]
            named.append(f"CASE {' '.join(misfits)} END AS {quote(_MISFIT)}")
            literals.append("0")
        kept = quote(CURSOR_TEXT if self.cursor_text is not None else self.not_null or "")
        where = f" WHERE {kept} IS NOT NULL" if self.not_null is not None else ""
        return f"SELECT {', '.join(literals)} UNION ALL SELECT * FROM (\n{self.select(named)}\nLIMIT -1){where}"

    def carried(self) -> list[pa.DataType]:
        """The types that ADBC must come with."""
        types = [column.carried() for column in self.columns]
        types += [pa.string()] if self.cursor_text is not None else []
        return [*types, *([pa.int64()] if self.guarded else [])]

    @property
    def guarded(self) -> bool:
        """Whether the last column tells of misfits."""
        return any(column.needs_guard for column in self.columns)


def read_batches(database: Database, rows: Rows) -> Iterator[pa.RecordBatch]:
    """The rows, batch by batch.

    Raises:
        DataError: a value is not of its column's type.
    """
    carried, skip = rows.carried(), 1
    with database.stream(rows.statement(), rows.values, rows.batch_rows or BATCH_ROWS) as reader:
        if reader.schema.types != carried:
            raise _misfit(database, rows)
        while (batch := _next(database, rows, reader)) is not None:
            yield _typed(database, rows, batch, skip)
            skip = 0


def _next(database: Database, rows: Rows, reader: pa.RecordBatchReader) -> pa.RecordBatch | None:
    try:
        return next(iter(reader), None)
    except (OSError, pa.ArrowException) as error:
        if "Type mismatch" in str(error):
            raise _misfit(database, rows) from error
        raise database.translated(error) from error


def _typed(database: Database, rows: Rows, batch: pa.RecordBatch, skip: int) -> pa.RecordBatch:
    names = [column.name for column in rows.columns]
    for name, array in zip(names, batch.columns, strict=False):
        _validate(name, array)
    arrays = [array.slice(skip) for array in batch.columns]
    if rows.guarded and arrays[-1].null_count < len(arrays[-1]):
        raise _misfit(database, rows)
    typed = [column.value(array) for column, array in zip(rows.columns, arrays, strict=False)]
    if rows.cursor_text is not None:
        typed.append(arrays[len(names)])
        names.append(CURSOR_TEXT)
    return pa.RecordBatch.from_arrays(typed, names)


def _validate(name: str, array: AnyArray) -> None:
    """ADBC checks neither the encoding of texts nor, in its first batch, whether they are too long together."""
    if pa.types.is_string(array.type) or pa.types.is_binary(array.type):
        try:
            array.validate(full=True)
        except pa.ArrowInvalid as error:
            raise DataError(
                f"column {name}: {error}",
                hint="correct the text, select CAST(… AS BLOB), or lower `batch_size` if values are very long",
            ) from error


def _misfit(database: Database, rows: Rows) -> DataError | InternalError:
    """The error for the first value that is not of its column's type. Searched only once one was met."""
    for column in rows.columns:
        kind = f"CASE WHEN {column.misfit()} THEN typeof({column.expression}) END AS kind"
        shown = f"substr(quote({column.expression}), 1, 80) AS shown"
        inner = rows.select([kind, shown])
        found = database.first(
            f"SELECT kind, shown FROM (\n{inner}\nLIMIT -1) WHERE kind IS NOT NULL LIMIT 1", *rows.values
        )
        if found is not None:
            meant = column.declared or f"untyped, read as {column.type}"
            return DataError(
                f"column {column.name} ({meant}): the value {found[1]} is {found[0]}, which does not fit",
                hint=f"correct it, or read the column as another type with `columns: {{{column.name}: text}}`",
            )
    return InternalError("ADBC found a type that SQLite does not show")
