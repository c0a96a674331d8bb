"""Reads Parquet: the Arrow schema as it is stored, row groups passed over by their statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, cast

from conduit.arrow import AnyField, pa, pq
from conduit.connectors.files.failures import reading
from conduit.connectors.files.listing import Found
from conduit.connectors.files.reader import chosen, counted_nulls, in_schema, refuse_unknown
from conduit.errors import DataError
from conduit.late import late
from conduit.schemas import cast as cast_column
from conduit.sizes import BATCH_BYTES, joined

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    from pyarrow import fs
else:
    ds, fs = late("pyarrow.dataset"), late("pyarrow.fs")

_BUFFER = 1 << 20
"""Bytes that are read at a time, so that a large row group does not have to fit into memory."""

_LOOKED_AT = 256
"""Rows by which the width of a row group is measured."""


class ParquetReader:
    """Reads the Parquet files of one session."""

    def __init__(self, source: str, files: Sequence[Found], declared: Mapping[str, pa.DataType], rows: int) -> None:
        self._source = source
        self._files = files
        self._declared = declared
        self._rows = rows

    @cached_property
    def schema(self) -> pa.Schema:
        """The stored schema, metadata included. Of several files: all columns, the metadata that all have."""
        fields: dict[str, AnyField] = {}
        for file, schema in self._schemas.items():
            for field in schema:
                self._refuse_conflict(file, field, fields.setdefault(field.name, field))
        refuse_unknown(self._source, self._declared, list(fields))
        common = [self._declared_field(field) for field in fields.values()]
        metadata = [schema.metadata for schema in self._schemas.values()]
        same = metadata and all(one == metadata[0] for one in metadata)
        return pa.schema(common).with_metadata(metadata[0]) if same and metadata[0] else pa.schema(common)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Files that lack a column of the others."""
        return tuple(
            f"{file.name} has no column {name}: NULL"
            for file, schema in self._schemas.items()
            for name in self.schema.names
            if name not in schema.names
        )

    @property
    def is_uniform(self) -> bool:
        """Every file stores exactly the schema of all of them, metadata included."""
        return all(schema.equals(self.schema, check_metadata=True) for schema in self._schemas.values())

    def batches(
        self, file: Found, *, only: Sequence[str] = (), predicate: ds.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The rows of one file, less the row groups that the predicate excludes."""
        schema = chosen(self.schema, only)
        stored = self._schemas[file]
        names = [name for name in schema.names if name in stored.names]
        with reading(self._source, file.name), self._opened(file) as content:
            whole = names == schema.names
            groups = self._row_groups(file, content, predicate if whole else None)
            for batch in joined(self._fetched(content, groups, names), self._rows):
                arrays = {name: self._as_declared(file, batch.column(name), schema.field(name)) for name in names}
                yield in_schema(arrays, schema, batch.num_rows)

    def nulls(self, column: str) -> int:
        """From the statistics where every row group has them, else counted by reading the column."""
        found = [self._stored_nulls(file, column) for file in self._files]
        known = [count for count in found if count is not None]
        return sum(known) if len(known) == len(found) else counted_nulls(self, self._files, column)

    def rows(self) -> int | None:
        """As the footers say."""
        total = 0
        for file in self._files:
            with reading(self._source, file.name), self._opened(file) as content:
                total += content.metadata.num_rows
        return total

    # --- one file ---------------------------------------------------------------------------------------

    def _opened(self, file: Found) -> pq.ParquetFile:
        return pq.ParquetFile(str(file.path), buffer_size=_BUFFER, page_checksum_verification=True)

    @cached_property
    def _schemas(self) -> dict[Found, pa.Schema]:
        found = {}
        for file in self._files:
            with reading(self._source, file.name), self._opened(file) as content:
                found[file] = content.schema_arrow
        return found

    def _fetched(self, content: pq.ParquetFile, groups: Sequence[int], names: list[str]) -> Iterator[pa.RecordBatch]:
        """The rows of these row groups, in batches that the width of the rows allows."""
        for group in groups:
            rows = min(self._rows, _fitting(content, group, names))
            yield from content.iter_batches(rows, row_groups=[group], columns=names)

    def _row_groups(self, file: Found, content: pq.ParquetFile, predicate: ds.Expression | None) -> list[int]:
        """The row groups that can hold a row for which the predicate is true."""
        if predicate is None:
            return list(range(content.num_row_groups))
        fragment = ds.ParquetFileFormat().make_fragment(str(file.path), filesystem=fs.LocalFileSystem())
        kept = cast("ds.ParquetFileFragment", cast("ds.ParquetFileFragment", fragment).subset(predicate))
        return [group.id for group in kept.row_groups]

    def _stored_nulls(self, file: Found, column: str) -> int | None:
        schema = self._schemas[file]
        with reading(self._source, file.name), self._opened(file) as content:
            if column not in schema.names:
                return content.metadata.num_rows
            place = content.metadata.schema.names.index(column) if column in content.metadata.schema.names else None
            if place is None or content.metadata.schema.column(place).path != column:
                return None
            total = 0
            for group in range(content.num_row_groups):
                statistics = content.metadata.row_group(group).column(place).statistics
                if statistics is None or statistics.null_count is None:
                    return None
                total += statistics.null_count
            return total

    # --- types ------------------------------------------------------------------------------------------

    def _declared_field(self, field: AnyField) -> AnyField:
        lacking = any(field.name not in schema.names for schema in self._schemas.values())
        field = field.with_nullable(True) if lacking else field
        return field.with_type(self._declared[field.name]) if field.name in self._declared else field

    def _refuse_conflict(self, file: Found, field: AnyField, first: AnyField) -> None:
        if field.name in self._declared or field.type.equals(first.type):
            return
        raise DataError(
            f"{self._source}: {file.name}: column {field.name} is {field.type}; in the files before it is {first.type}",
            hint=f"declare the type: `columns: {{{field.name}: …}}`",
        )

    def _as_declared(self, file: Found, column: pa.Array, field: AnyField) -> pa.Array:  # type: ignore[type-arg]
        try:
            return cast_column(column, field.type, field.name)
        except DataError as error:
            raise DataError(f"{self._source}: {file.name}: {error.message}", hint=error.hint) from error


def _fitting(content: pq.ParquetFile, group: int, names: list[str]) -> int:
    """How many rows of a row group make a batch, by its first rows and by what its footer says.

    The footer alone does not know how wide the values of a dictionary are once they stand in every row.
    """
    footer = content.metadata.row_group(group)
    first = next(content.iter_batches(_LOOKED_AT, row_groups=[group], columns=names), None)
    seen = first.nbytes // max(first.num_rows, 1) if first is not None else 0
    width = max(seen, footer.total_byte_size // max(footer.num_rows, 1) if len(names) == footer.num_columns else 0, 1)
    return max(1, BATCH_BYTES // width)
