"""Reads JSON: DuckDB cuts the files into records, Arrow turns records into columns. No decimal goes through a double.

Strings stay text (JSON has no dates), whole numbers are bigint, or decimal(38,0) where they are larger, numbers with a
fraction are double, objects and arrays are json exactly as written. `columns:` says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import msgspec

from conduit.arrow import AnyArray, pa, pc
from conduit.connectors.files import duck, json_records
from conduit.connectors.files.config import JsonSourceConnection
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
    require_whole,
)
from conduit.connectors.files.text import Misfit, parse_declared, type_name
from conduit.errors import DataError
from conduit.schemas import cast as cast_column
from conduit.schemas import is_text

if TYPE_CHECKING:
    import pyarrow.dataset as ds

_NUMBERS = {"BIGINT", "UBIGINT", "DOUBLE"}
_NATIVE = (
    (pa.types.is_integer, pa.int64()),
    (pa.types.is_floating, pa.float64()),
    (pa.types.is_boolean, pa.bool_()),
)
"""Families of declared types that JSON has itself, and what Arrow's parser takes them as."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How a column comes out of the records.

    Attributes:
        type: its type in the batches.
        parsed: what Arrow's JSON parser takes it as; None: the value's own text, as it stands in the file.
    """

    type: pa.DataType
    parsed: pa.DataType | None


class JsonReader:
    """Reads the JSON files of one session."""

    def __init__(
        self,
        source: str,
        connection: JsonSourceConnection,
        files: Sequence[Found],
        declared: Mapping[str, pa.DataType],
        rows: int,
        parser: duck.Connection,
    ) -> None:
        self._source = source
        self._connection = connection
        self._files = files
        self._declared = declared
        self._rows = rows
        self._duck = parser

    @property
    def schema(self) -> pa.Schema:
        """The keys of the sampled records, in the order of their first appearance."""
        return pa.schema([pa.field(name, wire.type) for name, wire in self._wires.items()])

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """The inferred types, and declared keys that no sampled record has."""
        absent = [name for name in self._declared if name not in self._seen]
        lacking = [f"{name} is declared, and no record looked at has it" for name in absent]
        return (*inferred(self.schema, self._declared, self._files, self._connection.path), *lacking)

    def batches(
        self, file: Found, *, only: Sequence[str] = (), predicate: ds.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The records of one file; `predicate` is of no use here."""
        del predicate
        schema = chosen(self.schema, only)
        if not only:
            require_whole(self._source, file, codec_of(file.path, self._connection.compression))
        first = 0
        for records in self._records(file):
            self._refuse_odd(file, first, records, self._wires)
            arrays = self._columns(file, first, records, schema.names)
            yield in_schema(arrays, schema, len(records))
            first += len(records)

    def nulls(self, column: str) -> int:
        """Counted by reading the column."""
        return counted_nulls(self, self._files, column)

    def rows(self) -> int | None:
        """Not known before they are read."""
        return None

    # --- records ----------------------------------------------------------------------------------------

    def _records(self, file: Found, limit: int | None = None) -> Iterator[pa.StringArray]:
        """The records of a file as their own text."""
        cut = f" LIMIT {limit}" if limit is not None else ""
        codec = codec_of(file.path, self._connection.compression)
        try:
            with reading(self._source, file.name):
                layout = json_records.layout(file.path, codec, self._connection.format)
                scan = f"read_json_objects({duck.file_literal(file.path)}, format={duck.literal(layout)}, "
                scan += f"compression={duck.literal(codec or 'none')}, hive_partitioning=false, "
                scan += f"maximum_object_size={json_records.MAX_RECORD})"
                sql = f"SELECT CAST(json AS VARCHAR) AS record FROM {scan}{cut}"
                for batch in duck.batches(self._duck, sql, self._rows):
                    yield cast("pa.StringArray", batch.column(0))
        except DataError as error:
            line = json_records.malformed_line(file.path, codec)
            if line is None:
                raise
            raise DataError(f"{self._source}: {file.name}:{line}: not valid JSON", hint=error.hint) from error

    def _refuse_odd(self, file: Found, first: int, records: pa.StringArray, known: Mapping[str, Wire] | None) -> None:
        """Every record is an object with each key once, and after the sample with no other keys."""
        with reading(self._source, file.name):
            if not json_records.has_odd(self._duck, records, known):
                return
        row, odd, key = json_records.first_odd(records, known)
        hint = f"declare it: `columns: {{{key}: text}}`" if key else ""
        raise DataError(f"{self._place(file, first + row)} {odd}", hint=hint)

    def _place(self, file: Found, record: int) -> str:
        line = json_records.line_of(file.path, codec_of(file.path, self._connection.compression), record)
        where = f"{file.name}:{line}" if line else f"{file.name}, record {record + 1}"
        return f"{self._source}: {where}: the record"

    # --- columns ----------------------------------------------------------------------------------------

    @cached_property
    def _wires(self) -> dict[str, Wire]:
        undeclared = {name: types for name, types in self._seen.items() if name not in self._declared}
        numbers = self._number_types([name for name, types in undeclared.items() if types and types <= _NUMBERS])
        names = dict.fromkeys([*self._seen, *self._declared])
        return {name: numbers.get(name) or self._wire(name, self._seen.get(name, set())) for name in names}

    @cached_property
    def _seen(self) -> dict[str, set[str]]:
        """The types of JSON that the sampled records have, by key."""
        found = json_records.types_by_key(self._duck, self._sample)
        refuse_names(self._source, self._connection.path, list(found))
        return found

    @cached_property
    def _sample(self) -> pa.StringArray:
        found: list[AnyArray] = []
        left, room = SAMPLE_ROWS, SAMPLE_BYTES
        for file in self._files:
            first = 0
            for records in self._records(file, limit=left):
                self._refuse_odd(file, first, records, None)
                found.append(records)
                first, room = first + len(records), room - records.nbytes
                if room <= 0:
                    break
            left -= first
            if left <= 0 or room <= 0:
                break
        return cast("pa.StringArray", pa.chunked_array(found, pa.string()).combine_chunks())

    def _wire(self, name: str, types: set[str]) -> Wire:
        declared = self._declared.get(name)
        if declared is not None:
            return self._declared_wire(name, declared, types)
        if types <= {"VARCHAR"}:
            return Wire(pa.string(), pa.string())
        if types == {"BOOLEAN"}:
            return Wire(pa.bool_(), pa.bool_())
        if types <= {"OBJECT", "ARRAY"}:
            return Wire(pa.json_(), None)
        raise DataError(
            f"{self._source}: {self._connection.path}: the key {name} holds {_spoken(types)}",
            hint=f"declare the type: `columns: {{{name}: json}}` keeps every value as it is written",
        )

    def _number_types(self, names: Sequence[str]) -> dict[str, Wire]:
        try:
            found = json_records.number_types(self._sample, names)
        except msgspec.DecodeError as error:
            raise self._not_json(self._connection.path, error) from error
        return {name: Wire(type_ or pa.json_(), type_) for name, type_ in found.items()}

    def _not_json(self, where: str, error: Exception) -> DataError:
        return DataError(f"{self._source}: {where}: not valid JSON: {error}", hint="NaN and Infinity are not JSON")

    def _declared_wire(self, name: str, declared: pa.DataType, types: set[str]) -> Wire:
        if isinstance(declared, pa.JsonType) or (is_text(declared) and not types <= {"VARCHAR"}):
            return Wire(declared, None)
        if is_text(declared) or pa.types.is_decimal(declared):
            return Wire(declared, declared)
        for family, parsed in _NATIVE:
            if family(declared) and not (types and types <= {"VARCHAR"}):
                return Wire(declared, parsed)
        if types <= {"VARCHAR"}:
            return Wire(declared, pa.string())
        raise DataError(
            f"{self._source}: {self._connection.path}: the key {name} is declared {type_name(declared)}, "
            f"but it holds {_spoken(types)}"
        )

    def _columns(self, file: Found, first: int, records: pa.StringArray, names: Sequence[str]) -> dict[str, AnyArray]:
        wires = {name: self._wires[name] for name in names}
        raw = [name for name, wire in wires.items() if wire.parsed is None]
        try:
            found = json_records.parsed(records, {n: w.parsed for n, w in wires.items() if w.parsed is not None})
            found |= (
                json_records.cut_out(records, raw, [name for name in raw if is_text(wires[name].type)]) if raw else {}
            )
        except Misfit as misfit:
            raise self._does_not_fit(file, first, misfit.reason, misfit) from misfit
        except msgspec.DecodeError as error:
            raise self._not_json(file.name, error) from error
        return {name: self._finished(file, first, name, found[name]) for name in names}

    def _finished(self, file: Found, first: int, name: str, values: AnyArray) -> AnyArray:
        """The values of a column in its own type."""
        wire = self._wires[name]
        if isinstance(wire.type, pa.JsonType):
            return wire.type.wrap_array(values)
        if pa.types.is_floating(values.type) and not pc.all(pc.is_finite(values)).as_py():
            raise self._not_json(file.name, ValueError(f"a value of {name} is no number"))
        if wire.parsed is None or values.type.equals(wire.type):
            return values
        if not is_text(values.type):
            return cast_column(values, wire.type, name)
        try:
            return parse_declared(cast("pa.StringArray", values), wire.type, self._duck)
        except Misfit as misfit:
            raise self._does_not_fit(file, first, name, misfit) from misfit

    def _does_not_fit(self, file: Found, first: int, name: str, misfit: Misfit) -> DataError:
        place = self._place(file, first + misfit.row)
        if not name:
            return DataError(f"{place} is not valid JSON")
        type_ = type_name(self._wires[name].type)
        if name in self._declared:
            return DataError(f"{place} has {misfit.shown} for {name}, which is declared {type_}")
        return DataError(
            f"{place} has {misfit.shown} for {name}, which is {type_} in the first records",
            hint=f"declare the type: `columns: {{{name}: json}}` keeps every value as it is written",
        )


def _spoken(types: set[str]) -> str:
    """`numbers and strings`."""
    words = {"VARCHAR": "strings", "BOOLEAN": "booleans", "OBJECT": "objects", "ARRAY": "arrays"}
    return " and ".join(sorted({words.get(type_, "numbers") for type_ in types}))
