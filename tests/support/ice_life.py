"""What tests of a table's life share: a table, its rows, deletes by position, writers that come between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.table import FileScanTask, Table
from pyiceberg.transforms import IdentityTransform

from iceframe.change import Change
from iceframe.commit import Plan, commit
from iceframe.merge.deletes import write_delete_file
from iceframe.schemas import to_iceberg

SHAPE = pa.table(
    {"id": pa.array([], pa.int64()), "day": pa.array([], pa.string()), "amount": pa.array([], pa.float64())}
).schema


def make_table(catalog: Catalog, name: str = "default.events", *, by: str | None = None, **properties: str) -> Table:
    schema = to_iceberg(SHAPE)
    fields = [PartitionField(schema.find_field(by).field_id, 1000, IdentityTransform(), by)] if by else []
    given = {"commit.retry.num-retries": "0", **properties}
    return catalog.create_table(name, schema, partition_spec=PartitionSpec(*fields), properties=given)


def some(*ids: int, day: str = "a") -> pa.Table:
    rows = [{"id": one, "day": day, "amount": None if one % 5 == 0 else one / 2} for one in ids]
    return pa.Table.from_pylist(rows, schema=SHAPE)


def append(table: Table, *ids: int, day: str = "a", branch: str = "main") -> int:
    table.refresh()
    table.append(some(*ids, day=day), branch=branch)
    table.refresh()
    return head(table, branch)


def head(table: Table, branch: str = "main") -> int:
    found = table.metadata.snapshot_by_name(branch)
    assert found is not None
    return found.snapshot_id


def rows(table: Table, *, snapshot_id: int | None = None, branch: str | None = None) -> Counter[Any]:
    """All rows, as pyiceberg reads them, as a multiset."""
    scan = table.refresh().scan(snapshot_id=snapshot_id)
    scan = scan.use_ref(branch) if branch else scan
    return Counter(tuple(sorted(row.items())) for row in scan.to_arrow().to_pylist())


def ids(table: Table, **where: Any) -> list[int]:
    return sorted(dict(row)["id"] for row in rows(table, **where).elements())


def tasks(table: Table) -> list[FileScanTask]:
    return list(table.refresh().scan().plan_files())


def delete_positions(table: Table, task: FileScanTask, positions: Sequence[int]) -> None:
    """Commit a position delete file for one data file."""
    made = write_delete_file(table.metadata, table.io, task.file, pl.Series(positions, dtype=pl.Int64))
    commit(table, lambda _: Plan(change=Change(operation="delete", deletes=(made,))))


def files_below(table: Table) -> set[str]:
    root = Path(urlparse(table.location()).path)
    return {str(path) for path in root.rglob("*") if path.is_file()}


def once_before_commit(monkeypatch: pytest.MonkeyPatch, catalog: Catalog, do: Callable[[], object]) -> None:
    """Let another writer come in between the planning and the first commit that is sent to this catalog."""
    real = catalog.commit_table
    waiting = [do]

    def commit_table(*given: Any) -> Any:
        if waiting:
            waiting.pop()()
        return real(*given)

    monkeypatch.setattr(catalog, "commit_table", commit_table)
