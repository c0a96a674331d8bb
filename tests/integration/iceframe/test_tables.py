from __future__ import annotations

import datetime as dt
import math
import multiprocessing
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg import expressions
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import LongType, NestedField, StringType

from iceframe import evolution, files
from iceframe.catalog import load_table, open_catalog
from iceframe.commit import Done
from iceframe.errors import (
    ConflictError,
    SchemaError,
    StorageError,
    TableExistsError,
    TableNotFoundError,
    ValidationError,
)
from iceframe.scan import pinned
from iceframe.schemas import SchemaLike
from iceframe.tables import (
    add_files,
    append,
    create_table,
    delete,
    drop_table,
    list_tables,
    overwrite,
    rename_table,
    table_exists,
)


def rows(table: Table, branch: str | None = None) -> Counter[str]:
    return Counter(repr(row) for row in pinned(table, branch=branch).frame().rows())


def as_rows(*given: tuple[Any, ...]) -> Counter[str]:
    return Counter(repr(row) for row in given)


def on_disk(table: Table) -> set[str]:
    return {str(one) for one in Path(table.location().removeprefix("file://")).rglob("*.parquet")}


def live(table: Table) -> set[str]:
    return {task.file.file_path.removeprefix("file://") for task in table.scan().plan_files()}


def operations(table: Table) -> list[str]:
    return [str(one.summary.operation.value) for one in table.snapshots() if one.summary]


def snapshot(table: Table) -> int | None:
    found = table.refresh().current_snapshot()
    return found.snapshot_id if found else None


NAMED = {"id": "long", "name": "string"}


# --- making tables --------------------------------------------------------------------------------------


def test_a_table_has_the_columns_the_partitions_and_the_order_that_were_asked_for(catalog: Catalog) -> None:
    table = create_table(
        catalog,
        "raw.deep.events",
        {"id": "long", "category": "string", "event_time": "timestamp", "s": "struct<k: int>"},
        partition_spec=[
            "day(event_time)",
            "category",
            "bucket(16, id)",
            "truncate( 4,category )",
            ("s.k", "bucket[8]"),
        ],
        sort_order=["id", "category desc nulls first", "bucket(4, s.k) desc", "event_time NULLS LAST"],
        properties={"a": True, "b": 7},
    )
    assert table.name() == ("raw", "deep", "events")
    assert [(one.name, str(one.transform)) for one in table.spec().fields] == [
        ("event_time_day", "day"),
        ("category", "identity"),
        ("id_bucket", "bucket[16]"),
        ("category_trunc", "truncate[4]"),
        ("k_bucket", "bucket[8]"),
    ]
    order = [(str(one.transform), one.direction.value, one.null_order.value) for one in table.sort_order().fields]
    assert order == [
        ("identity", "asc", "nulls-first"),
        ("identity", "desc", "nulls-first"),
        ("bucket[4]", "desc", "nulls-last"),
        ("identity", "asc", "nulls-last"),
    ]
    assert {"a": "true", "b": "7"}.items() <= table.properties.items()
    frame = pl.DataFrame({"id": [1, 2], "category": ["a", None], "event_time": [dt.datetime(2024, 1, 1), None]})
    append(table, frame)
    assert rows(table) == as_rows((1, "a", dt.datetime(2024, 1, 1), None), (2, None, None, None))


