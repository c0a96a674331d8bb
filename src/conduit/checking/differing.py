"""Rows of two sides, compared one by one in a DuckDB of its own, which spills to disk: any number of differences fits.

A row is its identity `k`, its checksums `a` and `b`, and a text that a person knows it by. Rows that the next run would
read stand in a third heap: what they explain is no difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from conduit.errors import ConnectionFailed
from conduit.late import late

if TYPE_CHECKING:
    import duckdb
    import polars as pl
else:
    duckdb, pl = late("duckdb"), late("polars")

Kind = Literal["missing", "extra", "changed"]
Heap = Literal["source", "target", "next_run"]

_ROWS = "k UBIGINT, a UBIGINT, b UBIGINT, shown VARCHAR, point VARCHAR"
_DELTA = """
CREATE TABLE delta AS SELECT k, a, b, sum(n) AS n, min(shown) AS shown, min(point) AS point FROM (
  SELECT *, 1 AS n FROM source UNION ALL SELECT *, -1 FROM target) GROUP BY k, a, b HAVING sum(n) <> 0
"""
_BY_KEY = """
CREATE TABLE found AS SELECT k, least(s, d) AS changed, s - least(s, d) AS missing, d - least(s, d) AS extra,
  shown, point, next, least(s, d) > 0 AND NOT $merges AS stays
FROM (SELECT k, sum(greatest(n, 0)) AS s, sum(greatest(-n, 0)) AS d, min(shown) AS shown,
  min(point) AS point, k IN (SELECT k FROM next_run) AS next FROM delta GROUP BY k)
"""
_BY_ROW = """
CREATE TABLE found AS SELECT k, 0 AS changed, greatest(n - coming, 0) AS missing, greatest(-n, 0) AS extra,
  shown, point, n > 0 AND n <= coming AS next, false AS stays
FROM (SELECT delta.*, coalesce(c, 0) AS coming FROM delta LEFT JOIN
  (SELECT a, b, count(*) AS c FROM next_run GROUP BY a, b) AS heap USING (a, b))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One row that the two sides do not share.

    Attributes:
        kind: missing in the destination, extra there, or changed.
        row: the row's key, else its cursor, else its first columns.
        cursor: its cursor value, as text; None: it has none.
        rows: how many such rows.
    """

    kind: Kind
    row: str
    cursor: str | None
    rows: int


class Differing:
    """The heaps, and what their comparison finds."""

    def __init__(self, opened: duckdb.DuckDBPyConnection) -> None:
        self._opened = opened
        for heap in ("source", "target", "next_run"):
            opened.execute(f"CREATE TABLE {heap} ({_ROWS})")

    def add(self, heap: Heap, rows: pl.DataFrame) -> None:
        """Rows with the columns k, a, b, shown, point."""
        if rows.height:
            self._opened.register("arriving", rows.select("k", "a", "b", "shown", "point").to_arrow())
            self._opened.execute(f"INSERT INTO {heap} SELECT * FROM arriving")

    def compare(self) -> int:
        """Work out which rows differ; how many."""
        self._opened.execute(_DELTA)
        return self._number("SELECT coalesce(sum(abs(n)), 0) FROM delta")

    def suspects(self) -> pl.Series:
        """The identities of the rows that differ: only those have to be looked for in the next run."""
        return self._series("SELECT DISTINCT k FROM delta")

    def settle(self, *, by_key: bool, merges: bool) -> None:
        """Decide what each difference is. With a key, a row on both sides has changed."""
        if by_key:
            self._opened.execute(_BY_KEY.replace("$merges", str(merges)))
        else:
            self._opened.execute(_BY_ROW)

    def count(self, kind: Kind) -> int:
        """How many rows."""
        return self._number(f"SELECT coalesce(sum({kind}), 0) FROM found WHERE {_TOLD}")

    def explained(self) -> int:
        """Rows that the next run brings."""
        rows = "greatest(changed + missing + extra, 1)"
        return self._number(f"SELECT coalesce(sum({rows}), 0) FROM found WHERE NOT {_TOLD}")

    def identities(self) -> pl.Series:
        """What a repair has to load again."""
        return self._series(f"SELECT DISTINCT k FROM found WHERE {_TOLD}")

    def checksum(self, heap: Heap) -> tuple[int, int, int]:
        """Number and sums of the rows of a heap that a repair is about."""
        found = self._opened.execute(
            f"SELECT count(*), sum(a) % 18446744073709551616::HUGEINT, sum(b) % 18446744073709551616::HUGEINT "
            f"FROM {heap} WHERE k IN (SELECT k FROM found WHERE {_TOLD})"
        ).fetchall()[0]
        return int(found[0]), int(found[1] or 0), int(found[2] or 0)

    def first(self, limit: int) -> list[Difference]:
        """Some of the differences, the same ones every time."""
        kinds = " UNION ALL ".join(
            f"SELECT '{kind}' AS kind, shown, point, {kind} AS n FROM found WHERE {kind} > 0 AND {_TOLD}"
            for kind in ("missing", "extra", "changed")
        )
        rows = self._opened.execute(
            f"SELECT * FROM ({kinds}) ORDER BY TRY_CAST(point AS DOUBLE), point, shown, kind LIMIT {limit}"
        ).fetchall()
        return [Difference(kind=kind, row=shown, cursor=point, rows=int(n)) for kind, shown, point, n in rows]

    def _number(self, query: str) -> int:
        return int(self._opened.execute(query).fetchall()[0][0])

    def _series(self, query: str) -> pl.Series:
        return pl.DataFrame(self._opened.sql(query).to_arrow_table())["k"]


_TOLD = "(NOT next OR stays)"


@contextmanager
def differing() -> Iterator[Differing]:
    """Empty heaps in a folder that is removed afterwards."""
    with TemporaryDirectory(prefix="conduit-") as folder:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": "512MB", "autoinstall_known_extensions": False, "autoload_known_extensions": False,
        }  # fmt: skip
        with closing(duckdb.connect(str(Path(folder) / "rows.duckdb"), config=settings)) as opened:
            try:
                yield Differing(opened)
            except duckdb.Error as error:
                raise ConnectionFailed(
                    f"the rows that differ cannot be compared in {folder}: {error}", hint="is the disk full?"
                ) from error
