"""Text -> values. A type is inferred only when every value is written as that type prints it; nothing is rounded.

What is declared is parsed strictly: a value that would lose digits, an offset or its meaning does not fit.
This module knows values, not files: the place of a misfit is its row in the array.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from conduit.arrow import AnyArray, pa, pc
from conduit.connectors.files import duck
from conduit.schemas import is_text

_YEAR = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"  # there is no year 0000
_DAY = rf"{_YEAR}-[0-9]{{2}}-[0-9]{{2}}"
_CLOCK = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?"
_ZONE = r"(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)"
_WHOLE = r"-?(?:0|[1-9][0-9]*)"
_HEX = r"(?:[0-9a-fA-F]{2})"
_SECOND_DAY_US = -62_135_510_400_000_000  # before it a year is 0000, or may be for its offset
_FIRST = 64
"""Values that tell most types from the right one."""
_EXACT_DIGITS = 15
"""Decimal digits that every double carries (C's DBL_DIG)."""


_Parse = Callable[["pa.StringArray"], "AnyArray"]


class Misfit(Exception):
    """A value that is not of its column's type.

    Attributes:
        row: its place in the array.
        shown: the value for a message.
        reason: more about it, or empty.
    """

    def __init__(self, row: int, shown: str, reason: str = "") -> None:
        super().__init__(f"row {row}: {shown}")
        self.row = row
        self.shown = shown
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Typed:
    """What a column of text becomes.

    Attributes:
        type: the values' type.
        form: for an inferred type: the pattern that every value must have, so that none is altered; else empty.
    """

    type: pa.DataType
    form: str = ""


# --- inference ------------------------------------------------------------------------------------------


def infer(values: pa.StringArray) -> Typed:
    """The type of a sample: boolean, bigint, double, decimal, date, timestamp, timestamptz, or else text.

    `00501`, `+5`, `1E5`, `N`, `12/31/2024` and all that a type would print in another way stays text.
    """
    known = values.drop_null()
    if not len(known):
        return Typed(pa.string())
    for candidate in _candidates(known):
        try:
            parse_inferred(known.slice(0, _FIRST), candidate)  # Arrow fails slowly, value by value
            parse_inferred(known, candidate)
        except Misfit:
            continue
        return candidate
    return Typed(pa.string())


def _candidates(values: pa.StringArray) -> list[Typed]:
    """The types to try; a decimal takes its scale from the first value, and all others must have the same."""
    found = [
        Typed(pa.bool_(), "true|false"),
        Typed(pa.int64(), "0|-?[1-9][0-9]{0,18}"),
        Typed(
            pa.float64(),
            rf"{_WHOLE}(?:\.(?:[0-9]*[1-9]|0))?|-?[1-9](?:\.[0-9]*[1-9])?e[+-](?:[0-9]{{2}}|[12][0-9]{{2}})",
        ),
    ]
    scale = len(str(values[0].as_py()).partition(".")[2])
    if 0 < scale < 38:
        found.append(Typed(pa.decimal128(38, scale), rf"{_WHOLE}\.[0-9]{{{scale}}}"))
    return [
        *found,
        Typed(pa.date32(), _DAY),
        Typed(pa.timestamp("us"), f"{_DAY}[T ]{_CLOCK}"),
        Typed(pa.timestamp("us", "UTC"), f"{_DAY}[T ]{_CLOCK}{_ZONE}"),
    ]


def parse_inferred(values: pa.StringArray, typed: Typed) -> AnyArray:
    """The values in their inferred type.

    Raises:
        Misfit: the type would print a value in another way.
    """
    quick = _parsed_quickly(values, typed.type)
    if quick is not None:
        return quick
    _require_form(values, typed.form)
    parsed = _parsed(values, typed.type, lambda array: array.cast(typed.type))
    if pa.types.is_floating(typed.type):
        _require_exact_doubles(values, parsed)
    if pa.types.is_decimal(typed.type) and pc.any(pc.equal(parsed, pa.scalar(0).cast(typed.type))).as_py():
        _refuse(values, pc.match_substring_regex(values, r"^-[0.]*$"))  # -0.00 would lose its sign
    return parsed


def _parsed_quickly(values: pa.StringArray, type_: pa.DataType) -> AnyArray | None:
    """The values where a look at a few characters, after Arrow has parsed them, proves their form.

    None: this does not tell; the pattern does.
    """
    kinds = (
        (pa.types.is_boolean, _quick_booleans),
        (pa.types.is_integer, _quick_integers),
        (pa.types.is_timestamp, _quick_times),
    )
    try:
        return next((quick(values, type_) for is_kind, quick in kinds if is_kind(type_)), None)
    except pa.ArrowInvalid:
        return None


def _quick_booleans(values: pa.StringArray, type_: pa.DataType) -> AnyArray | None:
    del type_
    true = pc.equal(values, pa.scalar("true"))
    return true if pc.all(pc.or_(true, pc.equal(values, pa.scalar("false")))).as_py() else None


def _quick_integers(values: pa.StringArray, type_: pa.DataType) -> AnyArray | None:
    """Arrow takes digits with a minus, which are as they would be printed unless they begin with a zero."""
    parsed = values.cast(type_)
    zero = pc.starts_with(values, pattern="0")
    longer = pc.greater(pc.binary_length(values), pa.scalar(1, pa.int32()))
    odd = pc.or_(pc.and_(zero, longer), pc.starts_with(values, pattern="-0"))
    return None if pc.any(odd).as_py() else parsed


def _quick_times(values: pa.StringArray, type_: pa.DataType) -> AnyArray | None:
    """Arrow takes ISO-8601 with up to six digits after the second; here minutes and seconds are there for sure."""
    parsed = values.cast(type_)
    colons = pc.binary_slice(values.cast(pa.binary()), start=13, stop=17, step=3)
    whole = pc.all(pc.equal(colons, pa.scalar(b"::"))).as_py()
    first = pc.min(parsed.cast(pa.int64()))
    early = first.is_valid and first.as_py() <= _SECOND_DAY_US
    return parsed if whole and not early else None


def _require_exact_doubles(values: pa.StringArray, parsed: AnyArray) -> None:
    """A double holds every value with up to 15 digits; one with more must be what the double itself prints."""
    long = pc.greater(pc.utf8_length(values), pa.scalar(_EXACT_DIGITS))
    if not pc.any(long).as_py():
        return
    other = pc.not_equal(values, cast("pa.StringArray", parsed.cast(pa.string())))
    digits = pc.replace_substring_regex(values, r"^-?(?:0\.0*)?|\.|e.*$", "")
    _refuse(values, pc.and_(other, pc.greater(pc.utf8_length(digits), pa.scalar(_EXACT_DIGITS))))


# --- declared types -------------------------------------------------------------------------------------


def parse_declared(values: pa.StringArray, type_: pa.DataType, connection: duck.Connection) -> AnyArray:
    """The values in the type that the user declared.

    Raises:
        Misfit: a value is not of the type, or would lose something.
    """
    if is_text(type_):
        return values
    if isinstance(type_, pa.JsonType):
        _refuse(values, pc.invert(duck.computed(connection, "json_valid(v)", values)))
        return pa.json_().wrap_array(values)
    trimmed = pc.utf8_trim_whitespace(values)
    if isinstance(type_, pa.UuidType):
        _require_form(trimmed, rf"{_HEX}{{4}}-?{_HEX}{{2}}-?{_HEX}{{2}}-?{_HEX}{{2}}-?{_HEX}{{6}}")
        return type_.wrap_array(_unhex(connection, "replace(v, '-', '')", trimmed).cast(pa.binary(16)))
    if pa.types.is_binary(type_):
        _require_form(trimmed, rf"(?:\\x)?{_HEX}*")
        return _unhex(connection, r"ltrim(v, '\x')", trimmed)
    return _parsed_plain(trimmed, type_)


def _parsed_plain(values: pa.StringArray, type_: pa.DataType) -> AnyArray:
    if pa.types.is_integer(type_):
        _require_form(values, "[+-]?[0-9]+")
        return _parsed(values, type_, lambda array: pc.replace_substring_regex(array, r"^\+", "").cast(type_))
    if pa.types.is_time(type_):
        return _parsed(values, type_, lambda array: _on_first_day(array).cast(pa.timestamp("us")).cast(type_))
    parsed = _parsed(values, type_, lambda array: array.cast(type_))
    if pa.types.is_floating(type_):
        written_so = pc.match_substring_regex(values, "(?i)inf")
        _refuse(values, pc.and_(pc.is_inf(parsed), pc.invert(written_so)), f"it is too large for {type_}")
    return parsed


def _on_first_day(values: pa.StringArray) -> pa.StringArray:
    return pc.replace_substring_regex(values, "^", "1970-01-01T")


def _unhex(connection: duck.Connection, expression: str, values: AnyArray) -> AnyArray:
    return duck.computed(connection, f"unhex({expression})", values).cast(pa.binary())


# --- misfits --------------------------------------------------------------------------------------------


def _parsed(values: pa.StringArray, type_: pa.DataType, parse: _Parse) -> AnyArray:
    try:
        return parse(values)
    except pa.ArrowInvalid:
        row = first_misfit(len(values), lambda start, rows: _fails(parse, values.slice(start, rows)))
        raise Misfit(row, shown(values[row].as_py()), f"it is not a value of type {type_}") from None


def first_misfit(length: int, fails: Callable[[int, int], bool]) -> int:
    """The first of `length` items that fails, found by halving; `fails` takes a start and a number of items."""
    low, high = 0, length
    while high - low > 1:
        middle = (low + high) // 2
        if fails(low, middle - low):
            high = middle
        else:
            low = middle
    return low


def _fails(parse: _Parse, values: pa.StringArray) -> bool:
    try:
        parse(values)
    except pa.ArrowInvalid:
        return True
    return False


def _require_form(values: pa.StringArray, form: str) -> None:
    _refuse(values, pc.invert(pc.match_substring_regex(values, f"^(?:{form})$")))


def _refuse(values: AnyArray, wrong: Any, reason: str = "") -> None:
    row = int(pc.index(wrong, pa.scalar(True)).as_py())
    if row >= 0:
        raise Misfit(row, shown(values[row].as_py()), reason)


def shown(value: object) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


# --- names ----------------------------------------------------------------------------------------------

_NAMES = {"bool": "boolean", "int64": "bigint", "int32": "integer", "string": "text", "date32[day]": "date"}


def type_name(type_: pa.DataType) -> str:
    """The name of a type as `columns:` in ingest.yml writes it."""
    text = str(type_)
    if isinstance(type_, pa.TimestampType):
        return "timestamptz" if type_.tz else "timestamp"
    if pa.types.is_decimal(type_):
        return re.sub(r"decimal\d+", "decimal", text).replace(" ", "")
    if isinstance(type_, pa.JsonType):
        return "json"
    return _NAMES.get(text, text)
