"""Rows added up by ranges: how many there are, and the sum of their checksums, which does not depend on their order.

Ranges are intervals of the cursor whose width is a power of two: the narrowest that keep their number below a limit. So
both sides arrive at ranges that fit each other without knowing of one another. Where values have no distance (text,
uuid, no cursor at all) a range is a share of the rows by their hash. Equal rows
add up; with XOR two of them would cancel.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from conduit.late import late
from conduit.sums import Cells, Interval, RangeSum

if TYPE_CHECKING:
    import polars as pl
else:
    pl = late("polars")

RANGES = 4096
"""Ranges of one side, at most; memory grows with them and not with rows."""

INTERVALS = 16
"""Intervals that one statement names, at most: without an index each row is compared with all of them."""

_DRAWN = 32
"""Ranges that a sample is to have, so that each can be read by itself."""

_PENDING = 1 << 17
"""Grouped rows that wait before they are added up again."""


class Sums:
    """One side of a comparison, range by range.

    Attributes:
        rows: rows that were added.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._shift = 0
        self._parts: list[pl.DataFrame] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Add rows: `place` says where a row belongs (NULL: a range of its own), `a` and `b` are its checksums."""
        self.rows += rows.height
        grouped = rows.group_by((pl.col("place") // 2**self._shift).alias("range")).agg(
            pl.len().cast(pl.Int64).alias("rows"),
            pl.col("a").sum(),
            pl.col("b").sum(),
            pl.col("place").min().alias("low"),
            pl.col("place").max().alias("high"),
        )
        self._parts.append(grouped)
        if sum(part.height for part in self._parts) > _PENDING:
            self._settle()

    def _settle(self) -> pl.DataFrame:
        whole = pl.concat(self._parts) if self._parts else _nothing()
        found = _added_up(whole)
        while found.height > RANGES:
            self._shift += 1
            found = _added_up(found.with_columns(pl.col("range") // 2))
        self._parts = [found]
        return found

    def against(self, other: Sums) -> Ranges:
        """Both sides, side by side."""
        left, right = self._settle(), other._settle()
        shift = max(self._shift, other._shift)
        left, right = (
            _added_up(side.with_columns(pl.col("range") // 2 ** (shift - own)))
            for side, own in ((left, self._shift), (right, other._shift))
        )
        both = left.join(right, on="range", how="full", nulls_equal=True, coalesce=True, suffix="_right")
        return Ranges(both.sort("range"), shift)


class Ranges:
    """The ranges of two sides; some of them, after `sample`, `differing` or `above`."""

    def __init__(self, frame: pl.DataFrame, shift: int) -> None:
        self._frame = frame
        self._shift = shift

    def __len__(self) -> int:
        return self._frame.height

    def sample(self, fraction: float, seed: int) -> Ranges:
        """A choice of the ranges, the same for the same seed; never none."""
        count = max(1, round(len(self) * fraction)) if len(self) else 0
        chosen = sorted(random.Random(seed).sample(range(len(self)), count))  # noqa: S311 - a choice, no secret
        return Ranges(self._frame[chosen], self._shift)

    def differing(self) -> Ranges:
        """Those whose counts or checksums are not the same."""
        same = [pl.col(name).eq_missing(pl.col(f"{name}_right")) for name in ("rows", "a", "b")]
        return Ranges(self._frame.filter(~pl.all_horizontal(same)), self._shift)

    @property
    def shift(self) -> int:
        """Each holds 2**shift places."""
        return self._shift

    @property
    def divisible(self) -> bool:
        """Narrower ranges are possible."""
        return self._shift > 0

    @property
    def rows(self) -> int:
        """Rows of the larger side, range by range."""
        return int(self._frame.select(pl.max_horizontal("rows", "rows_right").sum()).item() or 0)

    def hold(self, rows: pl.DataFrame) -> pl.Series:
        """Which rows lie in one of the ranges."""
        place = (pl.col("place") // 2**self._shift).is_in(self._frame["range"].to_list(), nulls_equal=True)
        return rows.select(place.alias("held"))["held"]

    @property
    def nulls(self) -> bool:
        """The rows without a cursor are among them."""
        return self._frame["range"].null_count() > 0

    def intervals(self) -> tuple[Interval, ...]:
        """From the lowest to the highest place in each of them; a few, so neighbours may be joined."""
        ends = self._frame.filter(pl.col("range").is_not_null()).select(
            pl.min_horizontal("low", "low_right").alias("low"), pl.max_horizontal("high", "high_right").alias("high")
        )
        found = [Interval(low, high) for low, high in ends.sort("low").iter_rows()]
        if len(found) <= INTERVALS:
            return tuple(found)
        gaps = sorted(range(1, len(found)), key=lambda place: found[place].low - found[place - 1].high)
        parted = [0, *sorted(gaps[-(INTERVALS - 1) :]), len(found)]
        return tuple(Interval(found[a].low, found[b - 1].high) for a, b in itertools.pairwise(parted))

    def narrower(self, cells: int) -> int:
        """A shift that divides them into no more than so many ranges, as far as that is possible."""
        wide = self._frame.select(
            (pl.max_horizontal("high", "high_right") - pl.min_horizontal("low", "low_right")).alias("width")
        )["width"].drop_nulls()
        fits = (shift for shift in range(self._shift) if sum(width >> shift for width in wide) + len(wide) <= cells)
        return next(fits, self._shift)

    @property
    def cells(self) -> Cells:
        """Which they are."""
        return Cells(self._shift, tuple(self._frame["range"].drop_nulls()))

    def ends(self) -> tuple[int, int] | None:
        """The lowest and the highest place in any of them; None: they hold none."""
        lows = [self._frame["low"].min(), self._frame["low_right"].min()]
        highs = [self._frame["high"].max(), self._frame["high_right"].max()]
        low = [int(value) for value in lows if value is not None]  # type: ignore[arg-type]  # the columns are integers
        high = [int(value) for value in highs if value is not None]  # type: ignore[arg-type]
        return (min(low), max(high)) if low and high else None


class Counted(msgspec.Struct, frozen=True):
    """What the first pass found.

    Attributes:
        source_rows: rows of the source; with a sample that was drawn before they were read, those of the sample.
        target_rows: the same of the destination.
        ranges: all ranges.
        compared: those that were looked at.
        differing: those that differ.
        pushed_down: both sides added up their rows themselves.
        why_not: why they did not, if that is to be told.
    """

    source_rows: int
    target_rows: int
    ranges: int
    compared: int
    differing: Ranges
    pushed_down: bool = False
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample: the width of its ranges, where they are, whether the rows without a cursor are among them.

    Attributes:
        shift: a range holds 2**shift places.
        within: the ranges.
        nulls: rows without a cursor were drawn.
        count: how many ranges were drawn.
        total: of how many.
    """

    shift: int
    within: tuple[Interval, ...]
    nulls: bool
    count: int
    total: int