def test_a_frame_can_be_the_schema_of_a_table(catalog: Catalog) -> None:
    frame = pl.DataFrame(
        {"n": [1], "big": [2**64 - 1], "c": ["x"]}, schema={"n": pl.UInt32, "big": pl.UInt64, "c": pl.Categorical}
    )
    table = create_table(catalog, "t", frame)
    assert [str(one.field_type) for one in table.schema().fields] == ["long", "decimal(20, 0)", "string"]
    append(table, frame)
    assert [tuple(map(str, row)) for row in pinned(table).frame().rows()] == [("1", str(2**64 - 1), "x")]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"schema": {"id": "lung"}}, "did you mean long"),
        ({"partition_spec": ["catgory"]}, "unknown column catgory .*did you mean category"),
        ({"partition_spec": ["dya(at)"]}, "unknown transform dya .*did you mean day"),
        ({"partition_spec": ["day(category)"]}, "day does not fit column category, which is string"),
        ({"partition_spec": ["hour(d)"]}, "hour does not fit column d"),
        ({"partition_spec": ["bucket(id)"]}, r"bucket\(number, column\)"),
        ({"partition_spec": ["bucket(0, id)"]}, r"bucket\(number, column\)"),
        ({"partition_spec": ["day(3, at)"]}, r"day\(column\)"),
        ({"partition_spec": ["truncate(2, at)"]}, "does not fit"),
        ({"partition_spec": ["category", "category"]}, "comes twice"),
        ({"partition_spec": [("id", "weekly")]}, "unknown transform weekly"),
        ({"sort_order": ["nope desc"]}, "unknown column nope"),
        ({"sort_order": ["day(category)"]}, "does not fit"),
        ({"sort_order": ["id sideways"]}, "unknown column id sideways"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_there_is(catalog: Catalog, options: dict[str, Any], says: str) -> None:
    given: dict[str, Any] = {"schema": {"id": "long", "category": "string", "at": "timestamp", "d": "date"}, **options}
    with pytest.raises(SchemaError, match=says):
        create_table(catalog, "t", given.pop("schema"), **given)
    assert not table_exists(catalog, "t")


def test_a_name_that_is_taken_is_refused(catalog: Catalog) -> None:
    create_table(catalog, "t", NAMED)
    with pytest.raises(TableExistsError, match=r"default\.t"):
        create_table(catalog, "t", NAMED)


def test_a_table_that_is_there_will_do_if_it_has_the_same_columns(catalog: Catalog) -> None:
    first = create_table(catalog, "t", {**NAMED, "s": "struct<a: int>"}, partition_spec=["name"])
    again = create_table(catalog, "t", {"s": "struct<a: int>", **NAMED}, if_not_exists=True)
    assert again.metadata.table_uuid == first.metadata.table_uuid
    create_table(catalog, "t", first.schema(), partition_spec=["name"], if_not_exists=True)
    with pytest.raises(SchemaError, match="partitioned by identity"):
        create_table(catalog, "t", first.schema(), partition_spec=["id"], if_not_exists=True)
    other = {"id": "int", "name": "string", "more": "date"}
    with pytest.raises(SchemaError, match="more is missing; s is one more; id is int64, not int32"):
        create_table(catalog, "t", other, if_not_exists=True)


def test_tables_are_listed_renamed_and_dropped(catalog: Catalog) -> None:
    assert list_tables(catalog) == []
    for name in ("b", "a", "other.c", "deep.er.d"):
        create_table(catalog, name, NAMED)
    assert list_tables(catalog) == ["deep.er.d", "default.a", "default.b", "other.c"]
    assert list_tables(catalog, "deep.er") == ["deep.er.d"]
    with pytest.raises(TableNotFoundError):
        list_tables(catalog, "nowhere")
    with pytest.raises(TableExistsError):
        rename_table(catalog, "a", "b")
    assert rename_table(catalog, "a", "new.z").name() == ("new", "z")
    assert table_exists(catalog, "new.z")
    assert not table_exists(catalog, "a")
    assert not table_exists(catalog, "nowhere.a")
    with pytest.raises(TableNotFoundError):
        drop_table(catalog, "a")
    drop_table(catalog, "a", if_exists=True)
    drop_table(catalog, "b")
    assert list_tables(catalog, "default") == []


def test_a_purged_table_leaves_no_file(catalog: Catalog) -> None:
    table = create_table(catalog, "t", NAMED)
    append(table, pl.DataFrame({"id": [1]}))
    files_then = on_disk(table)
    drop_table(catalog, "t", purge=True)
    assert files_then
    assert not any(Path(one).exists() for one in files_then)


# --- append ---------------------------------------------------------------------------------------------


def test_rows_are_appended_in_one_snapshot(catalog: Catalog) -> None:
    table = create_table(catalog, "t", NAMED)
    done = append(table, pl.DataFrame({"name": ["a", None], "id": [1, 2]}), summary={"job": "nightly"})
    head = table.refresh().current_snapshot()
    assert head
    assert done.snapshot_id == head.snapshot_id
    assert head.summary
    assert head.summary["job"] == "nightly"
    assert done.change
    assert done.change.counts == {"inserted": 2}
    assert operations(table) == ["append"]
    assert rows(table) == as_rows((1, "a"), (2, None))


def test_no_rows_make_no_snapshot(catalog: Catalog) -> None:
    table = create_table(catalog, "t", NAMED)
    assert append(table, pl.DataFrame(schema={"id": pl.Int64})) == Done(snapshot_id=None, change=None)
    assert snapshot(table) is None


def test_an_unknown_branch_is_refused_before_a_file_is_written(catalog: Catalog) -> None:
    table = create_table(catalog, "t", NAMED)
    append(table, pl.DataFrame({"id": [1]}))
    table.manage_snapshots().create_tag(snapshot(table) or 0, "release").commit()
    there = on_disk(table)
    frame = pl.DataFrame({"id": [2]})
    for branch in ("nope", "release"):
        with pytest.raises(ValidationError, match=f"no branch {branch}"):
            append(table, frame, branch=branch)
        with pytest.raises(ValidationError, match=f"no branch {branch}"):
            overwrite(table, frame, branch=branch)
        with pytest.raises(ValidationError, match=f"no branch {branch}"):
            delete(table, "id = 1", branch=branch)
    assert on_disk(table) == there


def test_a_branch_gets_its_own_rows(catalog: Catalog) -> None:
    table = create_table(catalog, "t", NAMED)
    append(table, pl.DataFrame({"id": [1]}))
    table.manage_snapshots().create_branch(snapshot(table) or 0, "trial").commit()
    append(table, pl.DataFrame({"id": [2]}), branch="trial")
    delete(table, "id = 1", branch="trial")
    assert rows(table) == as_rows((1, None))
    assert rows(table, "trial") == as_rows((2, None))


@pytest.mark.parametrize(
    "given",
    [
        pl.DataFrame({"id": ["x"]}),
        pl.DataFrame({"nope": [1]}),
        pl.LazyFrame({"id": [1.5]}),
        pa.table({"id": pa.array([1], pa.uint64())}),
    ],
)
def test_rows_that_do_not_fit_leave_no_snapshot_and_no_file(catalog: Catalog, given: Any) -> None:
    table = create_table(catalog, "t", NAMED)
    with pytest.raises(SchemaError):
        append(table, given)
    with pytest.raises(SchemaError):
        overwrite(table, given)
    assert snapshot(table) is None
    assert on_disk(table) == set()


def test_an_error_in_the_middle_leaves_no_snapshot_and_no_file(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "GROUP_BYTES", 1000)
    table = create_table(catalog, "t", NAMED, properties={"write.target-file-size-bytes": "2000"})

    def failing() -> Iterator[pa.RecordBatch]:
        for number in range(10):
            yield pa.record_batch({"id": [number] * 200})
        yield pa.record_batch({"id": ["late"]})

    with pytest.raises(SchemaError, match="column id"):
        append(table, failing())
    assert snapshot(table) is None
    assert on_disk(table) == set()


def test_a_commit_that_is_refused_leaves_no_file(catalog: Catalog) -> None:
    table = create_table(catalog, "t", NAMED)
    append(table, pl.DataFrame({"id": [1, 2]}))
    there = on_disk(table)

    def evolving() -> Iterator[pa.RecordBatch]:
        evolution.add_column(load_table(catalog, "t"), "more", "int")
        yield pa.record_batch({"id": [3]})

    with pytest.raises(ConflictError, match="columns were changed"):
        append(table, evolving())
    assert on_disk(table) == there


def test_appends_of_several_threads_lose_nothing(catalog: Catalog) -> None:
    create_table(catalog, "t", NAMED, partition_spec=["bucket(2, id)"])
    done: list[int] = []

    def work(first: int) -> None:
        for number in range(5):
            append(load_table(catalog, "t"), pl.DataFrame({"id": [first + number]}))
            done.append(first + number)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 15
    table = load_table(catalog, "t")
    assert sorted(pinned(table).frame()["id"]) == [*range(5), *range(100, 105), *range(200, 205)]
    assert on_disk(table) == live(table)


def _append_many(config: dict[str, str], first: int) -> None:
    for number in range(4):
        append(load_table(open_catalog(config), "t"), pl.DataFrame({"id": [first + number]}))


def test_appends_of_two_processes_lose_nothing(tmp_path: Path) -> None:
    (tmp_path / "w").mkdir()
    config = {"type": "sql", "uri": f"sqlite:///{tmp_path / 'c.db'}", "warehouse": (tmp_path / "w").as_uri()}
    table = create_table(open_catalog(config), "t", NAMED)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_append_many, args=(config, first)) for first in (0, 100)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    table = load_table(open_catalog(config), "t")
    assert sorted(pinned(table).frame()["id"]) == [*range(4), *range(100, 104)]
    assert len(table.snapshots()) == 8


