"""Writes batches as part files: Parquet, CSV or newline-delimited JSON. Each part is on disk when it is finished."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, cast

from conduit.arrow import pa, pq
from conduit.connectors.files import disk, duck, encode
from conduit.schemas import is_text, storage

PartFormat = Literal["parquet", "csv", "ndjson"]

DRAFT = "part"
"""What the names of staged files end in: no reader that looks for a type takes them for finished ones."""

PART_BYTES = 512 << 20
"""A part that has grown to this size is closed, and the next one begins."""

_GROUP_ROWS, _GROUP_BYTES = 1 << 20, 32 << 20
"""A row group is written when so many rows, or so many bytes of Arrow data, have come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What parts look like.

    Attributes:
        format: of the files.
        schema: all columns of the table, in its order; columns that the rows lack are NULL.
        header: CSV parts begin with the names.
        line_end: what ends a line of CSV.
    """

    format: PartFormat
    schema: pa.Schema
    header: bool = True
    line_end: encode.LineEnd = "\n"


@dataclass(frozen=True, slots=True)
class Part:
    """One finished file."""

    path: Path
    rows: int
    bytes: int


class Sink(Protocol):
    """What one part's rows go into."""

    def write(self, batch: pa.RecordBatch) -> None:
        """Take the rows of a batch."""
        ...

    def finish(self) -> None:
        """Write what is still held back."""
        ...

    def abandon(self) -> None:
        """Let go of the stream after a failure; the file is of no use."""
        ...


class ParquetSink:
    """Rows -> row groups, compressed with zstd, with a checksum a page; the Arrow schema is stored.

    Only texts get dictionaries: numbers and times are hashed for nothing, and zstd makes them smaller without.
    """

    def __init__(self, stream: BinaryIO, layout: Layout) -> None:
        self._writer = pq.ParquetWriter(
            stream,
            layout.schema,
            compression="zstd",
            use_dictionary=cast("bool", [field.name for field in layout.schema if _repeats(field.type)] or False),
            store_decimal_as_integer=True,
            write_page_checksum=True,
        )
        self._held: list[pa.RecordBatch] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Hold the batch; write a row group when enough is held."""
        self._held.append(batch)
        rows = sum(held.num_rows for held in self._held)
        if rows >= _GROUP_ROWS or sum(held.nbytes for held in self._held) >= _GROUP_BYTES:
            self._write_group()

    def finish(self) -> None:
        """The last row group and the footer."""
        self._write_group()
        self._writer.close()

    def abandon(self) -> None:
        """Close the writer while its stream is open."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()

    def _write_group(self) -> None:
        if self._held:
            self._writer.write_table(pa.Table.from_batches(self._held), row_group_size=_GROUP_ROWS)
        self._held = []


def _repeats(type_: pa.DataType) -> bool:
    """Whether values of a type are long, and often the same."""
    plain = storage(type_)
    return is_text(plain) or pa.types.is_binary(plain) or pa.types.is_large_binary(plain)


class LineSink:
    """Rows -> lines of CSV or JSON."""

    def __init__(self, stream: BinaryIO, layout: Layout, encoder: encode.Encoder) -> None:
        self._stream = stream
        self._encoder = encoder
        if layout.header:
            stream.write(encoder.header())

    def write(self, batch: pa.RecordBatch) -> None:
        """The lines of the batch."""
        for lines in self._encoder.lines(batch):
            self._stream.write(lines)

    def finish(self) -> None:
        """Nothing is held back."""

    def abandon(self) -> None:
        """Nothing is open but the stream."""


def write_parts(
    rows: Iterator[pa.RecordBatch], layout: Layout, folder: Path, stem: str, suffix: str = DRAFT
) -> list[Part]:
    """Write all rows to files in `folder`, named `<stem>-00001` and so on; none when there is no row.

    Raises:
        DataError: a value has no form in this format.
        OSError: the disk is full, or refuses.
    """
    finished: list[Part] = []
    batches = (fitted(batch, layout.schema) for batch in rows if batch.num_rows)
    with ExitStack() as opened:
        first = next(batches, None)
        encoder = _encoder(layout, opened) if first is not None and layout.format != "parquet" else None
        while first is not None:
            path = folder / f"{stem}-{len(finished) + 1:05d}.{suffix}"
            part, first = _write_part(path, first, batches, layout, encoder)
            finished.append(part)
    return finished


def _encoder(layout: Layout, opened: ExitStack) -> encode.Encoder:
    connection = opened.enter_context(closing(duck.connect()))
    row_format: encode.RowFormat = "csv" if layout.format == "csv" else "ndjson"
    return encode.Encoder(layout.schema, row_format, connection, layout.line_end)


def _write_part(
    path: Path,
    first: pa.RecordBatch,
    batches: Iterator[pa.RecordBatch],
    layout: Layout,
    encoder: encode.Encoder | None,
) -> tuple[Part, pa.RecordBatch | None]:
    """One part, and the batch with which the next one begins."""
    batch: pa.RecordBatch | None = first
    rows = 0
    with disk.new_file(path) as stream:
        sink: Sink = LineSink(stream, layout, encoder) if encoder else ParquetSink(stream, layout)
        try:
            while batch is not None and stream.tell() < PART_BYTES:
                sink.write(batch)
                rows += batch.num_rows
                batch = next(batches, None)
            sink.finish()
        except BaseException:
            sink.abandon()
            raise
        disk.sync(stream)
        size = stream.tell()
    return Part(path, rows, size), batch


def fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with all columns of the table, in its order."""
    columns = [
        batch.column(field.name) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
