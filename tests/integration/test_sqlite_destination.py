"""A SQLite destination commits rows and mark in one step. The raw side is Python's own sqlite3, between the commits."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from msgspec import structs

from conduit.connectors.sqlite.config import SqliteConnection
from conduit.connectors.sqlite.destination import SqliteDestination
from conduit.connectors.sqlite.source import SqliteSource
from conduit.contract import Committed, Read
from conduit.errors import Busy, ConfigError, ConnectionFailed, DataError, Fenced, StateConflict
from conduit.marks import Identity
from tests.support.commits import begun, commit, mark, rows, write


def destination(folder: Path, **keys: Any) -> SqliteDestination:
    return SqliteDestination("lake", SqliteConnection(database="d.db", **keys), folder)


def raw(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    opened = sqlite3.connect(folder / "d.db")
    found = opened.execute(sql).fetchall()
    opened.commit()
    opened.close()
    return found


def test_a_first_commit_creates_the_table_and_the_mark(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    assert lake.describe("t") is None
    assert lake.marks("t") == []
    assert not (tmp_path / "d.db").exists()
    assert commit(lake, rows(id=[1, 2], s=["a", None]), None, mark(2)) == Committed(inserted=2)
    assert raw(tmp_path, "SELECT * FROM t") == [(1, "a"), (2, None)]
    assert raw(tmp_path, "PRAGMA journal_mode") == [("wal",)]
    assert lake.marks("t") == [mark(2)]
    described = lake.describe("t")
    assert described is not None
    assert list(zip(described.names, described.types, strict=True)) == [("id", pa.int64()), ("s", pa.string())]


def test_the_mode_of_an_existing_database_is_left_alone(tmp_path: Path) -> None:
    raw(tmp_path, "CREATE TABLE other (x)")
    commit(destination(tmp_path), rows(id=[1]), None, mark(1))
    assert raw(tmp_path, "PRAGMA journal_mode") == [("delete",)]


def test_append_adds_merge_updates_and_replace_empties(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    commit(lake, rows(id=[1, 2], v=[10, 20]), None, mark(2), mode="merge", key=("id",))
    merged = commit(lake, rows(id=[2, 3, 1], v=[21, 30, 10]), mark(2), mark(3), mode="merge", key=("id",))
    assert merged == Committed(inserted=1, updated=1, already_present=1)
    assert raw(tmp_path, "SELECT * FROM t ORDER BY id") == [(1, 10), (2, 21), (3, 30)]
    assert commit(lake, rows(id=[7], v=[70]), mark(3), mark(7)) == Committed(inserted=1)
    replaced = commit(lake, rows(id=[1, 9], v=[11, 90]), mark(7), mark(9), mode="replace", allow_shrink=0.5)
    assert replaced == Committed(inserted=2, deleted=4)
    assert raw(tmp_path, "SELECT * FROM t ORDER BY id") == [(1, 11), (9, 90)]
    emptied = commit(lake, rows(id=[1], v=[1]).slice(1), mark(9), mark(9), mode="replace", allow_shrink=1.0)
    assert emptied == Committed(deleted=2)
    assert raw(tmp_path, "SELECT count(*) FROM t") == [(0,)]


def test_rows_that_are_present_are_left_out_and_of_one_key_the_newest_stays(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    wanted: dict[str, Any] = {"key": ("id",), "cursor": "at", "leave_out_present": True}
    first = commit(lake, rows(id=[1, 1, 2, 2], at=[5, 6, 9, 8], s=["a", "b", "c", "d"]), None, mark(9), **wanted)
    assert first == Committed(inserted=2, superseded=2)
    assert raw(tmp_path, "SELECT * FROM t ORDER BY id") == [(1, 6, "b"), (2, 9, "c")]
    second = commit(lake, rows(id=[2, 3], at=[10, 11], s=["e", "f"]), mark(9), mark(11), **wanted)
    assert second == Committed(inserted=1, already_present=1)
    assert raw(tmp_path, "SELECT s FROM t ORDER BY id") == [("b",), ("c",), ("f",)]


def test_decimals_decide_as_numbers_which_row_is_newest(tmp_path: Path) -> None:
    at = pa.array(["9.5", "10.25", "-3.0", "-20.0"]).cast(pa.decimal128(38, 10))
    commit(destination(tmp_path), rows(id=[1, 1, 2, 2], at=at), None, mark(1), mode="merge", key=("id",), cursor="at")
    assert raw(tmp_path, "SELECT * FROM t ORDER BY id") == [(1, "10.2500000000"), (2, "-3.0000000000")]


def test_a_merge_finds_its_rows_without_an_index_in_one_pass(tmp_path: Path) -> None:
    raw(tmp_path, "CREATE TABLE t (id BIGINT, v INTEGER)")
    lake = destination(tmp_path)
    count = 60_000
    commit(lake, rows(id=list(range(count)), v=[0] * count), None, mark(1))
    started = time.perf_counter()
    merged = commit(
        lake,
        rows(id=list(range(1000, count + 500)), v=[1] * (count - 500)),
        mark(1),
        mark(2),
        mode="merge",
        key=("id",),
    )
    assert merged == Committed(inserted=500, updated=count - 1000)
    assert time.perf_counter() - started < 10
    assert raw(tmp_path, "SELECT count(*), count(DISTINCT id), sum(v) FROM t") == [
        (count + 500, count + 500, count - 500)
    ]


def test_an_accumulating_merge_adds_to_the_target(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    wanted: dict[str, Any] = {
        "mode": "merge", "key": ("id",), "update": {"n": "target.n + source.n"}, "refuse_duplicate_keys": True,
    }  # fmt: skip
    commit(lake, rows(id=[1], n=[5]), None, mark(1), **wanted)
    assert commit(lake, rows(id=[1, 2], n=[3, 4]), mark(1), mark(2), **wanted) == Committed(inserted=1, updated=1)
    assert raw(tmp_path, "SELECT * FROM t ORDER BY id") == [(1, 8), (2, 4)]
    with pytest.raises(DataError, match="two new rows have the key id = 2"):
        commit(lake, rows(id=[2, 2], n=[1, 1]), mark(2), mark(3), **wanted)
    with pytest.raises(ConfigError, match=r"no such column: target\.nope"):
        commit(lake, rows(id=[2], n=[1]), mark(2), mark(3), **(wanted | {"update": {"n": "target.nope"}}))
    with pytest.raises(ConfigError, match="`update:` names m"):
        commit(lake, rows(id=[2], n=[1]), mark(2), mark(3), **(wanted | {"update": {"m": "1"}}))
    assert raw(tmp_path, "SELECT * FROM t ORDER BY id") == [(1, 8), (2, 4)]
    assert lake.marks("t") == [mark(2)]


def test_an_accumulating_merge_keeps_decimals_exact_or_refuses(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    sums: dict[str, Any] = {
        "mode": "merge", "key": ("id",), "update": {name: f"target.{name} + source.{name}" for name in ("a", "b", "n")},
    }  # fmt: skip

    def batch(a: str, b: str, n: int) -> pa.RecordBatch:
        small, large = pa.decimal128(12, 2), pa.decimal128(38, 2)
        return rows(id=[1], a=pa.array([a]).cast(small), b=pa.array([b]).cast(large), n=[n])

    commit(lake, batch("0.10", "1.00", 1), None, mark(1), **sums)
    for now in range(2, 12):
        commit(lake, batch("0.20", "0.01", 1), mark(now - 1), mark(now), **sums)
    assert raw(tmp_path, "SELECT a, b, n FROM t") == [("2.10", "1.10", 11)]
    for wrong in (
        batch("9999999999.99", "0.00", 0),
        batch("0.00", "12345678901234.00", 0),
        batch("0.00", "0.00", 2**63 - 1),
    ):
        with pytest.raises(DataError, match=r"`update:` makes .* of [abn], which its type"):
            commit(lake, wrong, mark(11), mark(12), **sums)
    assert raw(tmp_path, "SELECT a, b, n FROM t") == [("2.10", "1.10", 11)]
    copied = sums | {"update": {"b": "source.b"}}
    commit(lake, batch("0.00", "123456789012345678901234567890.12", 0), mark(11), mark(12), **copied)
    assert raw(tmp_path, "SELECT b FROM t") == [("123456789012345678901234567890.12",)]


def test_metadata_columns_alone_do_not_change_a_row(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    for run_id, old, new in (("a", None, mark(1)), ("b", mark(1), mark(2))):
        done = commit(lake, rows(id=[1], _conduit_run_id=[run_id]), old, new, mode="merge", key=("id",))
    assert done == Committed(already_present=1)
    assert raw(tmp_path, "SELECT * FROM t") == [(1, "a")]


def test_a_new_column_is_added_and_rows_without_it_stay_null(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    commit(lake, rows(id=[1]), None, mark(1))
    for old in (1, 2):
        commit(lake, rows(extra=["x"], id=[old + 1]), mark(old), mark(old + 1), add_columns=("extra",))
    assert raw(tmp_path, "SELECT id, extra FROM t ORDER BY id") == [(1, None), (2, "x"), (3, "x")]


def test_a_commit_that_changes_nothing_leaves_no_trace(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    commit(lake, rows(id=[1]), None, mark(1), mode="merge", key=("id",))
    before = (tmp_path / "d.db").read_bytes()
    same = commit(lake, rows(id=[1]), mark(1), mark(1, run_id="later"), mode="merge", key=("id",))
    assert same == Committed(already_present=1)
    assert lake.marks("t") == [mark(1)]
    assert lake.describe("t") is not None
    assert (tmp_path / "d.db").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["d.db"]


def test_a_backfill_leaves_the_mark_alone(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    commit(lake, rows(id=[5]), None, mark(5), mode="merge", key=("id",))
    commit(lake, rows(id=[3]), mark(5), None, mode="merge", key=("id",))
    assert raw(tmp_path, "SELECT id FROM t ORDER BY id") == [(3,), (5,)]
    assert lake.marks("t") == [mark(5)]


# --- the mark -------------------------------------------------------------------------------------------


def test_of_two_loads_on_one_mark_the_second_is_fenced_and_writes_nothing(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    for old, now in ((None, 1), (mark(1), 2)):
        commit(lake, rows(id=[now]), old, mark(now))
        with pytest.raises(Fenced, match="r: another run moved the mark of table t"):
            commit(lake, rows(id=[100]), old, mark(100))
        assert lake.marks("t") == [mark(now)]
    assert raw(tmp_path, "SELECT id FROM t") == [(1,), (2,)]


def test_an_open_load_makes_others_wait_and_then_give_up(tmp_path: Path) -> None:
    commit(destination(tmp_path), rows(id=[1]), None, mark(1))
    with begun(destination(tmp_path), write(rows(id=[1]))) as load:
        load.stream(iter([rows(id=[2])]))
        started = time.perf_counter()
        with pytest.raises(Busy, match="lake: load t: database is locked"):
            commit(destination(tmp_path, busy_timeout=0.3), rows(id=[3]), mark(1), mark(3))
        assert 0.2 < time.perf_counter() - started < 3
        with pytest.raises(Busy):
            destination(tmp_path, busy_timeout=0).marks("t", settle=True)
        assert destination(tmp_path).marks("t") == [mark(1)]


def test_marks_of_several_resources_live_side_by_side(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    commit(lake, rows(id=[1]), None, mark(1, resource="a"), resource="a")
    commit(lake, rows(id=[1]), None, mark(2, resource="b"), resource="b")
    assert lake.marks("t") == [mark(1, resource="a"), mark(2, resource="b")]
    assert lake.marks("other") == []


def test_a_mark_is_set_reset_and_renamed_without_rows(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    lake.set_mark("t", None, mark(5))
    with pytest.raises(Fenced):
        lake.set_mark("t", mark(4), mark(6))
    lake.set_mark("t", mark(5), mark(None))
    assert lake.marks("t") == [mark(None)]
    commit(lake, rows(id=[1]), mark(None), mark(1))
    lake.set_mark("t", mark(1), mark(1, resource="renamed"))
    assert lake.marks("t", settle=True) == [mark(1, resource="renamed")]
    lake.set_mark("t", None, mark(2))
    with pytest.raises(StateConflict, match="renamed has a mark of its own"):
        lake.set_mark("t", mark(2), mark(2, resource="renamed"))


def test_a_mark_that_cannot_be_read_stops_the_run(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    commit(lake, rows(id=[1]), None, mark(1))
    raw(tmp_path, "UPDATE _conduit_state SET mark = '{\"format\": 99}'")
    with pytest.raises(StateConflict, match="table t: its mark in _conduit_state cannot be read"):
        lake.marks("t")


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraint", "value", "words"),
    [
        ("CONSTRAINT small CHECK (v < 100)", 5000, "CHECK constraint failed: small"),
        ("UNIQUE (v)", 1, "UNIQUE constraint failed: t.v"),
        ("CHECK (v IS NOT NULL)", None, "CHECK constraint failed"),
    ],
)
def test_a_row_that_breaks_a_constraint_is_named_and_nothing_is_kept(
    tmp_path: Path, constraint: str, value: int | None, words: str
) -> None:
    raw(tmp_path, f"CREATE TABLE t (id INTEGER NOT NULL, v INTEGER, {constraint})")
    lake = destination(tmp_path)
    commit(lake, rows(id=[1], v=[1]), None, mark(1))
    batches = [rows(id=[10, 11], v=[20, 21]), rows(id=[12, 13, 14], v=[22, value, 23])]
    with pytest.raises(DataError) as error:
        commit(lake, batches, mark(1), mark(14), cursor="id")
    assert words in str(error.value)
    assert "the row with id = 13" in str(error.value)
    with pytest.raises(DataError, match="constraint failed"):
        commit(lake, batches, mark(1), mark(14), mode="merge", key=("id",))
    assert raw(tmp_path, "SELECT id FROM t") == [(1,)]
    assert lake.marks("t") == [mark(1)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"table": "v"}, "v is a view"),
        ({"table": "raw.t"}, "SQLite has no schemas"),
        ({"table": "sqlite_t"}, "reserved for internal use"),
        ({"mode": "merge"}, "merge needs a primary_key"),
    ],
)
def test_what_cannot_be_written_is_one_clear_error(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    raw(tmp_path, "CREATE VIEW v AS SELECT 1 AS id")
    with pytest.raises(ConfigError, match=words):
        commit(destination(tmp_path), rows(id=[1]), None, mark(1), **settings)


def test_the_check_sees_what_a_load_would_meet(tmp_path: Path) -> None:
    assert destination(tmp_path).check().endswith("d.db: will be created")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConnectionFailed):
        SqliteDestination("lake", SqliteConnection(database="no/such/d.db"), tmp_path).check()
    commit(destination(tmp_path), rows(id=[1]), None, mark(1))
    assert destination(tmp_path).check().endswith("d.db: 3 tables")
    (tmp_path / "d.db").write_bytes(b"x" * 5000)
    with pytest.raises(ConnectionFailed, match="file is not a database"):
        destination(tmp_path).check()


def test_one_file_can_be_source_and_destination_in_wal_mode(tmp_path: Path) -> None:
    raw(tmp_path, "CREATE TABLE s (id INTEGER PRIMARY KEY)")
    raw(tmp_path, "INSERT INTO s VALUES (1), (2)")
    source = SqliteSource("shop", SqliteConnection(database="d.db"), tmp_path)
    lake = destination(tmp_path, busy_timeout=0.1)
    with source.open(Read(resource="r", table="s")) as session:
        batches = list(session.read(session.splits()[0]))
        with pytest.raises(Busy, match="somebody reads this file, perhaps this run itself"):
            commit(lake, batches, None, mark(2))
    raw(tmp_path, "PRAGMA journal_mode = WAL")
    with source.open(Read(resource="r", table="s")) as session:
        commit(lake, list(session.read(session.splits()[0])), None, mark(2))
        commit(lake, batches, mark(2), mark(3), table="t")
    assert raw(tmp_path, "SELECT count(*) FROM t") == [(4,)]


def test_a_full_disk_is_a_failed_connection(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    commit(lake, rows(id=[1]), None, mark(1))
    code = """
