"""A DuckDB destination commits rows and mark in one step. The raw side is a plain duckdb connection in between."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest

from conduit.connectors.duckdb.config import DuckdbConnection
from conduit.connectors.duckdb.destination import DuckdbDestination
from conduit.connectors.duckdb.source import DuckdbSource
from conduit.contract import Committed, Read
from conduit.errors import Busy, ConfigError, ConnectionFailed, DataError, Fenced, Interrupted, StateConflict
from conduit.faults import crash_point
from conduit.marks import mark_of
from tests.support.commits import begun, commit, mark, rows, write

KILLS = [("load.begun", "merge"), ("load.staged", "append"), ("load.marked", "append"), ("load.marked", "merge")]
KILLS += [("load.committed", "append"), ("load.committed", "merge")]
HERE = Path(__file__).parents[2]


def destination(folder: Path, **keys: Any) -> DuckdbDestination:
    return DuckdbDestination("lake", DuckdbConnection(database="d.duckdb", **keys), folder)


def raw(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a plain connection finds. No destination may have the file open."""
    opened = duckdb.connect(str(folder / "d.duckdb"))
    found = opened.execute(sql).fetchall()
    opened.close()
    return found


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[DuckdbDestination]:
    opened = destination(tmp_path)
    yield opened
    opened.close()


def look(lake: DuckdbDestination, folder: Path, sql: str) -> list[tuple[Any, ...]]:
    lake.close()
    return raw(folder, sql)


def test_a_first_commit_creates_the_table_and_the_mark(tmp_path: Path, lake: DuckdbDestination) -> None:
    assert lake.describe("t") is None
    assert lake.marks("t") == []
    assert not (tmp_path / "d.duckdb").exists()
    assert commit(lake, rows(id=[1, 2], s=["a", None]), None, mark(2)) == Committed(inserted=2)
    assert lake.marks("t") == [mark(2)]
    described = lake.describe("t")
    assert described is not None
    assert list(zip(described.names, described.types, strict=True)) == [("id", pa.int64()), ("s", pa.string())]
    assert look(lake, tmp_path, "SELECT * FROM t") == [(1, "a"), (2, None)]


def test_append_adds_merge_updates_and_replace_empties(tmp_path: Path, lake: DuckdbDestination) -> None:
    merge: dict[str, Any] = {"mode": "merge", "key": ("id",)}
    commit(lake, rows(id=[1, 2], v=[10, 20]), None, mark(2), **merge)
    merged = commit(lake, rows(id=[2, 3, 1], v=[21, 30, 10]), mark(2), mark(3), **merge)
    assert merged == Committed(inserted=1, updated=1, already_present=1)
    assert commit(lake, rows(id=[7], v=[70]), mark(3), mark(7)) == Committed(inserted=1)
    replaced = commit(lake, rows(id=[1, 2, 9], v=[11, 20, 90]), mark(7), mark(9), mode="replace", allow_shrink=0.25)
    assert replaced == Committed(inserted=3, deleted=4)
    assert look(lake, tmp_path, "SELECT * FROM t ORDER BY id") == [(1, 11), (2, 20), (9, 90)]
    emptied = commit(lake, rows(id=[1], v=[1]).slice(1), mark(9), mark(9), mode="replace", allow_shrink=1.0)
    assert emptied == Committed(deleted=3)
    assert look(lake, tmp_path, "SELECT count(*) FROM t") == [(0,)]


TWENTY = rows(id=list(range(20)), v=[10 * n for n in range(20)])
CHANGED: dict[str, Any] = {"id": [3, 4, 20], "v": [31, 40, 200]}


