"""What iceframe uses of pyiceberg's private parts is there and does what it is used for."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pyarrow as pa
import pyiceberg
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import pyarrow as pyiceberg_arrow
from pyiceberg.manifest import ManifestContent, ManifestFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import snapshot as producers

import iceframe
from iceframe import internals
from iceframe.change import Change
from iceframe.errors import ConflictError
from iceframe.files import write_data_files
from iceframe.internals import OneCommit, read_file, send, stage_snapshot
from iceframe.scan import planned

ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64())})


@pytest.fixture
def table(catalog: Catalog) -> Table:
    table = catalog.create_table("default.people", ROWS.schema)
    table.append(ROWS)
    return table


def test_pyiceberg_is_the_version_that_was_read() -> None:
    assert pyiceberg.__version__.startswith("0.12.")


def test_private_names_are_used_in_one_module_only() -> None:
    guilty = []
    for path in Path(iceframe.__file__).parent.rglob("*.py"):
        if path.name == "internals.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pyiceberg"):
                guilty += [f"{path.name}: {name.name}" for name in node.names if name.name.startswith("_")]
    assert guilty == []


@pytest.mark.parametrize(
    ("owner", "name", "arguments"),
    [
        (producers._OverwriteFiles, "_existing_manifests", ["self"]),
        (producers._OverwriteFiles, "_deleted_entries", ["self"]),
        (producers._SnapshotProducer, "_process_manifests", ["self", "manifests"]),
        (producers._SnapshotProducer, "_summary", ["self", "snapshot_properties"]),
        (producers._SnapshotProducer, "_commit", ["self"]),
        (Table, "_do_commit", ["self", "updates", "requirements"]),
        (Transaction, "commit_transaction", ["self"]),
        (pyiceberg_arrow, "_read_all_delete_files", ["io", "tasks"]),
        (pyiceberg_arrow, "_determine_partitions", ["spec", "schema", "arrow_table"]),
    ],
)
def test_private_functions_take_what_they_are_given(owner: object, name: str, arguments: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == arguments


def test_a_staged_snapshot_is_not_seen_until_it_is_sent(table: Table, catalog: Catalog) -> None:
    change = Change(operation="append", added=tuple(write_data_files(table.metadata, table.io, ROWS.to_batches())))
    staged = stage_snapshot(table, change, branch="main", summary={"a": "b"})
    assert len(catalog.load_table("default.people").snapshots()) == 1
    send(table, staged.updates, staged.requirements)
    head = catalog.load_table("default.people").current_snapshot()
    assert head is not None
    assert head.snapshot_id == staged.snapshot_id
    assert staged.summary["total-records"] == "6"


def test_a_replace_snapshot_keeps_the_totals(table: Table) -> None:
    old = [task.file for task in planned(table.metadata, table.io, table.metadata.current_snapshot_id or 0)]
    new = tuple(write_data_files(table.metadata, table.io, ROWS.to_batches()))
    staged = stage_snapshot(
        table, Change(operation="replace", added=new, removed=tuple(old)), branch="main", summary={}
    )
    send(table, staged.updates, staged.requirements)
    head = table.current_snapshot()
    assert head is not None
    assert head.summary is not None
    assert head.summary.operation == Operation.REPLACE
    assert (head.summary["total-records"], head.summary["total-data-files"]) == ("3", "1")


def test_an_append_reads_no_manifest(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    change = Change(operation="append", added=tuple(write_data_files(table.metadata, table.io, ROWS.to_batches())))
    opened: list[str] = []

    def fetch(manifest: ManifestFile, *_: object, **__: object) -> list[object]:
        opened.append(manifest.manifest_path)
        return []

    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", fetch)
    stage_snapshot(table, change, branch="main", summary={})
    assert opened == []


def test_one_file_is_read_by_field_id(table: Table) -> None:
    with table.update_schema() as update:
        update.rename_column("id", "number")
    (task,) = planned(table.metadata, table.io, table.metadata.current_snapshot_id or 0)
    (batch,) = read_file(table.metadata, table.io, task, table.schema(), AlwaysTrue())
    assert batch.to_pydict() == {"number": [1, 2, 3]}


def test_a_transaction_is_tried_once(table: Table, catalog: Catalog) -> None:
    work = OneCommit(table)
    work.append(ROWS)
    work.set_properties({"a": "b"})
    catalog.load_table("default.people").append(ROWS)
    with pytest.raises(ConflictError, match="another commit came first"):
        work.commit_transaction()
    assert "a" not in table.refresh().properties
    assert table.scan().count() == 6


def test_delete_manifests_say_what_they_are() -> None:
    assert internals._DeleteManifestWriter.content(object()) == ManifestContent.DELETES  # type: ignore[arg-type]