import resource, signal, sys
from pathlib import Path
from conduit.errors import ConnectionFailed
from tests.integration.test_sqlite_destination import destination
from tests.support.commits import commit, mark, rows
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    commit(destination(Path(sys.argv[1])), rows(id=list(range(200_000))), mark(1), mark(2))
except ConnectionFailed as error:
    print(error.message)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "disk" in done.stdout
    assert lake.marks("t") == [mark(1)]
    assert raw(tmp_path, "SELECT count(*) FROM t") == [(1,)]


def test_a_load_can_be_aborted_twice_and_after_its_commit(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    load = lake.begin(write(rows(id=[1])))
    load.abort()
    load.abort()
    lake.begin(write(rows(id=[1])))
    lake.close()
    with begun(lake, write(rows(id=[1]))) as load:
        load.commit([load.stream(iter([rows(id=[1])]))], None, mark(1))
        load.abort()
    lake.close()
    assert raw(tmp_path, "SELECT * FROM t") == [(1,)]


def test_the_address_of_a_database_is_a_file_or_a_url(tmp_path: Path) -> None:
    by_url = SqliteConnection(url="sqlite:///sub/a%20b.db")
    assert by_url.path(tmp_path) == tmp_path / "sub" / "a b.db"
    assert SqliteConnection(url="sqlite:////var/x.db").path(tmp_path) == Path("/var/x.db")
    wrong: list[dict[str, Any]] = [
        {}, {"database": "a", "url": "sqlite:///a"}, {"url": "duckdb:///a"}, {"database": ":memory:"}, {"database": ""},
    ]  # fmt: skip
    for keys in wrong:
        with pytest.raises(ConfigError):
            SqliteConnection(**keys)


def test_a_mark_belongs_to_its_identity(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    other = structs.replace(mark(1), identity=Identity("another pipeline", "r", "t"))
    commit(lake, rows(id=[1]), None, mark(1))
    lake.set_mark("t", None, other)
    assert sorted(found.identity.pipeline for found in lake.marks("t")) == ["another pipeline", "default"]
