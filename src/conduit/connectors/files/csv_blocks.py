"""Reads CSV whose form is beyond doubt, a block of whole records at a time; everything else is left to DuckDB.

Arrow cuts fields with half the work of DuckDB, but it takes what is no CSV: text after a closing quote, a quote within
a field, lines with different ends. So a block is looked at first, and given to Arrow only where both agree about every
field. At the first doubt `batches` gives up, and its caller reads on with DuckDB, which knows what is wrong and where.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from conduit.arrow import AnyArray, csv, pa, pc
from conduit.connectors.files import csv_lines
from conduit.connectors.files.config import CsvSourceConnection
from conduit.connectors.files.reader import codec_of

BLOCK_BYTES = 2 << 20
"""Bytes that are looked at together. A longer record gets a larger block."""

_BOM = b"\xef\xbb\xbf"
_STEPS_BACK = 50


class Doubt(Exception):
    """The file, or the rest of it, is not as plain as this module needs it."""


@dataclass(slots=True)
class _Form:
    """How the file is written: what must be the same in all of its blocks.

    Attributes:
        delimiter: between two fields.
        quote: around a field.
        escape: before a quote within a field, where that is no other quote; else empty.
        line_end: of the lines so far; empty: none has come.
    """

    delimiter: bytes
    quote: bytes
    escape: bytes
    line_end: bytes = b""


def batches(
    path: Path,
    dialect: CsvSourceConnection,
    header: Sequence[str],
    only: Sequence[str] | None,
    declared: Mapping[str, pa.DataType],
) -> Iterator[pa.RecordBatch]:
    """The fields of a file, the columns of `only` or all: as text, or in their declared types where all is well.

    A column that comes as text has still to be parsed, and what does not fit is found there.

    Raises:
        Doubt: what follows the rows so far has to be read by DuckDB.
        OSError, pa.ArrowException: the file cannot be read.
    """
    marks = {dialect.delimiter, dialect.quote, dialect.escape}
    packed = codec_of(path, dialect.compression) is not None  # Arrow unpacks zlib where gzip was said
    if packed or dialect.encoding != "utf-8" or marks.intersection(dialect.null_text or ""):
        raise Doubt
    doubled = dialect.escape == dialect.quote
    form = _Form(dialect.delimiter.encode(), dialect.quote.encode(), b"" if doubled else dialect.escape.encode())
    cutter = _Cutter(form, dialect, header, only, declared)
    names = dialect.header
    for block in _blocks(path, form):
        quoted = _look(block, form, one_column=len(header) == 1)
        records = _without_names(block, dialect, header) if names else block
        names = False
        if records.startswith(_BOM):  # here it is text, and Arrow would leave it out
            raise Doubt
        if records and not records.endswith(b"\n"):  # an empty field at the very end would pass for a quoted one
            records += form.line_end or b"\n"
        if records:
            yield from cutter.cut(records, quoted=quoted)


# --- blocks ---------------------------------------------------------------------------------------------


def _blocks(path: Path, form: _Form) -> Iterator[bytes]:
    """The content of the file in pieces that end where a record ends."""
    rest, start = b"", True
    with path.open("rb") as stream:
        while read := stream.read(BLOCK_BYTES):
            block = b"".join((rest, read, stream.readline(csv_lines.MAX_LINE)))
            if start:
                block, start = block.removeprefix(_BOM), False
            if len(block) > csv_lines.MAX_LINE:
                raise Doubt
            end = _end_of_records(block, form.quote)
            if end:
                yield block[:end]
            rest = block[end:]
    if rest:
        yield rest


def _end_of_records(block: bytes, quote: bytes) -> int:
    """Where the last whole record of the block ends: after a line end that no quotes surround; 0: there is none."""
    end = block.rfind(b"\n") + 1
    for _ in range(_STEPS_BACK):
        if not end or quote not in block or block.count(quote, 0, end) % 2 == 0:
            return end
        end = block.rfind(b"\n", 0, block.rfind(quote, 0, end)) + 1
    raise Doubt


def _without_names(block: bytes, dialect: CsvSourceConnection, header: Sequence[str]) -> bytes:
    """The first block of a file without the line that has the names."""
    line, _, records = block.partition(b"\n")
    if csv_lines.fields(line.decode(errors="replace"), dialect) != header:
        raise Doubt
    return records


# --- fields ---------------------------------------------------------------------------------------------


class _Cutter:
    """Cuts blocks into fields, which become values of their declared types on the way."""

    def __init__(
        self,
        form: _Form,
        dialect: CsvSourceConnection,
        header: Sequence[str],
        only: Sequence[str] | None,
        declared: Mapping[str, pa.DataType],
    ) -> None:
        self._form = form
        self._header = list(header)
        texts = dict.fromkeys(header, pa.string())
        typed = {name: declared[name] for name in header if name in declared and _as_declared(declared[name])}
        others = {name: type_ for name, type_ in typed.items() if not pa.types.is_integer(type_)}
        self._typed = _convert(dialect, only, texts | typed)
        self._without_whole = _convert(dialect, only, texts | others)
        self._as_text = _convert(dialect, only, texts)

    def cut(self, records: bytes, *, quoted: bool) -> list[pa.RecordBatch]:
        """The fields of these records.

        Raises:
            Doubt: a record has another number of fields, or the text is not UTF-8.
        """
        hexadecimal = b"x" in records or b"X" in records
        with suppress(pa.ArrowInvalid):  # a value that does not fit: which one, is found in the text
            typed = self._without_whole if hexadecimal else self._typed
            return _checked(self._read(records, typed, quoted=quoted))
        try:
            return self._read(records, self._as_text, quoted=quoted)
        except pa.ArrowInvalid as error:
            raise Doubt from error

    def _read(self, records: bytes, convert: csv.ConvertOptions, *, quoted: bool) -> list[pa.RecordBatch]:
        return csv.read_csv(
            cast("IO[bytes]", pa.BufferReader(records)),
            read_options=csv.ReadOptions(column_names=self._header, block_size=len(records) + 1, use_threads=False),
            parse_options=csv.ParseOptions(
                delimiter=self._form.delimiter.decode(),
                quote_char=self._form.quote.decode() if quoted else False,
                newlines_in_values=quoted,
            ),
            convert_options=convert,
        ).to_batches()


def _convert(
    dialect: CsvSourceConnection, only: Sequence[str] | None, types: Mapping[str, pa.DataType]
) -> csv.ConvertOptions:
    return csv.ConvertOptions(
        column_types=dict(types),
        include_columns=list(only or ()),
        null_values=[dialect.null_text or ""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["true"],
        false_values=["false"],
    )


def _as_declared(type_: pa.DataType) -> bool:
    """Whether what Arrow's CSV reader takes for a value of the type is one, and `text.parse_declared` gives the same.

    It takes less; what it takes too is looked for: `0x1F` for an integer in `_Cutter.cut`, the rest in `_checked`.
    """
    kinds = (pa.types.is_integer, pa.types.is_decimal128, pa.types.is_floating, pa.types.is_boolean, pa.types.is_date32)
    return any(is_kind(type_) for is_kind in kinds) or pa.types.is_timestamp(type_)


def _checked(batches: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The batches, whose decimals have no more digits than their type, and whose doubles are finite.

    Raises:
        pa.ArrowInvalid: a value is not.
    """
    for column in (column for batch in batches for column in batch.columns):
        if pa.types.is_decimal(column.type):
            column.validate(full=True)
        elif pa.types.is_floating(column.type) and pc.any(pc.is_inf(column)).as_py():
            raise pa.ArrowInvalid
    return batches


