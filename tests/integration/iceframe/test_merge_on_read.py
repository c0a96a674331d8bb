"""MERGE that deletes by position: the files it writes, and what other engines read."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform

from iceframe.errors import StorageError
from iceframe.merge import Merge
from iceframe.scan import pinned
from tests.integration.iceframe.merging import append, data_files, made, ordered, polars_rows, rows_of

SCHEMA = {"id": "long", "part": "string", "n": "long"}
BY_PART = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "part"))
MODE = "merge-on-read"
TOTAL = {"n": pl.col("target.n") + pl.col("source.n")}


def rows(first: int, count: int) -> pl.DataFrame:
    return pl.DataFrame({"id": range(first, first + count)}).with_columns(
        part=pl.lit("p") + (pl.col("id") % 3).cast(pl.String), n=pl.lit(0, pl.Int64)
    )


def delete_files(table: Table) -> list[DataFile]:
    return sorted(
        {file for task in table.refresh().scan().plan_files() for file in task.delete_files},
        key=lambda file: file.file_path,
    )


def local(file: DataFile) -> Path:
    return Path(urlparse(file.file_path).path)


@pytest.fixture
def table(catalog: Catalog) -> Table:
    """30 rows in three files."""
    return made(catalog, SCHEMA, rows(0, 10), rows(10, 10), rows(20, 10), mode=MODE)


def source(*ids: int) -> pl.DataFrame:
    return pl.concat([rows(one, 1) for one in ids]).with_columns(n=pl.lit(1, pl.Int64))


def test_each_data_file_with_a_change_gets_one_delete_file_of_its_own(table: Table) -> None:
    before = data_files(table)
    result = Merge(table, source(3, 1, 15), "id").when_matched_update(TOTAL).execute()
    assert (result.files_rewritten, result.files_added, result.delete_files) == (0, 1, 2)
    assert set(before) < set(data_files(table))
    for file in delete_files(table):
        found = pq.read_table(local(file))
        [path] = set(found["file_path"].to_pylist())
        assert path in before
        assert found["pos"].to_pylist() in ([1, 3], [5])
        assert file.lower_bounds[2147483546] == file.upper_bounds[2147483546] == path.encode()
        assert file.content == DataFileContent.POSITION_DELETES
        assert file.record_count == found.num_rows
        assert file.file_size_in_bytes == local(file).stat().st_size
        ids = [(one.metadata or {})[b"PARQUET:field_id"] for one in pq.read_schema(local(file))]
        assert ids == [b"2147483546", b"2147483545"]


def test_a_row_that_was_deleted_before_is_not_matched_again(table: Table) -> None:
    assert Merge(table, source(3, 4), "id").when_matched_delete().execute().deleted == 2
    result = Merge(table, source(3, 5), "id").when_matched_update(TOTAL).when_not_matched_insert().execute()
    assert (result.updated, result.inserted) == (1, 1)
    again = Merge(table, source(3, 4, 5), "id").when_matched_update(TOTAL).execute()
    assert again.updated == 2
    found = {row["id"]: row["n"] for row in rows_of(table)}
    assert found == {one: 2 if one in {3, 5} else 0 for one in range(30) if one != 4}


def test_deletes_pile_up_until_a_file_is_gone(table: Table) -> None:
    first = data_files(table)
    for ids in ((0, 1, 2, 3), (4, 5, 6), (7, 8)):
        assert Merge(table, source(*ids), "id").when_matched_delete().execute().delete_files == 1
    result = Merge(table, source(9), "id").when_matched_delete().execute()
    assert (result.files_rewritten, result.delete_files) == (1, 0)
    assert len(set(first) & set(data_files(table))) == 2
    assert [row["id"] for row in sorted(rows_of(table), key=lambda row: row["id"])] == list(range(10, 30))


def test_copy_on_write_takes_deletes_into_account_and_leaves_them_behind(table: Table) -> None:
    Merge(table, source(3, 4, 12), "id").when_matched_delete().execute()
    with table.transaction() as change:
        change.set_properties({"write.merge.mode": "copy-on-write"})
    result = Merge(table, source(3, 5), "id").when_matched_update(TOTAL).when_not_matched_insert().execute()
    assert (result.updated, result.inserted, result.files_rewritten) == (1, 1, 1)
    assert len(delete_files(table)) == 1
    found = {row["id"]: row["n"] for row in rows_of(table)}
    assert found == {one: 1 if one in {3, 5} else 0 for one in range(30) if one not in {4, 12}}


def test_all_readers_see_the_same_rows(catalog: Catalog) -> None:
    for name, spec in {"plain": PartitionSpec(), "parted": BY_PART}.items():
        table = made(catalog, SCHEMA, rows(0, 50), rows(50, 50), mode=MODE, spec=spec, name=name)
        Merge(table, source(*range(0, 120, 7)), "id").when_matched_update(TOTAL).when_not_matched_insert().execute()
        moved = source(1, 2, 51).with_columns(part=pl.lit("moved"))
        Merge(table, moved, "id").when_matched_update().execute()
        Merge(table, source(10, 11, 90), "id").when_matched_delete().execute()
        wanted = rows_of(table)
        assert len(wanted) == 97 + 3
        assert polars_rows(table) == wanted
        assert ordered(pinned(table).frame().to_dicts()) == wanted
        assert duckdb_rows(table) == wanted


def duckdb_rows(table: Table) -> list[dict[str, object]]:
    """The rows by the files alone: each data file without the positions that delete files name for it."""
    parts = []
    for task in table.refresh().scan().plan_files():
        gone = [str(local(file)) for file in task.delete_files]
        names = ", ".join(one.name for one in table.schema().fields)
        query = f"SELECT {names} FROM read_parquet('{local(task.file)}', file_row_number = true)"
        if gone:
            deleted = f"SELECT pos FROM read_parquet({gone}) WHERE file_path = '{task.file.file_path}'"
            query += f" WHERE file_row_number NOT IN ({deleted})"
        parts.append(query)
    found = duckdb.sql(" UNION ALL ".join(parts))
    assert found is not None
    return ordered(found.to_arrow_table().to_pylist())


def test_a_delete_file_has_the_partition_of_its_data_file_even_of_an_older_spec(table: Table) -> None:
    with table.update_spec() as update:
        update.add_field("part", IdentityTransform(), "part")
    append(table, rows(30, 3))
    Merge(table, source(2, 30), "id").when_matched_update(TOTAL).execute()
    for task in table.refresh().scan().plan_files():
        for file in task.delete_files:
            assert (file.spec_id, file.partition) == (task.file.spec_id, task.file.partition)
    assert sum(row["n"] for row in rows_of(table)) == 2
    assert {file.spec_id for file in delete_files(table)} <= {0, 1}


def test_deletes_alone_make_no_data_file(table: Table) -> None:
    result = Merge(table, source(2, 25), "id").when_matched_delete().execute()
    assert (result.deleted, result.files_added, result.delete_files) == (2, 0, 2)
    snapshot = table.refresh().current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary["added-position-deletes"] == "2"


def test_a_missing_delete_file_is_an_error_and_never_more_rows(table: Table) -> None:
    Merge(table, source(1), "id").when_matched_delete().execute()
    local(delete_files(table)[0]).unlink()
    before = table.refresh().metadata_location
    with pytest.raises(StorageError, match="delete file"):
        Merge(table, source(1), "id").when_matched_update(TOTAL).when_not_matched_insert().execute()
    assert table.refresh().metadata_location == before


def test_a_corrupt_data_file_is_an_error_and_leaves_no_file_behind(table: Table) -> None:
    path = Path(urlparse(data_files(table)[1]).path)
    path.write_bytes(path.read_bytes()[:100])
    before, files = table.refresh().metadata_location, set(path.parent.iterdir())
    with pytest.raises(StorageError, match=path.name):
        Merge(table, source(1, 11, 21, 99), "id").when_matched_update(TOTAL).when_not_matched_insert().execute()
    assert (table.refresh().metadata_location, set(path.parent.iterdir())) == (before, files)
