"""Records of JSON as text: how a file lays them out, which keys and types they have, and their columns.

Numbers and nested values keep the characters that the file has: Arrow's parser reads decimals from text, and what
becomes json is cut out of the record untouched. Python objects are made only to say where something is wrong.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

import msgspec
import pyarrow.json as pj

from conduit.arrow import AnyArray, pa, pc
from conduit.connectors.files import duck
from conduit.connectors.files.config import JsonFormat
from conduit.connectors.files.reader import Codec, opened
from conduit.connectors.files.text import Misfit, first_misfit, shown

MAX_RECORD = 16 << 20
"""Bytes of the largest record that is taken."""

_BOM = b"\xef\xbb\xbf"
_PEEK = 1 << 16


# --- files ----------------------------------------------------------------------------------------------


def layout(path: Path, codec: Codec | None, wanted: JsonFormat) -> str:
    """The layout as DuckDB names it; it does not see an array behind a byte order mark by itself.

    Raises:
        OSError, pa.ArrowException: the file cannot be read.
    """
    if wanted == "array":
        return wanted
    with opened(path, codec) as stream:
        start = bytes(stream.read(_PEEK))
    marked = start.startswith(_BOM)
    if wanted == "auto" and start.removeprefix(_BOM).lstrip().startswith(b"["):
        return "array"
    return "unstructured" if marked else wanted


def line_of(path: Path, codec: Codec | None, record: int) -> int | None:
    """The line of a record, where every record has its own; None otherwise."""
    place = -1
    for line, text in _lines(path, codec):
        if not text.strip():
            continue
        if not _is_json(text):
            return None
        place += 1
        if place == record:
            return line
    return None


def malformed_line(path: Path, codec: Codec | None) -> int | None:
    """The first line that is no JSON, where every record has its own line; None otherwise."""
    lines = _lines(path, codec)
    for line, text in lines:
        if text.strip() and not _is_json(text):
            following = next((more for _, more in lines if more.strip()), b"{}")
            return line if line > 1 or _is_json(following) else None
    return None


def _lines(path: Path, codec: Codec | None) -> Iterator[tuple[int, bytes]]:
    """The lines of a file of records; none of an array."""
    try:
        if layout(path, codec, "auto") == "array":
            return
        with opened(path, codec) as stream, io.BufferedReader(cast("io.RawIOBase", stream)) as lines:
            texts = iter(lambda: lines.readline(MAX_RECORD), b"")
            for line, text in enumerate(texts, start=1):
                if len(text) == MAX_RECORD:
                    return
                yield line, text.removeprefix(_BOM)
    except (OSError, pa.ArrowException):
        return


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


# --- keys -----------------------------------------------------------------------------------------------


def has_odd(connection: duck.Connection, records: pa.StringArray, known: Collection[str] | None) -> bool:
    """Whether a record is no object, has a key twice, or one that is not among the `known` (None: all are)."""
    found = duck.asked(
        connection,
        "SELECT DISTINCT CASE WHEN json_type(record) = 'OBJECT' THEN json_keys(record) END FROM records",
        records=pa.table({"record": records}),
    )
    return any(
        keys is None or len(set(keys)) < len(keys) or (known is not None and any(key not in known for key in keys))
        for (keys,) in found
    )


def first_odd(records: pa.StringArray, known: Collection[str] | None) -> tuple[int, str, str]:
    """The first record that `has_odd` means: its place, what is odd, and the key or nothing."""
    for place, record in enumerate(records):
        keys = _keys(str(record.as_py()))
        if keys is None:
            return place, "is not an object", ""
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            return place, f"has the key {twice[0]} twice", ""
        new = [key for key in keys if known is not None and key not in known]
        if new:
            return place, f"has the key {new[0]}, which the first records did not have", new[0]
    return 0, "is not an object", ""


def _keys(record: str) -> list[str] | None:
    """The keys of a record, all of them; None when it is no object."""
    if not record.startswith("{"):
        return None
    try:
        return [key for key, _ in json.loads(record, object_pairs_hook=list)]
    except (ValueError, RecursionError):
        return None


def types_by_key(connection: duck.Connection, records: pa.StringArray) -> dict[str, set[str]]:
    """The JSON types that each key has, NULL aside; keys in the order of their first appearance."""
    found = duck.asked(
        connection,
        "SELECT e.key, list(DISTINCT e.type), min(s.place * 1048576 + e.id) AS first FROM (SELECT record, row_number() "
        "OVER () AS place FROM records) AS s, json_each(s.record) AS e GROUP BY e.key ORDER BY first",
        records=pa.table({"record": records}),
    )
    return {str(key): set(types) - {"NULL"} for key, types, _ in found}


# --- columns --------------------------------------------------------------------------------------------


def number_types(records: pa.StringArray, keys: Sequence[str]) -> dict[str, pa.DataType | None]:
    """The types that hold all numbers of these keys.

    Returns:
        Per key: bigint, or decimal(38,0) for larger whole numbers, or double when one is written with a fraction;
        None: whole numbers of more than 38 digits.

    Raises:
        msgspec.DecodeError: a record is not valid JSON.
    """
    return {key: _number_type(written) for key, written in cut_out(records, keys).items()}


def _number_type(written: AnyArray) -> pa.DataType | None:
    if not pc.all(pc.match_substring_regex(written, "^-?[0-9]+$")).as_py():
        return pa.float64()
    for type_ in (pa.int64(), pa.decimal128(38, 0)):
        try:
            written.cast(type_)
        except pa.ArrowInvalid:
            continue
        return type_
    return None


def parsed(records: pa.StringArray, types: Mapping[str, pa.DataType]) -> dict[str, AnyArray]:
    """The columns with these types; a key that a record lacks is NULL.

    Raises:
        Misfit: a value is of another type; `reason` is the key's name, or empty when the record is not JSON.
    """
    if not types:
        return {}
    try:
        return _parsed(records, types)
    except pa.ArrowInvalid:
        key = next((name for name, type_ in types.items() if _fails(records, {name: type_})), "")
        wrong = {key: types[key]} if key else types
        row = first_misfit(len(records), lambda start, count: _fails(records.slice(start, count), wrong))
        record = str(records[row].as_py())
        if not key or not _is_json(record.encode()):
            raise Misfit(row, "") from None
        raise Misfit(row, shown(json.loads(record).get(key)), key) from None


def _parsed(records: pa.StringArray, types: Mapping[str, pa.DataType]) -> dict[str, AnyArray]:
    lines = pa.ListArray.from_arrays(pa.array([0, len(records)], pa.int32()), records)
    text = cast("pa.Array[pa.StringScalar]", pc.binary_join(lines, "\n"))[0].as_buffer()
    table = pj.read_json(
        cast("IO[bytes]", pa.BufferReader(text)),
        read_options=pj.ReadOptions(use_threads=False, block_size=text.size + 1),
        parse_options=pj.ParseOptions(
            explicit_schema=pa.schema(list(types.items())),
            newlines_in_values=True,
            unexpected_field_behavior="ignore",
        ),
    )
    return {name: table.column(name).combine_chunks() for name in types}


def _fails(records: pa.StringArray, types: Mapping[str, pa.DataType]) -> bool:
    try:
        _parsed(records, types)
    except pa.ArrowInvalid:
        return True
    return False


def cut_out(records: pa.StringArray, keys: Sequence[str], texts: Collection[str] = ()) -> dict[str, AnyArray]:
    """The values of these keys as the file writes them; for the keys in `texts` a string comes without its quotes.

    Raises:
        msgspec.DecodeError: a record is not valid JSON.
    """
    decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
    try:
        found = [decoder.decode(str(record.as_py())) for record in records]
    except RecursionError as error:
        raise msgspec.DecodeError("a record is nested too deeply") from error
    return {key: pa.array([_cut(record.get(key), plain=key in texts) for record in found], pa.string()) for key in keys}


def _cut(raw: msgspec.Raw | None, *, plain: bool) -> str | None:
    text = "null" if raw is None else bytes(raw).decode()
    if text == "null":
        return None
    return str(msgspec.json.decode(text)) if plain and text.startswith('"') else text
