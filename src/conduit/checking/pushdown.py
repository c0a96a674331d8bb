"""Two sides that add up their own rows: sums come over the wire instead of rows, down to the ranges that differ.

What a database writes for a value is equal for equal values and only for them, so ranges with the same sums hold the
same rows. A range whose sums differ is always read as rows afterwards: those decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from conduit.arrow import pa
from conduit.checking import ranges
from conduit.checking.ranges import Counted, Ranges, drawn, grid, side_by_side
from conduit.checking.scope import Scope, busy
from conduit.schemas import conform
from conduit.sums import ORDINAL, Interval, RangeSum, Summing, Wanted, form_of

FEW = 100_000
"""Rows that are read sooner than their ranges are divided once more."""

_FINER = 4
"""How many times the ranges of a first pass a later one may have."""


def by_ranges(scope: Scope, *, sample: float | None, seed: int) -> Counted | str:
    """Let both sides add up their rows; then again what differs, in narrower ranges. Each side in one snapshot.

    Returns:
        Why the rows have to be read instead; empty where a system simply cannot add up.
    """
    if sample is not None and not has_places(scope):
        return ""
    with scope.summing() as sides:
        if isinstance(sides, str):
            return sides
        extent, by = _extent(sides), _hash(sides)
        shift = grid(extent, ranges.RANGES)
        wanted, compared, total = Wanted(hash=by, shift=shift), 0, 0
        if sample is not None:
            choice = drawn(extent, sample, seed)
            shift, compared, total = choice.shift, choice.count, choice.total
            wanted = Wanted(hash=by, shift=shift, within=choice.within, nulls=choice.nulls)
        sums = _sums(sides, wanted)
        if any(one.odd for side in sums for one in side):
            return "an infinite time, a year outside of 1 to 9999 or no number stands in a row, so all rows were read"
        both = side_by_side(sums, shift)
        found = both.differing()
        if len(found) and not has_places(scope):
            return "without a cursor that has distances the rows that differ are not found by sums, so all were read"
        return Counted(
            source_rows=sum(one.rows for one in sums[0]),
            target_rows=sum(one.rows for one in sums[1]),
            ranges=total or len(both),
            compared=compared or len(both),
            differing=_narrowed(sides, found),
            pushed_down=True,
        )


def rows(scope: Scope, differing: Ranges) -> Iterator[Iterator[pa.RecordBatch]]:
    """The rows of the ranges that differ: those of the source, then those of the destination.

    Raises:
        Busy: the columns are not what they were.
    """
    with scope.summing() as sides:
        if isinstance(sides, str):
            raise busy(scope, "its columns were changed in the meantime")
        wanted = _inside(differing, sides)
        for side in sides:
            yield (conform(batch, scope.schema) for batch in side.rows(wanted))


def has_places(scope: Scope) -> bool:
    """Whether ranges are intervals of the cursor."""
    if scope.cursor is None:
        return False
    field = scope.schema.field(scope.cursor)
    return form_of(field) in ORDINAL and not pa.types.is_uint64(field.type)


def _extent(sides: Sequence[Summing]) -> Interval | None:
    found = [one for one in (side.extent() for side in sides) if one is not None]
    return Interval(min(one.low for one in found), max(one.high for one in found)) if found else None


def _sums(sides: Sequence[Summing], wanted: Wanted) -> list[Sequence[RangeSum]]:
    """What both sides add up, at the same time."""
    with ThreadPoolExecutor(len(sides)) as pool:
        return list(pool.map(lambda side: side.sums(wanted), sides))


def _hash(sides: Sequence[Summing]) -> str:
    """The cheapest hash that all sides know."""
    return next(one for one in sides[0].hashes if all(one in side.hashes for side in sides))


def _inside(found: Ranges, sides: Sequence[Summing]) -> Wanted:
    """The rows of these ranges."""
    return Wanted(hash=_hash(sides), within=found.intervals(), cells=found.cells, nulls=found.nulls)


def _narrowed(sides: Sequence[Summing], wide: Ranges) -> Ranges:
    """The same differences in narrower ranges, until few rows are left or no range can be divided."""
    found = wide
    while found.rows > FEW and found.divisible:
        shift = found.narrower(_FINER * ranges.RANGES)
        if shift == found.shift:
            return found
        wanted = replace(_inside(found, sides), shift=shift)
        sums = _sums(sides, wanted)
        found = side_by_side(sums, shift).differing()
    return found
