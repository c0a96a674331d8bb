"""Arrow batches -> bytes of CSV or newline-delimited JSON, one line a row. No value goes through a double or a locale.

Times are ISO-8601, with `+00:00` when they know their zone; decimals keep all digits (in JSON as strings, because
readers take JSON numbers as doubles); binary is hex; lists, structs and maps are JSON. NaN and infinity are `nan` and
`inf` in CSV, and an error in JSON, which has no such numbers. Knows no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Literal

from conduit.arrow import AnyArray, AnyField, pa, pc
from conduit.connectors.files import duck
from conduit.errors import DataError
from conduit.schemas import is_text

RowFormat = Literal["csv", "ndjson"]
LineEnd = Literal["\n", "\r\n"]
Kind = Literal["text", "iso", "number", "decimal", "uuid", "binary", "json", "nested"]

_PIECE = 32 << 20
"""Bytes of Arrow data that become lines at once."""

_CSV_SPECIAL = r"[,\"\r\n]"


def check(schema: pa.Schema, destination: str, row_format: RowFormat) -> None:
    """Every column has a form in this format.

    Raises:
        DataError: one has none; the message names it.
    """
    for field in schema:
        if kind(field.type) is None:
            raise DataError(
                f"{destination}: column {field.name} is of type {field.type}, which has no form in {row_format}",
                hint="cast it in the query, leave it out, or write Parquet",
            )


def kind(type_: pa.DataType) -> Kind | None:
    """How values of a type are written; None: there is no form that keeps them."""
    if isinstance(type_, pa.BaseExtensionType):
        return "json" if isinstance(type_, pa.JsonType) else "uuid" if isinstance(type_, pa.UuidType) else None
    if pa.types.is_dictionary(type_):
        return kind(type_.value_type)
    if is_text(type_) or pa.types.is_null(type_):
        return "text"
    if pa.types.is_decimal(type_):
        return "iso" if pa.types.is_decimal256(type_) else "decimal"
    if pa.types.is_temporal(type_) and not (pa.types.is_duration(type_) or pa.types.is_interval(type_)):
        return "iso"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_boolean(type_):
        return "number"
    if pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_):
        return "binary"
    return "nested" if pa.types.is_nested(type_) and _nestable(type_) else None


def _nestable(type_: pa.DataType) -> bool:
    if isinstance(type_, pa.StructType):
        return all(_nestable(field.type) for field in type_)
    if isinstance(type_, pa.MapType):
        return is_text(type_.key_type) and _nestable(type_.item_type)
    if isinstance(type_, pa.ListType | pa.LargeListType | pa.FixedSizeListType):
        return _nestable(type_.value_type)
    return kind(type_) in ("text", "iso", "number", "decimal") and not pa.types.is_dictionary(type_)


class Encoder:
    """Turns batches of one schema into lines."""

    def __init__(
        self, schema: pa.Schema, row_format: RowFormat, connection: duck.Connection, line_end: LineEnd = "\n"
    ) -> None:
        self._schema = schema
        self._format = row_format
        self._connection = connection
        self._line_end = line_end
        self._expression = (_csv_line(schema) if row_format == "csv" else _json_line(schema)) + (
            " || chr(10)" if line_end == "\n" else " || chr(13) || chr(10)"
        )

    def header(self) -> bytes:
        """The line with the names, for CSV; nothing for JSON."""
        if self._format == "ndjson":
            return b""
        return (",".join(_quoted(name) for name in self._schema.names) + self._line_end).encode()

    def lines(self, batch: pa.RecordBatch) -> Iterator[pa.Buffer]:
        """The rows as bytes.

        Raises:
            DataError: a value has no form in this format.
        """
        step = max(1, batch.num_rows * _PIECE // max(batch.nbytes, 1))
        for start in range(0, batch.num_rows, step):
            piece = batch.slice(start, step)
            columns = [self._plain(field, piece.column(field.name)) for field in self._schema]
            names = [f"c{place}" for place in range(len(columns))]
            table = pa.Table.from_arrays(columns, names=names)
            relation = self._connection.from_arrow(table).project(f"{self._expression} AS line")
            for found in pa.RecordBatchReader.from_stream(relation):
                yield joined(found.column(0))

    def _plain(self, field: AnyField, values: AnyArray) -> AnyArray:
        """The values in a type that DuckDB takes over exactly."""
        type_ = field.type
        if pa.types.is_dictionary(type_):
            values, type_ = values.cast(type_.value_type), type_.value_type
        match kind(type_):
            case "iso":
                return _iso(values)
            case "nested":
                values = values.cast(_texted(type_))
                self._require_finite(field.name, values)
            case "number" if pa.types.is_floating(type_):
                values = values.cast(pa.float32()) if pa.types.is_float16(type_) else values
                if self._format == "ndjson":
                    self._require_finite(field.name, values)
            case "json":
                values = values.storage if isinstance(values, pa.ExtensionArray) else values
                self._require_json(field.name, values)
        return values.cast(pa.string()) if pa.types.is_null(type_) else values

    def _require_finite(self, name: str, values: AnyArray) -> None:
        for numbers in _floats(values):
            if not pc.all(pc.is_finite(numbers)).as_py():
                raise DataError(
                    f"column {name} holds NaN or an infinity, which JSON has not", hint="write NULL instead"
                )

    def _require_json(self, name: str, values: AnyArray) -> None:
        if not pc.all(duck.computed(self._connection, "json_valid(v)", values)).as_py():
            raise DataError(f"column {name} is of type json, and holds text that is not valid JSON")


def joined(lines: AnyArray) -> pa.Buffer:
    """All texts of an array, one after the other, as they already lie in memory."""
    texts = lines.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    if offsets is None or data is None:
        return pa.py_buffer(b"")
    ends = memoryview(offsets).cast("b").cast("q")
    first, last = ends[texts.offset], ends[texts.offset + len(texts)]
    return data.slice(first, last - first)


# --- values in Arrow ------------------------------------------------------------------------------------


def _iso(values: AnyArray) -> AnyArray:
    type_ = values.type
    if not isinstance(type_, pa.TimestampType):
        return values.cast(pa.string())
    if type_.tz is None:
        return pc.replace_substring(values.cast(pa.string()), " ", "T")
    text = values.cast(pa.timestamp(type_.unit, "UTC")).cast(pa.string())
    return pc.replace_substring(pc.replace_substring(text, " ", "T"), "Z", "+00:00")


def _texted(type_: pa.DataType) -> pa.DataType:
    """The nested type with text where JSON has no exact form."""
    if isinstance(type_, pa.StructType):
        return pa.struct([field.with_type(_texted(field.type)) for field in type_])
    if isinstance(type_, pa.MapType):
        return pa.map_(type_.key_type, _texted(type_.item_type))
    if isinstance(type_, pa.LargeListType):
        return pa.large_list(_texted(type_.value_type))
    if isinstance(type_, pa.FixedSizeListType):
        return pa.list_(_texted(type_.value_type), type_.list_size)
    if isinstance(type_, pa.ListType):
        return pa.list_(_texted(type_.value_type))
    return pa.string() if kind(type_) in ("iso", "decimal") else type_


def _floats(values: AnyArray) -> Iterator[AnyArray]:
    """The floating point arrays within an array."""
    if pa.types.is_floating(values.type):
        yield values
    elif isinstance(values, pa.StructArray):
        for child in values.flatten():
            yield from _floats(child)
    elif isinstance(values, pa.MapArray):
        yield from _floats(values.items)
    elif isinstance(values, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        yield from _floats(values.flatten())


# --- lines in SQL ---------------------------------------------------------------------------------------


def _csv_line(schema: pa.Schema) -> str:
    fields = [_csv_field(f"c{place}", field.type) for place, field in enumerate(schema)]
    return " || ',' || ".join(fields)


def _csv_field(column: str, type_: pa.DataType) -> str:
    """One field: nothing for NULL, a pair of quotes for an empty text, quotes only where they are needed."""
    match kind(type_):
        case "binary":
            return _csv_text(f"lower(hex({column}))")
        case "nested":
            return _csv_text(f"CAST(to_json({column}) AS VARCHAR)", special_only=True)
        case "text" | "json":
            return _csv_text(column)
        case _:
            return f"coalesce(CAST({column} AS VARCHAR), '')"


def _csv_text(text: str, *, special_only: bool = False) -> str:
    special = f"regexp_matches({text}, {duck.literal(_CSV_SPECIAL)})"
    needed = special if special_only else f"{text} = '' OR {special}"
    return f"""coalesce(CASE WHEN {needed} THEN '"' || replace({text}, '"', '""') || '"' ELSE {text} END, '')"""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(character in name for character in ',"\r\n') else name


def _json_line(schema: pa.Schema) -> str:
    members = [
        duck.literal(json.dumps(field.name, ensure_ascii=False) + ":")
        + f" || coalesce({_json_value(f'c{place}', field.type)}, 'null')"
        for place, field in enumerate(schema)
    ]
    return "'{' || " + " || ',' || ".join(members) + " || '}'"


def _json_value(column: str, type_: pa.DataType) -> str:
    match kind(type_):
        case "number":
            return f"CAST({column} AS VARCHAR)"
        case "json":  # an end of line within JSON is white space, but here it would end the record
            return f"translate({column}, chr(10) || chr(13), '  ')"
        case "text" | "nested":
            return f"CAST(to_json({column}) AS VARCHAR)"
        case "binary":
            return f"""'"' || lower(hex({column})) || '"'"""
        case _:
            return f"""'"' || CAST({column} AS VARCHAR) || '"'"""
