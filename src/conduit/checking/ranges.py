"""Rows added up by ranges: how many there are, and the sum of their checksums, which does not depend on their order.

Ranges are intervals of the cursor whose width is a power of two: the narrowest that keep their number below a limit. So
both sides arrive at ranges that fit each other without knowing of one another. Where values have no distance (text,
uuid, no cursor at all) a range is a share of the rows by their hash. Equal rows
add up; with XOR two of them would cancel.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from conduit.late import late

if TYPE_CHECKING:
    import polars as pl
else:
    pl = late("polars")

RANGES = 4096
"""Ranges of one side, at most; memory grows with them and not with rows."""

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

    def ends(self) -> tuple[int, int] | None:
        """The lowest and the highest place in any of them; None: they hold none."""
        lows = [self._frame["low"].min(), self._frame["low_right"].min()]
        highs = [self._frame["high"].max(), self._frame["high_right"].max()]
        low = [int(value) for value in lows if value is not None]  # type: ignore[arg-type]  # the columns are integers
        high = [int(value) for value in highs if value is not None]  # type: ignore[arg-type]
        return (min(low), max(high)) if low and high else None


def _added_up(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("range").agg(
        pl.col("rows").sum(), pl.col("a").sum(), pl.col("b").sum(), pl.col("low").min(), pl.col("high").max()
    )


def _nothing() -> pl.DataFrame:
    kinds = {"range": pl.Int64, "rows": pl.Int64, "a": pl.UInt64, "b": pl.UInt64, "low": pl.Int64, "high": pl.Int64}
    return pl.DataFrame(schema=kinds)
