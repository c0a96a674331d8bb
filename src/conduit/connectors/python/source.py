"""Reads a Python object: anything that speaks Arrow's C stream (Polars, pandas, pyarrow, DuckDB), or an iterable.

An object is read once per run. Rows at or below the watermark are left out here; a function is called with the last
value instead, and what it returns is filtered all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from conduit import schemas
from conduit.arrow import AnyArray, AnyField, pa
from conduit.bounds import ROWS, Bounds, bounds
from conduit.connectors.python.config import PythonConnection
from conduit.contract import Described, Read, Session, Split, Until
from conduit.errors import ConfigError, DataError

DICTS = 10_000
"""Rows of a batch that is made from an iterator of dicts."""


@runtime_checkable
class ArrowStream(Protocol):
    """What Arrow's PyCapsule interface asks of an object."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A capsule with the stream."""
        ...


class PythonSource:
    """An object that was handed to `conduit.run`."""

    late_commits = False

    def __init__(self, name: str, connection: PythonConnection, folder: Path, given: object) -> None:  # noqa: ARG002
        self._name = name
        self._given = given
        self._passed = False

    def check(self) -> str:
        """The object is there, or nothing was handed over."""
        return f"a {type(self._given).__name__}" if self._given is not None else "waits for an object from Python"

    @contextmanager
    def open(self, read: Read) -> Iterator[Session]:
        """The object, opened as a stream of batches.

        Raises:
            ConfigError: there is none, or it is of no kind that can be read.
            DataError: it can be read once only, and was.
        """
        if self._given is None:
            raise ConfigError(
                f"source {self._name} is of type python, and no object was given",
                hint=f"conduit.run('ingest.yml', sources={{'{self._name}': frame}})",
            )
        last = read.since.shown() if read.since else None
        given = cast("Callable[[object], object]", self._given)(last) if callable(self._given) else self._given
        if given is self._given and _is_passing(given):
            self._pass_once(given)
        yield PythonSession(self._name, stream_of(given, self._name), read)

    def _pass_once(self, given: object) -> None:
        if self._passed:
            raise DataError(
                f"source {self._name}: a {type(given).__name__} can be read once, and a part of it was read before",
                hint="run again with a new one; a function that makes one can be called again",
            )
        self._passed = True


class PythonSession:
    """One pass over an object."""

    def __init__(self, name: str, stream: Stream, read: Read) -> None:
        self._name = name
        self._stream = stream
        self._read = read

    @cached_property
    def _schema(self) -> pa.Schema:
        declared = self._read.columns
        types = {field.name: _plain(field.type) for field in self._stream.schema}
        types |= {name: schemas.declared(declared[name]) for name in types if name in declared}
        return pa.schema([pa.field(name, type_) for name, type_ in types.items()])

    @cached_property
    def _bounds(self) -> Bounds | None:
        return bounds(self._name, self._read, self._schema)

    def describe(self) -> Described:
        """The object's columns."""
        found = self._bounds
        return Described(
            schema=self._schema,
            fingerprint=f"python:{self._name}:{self._read.cursor or '-'}",
            cursor_type=found.type if found else None,
            cursor_unit=found.unit if found else "",
        )

    def until(self) -> Until:
        """The object itself is the bound."""
        return Until()

    def splits(self) -> list[Split]:
        """One pass."""
        return [Split(ROWS)]

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - there is only one
        """The rows above the watermark, in the declared types."""
        for batch in self._stream.batches:
            arrays = [self._column(batch, field) for field in self._schema]
            ready = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
            yield self._bounds.keep(ready) if self._bounds else ready

    def _column(self, batch: pa.RecordBatch, field: AnyField) -> AnyArray:
        """A column by its name; only `columns:` turns text into something else."""
        if sorted(batch.schema.names) != sorted(self._schema.names):
            raise DataError(
                f"source {self._name}: a batch has the columns {', '.join(batch.schema.names)}, the first had "
                f"{', '.join(self._schema.names)}",
                hint="give all batches the same columns",
            )
        column = batch.column(field.name)
        if field.name not in self._read.columns and not schemas.castable(_plain(column.type), field.type):
            raise DataError(
                f"source {self._name}: column {field.name} is {column.type} in a batch, {field.type} before"
            )
        return schemas.cast(column, field.type, field.name)


@dataclass(frozen=True, slots=True)
class Stream:
    """Batches, and the schema of the first."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]


def _is_passing(given: object) -> bool:
    """Whether an object is used up by being read: iterators, and Arrow streams that know no length."""
    return isinstance(given, Iterator) or (isinstance(given, ArrowStream) and not isinstance(given, Sized))


def stream_of(given: object, name: str) -> Stream:
    """Any supported object as a stream of record batches.

    Raises:
        ConfigError: the object is of no supported kind.
        DataError: the rows of an iterator do not fit together.
    """
    if isinstance(given, ArrowStream):
        reader = pa.RecordBatchReader.from_stream(given)
        return Stream(reader.schema, iter(reader))
    if isinstance(given, Iterable):
        batches = _batches(given, name)
        first = next(batches, None)
        return Stream(first.schema, chain([first], batches)) if first is not None else Stream(pa.schema([]), batches)
    raise ConfigError(
        f"source {name}: a {type(given).__name__} cannot be read",
        hint="give a DataFrame, an Arrow table, an iterator of either or of dicts, or a function that returns one",
    )


def _batches(items: Iterable[object], name: str) -> Iterator[pa.RecordBatch]:
    """Batches from an iterator of batches, of frames or of dicts; the first item says which."""
    iterator = iter(items)
    for item in iterator:
        if isinstance(item, pa.RecordBatch):
            yield item
        elif isinstance(item, ArrowStream):
            yield from pa.RecordBatchReader.from_stream(item)
        elif isinstance(item, Mapping):
            yield from _from_dicts(chain([item], cast("Iterator[Mapping[str, object]]", iterator)), name)
        else:
            raise ConfigError(f"source {name}: cannot read rows of type {type(item).__name__}", hint="yield dicts")


def _from_dicts(rows: Iterator[Mapping[str, object]], name: str) -> Iterator[pa.RecordBatch]:
    """Rows of dicts, DICTS at a time, all in the types of the first DICTS."""
    schema: pa.Schema | None = None
    while chunk := list(islice(rows, DICTS)):
        unknown = set().union(*chunk) - set(schema.names) if schema else set()
        if unknown:
            raise DataError(f"source {name}: rows with new keys {', '.join(sorted(unknown))} after {DICTS:,} rows")
        try:
            batch = pa.RecordBatch.from_pylist([dict(row) for row in chunk], schema=schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DataError(f"source {name}: the rows do not fit together: {error}") from error
        schema = batch.schema
        yield batch


def _plain(type_: pa.DataType) -> pa.DataType:
    """The type without the packing that frames use in memory: dictionaries and views."""
    if isinstance(type_, pa.DictionaryType):
        return _plain(type_.value_type)
    packed: dict[pa.DataType, pa.DataType] = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return packed.get(type_, type_)