@pytest.mark.parametrize(
    ("table", "moves"),
    [
        (None, True),
        ("CREATE TABLE t (id BIGINT, v BIGINT)", False),
        ("CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT, own VARCHAR DEFAULT 'kept')", False),
        ("CREATE TABLE t (id BIGINT PRIMARY KEY, v BIGINT); CREATE TABLE child (t BIGINT REFERENCES T (id))", False),
        ("CREATE TABLE t (id BIGINT NOT NULL UNIQUE, v BIGINT CHECK (v >= 0))", True),
    ],
)
def test_a_few_changed_rows_are_taken_out_and_inserted_anew_where_nothing_hangs_on_them(
    tmp_path: Path, lake: DuckdbDestination, table: str | None, moves: bool
) -> None:
    if table is not None:
        raw(tmp_path, table)
    merge: dict[str, Any] = {"mode": "merge", "key": ("id",)}
    commit(lake, TWENTY, None, mark(19), **merge)
    if table and "child" in table:
        lake.close()
        raw(tmp_path, "INSERT INTO child VALUES (3)")
    if table and "own" in table:
        lake.close()
        raw(tmp_path, "UPDATE t SET own = 'mine' WHERE id = 3")
    committed = commit(lake, rows(**CHANGED), mark(19), mark(20), **merge)
    assert committed == Committed(inserted=1, updated=1, already_present=1)
    assert look(lake, tmp_path, "SELECT id, v FROM t WHERE id IN (2, 3, 4, 20) ORDER BY id") == [
        (2, 20),
        (3, 31),
        (4, 40),
        (20, 200),
    ]
    assert raw(tmp_path, "SELECT count(*), count(DISTINCT id) FROM t") == [(21, 21)]
    assert raw(tmp_path, "SELECT (SELECT rowid FROM t WHERE id = 3) > 18") == [(moves,)]
    if table and "own" in table:
        assert raw(tmp_path, "SELECT own FROM t WHERE id IN (3, 20) ORDER BY id") == [("mine",), ("kept",)]


def test_a_merge_of_much_of_the_table_updates_it(tmp_path: Path, lake: DuckdbDestination) -> None:
    merge: dict[str, Any] = {"mode": "merge", "key": ("id",)}
    commit(lake, TWENTY, None, mark(19), **merge)
    much = rows(id=list(range(10)), v=[1] * 10)
    assert commit(lake, much, mark(19), mark(20), **merge) == Committed(updated=10)
    assert look(lake, tmp_path, "SELECT count(*), sum(v), max(rowid) FROM t") == [(20, 1460, 19)]


def test_lists_and_indexed_columns_of_a_row_with_a_key_are_updated(tmp_path: Path, lake: DuckdbDestination) -> None:
    raw(tmp_path, "CREATE TABLE t (id BIGINT PRIMARY KEY, l BIGINT[], v VARCHAR, w BIGINT UNIQUE)")
    raw(tmp_path, "CREATE INDEX i ON t (v)")
    merge: dict[str, Any] = {"mode": "merge", "key": ("id",)}
    commit(lake, rows(id=[1, 2], l=[[1], [2]], v=["a", "b"], w=[1, 2]), None, mark(1), **merge)
    batch = rows(id=[1, 2, 3], l=[[1, 5], [2], None], v=["a", "c", "d"], w=[1, 2, 3])
    assert commit(lake, batch, mark(1), mark(2), **merge) == Committed(inserted=1, updated=2)
    assert look(lake, tmp_path, "SELECT id, l, v FROM t ORDER BY id") == [
        (1, [1, 5], "a"),
        (2, [2], "c"),
        (3, None, "d"),
    ]


def test_rows_that_are_present_are_left_out_and_of_one_key_the_newest_stays(
    tmp_path: Path, lake: DuckdbDestination
) -> None:
    wanted: dict[str, Any] = {"key": ("id",), "cursor": "ts", "leave_out_present": True}
    first = commit(lake, rows(id=[1, 1, 2, 2], ts=[5, 6, 9, 8], s=["a", "b", "c", "d"]), None, mark(9), **wanted)
    assert first == Committed(inserted=2, superseded=2)
    second = commit(lake, rows(id=[2, 3], ts=[10, 11], s=["e", "f"]), mark(9), mark(11), **wanted)
    assert second == Committed(inserted=1, already_present=1)
    assert look(lake, tmp_path, "SELECT s FROM t ORDER BY id") == [("b",), ("c",), ("f",)]


