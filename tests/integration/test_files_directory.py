"""A folder of data sets: one folder a load, a sequence without gaps, and a replace that readers never see halfway."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conduit.contract import Ability
from conduit.errors import Busy, ConfigError, ConnectionFailed, DataError, StateConflict
from conduit.marks import mark_of
from tests.support.commits import mark, write
from tests.support.files import commit, connection, destination, found_ids, ids

LAKE = "lake/"


def test_each_commit_is_a_folder_with_a_readable_mark(tmp_path: Path) -> None:
    to = destination(LAKE, tmp_path)
    commit(to, ids(1, 2), None, mark(2))
    commit(to, ids(3, 4), mark(2), mark(4))
    assert sorted(path.name for path in (tmp_path / "lake/t").iterdir()) == ["load-000001", "load-000002"]
    record = json.loads((tmp_path / "lake/t/load-000002/_mark.json").read_text())
    assert (record["seq"], record["rows"], record["parts"][0]["rows"]) == (2, 4, 2)
    assert record["marks"][0]["position"]["value"] == "4"


def test_every_reader_of_parquet_finds_the_same_rows(tmp_path: Path) -> None:
    to = destination(LAKE, tmp_path)
    commit(to, ids(1, 2), None, mark(2))
    commit(to, ids(3, 4), mark(2), mark(4))
    everything = f"{tmp_path}/lake/**/*.parquet"
    assert duckdb.execute(f"SELECT count(*), sum(id) FROM '{everything}'").fetchall() == [(4, 10)]
    assert pq.read_table(tmp_path / "lake/t").num_rows == 4


def test_the_arrow_schema_and_its_metadata_are_stored(tmp_path: Path) -> None:
    schema = pa.schema(
        [pa.field("id", pa.int64(), nullable=False, metadata={"native": "bigserial"}), pa.field("u", pa.uuid())],
        metadata={"made": "here"},
    )
    batch = pa.record_batch([pa.array([1], pa.int64()), pa.array([b"\0" * 16], pa.uuid())], schema=schema)
    to = destination(LAKE, tmp_path)
    commit(to, batch, None, mark(1))
    stored = pq.read_schema(next((tmp_path / "lake/t").rglob("*.parquet")))
    assert stored.equals(schema, check_metadata=True)
    described = to.describe("t")
    assert described is not None
    assert described.equals(schema, check_metadata=True)


@pytest.mark.parametrize("form", ["lake/", "tables.csv/", "tables.json/"])
def test_a_new_column_is_added_and_a_missing_one_stays_null(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 1), None, mark(1))
    wider = pa.record_batch({"zip": ["00501"], "id": pa.array([2], pa.int64())})
    with pytest.raises(ConfigError, match="has no column zip"):
        to.begin(write(wider))
    commit(to, wider, mark(1), mark(2), add_columns=("zip",))
    described = to.describe("t")
    assert described is not None
    assert described.names == ["id", "text", "zip"]
    scan = {
        "lake/": "read_parquet('{}/*.parquet', union_by_name=true)",
        "tables.csv/": "read_csv('{}/*.csv', union_by_name=true, all_varchar=true)",
        "tables.json/": "read_json('{}/*.ndjson', union_by_name=true)",
    }[form].format(tmp_path / form / "t" / "load-*")
    found = duckdb.execute(f"SELECT id::int, text, zip::varchar FROM {scan} ORDER BY 1").fetchall()
    assert found == [(1, "row 1", None), (2, None, "00501")]


def test_a_column_that_may_not_be_null_may_be_missing_later(tmp_path: Path) -> None:
    fields: list[pa.Field[Any]] = [pa.field("id", pa.int64(), nullable=False)]
    schema = pa.schema([*fields, pa.field("must", pa.string(), nullable=False)])
    to = destination(LAKE, tmp_path)
    commit(to, pa.record_batch([pa.array([1], pa.int64()), pa.array(["x"])], schema=schema), None, mark(1))
    commit(to, pa.record_batch({"id": pa.array([2], pa.int64())}), mark(1), mark(2))
    assert pq.read_table(tmp_path / "lake/t").column("must").to_pylist() == ["x", None]


def test_a_gap_in_the_sequence_is_a_conflict_that_names_the_load(tmp_path: Path) -> None:
    to = destination(LAKE, tmp_path)
    for last in (1, 2, 3):
        commit(to, ids(last, last), mark(last - 1) if last > 1 else None, mark(last))
    shutil.rmtree(tmp_path / "lake/t/load-000002")
    with pytest.raises(StateConflict, match="load-000002 is missing"):
        to.marks("t")


def test_without_the_newest_load_its_rows_are_simply_not_loaded_yet(tmp_path: Path) -> None:
    to = destination(LAKE, tmp_path)
    commit(to, ids(1, 1), None, mark(1))
    commit(to, ids(2, 2), mark(1), mark(2))
    shutil.rmtree(tmp_path / "lake/t/load-000002")
    assert to.marks("t") == (mark(1),)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"seq": 9, "type": "parquet"}', b'{"seq": 1, "type": 5}'])
def test_a_mark_that_cannot_be_read_is_a_conflict_that_names_it(content: bytes, tmp_path: Path) -> None:
    to = destination(LAKE, tmp_path)
    commit(to, ids(1, 1), None, mark(1))
    (tmp_path / "lake/t/load-000001/_mark.json").write_bytes(content)
    with pytest.raises(StateConflict, match=r"_mark\.json"):
        to.marks("t")
    with pytest.raises(StateConflict, match=r"_mark\.json"):
        commit(to, ids(2, 2), mark(1), mark(2))


def test_every_truncation_of_a_mark_is_a_conflict(tmp_path: Path) -> None:
    to = destination(LAKE, tmp_path)
    commit(to, ids(1, 1), None, mark(1))
    path = tmp_path / "lake/t/load-000001/_mark.json"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(StateConflict):
            to.marks("t")


def test_readers_see_the_old_rows_or_the_new_ones_while_a_table_is_replaced(tmp_path: Path) -> None:
    to = destination(LAKE, tmp_path)
    commit(to, [ids(1, 1), ids(2, 2)], None, mark(0))
    stop, seen = threading.Event(), set()

    def folder() -> tuple[int, int]:
        found = (tmp_path / "lake/t").stat()
        return found.st_ino, found.st_ctime_ns

    def look() -> None:
        """A read that the exchange of the folder falls into lists one and opens the other; it does not count."""
        while not stop.is_set():
            before, rows = folder(), None
            with contextlib.suppress(FileNotFoundError):
                rows = tuple(found_ids(LAKE, tmp_path))
            if folder() == before:
                seen.add(rows)

    reader = threading.Thread(target=look)
    reader.start()
    for turn in range(1, 31):
        first = 10 * turn
        commit(to, [ids(first, first), ids(first + 1, first + 1)], mark(turn - 1), mark(turn), mode="replace")
    stop.set()
    reader.join()
    assert all(rows and len(rows) == 2 and rows[1] == rows[0] + 1 for rows in seen), "no empty table, no mixture"
    assert len(seen) > 1
    assert [path.name for path in (tmp_path / "lake/t").iterdir()] == ["load-000031"], "the sequence goes on"


def test_a_replace_never_removes_what_conduit_did_not_write(tmp_path: Path) -> None:
    to = destination(LAKE, tmp_path)
    commit(to, ids(1, 1), None, mark(1))
    (tmp_path / "lake/t/notes.txt").write_text("mine")
    with pytest.raises(StateConflict, match=r"notes\.txt, which conduit did not write"):
        commit(to, ids(2, 2), mark(1), mark(2), mode="replace")
    assert found_ids(LAKE, tmp_path) == [1]


def test_a_folder_of_other_parquet_files_is_described_and_appended_to(tmp_path: Path) -> None:
    (tmp_path / "lake/t").mkdir(parents=True)
    pq.write_table(pa.Table.from_batches([ids(1, 3)]), tmp_path / "lake/t/old.parquet")
    to = destination(LAKE, tmp_path)
    assert to.describe("t") == ids(1, 1).schema
    done = commit(to, ids(3, 4), None, mark(4), leave_out_present=True, key=("id",))
    assert (done.inserted, done.already_present) == (1, 1)


def test_a_folder_of_other_csv_files_must_have_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "tables.csv/t").mkdir(parents=True)
    (tmp_path / "tables.csv/t/old.csv").write_text("text,id\nx,1\n")
    to = destination("tables.csv/", tmp_path)
    commit(to, ids(2, 2), None, mark(2))
    assert (tmp_path / "tables.csv/t/load-000001/part-00001.csv").read_text() == "text,id\nrow 2,2\n"
    (tmp_path / "tables.csv/u").mkdir()
    (tmp_path / "tables.csv/u/old.csv").write_text("text,other\nx,1\n")
    with pytest.raises(DataError, match="has the columns text, other"):
        to.begin(write(ids(1, 1), "u"))


def test_another_file_type_in_the_same_folder_is_a_conflict(tmp_path: Path) -> None:
    commit(destination("tables.csv/", tmp_path), ids(1, 1), None, mark(1))
    (tmp_path / "tables.csv").rename(tmp_path / "lake")
    with pytest.raises(StateConflict, match="holds csv files, and parquet is to be written"):
        destination(LAKE, tmp_path).marks("t")


def test_many_resources_at_once_lose_and_double_nothing(tmp_path: Path) -> None:
    def run(number: int) -> None:
        to, old, name = destination(LAKE, tmp_path), None, f"r{number}"
        for turn in range(5):
            first = 100 * number + turn
            new = mark(first, resource=name)
            commit(to, ids(first, first), old, new, resource=name)
            old = new

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found_ids(LAKE, tmp_path) == [100 * number + turn for number in range(4) for turn in range(5)]
    assert len(destination(LAKE, tmp_path).marks("t")) == 4


def test_where_locks_have_no_effect_the_rename_alone_fences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conduit.connectors.files.publication.short_lock", lambda _: contextlib.nullcontext())
    for turn in range(5):
        folder = tmp_path / str(turn)
        folder.mkdir()
        _race(folder, runs=4, commits=3)


def _race(folder: Path, *, runs: int, commits: int) -> None:
    """Several runs of one resource, each from the mark that it sees; what was acknowledged is there once."""
    landed: list[int] = []

    def run(number: int) -> None:
        to = destination(LAKE, folder)
        for _ in range(commits):
            old = mark_of(to.marks("t"), mark(0).identity)
            last = int(old.position.value) if old and old.position else 0
            with contextlib.suppress(Busy, ConnectionFailed):
                commit(to, ids(last + 1, last + 2), old, mark(last + 2, run_id=str(number)))
                landed.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(runs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found_ids(LAKE, folder) == list(range(1, 2 * len(landed) + 1))


def test_what_a_living_load_has_staged_is_not_removed_by_another(tmp_path: Path) -> None:
    to = destination(LAKE, tmp_path)
    living: Any = to.begin(write(ids(1, 1)))
    staged = living.stager().stage("part-0", iter([ids(1, 2)]))
    commit(to, ids(7, 8), None, mark(8, resource="other"), resource="other")
    to.begin(write(ids(1, 1))).abort()
    assert living.commit([staged], None, mark(2)).inserted == 2
    living.abort()
    assert not list((tmp_path / ".lake.conduit/t").glob("*-*")), "every stage is gone"


def test_large_batches_become_several_parts_and_bounded_row_groups(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("conduit.connectors.files.parts.PART_BYTES", 20_000)
    monkeypatch.setattr("conduit.connectors.files.parts._GROUP_ROWS", 1000)
    to = destination(LAKE, tmp_path)
    commit(to, [ids(n, n + 999) for n in range(1, 20_000, 1000)], None, mark(20_000))
    parts = sorted((tmp_path / "lake/t").rglob("*.parquet"))
    assert len(parts) > 1
    assert all(pq.ParquetFile(part).metadata.row_group(0).num_rows <= 1000 for part in parts)
    assert found_ids(LAKE, tmp_path) == list(range(1, 20_001))


def test_a_file_in_the_place_of_the_root_is_refused_by_check(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("")
    with pytest.raises(ConnectionFailed, match="is a file, not a folder"):
        destination(LAKE, tmp_path).check()
    with pytest.raises(ConnectionFailed, match="mount point"):
        destination("/proc/", tmp_path).check()


def test_a_folder_says_that_it_cannot_merge_or_repair() -> None:
    cannot: set[Ability] = set(connection(LAKE).cannot())
    assert cannot == {"merge", "repair"}
