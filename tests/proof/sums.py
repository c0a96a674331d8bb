"""A merge that adds to its target: not idempotent, so a row that is loaded twice or never shows in the sums."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.faults.bench import Bench
from tests.support.postgres import Database
from tests.support.zygote import Zygote

NAMES = ("postgresql", "sqlite", "duckdb", "iceberg")


@dataclass
class Sums(Bench):
    """Rows of the origin, counted and summed up by key. A row of the target is (key, count, sum, '-')."""

    @classmethod
    def added_up(cls, zygote: Zygote, folder: Path, name: str, database: Database | None) -> Self:
        """A project that adds what is new to one row a key."""
        return cls.set_up(
            zygote, folder, name, database,
            table=None, query="SELECT id AS seq, key, amount FROM t WHERE id > :last_value",
            incremental_column=None, incremental={"column": "seq", "safety": "none"},
            transform="SELECT key AS id, count(*) AS key, sum(amount) AS amount, '-' AS text FROM batch GROUP BY 1",
            mode="merge", primary_key="id", checkpoint_interval=None,
            update={"key": "target.key + source.key", "amount": "target.amount + source.amount"},
        )  # fmt: skip

    def nothing_doubled(self) -> None:
        """At any moment: no key counts more rows than the source has."""
        assert self.lost_and_doubled()[1] == 0, "rows were counted twice"

    def lost_and_doubled(self) -> tuple[int, int]:
        """Rows that are not counted, and rows that are counted too often; a wrong sum alone is a lost row too."""
        wanted, totals = self._wanted()
        found = {key: (count, total) for key, count, total, _ in self.end.read().elements()}
        lost = doubled = 0
        for key in {*wanted, *found}:
            count, total = found.get(key, (0, 0))
            lost += max(wanted[key] - count, 0) + (count == wanted[key] and total != totals[key])
            doubled += max(count - wanted[key], 0)
        return lost, doubled

    def _wanted(self) -> tuple[Counter[int], Counter[int]]:
        counts: Counter[int] = Counter()
        totals: Counter[int] = Counter()
        for (_, key, amount, _), times in self.origin.rows().items():
            counts[key] += times
            totals[key] += times * amount
        return counts, totals