def test_an_accumulating_merge_adds_to_the_target(tmp_path: Path, lake: DuckdbDestination) -> None:
    key = {"at": pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC)] * 2, pa.timestamp("us", "UTC")), "id": [1, 2]}
    wanted: dict[str, Any] = {
        "mode": "merge", "key": ("at", "id"), "update": {"n": "target.n + source.n"}, "refuse_duplicate_keys": True,
    }  # fmt: skip
    commit(lake, rows(**key, n=[5, 5]), None, mark(1), **wanted)
    assert commit(lake, rows(**key, n=[3, 4]), mark(1), mark(2), **wanted) == Committed(updated=2)
    with pytest.raises(DataError, match="two new rows have the key at = '2024-01-01 00:00:00\\+00', id = '1'"):
        commit(lake, rows(at=key["at"], id=[1, 1], n=[1, 1]), mark(2), mark(3), **wanted)
    with pytest.raises(ConfigError, match="nope"):
        commit(lake, rows(**key, n=[1, 1]), mark(2), mark(3), **(wanted | {"update": {"n": "target.nope"}}))
    assert lake.marks("t") == [mark(2)]
    assert look(lake, tmp_path, "SELECT id, n FROM t ORDER BY id") == [(1, 8), (2, 9)]


def test_a_commit_that_changes_nothing_leaves_no_trace(tmp_path: Path, lake: DuckdbDestination) -> None:
    merge: dict[str, Any] = {"mode": "merge", "key": ("id",)}
    commit(lake, rows(id=[1], _conduit_run_id=["a"]), None, mark(1), **merge)
    lake.close()
    before = (tmp_path / "d.duckdb").read_bytes()
    same = commit(lake, rows(id=[1], _conduit_run_id=["b"]), mark(1), mark(1, run_id="later"), **merge)
    assert same == Committed(already_present=1)
    lake.close()
    assert (tmp_path / "d.duckdb").read_bytes() == before
    assert lake.marks("t") == [mark(1)]


def test_a_new_column_and_a_new_schema_are_made_in_the_same_commit(tmp_path: Path, lake: DuckdbDestination) -> None:
    commit(lake, rows(id=[1]), None, mark(1, "raw.t"), table="raw.t")
    added: dict[str, Any] = {"table": "raw.t", "add_columns": ("extra",)}
    for old in (1, 2):
        commit(lake, rows(extra=["x"], id=[old + 1]), mark(old, "raw.t"), mark(old + 1, "raw.t"), **added)
    with pytest.raises(Fenced):
        commit(lake, rows(id=[1]), mark(5, "never.t"), mark(6, "never.t"), table="never.t")
    assert look(lake, tmp_path, "SELECT id, extra FROM raw.t ORDER BY id") == [(1, None), (2, "x"), (3, "x")]
    assert raw(tmp_path, "SELECT count(*) FROM duckdb_schemas() WHERE schema_name = 'never'") == [(0,)]


def test_an_insert_of_no_row_does_not_hide_the_rows_after_it(tmp_path: Path, lake: DuckdbDestination) -> None:
    ids = pa.array(range(200_000), pa.int64())
    for mode, old in (("replace", None), ("merge", mark(1))):
        with begun(lake, write(rows(id=[1]), mode=mode, key=("id",) if mode == "merge" else ())) as load:
            staged = [load.stream(iter([])), load.stream(iter([rows(id=[1]).slice(1)]))]
            staged.append(load.stream(iter([rows(id=ids)])))
            done = load.commit(staged, old, mark(1 if old is None else 2))
        assert done == Committed(**({"inserted": 200_000} if mode == "replace" else {"already_present": 200_000}))
    assert look(lake, tmp_path, "SELECT count(DISTINCT id) FROM t") == [(200_000,)]


