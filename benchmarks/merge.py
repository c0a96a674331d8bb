"""What a merge costs against pyiceberg's `Table.upsert`: CPU seconds, wall seconds and peak memory of each cell.

Every cell runs in a process of its own, on a table made for it; both sides run in one go, so that a busy machine slows
down both. Writes `merge.json` beside this file. `--quick` leaves out the large table.

    python -m benchmarks.merge [--quick]
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import polars as pl

from iceframe.catalog import open_catalog
from iceframe.change import Change
from iceframe.commit import Plan, commit
from iceframe.files import write_data_files
from iceframe.merge import Merge
from iceframe.schemas import fitted, to_iceberg

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table

RESULTS = Path(__file__).with_suffix(".json")
SIDES = ("upsert", "copy-on-write", "merge-on-read")
MEGABYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One measurement: a table, a source, and how they are merged."""

    name: str
    rows: int
    files: int
    source: int
    keys: str
    composite: bool = False
    upsert: bool = True


QUICK = (
    Cell(name="1 M rows / 20 files, 1k random keys", rows=1_000_000, files=20, source=1_000, keys="random"),
    Cell(name="1 M rows / 20 files, 10k random keys", rows=1_000_000, files=20, source=10_000, keys="random"),
    Cell(name="1 M rows / 20 files, 10k newest keys", rows=1_000_000, files=20, source=10_000, keys="newest"),
    Cell(name="1 M rows / 20 files, 1k keys of one file", rows=1_000_000, files=20, source=1_000, keys="newest"),
    Cell(
        name="1 M rows / 20 files, 1k keys of one file, composite key",
        rows=1_000_000, files=20, source=1_000, keys="newest", composite=True,
    ),
    Cell(
        name="1 M rows / 20 files, 20k random keys, composite key",
        rows=1_000_000, files=20, source=20_000, keys="random", composite=True, upsert=False,
    ),
    Cell(name="1 M rows / 20 files, 20k random keys", rows=1_000_000, files=20, source=20_000, keys="random"),
    Cell(name="1 M rows / 20 files, 100k random keys", rows=1_000_000, files=20, source=100_000, keys="random"),
)  # fmt: skip
LARGE = (
    Cell(name="10 M rows / 100 files, 10k newest keys", rows=10_000_000, files=100, source=10_000, keys="newest"),
    Cell(
        name="10 M rows / 100 files, 10k random keys",
        rows=10_000_000, files=100, source=10_000, keys="random", upsert=False,
    ),
)  # fmt: skip


