"""Tables for other engines to read: each with what it must hold. Run by `make interop`, in the project's environment.

`python -m tests.interop.tables FOLDER` writes the tables, and `cases.json` with the metadata file and the rows of each.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from iceframe import IceFrame

SCHEMA = {"id": "long", "day": "date", "name": "string", "amount": "double", "price": "decimal(12,2)"}
Case = Callable[[IceFrame, str], None]


def rows(first: int, last: int, word: str = "row") -> pl.DataFrame:
    """Rows with ids of a range, a NULL in each third name."""
    ids = pl.int_range(first, last, eager=True)
    return pl.DataFrame({"id": ids}).select(
        pl.col("id"),
        (pl.date(2024, 1, 1) + pl.duration(days=pl.col("id") % 5)).alias("day"),
        pl.when(pl.col("id") % 3 > 0).then(pl.format(word + " {} ü", pl.col("id"))).alias("name"),
        (pl.col("id") * 0.5).alias("amount"),
        (pl.col("id") / 4).cast(pl.Decimal(12, 2)).alias("price"),
    )


def appends(ice: IceFrame, name: str) -> None:
    """Three appends."""
    ice.create_table(name, SCHEMA)
    for first in (0, 100, 200):
        ice.append_to_table(name, rows(first, first + 100))


def partitioned(ice: IceFrame, name: str) -> None:
    """Partitions by day, files sorted by id."""
    ice.create_table(name, SCHEMA, partition_spec=["day"], sort_order=["id"])
    ice.append_to_table(name, rows(0, 300))
    ice.append_to_table(name, rows(300, 400))


def copy_on_write(ice: IceFrame, name: str) -> None:
    """A merge that updates, deletes and inserts by rewriting files."""
    appends(ice, name)
    _merge(ice, name)


def merge_on_read(ice: IceFrame, name: str) -> None:
    """The same merge by position deletes, twice."""
    ice.create_table(name, SCHEMA, properties={"format-version": "2", "write.merge.mode": "merge-on-read"})
    for first in (0, 100, 200):
        ice.append_to_table(name, rows(first, first + 100))
    _merge(ice, name)
    ice.upsert(name, rows(10, 20, "again"), on="id")


def partitioned_merge_on_read(ice: IceFrame, name: str) -> None:
    """Position deletes in partitions."""
    properties = {"format-version": "2", "write.merge.mode": "merge-on-read"}
    ice.create_table(name, SCHEMA, partition_spec=["day"], properties=properties)
    ice.append_to_table(name, rows(0, 300))
    _merge(ice, name)


def compacted(ice: IceFrame, name: str) -> None:
    """Many appends, position deletes, brought together by a replace snapshot, and an append after."""
    merge_on_read(ice, name)
    ice.compact_data_files(name)
    ice.append_to_table(name, rows(1000, 1010))


def evolved(ice: IceFrame, name: str) -> None:
    """Columns added, renamed and dropped between appends."""
    ice.create_table(name, SCHEMA)
    ice.append_to_table(name, rows(0, 50))
    with ice.get_table(name).update_schema() as update:
        update.rename_column("name", "title")
        update.delete_column("amount")
        update.add_column("note", _string())
    more = rows(50, 100).rename({"name": "title"}).drop("amount").with_columns(pl.lit("new").alias("note"))
    ice.append_to_table(name, more)
    ice.upsert(name, more.head(5).with_columns(pl.lit("changed").alias("note")), on="id")


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        appends, partitioned, copy_on_write, merge_on_read, partitioned_merge_on_read, compacted, evolved,
    )
}  # fmt: skip


def main(folder: Path) -> None:
    """Write all tables."""
    ice = IceFrame(
        {"type": "sql", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": (folder / "warehouse").as_uri()}
    )
    written: dict[str, Any] = {}
    for name, make in CASES.items():
        make(ice, name)
        frame = ice.read_table(name).sort("id")
        written[name] = {
            "metadata": ice.get_table(name).metadata_location,
            "columns": frame.columns,
            "rows": [[None if value is None else str(value) for value in row] for row in frame.iter_rows()],
        }
    (folder / "cases.json").write_text(json.dumps(written))


def _merge(ice: IceFrame, name: str) -> None:
    source = rows(95, 105, "merged").vstack(rows(500, 505, "merged"))
    (
        ice.merge(name, source, on="id")
        .when_matched_delete(condition=pl.col("source.id") == 97)
        .when_matched_update({"name": pl.col("source.name"), "amount": pl.col("target.amount") + 1})
        .when_not_matched_insert()
        .execute()
    )


def _string() -> Any:
    from pyiceberg.types import StringType  # noqa: PLC0415 - only this case needs it

    return StringType()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