# --- values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "values", "declared"),
    [
        (pa.int8(), [-128, None], "TINYINT"),
        (pa.uint64(), [2**64 - 1, None], "UBIGINT"),
        (pa.int64(), [-(2**63), None], "BIGINT"),
        (pa.float32(), [1.5, None], "FLOAT"),
        (pa.float64(), [0.1, float("inf"), -0.0, None], "DOUBLE"),
        (pa.bool_(), [True, None], "BOOLEAN"),
        (pa.string(), ["00501", "", "a\0b", "é😀", None], "VARCHAR"),
        (pa.binary(), [b"\0\xff", None], "BLOB"),
        (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31), None], "DATE"),
        (pa.time64("us"), [dt.time(23, 59, 59, 999999), None], "TIME"),
        (pa.timestamp("s"), [dt.datetime(2024, 1, 1), None], "TIMESTAMP_S"),
        (pa.timestamp("us"), [dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None], "TIMESTAMP"),
        (pa.timestamp("us", "UTC"), [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None], "TIMESTAMP WITH TIME ZONE"),
        (pa.decimal128(38, 10), [Decimal("1234567890123456789012345678.0123456789"), None], "DECIMAL(38,10)"),
        (pa.uuid(), [UUID(int=2**127).bytes, None], "UUID"),
        (pa.json_(), ['{"a": 1.10}', None], "JSON"),
        (pa.list_(pa.field("l", pa.int32())), [[1, None], None], "INTEGER[]"),
        (
            pa.struct([("a", pa.int64()), ("b", pa.string())]),
            [{"a": 1, "b": None}, None],
            "STRUCT(a BIGINT, b VARCHAR)",
        ),
        (pa.map_(pa.string(), pa.int32()), [[("k", 1)], None], "MAP(VARCHAR, INTEGER)"),
    ],
)
def test_a_value_comes_back_as_it_went_in(
    tmp_path: Path, lake: DuckdbDestination, type_: pa.DataType, values: list[Any], declared: str
) -> None:
    array: Any = pa.array(values, type_)
    commit(lake, rows(v=array), None, mark(1))
    lake.close()
    source = DuckdbSource("s", DuckdbConnection(database="d.duckdb"), tmp_path)
    with source.open(Read(resource="r", table="t")) as session:
        found = pa.Table.from_batches(list(session.read(session.splits()[0])), session.describe().schema)
    assert found["v"].combine_chunks().equals(array)
    assert raw(tmp_path, "DESCRIBE t")[0][:2] == ("v", declared)


def test_what_only_duckdb_knows_passes_from_duckdb_to_duckdb(tmp_path: Path, lake: DuckdbDestination) -> None:
    opened = duckdb.connect(str(tmp_path / "s.duckdb"))
    opened.execute(
        "CREATE TABLE t AS SELECT INTERVAL '1 month 2 days' AS iv, '101'::BIT AS b, 'x, ''y'''::ENUM('x, ''y''', 'z') "
        "AS e, TIMETZ '12:00:00+05:30' AS tz, 7::HUGEINT AS h, [INTERVAL '1 day'] AS l, "
        "{'a': INTERVAL '1 day', 'b q': 'it''s'} AS s, '2024-01-01 00:00:00.123456789'::TIMESTAMP_NS AS ns"
    )
    opened.close()
    source = DuckdbSource("s", DuckdbConnection(database="s.duckdb"), tmp_path)
    for old, now in ((None, 1), (mark(1), 2)):
        with source.open(Read(resource="r", table="t")) as session:
            batches = list(session.read(session.splits()[0]))
            commit(lake, batches, old, mark(now), schema=session.describe().schema)
    lake.close()
    raw(tmp_path, "SELECT 1")
    opened = duckdb.connect(str(tmp_path / "d.duckdb"))
    opened.execute(f"ATTACH '{tmp_path / 's.duckdb'}' AS s (READ_ONLY)")
    assert opened.execute("SELECT count(*) FROM t SEMI JOIN s.main.t AS o ON t IS NOT DISTINCT FROM o").fetchall() == [
        (2,)
    ]
    types = "SELECT list(data_type ORDER BY column_index) FROM duckdb_columns() WHERE table_name = 't' GROUP BY ALL"
    assert len({str(row) for row in opened.execute(types).fetchall()}) == 1
    opened.close()


