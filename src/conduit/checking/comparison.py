"""The two sides of a resource, compared: all rows by ranges, then the rows of the ranges that differ one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from conduit.arrow import pa
from conduit.checking import pushdown
from conduit.checking.canonical import as_text, checksums, ordinal, texts
from conduit.checking.differing import Differing, Heap
from conduit.checking.ranges import RANGES, Counted, Ranges, Sums
from conduit.checking.scope import Scope, require_same_mark
from conduit.contract import Read
from conduit.late import late
from conduit.positions import Position, cursor, from_epoch

if TYPE_CHECKING:
    import polars as pl
else:
    pl = late("polars")

FEW = 1_000_000
"""Rows of differing ranges that are looked at one by one; more are divided into narrower ranges first."""

_SHOWN = 3
"""Columns that stand for a row which has neither a key nor a cursor."""

SIDES: tuple[Heap, Heap] = ("source", "target")
"""In the order in which they are read."""

_YEAR_1 = 62_000_000_000_000_000
"""Microseconds around 1970 that the calendar of positions has."""


def by_ranges(scope: Scope, *, sample: float | None = None, seed: int = 0) -> Counted:
    """Compare the sums of both sides, in the databases or by reading each once; then again what differs.

    Raises:
        Busy: a run loaded rows meanwhile.
    """
    found = pushdown.by_ranges(scope, sample=sample, seed=seed)
    if isinstance(found, str):
        found = replace(_by_reading(scope, sample=sample, seed=seed), why_not=found)
    require_same_mark(scope)
    return found


def _by_reading(scope: Scope, *, sample: float | None, seed: int) -> Counted:
    source, target = _sums(scope, scope.source_rows()), _sums(scope, scope.target_rows())
    require_same_mark(scope)
    both = source.against(target)
    chosen = both if sample is None else both.sample(sample, seed)
    found = chosen.differing()
    narrower: Ranges | None = found
    while narrower is not None and found.rows > FEW:
        narrower = _narrowed(scope, found)
        found = narrower or found
    return Counted(source.rows, target.rows, len(both), len(chosen), found)


def _narrowed(scope: Scope, wide: Ranges) -> Ranges | None:
    """Narrower ranges inside those that differ; None: they cannot be divided, or it would not help."""
    if not wide.divisible:
        return None
    read = narrowed(scope, wide)
    sides = _sums(scope, scope.source_rows(read), wide), _sums(scope, scope.target_rows(), wide)
    found = sides[0].against(sides[1]).differing()
    return found if 0 < found.rows <= wide.rows // 2 else None


def _sums(scope: Scope, batches: Iterator[pa.RecordBatch], within: Ranges | None = None) -> Sums:
    sums = Sums()
    for batch in batches:
        rows = frame(scope, batch)
        sums.add(rows if within is None else rows.filter(within.hold(rows)))
    return sums


def by_rows(scope: Scope, counted: Counted, heaps: Differing) -> None:
    """Fill the heaps with the rows of the ranges that differ, and decide what each difference is.

    Raises:
        Busy: a run loaded rows meanwhile.
    """
    ranges = counted.differing
    if counted.pushed_down:
        for heap, batches in zip(SIDES, pushdown.rows(scope, ranges), strict=True):
            _add(scope, heaps, heap, batches, ranges)
    else:
        _add(scope, heaps, "source", scope.source_rows(narrowed(scope, ranges)), ranges)
        _add(scope, heaps, "target", scope.target_rows(), ranges)
    require_same_mark(scope)
    if heaps.compare() and scope.next_read is not None:
        suspects = heaps.suspects()
        for batch in scope.source_rows(scope.next_read):
            rows = frame(scope, batch)
            heaps.add("next_run", described(scope, batch, rows, rows["k"].is_in(suspects.implode())))
    heaps.settle(by_key=bool(scope.key), merges=scope.job.resource.mode == "merge")


def _add(scope: Scope, heaps: Differing, heap: Heap, batches: Iterator[pa.RecordBatch], ranges: Ranges) -> None:
    for batch in batches:
        rows = frame(scope, batch)
        heaps.add(heap, described(scope, batch, rows, ranges.hold(rows)))


def frame(scope: Scope, batch: pa.RecordBatch) -> pl.DataFrame:
    """Of each row its checksums `a` and `b`, its identity `k`, its `place` among the ranges."""
    a, b = checksums(batch, batch.schema.names)
    k = checksums(batch, scope.identity)[0] if scope.identity else a
    columns = {"a": a, "b": b, "k": k}
    found = pl.DataFrame([series.alias(name) for name, series in columns.items()])
    place = ordinal(batch.column(scope.cursor)) if scope.cursor else None
    if place is not None:
        return found.with_columns(pl.Series("place", place))
    return found.with_columns((pl.col("k") % RANGES).cast(pl.Int64).alias("place"))


def described(scope: Scope, batch: pa.RecordBatch, rows: pl.DataFrame, chosen: pl.Series) -> pl.DataFrame:
    """Some of the rows, with what a person knows them by."""
    if not chosen.any():
        return rows.clear().with_columns(pl.lit("").alias("shown"), pl.lit("").alias("point"))
    few = batch.filter(chosen.to_arrow().cast(pa.bool_()))
    names = scope.identity or tuple(batch.schema.names[:_SHOWN])
    at = few.column(scope.cursor) if scope.cursor else pa.nulls(few.num_rows, pa.string())
    return rows.filter(chosen).with_columns(texts(few, names).alias("shown"), pl.Series("point", as_text(at)))


def narrowed(scope: Scope, ranges: Ranges) -> Read:
    """The source's read, with the ends of these ranges where its cursor can be counted."""
    ends = ranges.ends()
    if ends is None or scope.cursor is None:
        return scope.read
    low, high = _counted(scope, ends[0] - 1), _counted(scope, ends[1])
    if low is None or high is None:
        return scope.read
    return replace(scope.read, since=low, through=high.value)


def _counted(scope: Scope, place: int) -> Position | None:
    """The position that a place stands for; None: the source counts otherwise."""
    type_ = scope.schema.field(scope.cursor or "").type
    if scope.cursor_type == "int" and pa.types.is_integer(type_):
        return cursor(str(place), "int") if place >= -(2**63) else None
    if not isinstance(type_, pa.TimestampType) or (type_.unit, scope.cursor_unit) != ("us", "us"):
        return None
    if scope.cursor_type in ("timestamp", "timestamptz") and abs(place) < _YEAR_1:
        return from_epoch(place, type_.unit, aware=scope.cursor_type == "timestamptz")
    return None