def side_by_side(sides: Sequence[Sequence[RangeSum]], shift: int) -> Ranges:
    """The ranges of two sides that added up their rows themselves."""
    left, right = (_added_up(_frame(side)) for side in sides)
    both = left.join(right, on="range", how="full", nulls_equal=True, coalesce=True, suffix="_right")
    return Ranges(both.sort("range"), shift)


def grid(extent: Interval | None, cells: int) -> int:
    """The shift by which an interval is no more than so many ranges."""
    if extent is None:
        return 0
    return next(shift for shift in range(65) if (extent.high >> shift) - (extent.low >> shift) < cells)


def drawn(extent: Interval | None, fraction: float, seed: int) -> Drawn:
    """A choice of the ranges of an interval, made before a row is read. Rows without a cursor are a range too."""
    cells = min(RANGES, max(1, round(_DRAWN / fraction)))
    shift = grid(extent, cells)
    first, last = (extent.low >> shift, extent.high >> shift) if extent else (0, -1)
    total = last - first + 2
    count = max(1, round(total * fraction))
    chosen = sorted(random.Random(seed).sample(range(first, last + 2), count))  # noqa: S311 - a choice, no secret
    within = []
    for one in chosen:
        if extent is not None and one <= last:
            low, high = one << shift, ((one + 1) << shift) - 1
            within.append(Interval(max(low, extent.low), min(high, extent.high)))
    return Drawn(shift, tuple(within), last + 1 in chosen, count, total)


def _frame(sums: Sequence[RangeSum]) -> pl.DataFrame:
    names = ("range", "rows", "a", "b", "low", "high")
    rows = [tuple(getattr(one, name) for name in names) for one in sums]
    return pl.DataFrame(rows, schema=_nothing().schema, orient="row")


def _added_up(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("range").agg(
        pl.col("rows").sum(), pl.col("a").sum(), pl.col("b").sum(), pl.col("low").min(), pl.col("high").max()
    )


def _nothing() -> pl.DataFrame:
    kinds = {"range": pl.Int64, "rows": pl.Int64, "a": pl.UInt64, "b": pl.UInt64, "low": pl.Int64, "high": pl.Int64}
    return pl.DataFrame(schema=kinds)
