"""Orphan files are found and deleted; no spelling of a path makes a live file one."""

from __future__ import annotations

import gzip
import os
import time
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlparse

import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from iceframe.branches import create_branch, rollback_to_snapshot, tag_snapshot
from iceframe.catalog import open_catalog
from iceframe.errors import StorageError, ValidationError
from iceframe.maintenance import compact_data_files, expire_snapshots, remove_orphan_files
from iceframe.maintenance.reachable import key
from tests.support import s3
from tests.support.ice_life import (
    SHAPE,
    append,
    delete_positions,
    files_below,
    head,
    ids,
    make_table,
    rows,
    some,
    tasks,
)

NOW = timedelta(0)


@pytest.fixture
def table(catalog: Catalog) -> Table:
    table = make_table(catalog)
    for number in range(3):
        append(table, number)
    return table


def root(table: Table) -> Path:
    return Path(urlparse(table.location()).path)


def litter(table: Table, name: str = "data/left-behind.parquet", *, days: float = 4) -> str:
    """A file that nothing refers to."""
    path = root(table) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 10)
    past = time.time() - days * 86_400
    os.utime(path, (past, past))
    return str(path)


def aged(table: Table, days: float = 30) -> None:
    past = time.time() - days * 86_400
    for path in files_below(table):
        os.utime(path, (past, past))


def test_orphans_are_listed_and_nothing_is_deleted_unless_told(table: Table) -> None:
    left = litter(table)
    found = remove_orphan_files(table)
    assert (found.files, found.bytes, found.removed, found.doubtful) == ((left,), 10, False, ())
    assert Path(left).exists()
    done = remove_orphan_files(table, dry_run=False)
    assert (done.files, done.removed) == ((left,), True)
    assert not Path(left).exists()
    assert remove_orphan_files(table).files == ()


def test_young_files_stay(table: Table) -> None:
    young, old = litter(table, "data/young.parquet", days=2.9), litter(table, "data/old.parquet", days=3.1)
    assert remove_orphan_files(table, dry_run=False).files == (old,)
    assert Path(young).exists()
    assert remove_orphan_files(table, older_than=timedelta(days=2)).files == (young,)
    with pytest.raises(ValidationError, match="not negative"):
        remove_orphan_files(table, older_than=timedelta(days=-1))


def test_nothing_that_any_snapshot_branch_or_tag_needs_is_an_orphan(table: Table) -> None:
    create_branch(table, "work")
    append(table, 50, 51, 52, branch="work")
    tag_snapshot(table, "v1")
    append(table, 60, 61)
    delete_positions(table, next(task for task in tasks(table) if task.file.record_count == 2), [0])
    compact_data_files(table)
    rolled_back = head(table)
    rollback_to_snapshot(table, table.metadata.snapshots[0].snapshot_id)
    append(table, 70)
    aged(table)
    before, left = files_below(table), litter(table)
    contents = {one.snapshot_id: rows(table, snapshot_id=one.snapshot_id) for one in table.metadata.snapshots}
    assert remove_orphan_files(table, older_than=NOW, dry_run=False).files == (left,)
    assert files_below(table) == before
    assert rolled_back in contents
    assert {one: rows(table, snapshot_id=one) for one in contents} == contents


def test_metadata_files_that_have_left_the_log_are_orphans_and_the_others_are_not(catalog: Catalog) -> None:
    table = make_table(catalog, **{"write.metadata.previous-versions-max": "2"})
    for number in range(5):
        append(table, number)
    found = remove_orphan_files(table, older_than=NOW, dry_run=False)
    assert len(found.files) == 3
    assert all(path.endswith(".metadata.json") for path in found.files)
    left = {Path(path).name for path in files_below(table) if path.endswith(".metadata.json")}
    logged = {table.metadata_location, *(entry.metadata_file for entry in table.refresh().metadata.metadata_log)}
    assert left == {Path(urlparse(one).path).name for one in logged}


