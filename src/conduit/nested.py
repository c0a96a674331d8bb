"""Lists, structs and maps as JSON text, for columns of databases that hold neither.

Decimals, dates, times and uuids become JSON strings, so that no digit is lost; a map becomes a list of pairs. This is
the one place where values become Python objects: one batch of one column at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from conduit.arrow import AnyArray, pa, pc


def json_text(array: AnyArray) -> AnyArray:
    """The values as JSON text.

    Raises:
        pa.ArrowInvalid: JSON has no form for a value: NaN, infinity, bytes.
    """
    for leaf in _leaves(array):
        if pa.types.is_floating(leaf.type) and pc.all(pc.is_finite(leaf)).as_py() is False:
            raise pa.ArrowInvalid("NaN and infinity have no form in JSON")
        if pa.types.is_binary(leaf.type) or pa.types.is_large_binary(leaf.type):
            raise pa.ArrowInvalid("bytes have no form in JSON")
    encode = msgspec.json.encode
    texts = [None if value is None else encode(value).decode() for value in array.to_pylist()]
    return pa.array(texts, pa.string())


def _leaves(array: AnyArray) -> Iterator[AnyArray]:
    """The arrays without children below a nested array."""
    if isinstance(array, pa.StructArray):
        for child in array.flatten():
            yield from _leaves(child)
    elif isinstance(array, pa.MapArray):
        yield from _leaves(array.keys)
        yield from _leaves(array.items)
    elif pa.types.is_nested(array.type):
        yield from _leaves(pc.list_flatten(array))
    else:
        yield array
