"""Reads CSV: the files are cut into fields, all text; what the text means is decided in Arrow, value by value.

Arrow cuts what is plain beyond doubt (`csv_blocks`), DuckDB the rest, and DuckDB says what is malformed.

The dialect is what the connection says, never guessed. A field is NULL only when it is empty and unquoted (or the
`null_text`, unquoted); a line with another number of fields, or a quote left open, is an error with its line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, cast

from conduit.arrow import AnyArray, pa
from conduit.connectors.files import csv_blocks, csv_lines, duck
from conduit.connectors.files.config import CsvSourceConnection
from conduit.connectors.files.csv_scan import scan
from conduit.connectors.files.failures import reading
from conduit.connectors.files.listing import Found
from conduit.connectors.files.reader import (
    SAMPLE_BYTES,
    SAMPLE_ROWS,
    chosen,
    codec_of,
    counted_nulls,
    in_schema,
    inferred,
    refuse_names,
    refuse_unknown,
    require_whole,
)
from conduit.connectors.files.text import Misfit, Typed, infer, parse_declared, parse_inferred, type_name
from conduit.errors import DataError
from conduit.sizes import after, cut

if TYPE_CHECKING:
    import pyarrow.dataset as ds

_OTHER_DELIMITERS = ";\t|,"


class CsvReader:
    """Reads the CSV files of one session."""

    def __init__(
        self,
        source: str,
        connection: CsvSourceConnection,
        files: Sequence[Found],
        declared: Mapping[str, pa.DataType],
        rows: int,
        parser: Callable[[], duck.Connection],
    ) -> None:
        self._source = source
        self._connection = connection
        self._files = files
        self._declared = declared
        self._rows = rows
        self._parser = parser

    @cached_property
    def _duck(self) -> duck.Connection:
        return self._parser()

    @property
    def schema(self) -> pa.Schema:
        """The columns by name, in the types that were declared or inferred."""
        return pa.schema([pa.field(name, typed.type) for name, typed in self._typed.items()])

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """The inferred types, and files that lack a column of the others."""
        lacking = [
            f"{file.name} has no column {name}: NULL"
            for file, header in self._headers.items()
            for name in self._typed
            if name not in header
        ]
        return (*inferred(self.schema, self._declared, self._files, self._connection.path), *lacking)

    def batches(
        self, file: Found, *, only: Sequence[str] = (), predicate: ds.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one file; `predicate` is of no use here."""
        del predicate
        schema = chosen(self.schema, only)
        if not only:
            require_whole(self._source, file, codec_of(file.path, self._connection.compression))
        first = 0
        wanted = [name for name in schema.names if name in self._headers[file]] or None
        for batch in self._fields(file, wanted, self._declared):
            arrays = {
                name: self._parse(file, name, first, batch.column(name))
                for name in batch.schema.names
                if name in schema.names
            }
            yield in_schema(arrays, schema, batch.num_rows)
            first += batch.num_rows

    def nulls(self, column: str) -> int:
        """Counted by reading the column."""
        return counted_nulls(self, self._files, column)

    def rows(self) -> int | None:
        """Not known before they are read."""
        return None

    # --- columns ----------------------------------------------------------------------------------------

    @cached_property
    def _headers(self) -> dict[Found, list[str]]:
        return {file: self._header(file) for file in self._files}

    def _header(self, file: Found) -> list[str]:
        with reading(self._source, file.name):
            first = csv_lines.first_record(file.path, self._connection)
        if first is None and self._connection.header:
            raise DataError(f"{self._source}: {file.name} is empty; not even a header is in it")
        if first is None or not self._connection.header:
            return [] if first is None else [f"column{place}" for place in range(max(len(first), 1))]
        refuse_names(self._source, f"{file.name}:1", first or [""])
        return first

    @cached_property
    def _typed(self) -> dict[str, Typed]:
        names = list(dict.fromkeys(name for header in self._headers.values() for name in header))
        refuse_unknown(self._source, self._declared, names)
        sample = self._sample(names)
        return {
            name: Typed(self._declared[name])
            if name in self._declared
            else infer(cast("pa.StringArray", sample[name].combine_chunks()))
            for name in names
        }

    def _sample(self, names: Sequence[str]) -> dict[str, pa.ChunkedArray[pa.StringScalar]]:
        chunks: dict[str, list[AnyArray]] = {name: [] for name in names}
        left, room = SAMPLE_ROWS, SAMPLE_BYTES
        for file in self._files:
            for batch in self._fields(file, None, {}, limit=left):
                self._refuse_other_delimiter(file, batch)
                left, room = left - batch.num_rows, room - batch.nbytes
                for name in batch.schema.names:
                    chunks[name].append(batch.column(name))
                if room <= 0:
                    break
            if left <= 0 or room <= 0:
                break
        return {name: pa.chunked_array(found, pa.string()) for name, found in chunks.items()}

    def _refuse_other_delimiter(self, file: Found, batch: pa.RecordBatch) -> None:
        if batch.num_columns != 1 or not batch.num_rows:
            return
        name, value = batch.schema.names[0], str(batch.column(0)[0].as_py())
        for other in _OTHER_DELIMITERS:
            if name.count(other) and name.count(other) == value.count(other):
                raise DataError(
                    f"{self._source}: {file.name}:1: the line has one field, {name!r}",
                    hint=f"is the delimiter another one? Set `delimiter: {other!r}`",
                )

    # --- rows -------------------------------------------------------------------------------------------

    def _fields(
        self,
        file: Found,
        only: Sequence[str] | None,
        declared: Mapping[str, pa.DataType],
        limit: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The fields of a file, all columns or those in `only`; with a limit no more rows than that.

        They are text, or have their declared type already.
        """
        header = self._headers[file]
        if not header:
            return
        rows = 0
        with reading(self._source, file.name):
            try:
                for batch in csv_blocks.batches(file.path, self._connection, header, only, declared):
                    wanted = batch if limit is None else batch.slice(0, limit - rows)
                    yield from cut(iter([wanted]), self._rows)
                    rows += wanted.num_rows
                    if rows == limit:
                        return
            except csv_blocks.Doubt:
                yield from after(rows, self._by_duckdb(file, header, only, limit))

    def _by_duckdb(
        self, file: Found, header: Sequence[str], only: Sequence[str] | None, limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        """The same from the first row on, whatever is in the file: what is no CSV is an error with its line."""
        wanted = ", ".join(duck.identifier(name) for name in only) if only else "*"
        most = f" LIMIT {limit}" if limit is not None else ""
        sql = f"SELECT {wanted} FROM {scan([file.path], header, self._connection)}{most}"
        return duck.batches(self._duck, sql, self._rows)

    def _parse(self, file: Found, name: str, first: int, values: AnyArray) -> AnyArray:
        typed, text = self._typed[name], cast("pa.StringArray", values)
        if not typed.form and values.type.equals(typed.type):
            return values
        try:
            if typed.form:
                return parse_inferred(text, typed)
            return parse_declared(text, typed.type, self._duck)
        except Misfit as misfit:
            raise self._does_not_fit(file, name, first + misfit.row, misfit) from misfit

    def _does_not_fit(self, file: Found, name: str, row: int, misfit: Misfit) -> DataError:
        typed = self._typed[name]
        line = csv_lines.line_of(file.path, self._connection, row, one_column=len(self._headers[file]) == 1)
        place = f"{self._source}: {file.name}:{line}: column {name}"
        if not typed.form:
            why = f"; {misfit.reason}" if misfit.reason else ""
            return DataError(f"{place}: {misfit.shown} is not of the declared type {type_name(typed.type)}{why}")
        return DataError(
            f"{place}: {misfit.shown} does not fit {type_name(typed.type)}, which the first rows suggested",
            hint=f"declare the type: `columns: {{{name}: text}}` keeps every value as it is written",
        )