def rows(first: int, count: int) -> pl.DataFrame:
    """Rows of the table with running ids."""
    ids = pl.int_range(first, first + count, eager=True, dtype=pl.Int64)
    return pl.DataFrame({"id": ids}).with_columns(
        (pl.col("id") // 1000).cast(pl.String).str.zfill(8).alias("customer"),
        (pl.col("id") % 97).cast(pl.Float64).alias("amount"),
        pl.lit(0, pl.Int64).alias("version"),
        (pl.col("id").hash(7) % 1_000_000).cast(pl.String).alias("note"),
        (pl.lit(1_700_000_000_000_000) + pl.col("id")).cast(pl.Datetime("us")).alias("at"),
    )


def source(cell: Cell) -> pl.DataFrame:
    """Nine of ten rows change one that is there, and one in ten is new."""
    old = cell.source * 9 // 10
    new = rows(cell.rows, cell.source - old)
    if cell.keys == "newest":
        changed = rows(cell.rows - old, old)
    else:
        ids = pl.int_range(cell.rows, eager=True).sample(old, seed=7)
        changed = rows(0, cell.rows).filter(pl.col("id").is_in(ids.implode()))
    return pl.concat([changed, new]).with_columns(pl.lit(1, pl.Int64).alias("version"))


def made(cell: Cell, side: str, folder: Path) -> Table:
    """A new table with the rows of a cell, a file for each append."""
    catalog: Catalog = open_catalog({"type": "sql", "uri": f"sqlite:///{folder}/c.db", "warehouse": folder.as_uri()})
    catalog.create_namespace("default")
    properties = {"format-version": "2"} | ({} if side == "upsert" else {"write.merge.mode": side})
    table = catalog.create_table("default.t", schema=rows(0, 1).to_arrow().schema, properties=properties)
    each = cell.rows // cell.files
    files: list[DataFile] = []
    for number in range(cell.files):
        batches = fitted(rows(number * each, each), table.schema())
        files += write_data_files(table.metadata, table.io, batches)
    commit(table, lambda _: Plan(change=Change(operation="append", added=tuple(files))))
    return table


def measured(cell: Cell, side: str) -> dict[str, float]:
    """Make the table in this process, merge in another one."""
    with tempfile.TemporaryDirectory() as folder:
        made(cell, side, Path(folder))
        frame = source(cell)
        frame.write_ipc(Path(folder) / "source.arrow")
        given = json.dumps({"cell": asdict(cell), "side": side, "folder": folder})
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.merge", "--one", given], capture_output=True, text=True, check=False
        )
    if done.returncode:
        return {"failed": done.returncode}
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def one(given: str) -> None:
    """Merge in this process, and print what it took."""
    asked = json.loads(given)
    cell, side, folder = Cell(**asked["cell"]), asked["side"], Path(asked["folder"])
    frame = pl.read_ipc(folder / "source.arrow")
    on = ["customer", "id"] if cell.composite else ["id"]
    catalog = open_catalog({"type": "sql", "uri": f"sqlite:///{folder}/c.db", "warehouse": folder.as_uri()})
    warm(catalog, side)
    table = catalog.load_table("default.t")
    with Peak() as peak:
        cpu, wall = time.process_time(), time.perf_counter()
        if side == "upsert":
            table.upsert(frame.to_arrow().cast(table.schema().as_arrow()), on)
        else:
            Merge(table, frame, on).when_matched_update().when_not_matched_insert().execute()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    found = {"cpu": round(cpu, 3), "wall": round(wall, 3), "peak_mb": round(peak.grown / MEGABYTE, 1)}
    print(json.dumps(found))


def warm(catalog: Catalog, side: str) -> None:
    """Load what both sides import when they are used first."""
    table = catalog.create_table("default.warm", schema=to_iceberg({"id": "long", "v": "string"}))
    few = pl.DataFrame({"id": [1, 2], "v": ["a", "b"]})
    table.append(few.to_arrow().cast(table.schema().as_arrow()))
    changed = few.with_columns(v=pl.lit("c"))
    if side == "upsert":
        table.upsert(changed.to_arrow().cast(table.schema().as_arrow()), ["id"])
    else:
        Merge(table, changed, "id").when_matched_update().when_not_matched_insert().execute()


class Peak:
    """The most memory that the process had over what it had at the beginning, looked at every few milliseconds."""

    def __enter__(self) -> Self:
        self._base, self._most, self._stop = resident(), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def grown(self) -> int:
        return max(0, self._most - self._base)

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self._most = max(self._most, resident())


def resident() -> int:
    """Memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main() -> None:
    """Measure, print and write down."""
    cells = QUICK if "--quick" in sys.argv else (*QUICK, *LARGE)
    results = []
    for cell in cells:
        found = {side: measured(cell, side) for side in SIDES if cell.upsert or side != "upsert"}
        base = found.get("upsert", {}).get("cpu")
        ratios = {side: round(base / found[side]["cpu"], 1) for side in SIDES[1:] if base and found[side].get("cpu")}
        results.append({"cell": asdict(cell), "measured": found, "times_less_cpu": ratios})
        print(cell.name)
        for side, numbers in found.items():
            print(f"  {side:14} {numbers}  {ratios.get(side, '')}")
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    if "--one" in sys.argv:
        one(sys.argv[-1])
    else:
        main()