@pytest.mark.parametrize(
    ("table", "array", "words"),
    [
        ("v TINYINT", pa.array([300]), "column v: the value 300"),
        ("v TIMESTAMP", pa.array([1], pa.int64()).cast(pa.timestamp("ns")), "column v"),
        ("v DECIMAL(4,1)", pa.array([Decimal("1.25")]), "column v"),
        ("v UNION(n INTEGER, s VARCHAR)", pa.array(["1"]), "column v: which member of UNION"),
        ("", pa.array([1], pa.duration("us")), "column v: DuckDB has no place for values of type duration"),
        ("", pa.array([Decimal(1)], pa.decimal256(50, 0)), "column v: DuckDB has no place"),
        ("", pa.array([253402300800], pa.timestamp("s")), "outside of the years 1 to 9999"),
    ],
)
def test_a_value_that_duckdb_would_alter_does_not_go_in(tmp_path: Path, table: str, array: Any, words: str) -> None:
    if table:
        raw(tmp_path, f"CREATE TABLE t ({table})")
    lake = destination(tmp_path)
    with pytest.raises(DataError) as error:
        commit(lake, rows(v=array), None, mark(1))
    lake.close()
    assert words in str(error.value)
    assert raw(tmp_path, "SELECT sum(estimated_size) FROM duckdb_tables()")[0][0] in (0, None)


# --- the mark -------------------------------------------------------------------------------------------


def test_of_two_loads_on_one_mark_the_second_is_fenced_and_writes_nothing(
    tmp_path: Path, lake: DuckdbDestination
) -> None:
    for old, now in ((None, 1), (mark(1), 2)):
        commit(lake, rows(id=[now]), old, mark(now))
        with pytest.raises(Fenced, match="r: another run moved the mark of table t"):
            commit(lake, rows(id=[100]), old, mark(100))
        assert lake.marks("t") == [mark(now)]
    assert look(lake, tmp_path, "SELECT id FROM t") == [(1,), (2,)]


@pytest.mark.parametrize("old", [None, 5])
def test_of_two_open_loads_on_one_mark_one_commits(tmp_path: Path, lake: DuckdbDestination, old: int | None) -> None:
    before = mark(old) if old else None
    raw(tmp_path, "CREATE TABLE t (id BIGINT)")
    if before:
        lake.set_mark("t", None, before)
    else:
        lake.set_mark("other", None, mark(1, "other"))
    with begun(lake, write(rows(id=[1]))) as first, begun(lake, write(rows(id=[1]))) as second:
        staged = [load.stream(iter([rows(id=[place])])) for place, load in enumerate((first, second))]
        first.commit([staged[0]], before, mark(10))
        with pytest.raises(Fenced):
            second.commit([staged[1]], before, mark(11))
    assert lake.marks("t") == [mark(10)]
    assert look(lake, tmp_path, "SELECT id FROM t") == [(0,)]


def test_a_load_that_meets_another_transaction_is_told_to_try_again(tmp_path: Path, lake: DuckdbDestination) -> None:
    merge: dict[str, Any] = {"mode": "merge", "key": ("id",)}
    commit(lake, rows(id=[1], v=[1]), None, mark(1), **merge)
    with begun(lake, write(rows(id=[1], v=[1]), resource="other", **merge)) as slow:
        staged = slow.stream(iter([rows(id=[1], v=[2])]))
        commit(lake, rows(id=[1], v=[3]), mark(1), mark(2), **merge)
        with pytest.raises(Busy, match="at the same time; try again"):
            slow.commit([staged], None, mark(1, resource="other"))
    assert look(lake, tmp_path, "SELECT v FROM t") == [(3,)]