def test_a_version_hint_and_files_of_other_tools_stay(table: Table) -> None:
    for name in ("metadata/version-hint.text", "data/.left.parquet.crc", "data/_temporary/0/x.parquet", ".hoodie/x"):
        litter(table, name)
    in_a_partition = litter(table, "data/_day=a/x.parquet")
    assert remove_orphan_files(table).files == (in_a_partition,)


def test_a_file_that_is_committed_while_files_are_listed_stays(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table object is old, and the newest commit came after it was loaded."""
    writer = table.catalog.load_table("default.events")
    append(writer, 90)
    aged(writer)
    before = files_below(writer)
    assert remove_orphan_files(table, older_than=NOW, dry_run=False).files == ()
    assert files_below(writer) == before
    assert ids(table) == [0, 1, 2, 90]


def test_only_the_folder_asked_for_is_searched(table: Table) -> None:
    data, metadata = litter(table), litter(table, "metadata/left.avro")
    assert remove_orphan_files(table, location=f"{table.location()}/data").files == (data,)
    assert remove_orphan_files(table, location=f"{root(table)}//metadata/").files == (metadata,)
    assert remove_orphan_files(table, location=str(root(table))).files == (data, metadata)


@pytest.mark.parametrize("where", ["{root}/..", "{root}x", "{root}/../other", "/", "s3://bucket/default/events", ""])
def test_a_folder_that_is_not_the_tables_own_is_refused(table: Table, where: str) -> None:
    left = litter(table)
    with pytest.raises(ValidationError, match=r"is not in the location of default.events"):
        remove_orphan_files(table, location=where.format(root=root(table)), dry_run=False)
    assert Path(left).exists()


def test_a_location_that_holds_another_table_is_refused(catalog: Catalog, table: Table) -> None:
    inner = catalog.create_table("default.inner", SHAPE, location=f"{table.location()}/data/inner")
    append(inner, 1)
    aged(table)
    before = files_below(table)
    for where in (None, f"{table.location()}/data"):
        with pytest.raises(ValidationError, match="holds files of another table"):
            remove_orphan_files(table, dry_run=False, location=where)
    assert files_below(table) == before


def test_the_files_of_a_dropped_table_of_the_same_name_are_not_taken_for_orphans(
    catalog: Catalog, table: Table
) -> None:
    catalog.drop_table("default.events")
    again = make_table(catalog)
    aged(again)
    before = files_below(again)
    with pytest.raises(ValidationError, match="if that table was dropped"):
        remove_orphan_files(again, dry_run=False)
    assert files_below(again) == before


def test_metadata_that_does_not_say_whose_it_is_stays_and_is_reported(table: Table) -> None:
    torn, packed = litter(table, "metadata/00009-x.metadata.json"), root(table) / "metadata/00010-x.gz.metadata.json"
    uuid = table.metadata.table_uuid
    packed.write_bytes(gzip.compress(b'{"format-version": 2, "table-uuid": "%s"}' % str(uuid).encode()))
    os.utime(packed, (0, 0))
    found = remove_orphan_files(table)
    assert (found.files, found.doubtful) == ((str(packed),), (torn,))


@pytest.mark.parametrize(
    "spelling",
    [
        "{path}",
        "file:{path}",
        "file://{path}",
        "file://localhost{path}",
        "file:///{path}",
        "{folder}//{name}",
        "file://{folder}/../data/./{name}",
    ],
)
def test_every_spelling_of_a_local_path_is_the_same_file(catalog: Catalog, table: Table, spelling: str) -> None:
    path = root(table) / "data" / "part 1.parquet"
    plain = spelling.format(path=path, folder=path.parent, name=path.name)
    assert key(plain) == key(str(path)) == key(path.as_uri())


def test_s3_paths_are_compared_whatever_the_scheme_is_called() -> None:
    assert key("s3://bucket/a/b") == key("s3a://bucket/a/b") == key("s3n://bucket//a/b")
    assert key("s3://bucket/a/b") != key("s3://other/a/b")
    assert key("s3://bucket/a/b") != key("/bucket/a/b")


@pytest.mark.parametrize("prefix", ["", "file://", "file:"])
@pytest.mark.parametrize("tail", ["", "/"])
def test_live_files_stay_when_the_catalog_spells_the_location_otherwise(
    tmp_path: Path, catalog: Catalog, prefix: str, tail: str
) -> None:
    where = tmp_path / "elsewhere" / "events"
    table = catalog.create_table("default.other", SHAPE, location=f"{prefix}{where}{tail}")
    append(table, 1)
    append(table, 2)
    for path in where.rglob("*"):
        os.utime(path, (0, 0))
    left = litter(table)
    assert remove_orphan_files(table, older_than=NOW, dry_run=False).files == (left,)
    assert ids(table) == [1, 2]


def test_live_files_that_were_added_by_another_spelling_stay(table: Table) -> None:
    for number, prefix in enumerate(("", "file:", "file://", "file:///")):
        path = root(table) / "data" / f"added-{number}.parquet"
        pq.write_table(some(100 + number), path)
        table.add_files([f"{prefix}{path}" if number % 2 else f"{prefix}{path.parent}//{path.name}"])
    aged(table)
    assert remove_orphan_files(table, older_than=NOW, dry_run=False).files == ()
    assert ids(table) == [0, 1, 2, 100, 101, 102, 103]


def test_live_files_behind_a_symbolic_link_stay(tmp_path: Path, catalog: Catalog) -> None:
    """The table calls its files by the real folder, its location is a link to it."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    properties = {"write.data.path": f"file://{real}/data"}
    table = catalog.create_table("default.linked", SHAPE, location=f"file://{tmp_path}/link", properties=properties)
    append(table, 1)
    for path in real.rglob("*"):
        os.utime(path, (0, 0))
    found = remove_orphan_files(table, older_than=NOW, dry_run=False)
    assert found.files == ()
    assert [Path(one).suffix for one in found.doubtful] == [".parquet"]
    assert ids(table) == [1]


def test_names_with_blanks_percent_signs_and_accents_are_told_apart_from_orphans(catalog: Catalog) -> None:
    table = make_table(catalog, "default.named", by="day")
    for day in ("a b", "50%", "é", "e\u0301", "x%20y", "a/b"):
        append(table, 1, day=day)
    aged(table)
    left = litter(table, "data/day=50%25/other.parquet")
    assert remove_orphan_files(table, older_than=NOW, dry_run=False).files == (left,)
    assert len(ids(table)) == 6


def test_a_missing_manifest_stops_it_before_anything_is_deleted(table: Table) -> None:
    left = litter(table)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    table.io.delete(snapshot.manifests(table.io)[0].manifest_path)
    with pytest.raises(StorageError, match="is missing"):
        remove_orphan_files(table, dry_run=False)
    assert Path(left).exists()


def test_on_object_storage_orphans_go_and_live_files_stay(tmp_path: Path, storage: s3.Storage) -> None:
    config = {"type": "sql", "uri": f"sqlite:///{tmp_path / 'remote.db'}", "warehouse": f"s3://{s3.BUCKET}/orphans"}
    catalog = open_catalog(config | storage.properties)
    catalog.create_namespace("default")
    table = make_table(catalog)
    for number in range(3):
        append(table, number)
    compact_data_files(table)
    fs, place = storage.filesystem(), table.location().removeprefix("s3://")
    names = [f"{place}/data/left.parquet", f"{place}/data/left.parquet?x#y", f"{place}/data/a b%20c.parquet"]
    for name in names:
        with fs.open_output_stream(name) as out:
            out.write(b"x")
    assert remove_orphan_files(table).files == ()
    found = remove_orphan_files(table, older_than=NOW, dry_run=False, location=f"s3a://{place}/data/")
    assert found.files == tuple(sorted(names))
    assert remove_orphan_files(table, older_than=NOW).files == ()
    assert len(expire_snapshots(table, older_than=NOW).snapshots) == 3
    assert remove_orphan_files(table, older_than=NOW).files == ()
    assert ids(table) == [0, 1, 2]
