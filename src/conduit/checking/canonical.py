"""One form for every value, and a checksum of rows that does not depend on the system that they come from.

Both sides are cast to the types of the destination's columns first. Equal here means: the same number (-0.0 is 0.0,
1.50 is 1.5, one NaN), the same moment, the same bytes, the same text; NULL equals NULL and nothing else. Only Arrow and
Polars columns pass; no row becomes a Python object.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from conduit.arrow import AnyArray, pa, pc
from conduit.late import late
from conduit.nested import json_text
from conduit.schemas import is_text, native

if TYPE_CHECKING:
    import polars as pl

    from conduit.arrow import AnyField
else:
    pl = late("polars")

_SEEDS = 11, 23
"""Two hashes of 64 bits, added up apart: 128 bits of checksum."""


def checksums(batch: pa.RecordBatch, columns: Sequence[str]) -> list[pl.Series]:
    """Two hashes a row over these columns."""
    arrays = [canonical(batch.column(name), batch.schema.field(name)) for name in columns]
    frame = pl.DataFrame([pl.Series(str(place), array) for place, array in enumerate(arrays)])
    return [frame.hash_rows(seed=seed) for seed in _SEEDS]


def canonical(array: AnyArray, field: AnyField) -> AnyArray:
    """The values in one of a few forms, in which equal values are equal bits."""
    plain = array.dictionary_decode() if isinstance(array, pa.DictionaryArray) else array
    plain = plain.storage if isinstance(plain, pa.ExtensionArray) else plain
    type_ = plain.type
    if pa.types.is_floating(type_):
        return _float_bits(plain.cast(pa.float64()))
    if pa.types.is_decimal(type_):
        return _without_zeros(plain.cast(pa.string()))
    if is_text(type_):
        return _without_zeros(plain) if native(field, "postgresql") == "numeric" else plain.cast(pa.string())
    if pa.types.is_nested(type_):
        return json_text(plain)
    if pa.types.is_temporal(type_) and not pa.types.is_interval(type_):
        return _count(plain)
    if pa.types.is_fixed_size_binary(type_) or pa.types.is_large_binary(type_):
        return plain.cast(pa.binary())
    return plain.cast(pa.string()) if pa.types.is_interval(type_) else plain


def ordinal(array: AnyArray) -> AnyArray | None:
    """Integers, dates and times as the 64-bit number that orders them; None: the type has no such number."""
    plain = array.storage if isinstance(array, pa.ExtensionArray) else array
    if pa.types.is_date(plain.type) or pa.types.is_timestamp(plain.type):
        return _count(plain)
    if pa.types.is_integer(plain.type) and not pa.types.is_uint64(plain.type):
        return plain.cast(pa.int64())
    return None


def texts(batch: pa.RecordBatch, names: Sequence[str]) -> pl.Series:
    """`id = 3, day = 2026-01-01`: what a person knows a row by."""
    columns = [pl.Series(name, as_text(batch.column(name))).fill_null("NULL") for name in names]
    told = [pl.format("{} = {}", pl.lit(name), pl.col(name)) for name in names]
    return pl.DataFrame(columns).select(pl.concat_str(told, separator=", ").alias("shown"))["shown"]


def as_text(array: AnyArray) -> AnyArray:
    """The values for people."""
    if isinstance(array.type, pa.UuidType):
        return pa.array([None if value is None else str(value) for value in array.to_pylist()], pa.string())
    plain = array.storage if isinstance(array, pa.ExtensionArray) else array
    if pa.types.is_nested(plain.type):
        return json_text(plain)
    if pa.types.is_binary(plain.type) or pa.types.is_large_binary(plain.type):
        return pa.array([None if value is None else value.hex() for value in plain.to_pylist()], pa.string())
    return plain.cast(pa.string())


def _count(array: AnyArray) -> AnyArray:
    """Times as the number of their units since 1970, or since midnight."""
    narrow = pa.types.is_date32(array.type) or pa.types.is_time32(array.type)
    return array.cast(pa.int32() if narrow else pa.int64()).cast(pa.int64())


def _float_bits(array: AnyArray) -> AnyArray:
    numbers = pc.if_else(pc.is_nan(array), pa.scalar(float("nan")), pc.add(array, 0.0))
    bits: AnyArray = numbers.view(pa.int64())
    return bits


def _without_zeros(texts: AnyArray) -> AnyArray:
    shorter = pc.replace_substring_regex(texts, r"^([^.eE]*\.\d*?)0+$", r"\1")
    return pc.replace_substring_regex(shorter, r"\.$", "")