def test_a_mark_is_set_reset_and_renamed_without_rows(lake: DuckdbDestination) -> None:
    lake.set_mark("t", None, mark(5))
    with pytest.raises(Fenced):
        lake.set_mark("t", mark(4), mark(6))
    lake.set_mark("t", mark(5), mark(None))
    commit(lake, rows(id=[1]), mark(None), mark(1))
    lake.set_mark("t", mark(1), mark(1, resource="renamed"))
    assert lake.marks("t", settle=True) == [mark(1, resource="renamed")]
    lake.set_mark("t", None, mark(2))
    with pytest.raises(StateConflict, match="renamed has a mark of its own"):
        lake.set_mark("t", mark(2), mark(2, resource="renamed"))


# --- refusals -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraint", "value", "words"),
    [
        ("CHECK (v < 100)", 5000, "CHECK((v < 100)); the row with id = 13"),
        ("CHECK (v IS NOT NULL)", None, "the row with id = 13"),
        ("UNIQUE (v)", 1, 'Duplicate key "v: 1"'),
        ("PRIMARY KEY (v)", 1, 'Duplicate key "v: 1"'),
    ],
)
def test_a_row_that_breaks_a_constraint_is_named_and_nothing_is_kept(
    tmp_path: Path, lake: DuckdbDestination, constraint: str, value: int | None, words: str
) -> None:
    raw(tmp_path, f"CREATE TABLE t (id INTEGER NOT NULL, v INTEGER, {constraint})")
    commit(lake, rows(id=[1], v=[1]), None, mark(1))
    batches = [rows(id=[10, 11], v=[20, 21]), rows(id=[12, 13, 14], v=[22, value, 23])]
    with pytest.raises(DataError) as error:
        commit(lake, batches, mark(1), mark(14), cursor="id")
    assert words in str(error.value)
    with pytest.raises(DataError, match=r"NOT NULL constraint failed: t\.id; the row with v = 7"):
        commit(lake, rows(id=pa.array([None], pa.int32()), v=[7]), mark(1), mark(2), cursor="v")
    assert lake.marks("t") == [mark(1)]
    assert look(lake, tmp_path, "SELECT id FROM t") == [(1,)]


def test_what_the_rows_themselves_raise_is_raised(tmp_path: Path, lake: DuckdbDestination) -> None:
    def stopped() -> Iterator[pa.RecordBatch]:
        yield rows(id=[1])
        raise Interrupted("stopped", signal=15)

    with begun(lake, write(rows(id=[1]))) as load, pytest.raises(Interrupted, match="stopped"):
        load.stream(stopped())
    commit(lake, rows(id=[1]), None, mark(1))
    assert look(lake, tmp_path, "SELECT * FROM t") == [(1,)]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"table": "v"}, "v is a view"),
        ({"table": "a.b.c"}, "write it as `table` or `schema.table`"),
        ({"mode": "merge"}, "merge needs a primary_key"),
    ],
)
def test_what_cannot_be_written_is_one_clear_error(
    tmp_path: Path, lake: DuckdbDestination, settings: dict[str, Any], words: str
) -> None:
    raw(tmp_path, "CREATE VIEW v AS SELECT 1 AS id")
    with pytest.raises(ConfigError, match=words):
        commit(lake, rows(id=[1]), None, mark(1), **settings)