# --- delete ---------------------------------------------------------------------------------------------


@pytest.fixture
def numbers(catalog: Catalog) -> Table:
    """Three files: 0 to 9, 10 to 19, and 20 to 29 with NULLs and NaN."""
    table = create_table(catalog, "numbers", {"id": "long", "x": "long", "s": "string", "f": "double"})
    types = {"id": pl.Int64, "x": pl.Int64, "s": pl.String, "f": pl.Float64}
    for start in (0, 10):
        plain = [(one, one, f"s{one:02}", float(one)) for one in range(start, start + 10)]
        append(table, pl.DataFrame(plain, schema=types, orient="row"))
    last: list[tuple[Any, ...]] = [(20 + number, None, None, None) for number in range(5)]
    last += [(25, 25, "s25", math.nan), (26, 5, "s05", math.inf), (27, None, "x", 1.0), (28, 28, None, math.nan)]
    append(table, pl.DataFrame([*last, (29, 29, "y", None)], schema=types, orient="row"))
    return table


def test_a_file_of_which_all_rows_go_is_dropped_and_no_other_is_touched(numbers: Table) -> None:
    before = live(numbers)
    done = delete(numbers, "id < 10")
    assert done.change
    assert done.change.counts["deleted"] == 10
    assert operations(numbers)[-1] == "delete"
    assert len(live(numbers)) == 2
    assert live(numbers) < before


