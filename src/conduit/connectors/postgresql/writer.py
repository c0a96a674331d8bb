"""Arrow batches as PostgreSQL's binary COPY format, in the exact types of the columns they go into."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pgpq
from pgpq import encoders
from pgpq import schema as pgpq_schema

from conduit import schemas
from conduit.arrow import AnyField, pa
from conduit.connectors.postgresql.types import Column, created, quote

_WITHOUT_EQUALITY = ("json", "xml", "point", "box", "polygon", "path", "line", "lseg", "circle")
_BINARY_AS_IT_IS = {
    "bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar", "bytea", "date", "time",
    "timestamp", "timestamptz", "uuid", "json", "jsonb", "name",
    "_int2", "_int4", "_int8", "_float4", "_float8", "_bool", "_text", "_date", "_timestamp",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Landing:
    """What rows are when they have arrived in a stage table.

    Attributes:
        casts: column -> expression over the stage row `source`; columns that COPY cannot fill by themselves.
        stage_types: column -> type in the stage table.
        comparable: column -> template for types without an equality operator.
    """

    casts: Mapping[str, str] = field(default_factory=dict)
    stage_types: Mapping[str, str] = field(default_factory=dict)
    comparable: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def as_it_is(cls, columns: Sequence[Column]) -> Landing:
        """Of rows that come in the types of the columns already, encoded by another server."""
        comparable = {column.name: "{}::text" for column in columns if column.type_name in _WITHOUT_EQUALITY}
        return Landing(stage_types={column.name: column.formatted for column in columns}, comparable=comparable)


@dataclass(frozen=True, kw_only=True)
class Encoding(Landing):
    """How Arrow rows travel to a table.

    Attributes:
        schema: the types that are encoded.
        jsonb: columns that need jsonb's version byte.
    """

    schema: pa.Schema
    jsonb: frozenset[str] = frozenset()

    @classmethod
    def of(cls, schema: pa.Schema, columns: Sequence[Column]) -> Encoding:
        """The encoding of rows of `schema` into `columns`, one for one."""
        fields, casts, stage_types, comparable = [], {}, {}, {}
        for arrow, column in zip(schema, columns, strict=True):
            encoded = _encoded(arrow)
            direct = column.type_name in _BINARY_AS_IT_IS and column.builtin and not _needs_text(arrow, column)
            fields.append(encoded)
            stage_types[column.name] = column.formatted if direct else created(pa.field("", encoded.type))
            if not direct:
                casts[column.name] = f"source.{quote(column.name)}::{column.formatted}"
            if column.type_name in _WITHOUT_EQUALITY:
                comparable[column.name] = "{}::text"
        jsonb = frozenset(column.name for column in columns if column.type_name == "jsonb")
        return cls(schema=pa.schema(fields), jsonb=jsonb, casts=casts, stage_types=stage_types, comparable=comparable)

    def encoder(self) -> pgpq.ArrowToPostgresBinaryEncoder:
        """A fresh encoder for one COPY."""
        plain = pa.schema([pa.field(f.name, schemas.storage(f.type)) for f in self.schema])
        builders = {
            f.name: encoders.StringEncoderBuilder.new_with_output(f, pgpq_schema.Jsonb())
            if f.name in self.jsonb
            else pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(f)
            for f in plain
        }
        return pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(plain, builders)


class CopyStream(io.RawIOBase):
    """A file to read from for COPY: the batches, encoded as they are asked for.

    Attributes:
        rows: rows that were encoded so far.
        failure: what was raised while a batch was fetched or encoded; the driver would only say that reading failed.
    """

    def __init__(self, encoding: Encoding, rows: Iterator[pa.RecordBatch]) -> None:
        super().__init__()
        self.rows = 0
        self.failure: BaseException | None = None
        self._chunks = self._encoded(encoding, rows)
        self._chunk = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most `size`; empty at the end."""
        while not len(self._chunk):
            following = self._next()
            if following is None:
                return b""
            self._chunk = memoryview(following)
        taken = self._chunk[:size] if size >= 0 else self._chunk
        self._chunk = self._chunk[len(taken) :]
        return bytes(taken)

    def _next(self) -> bytes | None:
        try:
            return next(self._chunks, None)
        except BaseException as error:
            self.failure = error
            raise

    def readable(self) -> bool:
        """Always."""
        return True

    def _encoded(self, encoding: Encoding, rows: Iterator[pa.RecordBatch]) -> Iterator[bytes]:
        encoder = encoding.encoder()
        yield encoder.write_header()
        for batch in rows:
            self.rows += batch.num_rows
            yield encoder.write_batch(_storage_only(schemas.conform(batch, encoding.schema)))
        yield encoder.finish()


def _encoded(arrow: AnyField) -> AnyField:
    """The type that pgpq can encode and that `created` has a column for."""
    type_ = arrow.type
    plain = schemas.storage(type_)
    wider = {
        pa.int8(): pa.int16(), pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20, 0), pa.float16(): pa.float32(), pa.date64(): pa.date32(),
        pa.large_string(): pa.string(), pa.string_view(): pa.string(), pa.large_binary(): pa.binary(),
        pa.time32("s"): pa.time64("us"), pa.time32("ms"): pa.time64("us"), pa.time64("ns"): pa.time64("us"),
    }  # fmt: skip
    if isinstance(plain, pa.TimestampType):
        return pa.field(arrow.name, pa.timestamp("us", plain.tz))
    return pa.field(arrow.name, wider.get(plain, type_))


def _needs_text(arrow: AnyField, column: Column) -> bool:
    """Whether a text has to be parsed by the server: the column is none, the value is."""
    text_columns = ("text", "varchar", "bpchar", "name", "json", "jsonb")
    return schemas.is_text(schemas.storage(arrow.type)) and column.type_name not in text_columns


def _storage_only(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch without extension types, which the encoder does not know."""
    arrays = [column.storage if isinstance(column, pa.ExtensionArray) else column for column in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
