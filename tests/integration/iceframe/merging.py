"""What the tests of merges share: tables with known rows, and looks at their files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlparse

import polars as pl
from pyiceberg.catalog import Catalog
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.table import Table

from iceframe.change import Change
from iceframe.commit import Plan, commit
from iceframe.files import write_data_files
from iceframe.schemas import Rows, SchemaLike, fitted, to_iceberg

os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")  # else Polars warns that a package of its own is missing

MODES = ("copy-on-write", "merge-on-read")


def made(
    catalog: Catalog,
    schema: SchemaLike,
    *files: Rows,
    mode: str = MODES[0],
    spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
    version: int = 2,
    name: str = "t",
    properties: Mapping[str, str] | None = None,
) -> Table:
    """A table with a data file of each frame, all in one append; several where it is partitioned."""
    given = {"format-version": str(version), "write.merge.mode": mode, **(properties or {})}
    table = catalog.create_table(f"default.{name}", schema=to_iceberg(schema), partition_spec=spec, properties=given)
    if files:
        append(table, *files)
    return table


def append(table: Table, *files: Rows) -> None:
    """A data file of each frame, in one commit."""
    added = tuple(
        one for rows in files for one in write_data_files(table.metadata, table.io, fitted(rows, table.schema()))
    )
    commit(table, lambda _: Plan(change=Change(operation="append", added=added)))


def rows_of(table: Table) -> list[dict[str, Any]]:
    """All rows as pyiceberg reads them, in one order."""
    found: list[dict[str, Any]] = table.refresh().scan().to_arrow().to_pylist()
    return ordered(found)


def ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows in an order that does not depend on anything but them."""
    return sorted(rows, key=lambda row: repr(sorted(row.items())))


def polars_rows(table: Table) -> list[dict[str, Any]]:
    """All rows as Polars reads them; before version 2 its own reader cannot read delete files."""
    reader: Literal["native", "pyiceberg"] = "pyiceberg" if pl.__version__.startswith("1.") else "native"
    return ordered(pl.scan_iceberg(table.refresh(), reader_override=reader).collect().to_dicts())


def data_files(table: Table) -> list[str]:
    """The data files of the head, sorted."""
    return sorted(task.file.file_path for task in table.refresh().scan().plan_files())


def known_files(table: Table) -> set[str]:
    """The data and delete files that any snapshot knows."""
    found: set[str] = set()
    for snapshot in table.refresh().metadata.snapshots:
        for manifest in snapshot.manifests(table.io):
            found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return found


def files_on_disk(table: Table) -> set[str]:
    """The data and delete files that are there."""
    folder = Path(unquote(urlparse(table.location()).path)) / "data"
    return {f"file://{path}" for path in folder.rglob("*.parquet")} if folder.exists() else set()