def test_a_file_of_which_some_rows_go_is_written_anew_and_no_other_is_touched(numbers: Table) -> None:
    before = live(numbers)
    done = delete(numbers, "id in (3, 4, 13)")
    assert done.change
    assert done.change.counts["deleted"] == 3
    assert operations(numbers)[-1] == "overwrite"
    assert len(before & live(numbers)) == 1
    assert sorted(pinned(numbers).frame()["id"]) == [one for one in range(30) if one not in {3, 4, 13}]


def test_a_delete_that_finds_nothing_makes_no_snapshot_and_no_file(numbers: Table) -> None:
    head, there = snapshot(numbers), on_disk(numbers)
    for where in ("id = 99", "x = 99", "x > 1 and x < 1", pl.col("id") == 99, "false"):
        assert delete(numbers, where).snapshot_id is None
    assert (snapshot(numbers), on_disk(numbers)) == (head, there)
    assert delete(create_empty(numbers), "id = 1").snapshot_id is None


def create_empty(like: Table) -> Table:
    return create_table(like.catalog, "empty", like.schema())


def test_all_rows_can_be_deleted(numbers: Table) -> None:
    done = delete(numbers, "true")
    assert done.change
    assert done.change.counts["deleted"] == 30
    assert pinned(numbers).frame().height == 0
    assert operations(numbers)[-1] == "delete"


ex: Any = expressions
SQL: list[tuple[Any, str]] = [
    ("x < 15", "x < 15"),
    ("x != 5", "x <> 5"),
    ("not x = 5", "not x = 5"),
    ("x not in (1, 2, 25)", "x not in (1, 2, 25)"),
    ("not (x in (1, 2))", "not (x in (1, 2))"),
    ("x is null", "x is null"),
    ("x is not null", "x is not null"),
    ("x is null or x > 20", "x is null or x > 20"),
    ("s like 's0%'", "s like 's0%'"),
    ("s not like 's0%'", "s not like 's0%'"),
    ("s > 's05' and x < 12", "s > 's05' and x < 12"),
    ("not (s > 's05' and x < 12)", "not (s > 's05' and x < 12)"),
    ("f < 8", "f < 8"),
    ("f is nan", "isnan(f)"),
    ("s not in ('s01', 'x') or id = 1", "s not in ('s01', 'x') or id = 1"),
    (ex.And(ex.GreaterThan("id", 3), ex.Or(ex.LessThan("x", 9), ex.NotEqualTo("s", "y"))), "id>3 and (x<9 or s<>'y')"),
    (ex.Not(ex.NotIn("x", [1, 2])), "not (x not in (1, 2))"),
    (ex.NotNaN("f"), "not isnan(f)"),
    (pl.col("x") != 5, "x <> 5"),
    (~pl.col("x").is_in([1, 2]), "x not in (1, 2)"),
    ((pl.col("x") > 20) | pl.col("s").str.starts_with("s0"), "x > 20 or s like 's0%'"),
    (pl.lit(value=True), "true"),
]  # fmt: skip