def _look(records: bytes, form: _Form, *, one_column: bool) -> bool:
    """Whether fields are quoted.

    An empty line is no record; but in a file with one column it may be one.

    Raises:
        Doubt: Arrow and DuckDB might cut these records in different ways.
    """
    if b"\0" in records or (form.escape and (form.escape in records or form.quote in records)):
        raise Doubt
    line_end = _line_end(records)
    if line_end and form.line_end and line_end != form.line_end:
        raise Doubt
    form.line_end = line_end or form.line_end
    if one_column and line_end and (records.startswith(line_end) or line_end * 2 in records):
        raise Doubt
    quoted = form.quote in records
    if quoted and not _well_quoted(records, form):
        raise Doubt
    return quoted


def _line_end(records: bytes) -> bytes:
    """What ends the lines; within quotes there must be no other."""
    feeds = b"\n" in records
    if b"\r" not in records:
        return b"\n" if feeds else b""
    if not records.count(b"\r") == records.count(b"\r\n") == records.count(b"\n"):
        raise Doubt
    return b"\r\n"


def _well_quoted(records: bytes, form: _Form) -> bool:
    """Whether every quote stands at an end of its field, or is one of a pair within a quoted field.

    Between the quotes lie, in turns, what is outside and what is inside of a quoted field. What is outside is empty
    (the two quotes stand for one), or it begins and ends with a delimiter or a line end.
    """
    pieces = pc.split_pattern(_one_value(records), form.quote.decode()).flatten()
    if len(pieces) % 2 == 0:
        return False
    outside = pieces.filter(_every_second(len(pieces)))
    before, behind, delimiter = outside.slice(0, len(outside) - 1), outside.slice(1), form.delimiter.decode()
    opens = [pc.ends_with(before, mark) for mark in (delimiter, "\n")]
    closes = [pc.starts_with(behind, mark) for mark in (delimiter, "\n", "\r")]
    return _all_empty_or(before, opens) and _all_empty_or(behind, closes)


def _one_value(content: bytes) -> AnyArray:
    """An array with one value, which is not copied."""
    ends = pa.array([0, len(content)], pa.int64()).buffers()[1]
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(content)])


def _every_second(count: int) -> AnyArray:
    """True and False in turns."""
    return pa.Array.from_buffers(pa.bool_(), count, [None, pa.py_buffer(b"\x55" * (count // 8 + 1))])


def _all_empty_or(pieces: AnyArray, passed: Sequence[AnyArray]) -> bool:
    """Whether each piece is empty, or passed one of the tests."""
    empty = pc.equal(pc.binary_length(cast("pa.LargeBinaryArray", pieces)), pa.scalar(0))
    return bool(pc.all(functools.reduce(pc.or_, passed, empty)).as_py())
