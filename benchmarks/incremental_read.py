"""What reading 1 % new rows costs against a full scan: CPU seconds of both, turn by turn, on a table of 10 M rows.

Writes `incremental_read.json` beside this file. `--rows N` makes a smaller table.

    python -m benchmarks.incremental_read
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import polars as pl

from iceframe import IceFrame

RESULTS = Path(__file__).with_suffix(".json")
ROUNDS = 9
LOADS = 10


def main() -> None:
    """Make the table, read it both ways, print and write what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ice = IceFrame({"type": "sql", "uri": f"sqlite:///{place}/c.db", "warehouse": (place / "w").as_uri()})
        since = filled(ice, rows)
        new = ice.read_incremental("events", since).height
        full: list[float] = []
        incremental: list[float] = []
        for _ in range(ROUNDS):
            incremental.append(cpu(lambda: ice.read_incremental("events", since)))
            full.append(cpu(lambda: ice.read_table("events")))
    found = {
        "rows": rows,
        "new rows": new,
        "full scan, CPU s": round(statistics.median(full), 4),
        "incremental read, CPU s": round(statistics.median(incremental), 4),
        "times less": round(statistics.median(a / b for a, b in zip(full, incremental, strict=True)), 1),
        "rounds": ROUNDS,
        "versions": {name: version(name) for name in ("polars", "pyarrow", "pyiceberg")}
        | {"python": platform.python_version()},
    }
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


def filled(ice: IceFrame, rows: int) -> int:
    """A table of `rows` rows, loaded ten times, and one append of 1 % more; the snapshot before that append."""
    each = rows // LOADS
    ice.create_table("events", events(0, 1))
    for number in range(LOADS):
        ice.append_to_table("events", events(number * each, each))
    since = ice.get_table("events").current_snapshot()
    ice.append_to_table("events", events(rows, rows // 100))
    assert since is not None
    return since.snapshot_id


def events(first: int, count: int) -> pl.DataFrame:
    """Rows as the other benchmarks have them, which do not compress to nothing."""
    ids = pl.int_range(first, first + count, eager=True).alias("id")
    at = pl.datetime(2024, 1, 1) + pl.duration(seconds=pl.col("id"))
    return ids.to_frame().select(
        "id",
        (pl.col("id") % 1000).cast(pl.Int32).alias("customer"),
        pl.format("kind {}", pl.col("id").hash(7) % 50).alias("kind"),
        pl.format("{}-{}-{}", pl.col("id").hash(1), pl.col("id").hash(2), pl.col("id").hash(3)).alias("note"),
        (pl.col("id") % 1_000_000 / 100).cast(pl.Decimal(12, 2)).alias("price"),
        (pl.col("id").hash(8) % 1_000_000 / 7).alias("amount"),
        (pl.col("id") % 3 == 0).alias("paid"),
        at.dt.replace_time_zone("UTC").alias("created_at"),
        at.alias("local_time"),
    )


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of all threads."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    main()