@pytest.mark.parametrize(("where", "sql"), SQL, ids=[sql for _, sql in SQL])
def test_a_row_for_which_the_filter_is_null_stays_as_in_sql(numbers: Table, where: Any, sql: str) -> None:
    there = pinned(numbers).frame().to_arrow()
    stay = duckdb.execute(f"select id from there where ({sql}) is not true").fetchall()
    done = delete(numbers, where)
    assert sorted(pinned(numbers).frame()["id"]) == sorted(row[0] for row in stay)
    assert done.change
    assert done.change.counts["deleted"] == 30 - len(stay)
    assert there.num_rows == 30


def test_a_file_that_is_null_throughout_stays(catalog: Catalog) -> None:
    table = create_table(catalog, "t", NAMED, partition_spec=["name"])
    append(table, pl.DataFrame({"id": [1, 2, 3], "name": ["a", None, "b"]}))
    delete(table, "name != 'a'")
    assert rows(table) == as_rows((1, "a"), (2, None))
    delete(table, "name not in ('b', 'c')")
    assert rows(table) == as_rows((2, None))


@pytest.mark.parametrize(
    "where",
    [
        "nope = 1",
        "id = ",
        "id = 'abc'",
        pl.col("nope") == 1,
        pl.col("id") + 1,
        pl.all() > 1,
        pl.col("id") == pl.col("id").max(),
        pl.col("id").cum_sum() > 3,
        pl.col("s") > 1,
        None,
        7,
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(numbers: Table, where: Any) -> None:
    head = snapshot(numbers)
    with pytest.raises(ValidationError):
        delete(numbers, where)
    if where is not None:
        with pytest.raises(ValidationError):
            overwrite(numbers, pl.DataFrame({"id": [1]}), where=where)
    assert snapshot(numbers) == head


def test_what_stays_in_a_rewritten_file_is_not_altered(catalog: Catalog) -> None:
    nested = "list<struct<a: int>>"
    table = create_table(
        catalog, "t", {"id": "long", "l": nested, "m": f"map<string, struct<x: {nested}>>", "u": "uuid"}
    )
    values = [None, [], [{"a": 1}, None], [{"a": None}]]
    given = [
        {
            "id": number,
            "l": one,
            "m": None if number % 2 else [("k", {"x": one}), ("n", None)],
            "u": bytes([number]) * 16,
        }
        for number, one in enumerate(values)
    ]
    shape = pa.schema(
        [
            pa.field("id", pa.int64()),
            pa.field("l", pa.list_(pa.struct([("a", pa.int32())]))),
            pa.field("m", pa.map_(pa.string(), pa.struct([("x", pa.list_(pa.struct([("a", pa.int32())])))]))),
            pa.field("u", pa.binary(16)),
        ]
    )
    append(table, pa.Table.from_pylist([*given, {"id": 9}], schema=shape))
    delete(table, "id = 9")
    (path,) = live(table)
    found = pq.read_table(path).to_pylist()
    assert [{**row, "u": row["u"].bytes} for row in found] == given


def test_a_missing_file_is_an_error_and_nothing_changes(numbers: Table) -> None:
    head = snapshot(numbers)
    Path(min(live(numbers))).unlink()
    there = on_disk(numbers)
    with pytest.raises(StorageError, match="missing"):
        delete(numbers, pl.col("x") > 3)
    assert snapshot(numbers) == head
    assert on_disk(numbers) == there


def test_a_delete_keeps_what_is_appended_meanwhile(numbers: Table) -> None:
    stale = load_table(numbers.catalog, "numbers")
    append(numbers, pl.DataFrame({"id": [100, 3]}))
    delete(stale, "id = 3")
    assert sorted(pinned(stale).frame()["id"]) == [*(one for one in range(30) if one != 3), 100]
    assert on_disk(stale) >= live(stale)


def test_random_deletes_and_overwrites_agree_with_duckdb(catalog: Catalog) -> None:
    chance = random.Random(11)
    schema = {"id": "long", "a": "int", "b": "string"}
    table = create_table(catalog, "t", schema, partition_spec=["b"], sort_order=["a desc"])
    oracle = duckdb.connect()
    oracle.execute("create table t (id bigint, a int, b varchar)")
    number = 0
    for _ in range(9):
        fresh = []
        for _ in range(chance.randrange(1, 30)):
            number += 1
            fresh.append((number, chance.choice([None, *range(5)]), chance.choice([None, "x", "y", "z"])))
        frame = pl.DataFrame(fresh, schema={"id": pl.Int64, "a": pl.Int32, "b": pl.String}, orient="row")
        how, also = chance.choice(["<", ">", "!="]), chance.choice(["or", "and"])
        where = f"a {how} {chance.randrange(5)} {also} b = '{chance.choice('xyz')}'"
        kind = chance.choice(["append", "delete", "overwrite"])
        if kind == "append":
            append(table, frame)
        elif kind == "delete":
            delete(table, where)
        else:
            overwrite(table, frame, where=where)
        if kind != "append":
            oracle.execute(f"delete from t where {where}")
        if kind != "delete":
            oracle.executemany("insert into t values (?, ?, ?)", fresh)
        assert rows(table) == Counter(repr(row) for row in oracle.execute("from t").fetchall())
        assert live(table) <= on_disk(table)


# --- overwrite ------------------------------------------------------------------------------------------


def test_all_rows_are_replaced_in_one_snapshot(numbers: Table) -> None:
    done = overwrite(numbers, pl.DataFrame({"id": [1]}))
    assert rows(numbers) == as_rows((1, None, None, None))
    assert operations(numbers) == ["append", "append", "append", "overwrite"]
    assert done.change
    assert done.change.counts == {"inserted": 1, "deleted": 30}


def test_the_rows_of_a_filter_are_replaced_and_others_stay(numbers: Table) -> None:
    before = live(numbers)
    overwrite(numbers, pl.DataFrame({"id": [-1, -2]}), where="id >= 5 and id < 10")
    assert sorted(pinned(numbers).frame()["id"]) == [-2, -1, *range(5), *range(10, 30)]
    assert len(before & live(numbers)) == 2
    assert len(numbers.snapshots()) == 4


def test_an_overwrite_that_replaces_nothing_is_an_append(catalog: Catalog) -> None:
    table = create_table(catalog, "t", NAMED)
    overwrite(table, pl.DataFrame({"id": [1]}))
    overwrite(table, pl.DataFrame({"id": [2]}), where="id = 2")
    assert operations(table) == ["append", "append"]
    assert rows(table) == as_rows((1, None), (2, None))


def test_an_overwrite_with_no_rows_empties_the_table(numbers: Table) -> None:
    overwrite(numbers, pl.DataFrame(schema={"id": pl.Int64}))
    assert pinned(numbers).frame().height == 0
    assert snapshot(numbers) == snapshot(load_table(numbers.catalog, "numbers"))


def test_the_rows_of_a_table_can_be_its_own_new_rows(numbers: Table) -> None:
    before = pinned(numbers).frame()
    overwrite(numbers, pinned(numbers).lazy().filter(pl.col("id") < 15))
    assert rows(numbers) == Counter(repr(row) for row in before.filter(pl.col("id") < 15).rows())


# --- foreign files --------------------------------------------------------------------------------------


def parquet(folder: Path, name: str, frame: pl.DataFrame | pa.Table) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / name
    pq.write_table(frame.to_arrow() if isinstance(frame, pl.DataFrame) else frame, path)
    return str(path)


def test_files_that_are_there_become_part_of_the_table(catalog: Catalog, tmp_path: Path) -> None:
    table = create_table(catalog, "t", NAMED)
    append(table, pl.DataFrame({"id": [1], "name": ["a"]}))
    first = parquet(tmp_path / "in", "1.parquet", pl.DataFrame({"name": ["b", None], "id": [2, 3]}))
    second = parquet(tmp_path / "in", "2 ä.parquet", pl.DataFrame({"id": [4]}))
    done = add_files(table, [first, Path(second)])
    assert done.change
    assert done.change.counts == {"inserted": 3}
    assert rows(table) == as_rows((1, "a"), (2, "b"), (3, None), (4, None))
    assert len(table.snapshots()) == 2
    evolution.rename_column(table, "name", "title")
    assert rows(table) == as_rows((1, "a"), (2, "b"), (3, None), (4, None))
    delete(table, "title = 'b'")
    assert rows(table) == as_rows((1, "a"), (3, None), (4, None))


def test_a_file_is_added_once(catalog: Catalog, tmp_path: Path) -> None:
    table = create_table(catalog, "t", NAMED)
    path = parquet(tmp_path, "x.parquet", pl.DataFrame({"id": [1]}))
    for twice in ([path, path], [path, f"file://{path}"]):
        with pytest.raises(ValidationError, match="given twice"):
            add_files(table, twice)
    add_files(table, path)
    for again in (path, f"file://{path}"):
        with pytest.raises(ValidationError, match="doubled"):
            add_files(table, again)
    assert rows(table) == as_rows((1, None))
    assert Path(path).exists()


def test_a_file_goes_into_its_partition(catalog: Catalog, tmp_path: Path) -> None:
    table = create_table(catalog, "t", NAMED, partition_spec=["name"])
    add_files(table, parquet(tmp_path, "a.parquet", pl.DataFrame({"id": [1, 2], "name": ["a", "a"]})))
    add_files(
        table,
        parquet(tmp_path, "n.parquet", pl.DataFrame({"id": [3], "name": [None]}, schema_overrides={"name": pl.String})),
    )
    assert pinned(table, where="name = 'a'").frame()["id"].to_list() == [1, 2]
    assert pinned(table, where="name is null").frame()["id"].to_list() == [3]
    for number, mixed in enumerate((["a", "b"], ["a", None])):
        with pytest.raises(SchemaError, match="partition"):
            add_files(table, parquet(tmp_path, f"m{number}.parquet", pl.DataFrame({"id": [1, 2], "name": mixed})))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (pa.table({"id": ["x"]}), "column id"),
        (pa.table({"id": pa.array([1], pa.uint64())}), "column id"),
        (pa.table({"other": [1]}), "unknown column other"),
        (pa.table({"id": [1], "at": pa.array([1], pa.int64()).cast(pa.timestamp("ns"))}), "ns"),
        (pa.table({"id": pa.array([None], pa.int64())}), "required"),
        (pa.table({"name": ["x"]}), "required"),
        (
            pa.table({"id": [1]}, schema=pa.schema([pa.field("id", pa.int64(), metadata={b"PARQUET:field_id": b"7"})])),
            "field id 7",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(catalog: Catalog, tmp_path: Path, given: pa.Table, says: str) -> None:
    schema = Schema(NestedField(1, "id", LongType(), required=True), NestedField(2, "name", StringType()))
    table = create_table(catalog, "t", schema)
    evolution.add_column(table, "at", "timestamp")
    with pytest.raises(SchemaError, match=says):
        add_files(table, parquet(tmp_path, "x.parquet", given))
    assert snapshot(table) is None


def test_a_file_that_is_missing_or_no_parquet_is_a_storage_error(catalog: Catalog, tmp_path: Path) -> None:
    table = create_table(catalog, "t", NAMED)
    with pytest.raises(StorageError, match="missing"):
        add_files(table, str(tmp_path / "nope.parquet"))
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(StorageError, match="cannot be read"):
        add_files(table, str(tmp_path / "torn.parquet"))
    with pytest.raises(ValidationError, match="no files"):
        add_files(table, [])


# --- evolution ------------------------------------------------------------------------------------------


def test_columns_are_added_renamed_widened_and_dropped_and_old_rows_keep_their_values(catalog: Catalog) -> None:
    table = create_table(catalog, "t", {"id": "int", "a": "float", "d": "decimal(5,2)", "s": "struct<x: int>"})
    append(
        table,
        pl.DataFrame(
            {"id": [7], "a": [1.5], "s": [{"x": 1}]},
            schema={"id": pl.Int32, "a": pl.Float32, "s": pl.Struct({"x": pl.Int32})},
        ),
    )
    evolution.widen_column(table, "id", "long")
    evolution.widen_column(table, "a", "double")
    evolution.widen_column(table, "d", "decimal(9,2)")
    evolution.add_column(table, "more", "list<int>", doc="what it means")
    evolution.add_column(table, "s.y", pl.String)
    evolution.rename_column(table, "a", "b")
    evolution.rename_column(table, "s.x", "z")
    assert pinned(table).frame().rows() == [(7, 1.5, None, {"z": 1, "y": None}, None)]
    append(table, pl.DataFrame({"id": [2**40]}))
    for where in ("id = 7", "id < 100", "b > 1.0"):
        assert pinned(table, where=where).frame()["id"].to_list() == [7]
    delete(table, "id = 7")
    evolution.drop_column(table, "b")
    evolution.add_column(table, "b", "double")
    assert table.schema().column_names[-1] == "b"
    assert pinned(table).frame()["id"].to_list() == [2**40]


def test_a_required_column_can_become_optional(catalog: Catalog) -> None:
    table = create_table(catalog, "t", Schema(NestedField(1, "id", LongType(), required=True)))
    evolution.make_optional(table, "id")
    append(table, pl.DataFrame({"id": [None]}, schema={"id": pl.Int64}))
    assert rows(table) == as_rows((None,))


def test_properties_are_set_and_taken_away(catalog: Catalog) -> None:
    table = create_table(catalog, "t", NAMED)
    evolution.set_properties(table, {"a": 1, "b": True})
    assert {"a": "1", "b": "true"}.items() <= table.properties.items()
    evolution.remove_properties(table, "a", "nope")
    assert "a" not in load_table(catalog, "t").properties
    with pytest.raises(ValidationError, match="no value"):
        evolution.set_properties(table, {"a": None})


def test_a_change_of_columns_that_makes_no_sense_is_refused(catalog: Catalog) -> None:
    table = create_table(catalog, "t", {**NAMED, "p": "string", "o": "int"}, partition_spec=["p"], sort_order=["o"])
    bad: list[Any] = [
        lambda: evolution.add_column(table, "id", "int"),
        lambda: evolution.add_column(table, "x", "nope"),
        lambda: evolution.add_column(table, "id.x", "int"),
        lambda: evolution.drop_column(table, "nope"),
        lambda: evolution.drop_column(table, "p"),
        lambda: evolution.drop_column(table, "o"),
        lambda: evolution.rename_column(table, "nope", "x"),
        lambda: evolution.rename_column(table, "id", "name"),
        lambda: evolution.rename_column(table, "id", ""),
        lambda: evolution.widen_column(table, "id", "int"),
        lambda: evolution.widen_column(table, "name", "long"),
        lambda: evolution.widen_column(table, "id", "list<int>"),
        lambda: evolution.make_optional(table, "nope"),
    ]
    for change in bad:
        with pytest.raises(SchemaError):
            change()
    assert len(load_table(catalog, "t").metadata.schemas) == 1


def test_changes_of_columns_by_two_writers_are_both_kept(catalog: Catalog) -> None:
    first = create_table(catalog, "t", NAMED)
    stale = load_table(catalog, "t")
    evolution.add_column(first, "x", "int")
    evolution.add_column(stale, "y", "int")
    assert load_table(catalog, "t").schema().column_names == ["id", "name", "x", "y"]


def test_a_stale_table_is_not_written_with_old_columns(catalog: Catalog) -> None:
    stale = create_table(catalog, "t", NAMED)
    evolution.drop_column(load_table(catalog, "t"), "name")
    with pytest.raises(ConflictError, match="columns were changed"):
        append(stale, pl.DataFrame({"id": [1], "name": ["lost"]}))
    assert on_disk(stale) == set()


SCHEMAS: list[SchemaLike] = [pl.Schema({"a": pl.UInt32}), pa.schema([("a", pa.uint32())]), {"a": pl.UInt32}]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_unsigned_integers_are_never_text(catalog: Catalog, schema: SchemaLike) -> None:
    assert str(create_table(catalog, "t", schema).schema().find_type("a")) == "long"
