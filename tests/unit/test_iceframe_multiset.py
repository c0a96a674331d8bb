"""Rows of two tables set against each other, with every kind of value, against plain lists."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pyarrow as pa
import pytest

from iceframe.multiset import paired, surplus

NAN = float("nan")
NUMBERS = [None, 0.0, -0.0, NAN, 1.5]
PLACE = pa.struct([("x", pa.float32()), ("parts", pa.large_list(pa.struct([("y", pa.float64())])))])
KINDS: dict[str, tuple[pa.DataType, list[object]]] = {
    "number": (pa.float64(), [*NUMBERS]),
    "whole": (pa.int64(), [None, 1, 2]),
    "text": (pa.large_string(), [None, "", "a"]),
    "raw": (pa.large_binary(), [None, b"", b"\0"]),
    "fixed": (pa.binary(2), [None, b"ab", b"\0\0"]),
    "list": (pa.large_list(pa.float64()), [None, [], [None], *([one, 1.0] for one in NUMBERS)]),
    "place": (
        PLACE,
        [None, {"x": 0.0, "parts": None}, {"x": -0.0, "parts": []}, *({"parts": [{"y": one}]} for one in NUMBERS)],
    ),
    "map": (pa.map_(pa.large_string(), pa.float64()), [None, [], *([("k", one)] for one in NUMBERS)]),
    "maps": (
        pa.large_list(pa.map_(pa.large_string(), pa.float64())),
        [None, [], [None], [[]], *([[("k", one)]] for one in NUMBERS)],
    ),
}


def table(chance: random.Random, names: list[str]) -> pa.Table:
    """Random rows in several chunks, which are cut out of longer ones."""
    size = chance.randint(0, 25)
    arrays = [pa.array(chance.choices(KINDS[name][1], k=size), KINDS[name][0]) for name in names]
    rows = pa.table(arrays, names=names)
    first, second = sorted(chance.choices(range(size + 1), k=2))
    return pa.concat_tables([rows.slice(0, first), rows.slice(second), rows.slice(first, second - first)])


def counted(rows: pa.Table) -> Counter[str]:
    return Counter(shown(rows))


def shown(rows: pa.Table) -> list[str]:
    columns: Iterable[list[object]] = (rows[name].to_pylist() for name in rows.column_names)
    return [repr(row) for row in zip(*columns, strict=True)]


@pytest.mark.parametrize("seed", range(60))
def test_differences_and_pairs_are_those_of_plain_lists(seed: int) -> None:
    chance = random.Random(seed)
    names = chance.sample(list(KINDS), chance.randint(1, 3))
    old, new = table(chance, names), table(chance, names)
    removed, added = surplus(old, new)

    assert counted(removed) == counted(old) - counted(new)
    assert counted(added) == counted(new) - counted(old)

    found = paired(removed, added, names[:1])
    keys = [Counter(shown(side.select(names[:1]))) for side in (removed, added)]
    assert counted(found.removed) + counted(found.before) == counted(removed)
    assert counted(found.added) + counted(found.after) == counted(added)
    assert shown(found.before.select(names[:1])) == shown(found.after.select(names[:1]))
    assert found.before.num_rows == sum(keys[0][key] == keys[1][key] == 1 for key in keys[0])