def test_the_check_sees_what_a_load_would_meet(tmp_path: Path, lake: DuckdbDestination) -> None:
    assert lake.check().endswith("d.duckdb: will be created")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConnectionFailed):
        DuckdbDestination("lake", DuckdbConnection(database="no/such/d.db"), tmp_path).check()
    commit(lake, rows(id=[1]), None, mark(1))
    assert lake.check().endswith("d.duckdb: 3 tables")
    lake.close()
    lake.close()
    (tmp_path / "d.duckdb").write_bytes(b"x" * 5000)
    with pytest.raises(ConnectionFailed, match="not a valid DuckDB database"):
        lake.check()


# --- killed ---------------------------------------------------------------------------------------------


def load(folder: Path, mode: str) -> None:
    """One run of a resource: read the mark, load ids 3 to 9 unless it says that they are there."""
    lake = destination(folder)
    old = mark_of(lake.marks("t"), mark(1).identity)
    batch = rows(id=list(range(3, 10)), n=[1] * 7)
    merge: dict[str, Any] = {"mode": "merge", "key": ("id",), "update": {"n": "target.n + source.n"}}
    if old != mark(9):
        with begun(lake, write(batch, **(merge if mode == "merge" else {}))) as opened:
            crash_point("load.begun")
            opened.commit([opened.stream(iter([batch]))], old, mark(9))
    lake.close()


@pytest.mark.parametrize(("point", "mode"), KILLS)
def test_a_load_that_is_killed_and_done_again_counts_every_row_once(
    tmp_path: Path, lake: DuckdbDestination, point: str, mode: str
) -> None:
    first = rows(id=[1, 2], n=[1, 1]) if mode == "append" else rows(id=[1, 2, 3], n=[1, 1, 1])
    settings: dict[str, Any] = {} if mode == "append" else {"mode": "merge", "key": ("id",)}
    commit(lake, first, None, mark(2), **settings)
    lake.close()
    code = "import sys; from pathlib import Path; from tests.integration.test_duckdb_destination import load"
    killed = subprocess.run(
        [sys.executable, "-c", f"{code}; load(Path(sys.argv[1]), sys.argv[2])", str(tmp_path), mode],
        cwd=HERE, env=os.environ | {"CONDUIT_TESTING": "1", "CONDUIT_CRASH_AT": point}, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL
    after_kill = mark_of(lake.marks("t"), mark(1).identity)
    lake.close()
    assert after_kill == (mark(9) if point == "load.committed" else mark(2))
    load(tmp_path, mode)
    expected = [(i, 2 if mode == "merge" and i == 3 else 1) for i in range(1, 10)]
    assert raw(tmp_path, "SELECT id, n FROM t ORDER BY id") == expected


BULK = """
import resource, sys
from pathlib import Path
import pyarrow as pa
from conduit.connectors.duckdb.config import DuckdbConnection
from conduit.connectors.duckdb.source import DuckdbSource
from conduit.contract import Read
from tests.integration.test_duckdb_destination import destination
from tests.support.commits import begun, mark, rows, write

folder, count = Path(sys.argv[1]), int(sys.argv[2])
def batches():
    for start in range(0, count, 8192):
        ids = pa.array(range(start, min(start + 8192, count)), pa.int64())
        yield rows(id=ids, at=ids.cast(pa.timestamp("us")), text=pa.array(["some text of the usual length"] * len(ids)))
lake = destination(folder)
with begun(lake, write(next(batches()))) as load:
    load.commit([load.stream(batches())], None, mark(1))
lake.close()
read = 0
with DuckdbSource("s", DuckdbConnection(database="d.duckdb"), folder).open(Read(resource="r", table="t")) as session:
    for batch in session.read(session.splits()[0]):
        read += batch.num_rows
print(read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = []
    for count in (500_000, 1_500_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", BULK, str(folder), str(count)], capture_output=True, check=True, cwd=HERE
        )
        read, peak = done.stdout.split()
        assert int(read) == count
        peaks.append(int(peak))
    assert peaks[1] < peaks[0] * 1.3
    assert raw(tmp_path / "1500000", "SELECT 1") == [(1,)]
