"""Random histories of a source table, the accumulating job at random points: equal to the oracle, or a named error."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from pyiceberg.types import LongType, StringType

from iceframe import IceFrame
from iceframe.errors import IceFrameError, SnapshotError
from tests.proof import tally
from tests.support import ice_job

HISTORIES = int(os.environ.get("ICEFRAME_HISTORIES", "25"))
"""A soak lives through many more."""
STEPS = 9
SCHEMA = {"event_date": "int", "category": "string", "amount": "int"}
SUMMARY = {"event_date": "int", "category": "string", "event_count": "long", "total_amount": "long"}

Sums = dict[tuple[int, str], tuple[int, int]]


class History:
    """One table's life, and what the summary must be after each run of the job."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        place = {"type": "sql", "uri": f"sqlite:///{folder}/{seed}.db", "warehouse": (folder / str(seed)).as_uri()}
        self.ice = IceFrame(place)
        self.ice.create_table("raw_events", SCHEMA)
        self.ice.create_table("daily_summary", SUMMARY)
        self.told: list[str] = []

    # --- what happens to the source ---------------------------------------------------------------------

    def append(self) -> None:
        self.ice.append_to_table("raw_events", self._rows())

    def overwrite(self) -> None:
        self.ice.overwrite_table("raw_events", self._rows())

    def delete(self) -> None:
        self.ice.delete_from_table("raw_events", f"amount > {self.random.randrange(900)}")

    def upsert(self) -> None:
        rows = self._rows(1).with_columns(pl.lit(1).cast(pl.Int32).alias("event_date"))
        if self._rows_of("raw_events").group_by(ice_job.KEYS).len().filter(pl.col("len") > 1).height == 0:
            self.ice.upsert("raw_events", rows, on=ice_job.KEYS)

    def compact(self) -> None:
        self.ice.compact_data_files("raw_events")

    def expire(self) -> None:
        self.ice.expire_snapshots("raw_events", older_than=timedelta(0), ignore_readers=self.random.random() < 0.3)

    def rollback(self) -> None:
        snapshots = self.ice.get_table("raw_events").snapshots()
        if len(snapshots) > 1:
            try:
                self.ice.rollback_to_snapshot("raw_events", self.random.choice(snapshots).snapshot_id)
            except IceFrameError as error:
                self.told.append(f"rollback: {error}")

    def evolve(self) -> None:
        with self.ice.get_table("raw_events").update_schema() as update:
            names = self.ice.get_table("raw_events").schema().column_names
            if "note" not in names:
                update.add_column("note", StringType())
            else:
                update.update_column("amount", field_type=LongType())

    # --- the job ----------------------------------------------------------------------------------------

    def job(self) -> bool:
        """Run it; False: it stopped with a named error and has changed nothing."""
        before = self.summary()
        try:
            ice_job.run(self.ice)
        except SnapshotError as error:
            assert self.summary() == before
            self.told.append(f"{type(error).__name__}: {error}")
            return False
        assert self.summary() == self.oracle()
        return True

    def summary(self) -> Sums:
        found = self._rows_of("daily_summary")
        return {(day, name): (count, total) for day, name, count, total in found.iter_rows()}

    def oracle(self) -> Sums:
        counts: Counter[tuple[int, str]] = Counter()
        totals: Counter[tuple[int, str]] = Counter()
        for day, name, amount in self._rows_of("raw_events").select("event_date", "category", "amount").iter_rows():
            counts[day, name] += 1
            totals[day, name] += amount
        return {key: (count, totals[key]) for key, count in counts.items()}

    def _rows_of(self, name: str) -> pl.DataFrame:
        return self.ice.read_table(name)

    def _rows(self, count: int = 0) -> pl.DataFrame:
        rows = count or self.random.randrange(1, 40)
        return pl.DataFrame(
            {
                "event_date": [self.random.randrange(3) for _ in range(rows)],
                "category": [self.random.choice("abc") for _ in range(rows)],
                "amount": [self.random.randrange(1000) for _ in range(rows)],
            },
            schema={"event_date": pl.Int32, "category": pl.String, "amount": pl.Int32},
        )


@pytest.fixture
def histories(tmp_path: Path) -> Iterator[Callable[[int], History]]:
    made: list[History] = []

    def new(seed: int) -> History:
        made.append(History(tmp_path, seed))
        return made[-1]

    yield new
    for one in made:
        one.ice.catalog.close()


def lived(history: History, *, calm: bool) -> bool:
    """A random life; whether the job was equal to the oracle to its end, or was stopped by a named error.

    Args:
        history: a new one.
        calm: the source is only appended to, compacted, expired and evolved; only a lost start can stop the job then.
    """
    changes = [
        history.append, history.append, history.append, history.append, history.compact, history.compact,
        history.expire, history.evolve, history.overwrite, history.delete, history.upsert, history.rollback,
    ]  # fmt: skip
    finished = True
    for _ in range(STEPS):
        history.random.choice(changes[:8] if calm else changes)()
        if history.random.random() < 0.5 and not history.job():
            finished = False
            break
    else:
        finished = history.job()
    if calm:
        assert history.told == [] or any("SnapshotExpiredError" in line for line in history.told), history.told
    tally.note("history equal to the oracle" if finished else "history stopped by a named error")
    return finished


@pytest.mark.timeout(3600)
def test_a_job_is_equal_to_the_oracle_or_stops_with_a_named_error(histories: Callable[[int], History]) -> None:
    finished = sum(lived(histories(seed), calm=seed % 2 == 0) for seed in range(HISTORIES))
    assert finished > HISTORIES / 4
