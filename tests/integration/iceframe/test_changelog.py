"""Every change of a window, and the difference of two snapshots: exact as multisets, whatever was done to the table."""

from __future__ import annotations

import os
import random
from collections import Counter

import polars as pl
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import (
    BinaryType,
    DoubleType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
)

from iceframe.change import Change
from iceframe.changes import changes
from iceframe.diff import Difference, difference
from iceframe.errors import (
    NonAppendSnapshotError,
    RolledBackSnapshotError,
    SnapshotExpiredError,
    ValidationError,
)
from iceframe.files import write_data_files
from iceframe.scan import pinned
from tests.integration.iceframe.histories import OPERATIONS, Model
from tests.integration.iceframe.writers import (
    Rows,
    append,
    change,
    data_files,
    delete_at,
    expire,
    head,
    multiset,
)

pytestmark = pytest.mark.filterwarnings("ignore:Delete operation did not match:UserWarning")

HISTORIES = int(os.environ.get("ICEFRAME_HISTORIES", "40"))
STEPS = 7
NAN = float("nan")


@pytest.fixture
def table(catalog: Catalog) -> Table:
    return catalog.create_table(
        "default.events", Schema(NestedField(1, "id", LongType()), NestedField(2, "x", DoubleType()))
    )


@pytest.fixture
def keyed(catalog: Catalog) -> Table:
    schema = Schema(
        NestedField(1, "id", LongType(), required=True), NestedField(2, "x", DoubleType()), identifier_field_ids=[1]
    )
    return catalog.create_table("default.keyed", schema)


def rewrite(table: Table, rows: list[tuple[object, ...]]) -> int:
    """Put rows in the place of all rows, in one snapshot; the new snapshot."""
    table.refresh()
    shape = table.schema().as_arrow()
    columns = list(zip(*rows, strict=True))
    data = pa.table([pa.array(column, one.type) for column, one in zip(columns, shape, strict=True)], schema=shape)
    added = tuple(write_data_files(table.metadata, table.io, data.to_batches()))
    removed = tuple(task.file for task in pinned(table).files())
    return change(table, Change(operation="overwrite", added=added, removed=removed))


def log(table: Table, since: int | None, **options: object) -> list[tuple[object, ...]]:
    """The changes as tuples: what happened first, then the row."""
    frame = changes(table, since, on_change="changes", **options).frame  # type: ignore[arg-type]
    return [
        tuple(row) for row in frame.select("_change_type", pl.exclude("_change_type", "_commit_snapshot_id")).rows()
    ]


# --- the changelog ----------------------------------------------------------------------------------------


def test_each_snapshot_gives_its_deletes_and_inserts_with_its_id(table: Table) -> None:
    since = append(table, id=[1, 2, 3], x=[1.0, 2.0, 3.0])
    appended = append(table, id=[4, 5], x=[4.0, 5.0])
    table.delete("id = 4")
    found = changes(table, since, on_change="changes")

    assert found.kind == "changes"
    assert found.frame.schema == pl.Schema(
        {"id": pl.Int64, "x": pl.Float64, "_change_type": pl.String, "_commit_snapshot_id": pl.Int64}
    )
    assert found.frame.rows() == [
        (4, 4.0, "insert", appended),
        (5, 5.0, "insert", appended),
        (4, 4.0, "delete", head(table)),
    ]
    assert not found.empty


def test_without_a_start_all_rows_are_inserts_and_without_news_there_is_nothing(table: Table) -> None:
    assert changes(table, on_change="changes").frame.columns == ["id", "x", "_change_type", "_commit_snapshot_id"]
    append(table, id=[1, 1], x=[None, NAN])
    table.delete("id = 9")

    assert multiset(log(table, None)) == multiset([("insert", 1, None), ("insert", 1, NAN)])
    nothing = changes(table, head(table), on_change="changes")
    assert nothing.empty
    assert nothing.frame.width == 4


def test_equal_rows_are_counted(table: Table) -> None:
    since = append(table, id=[1, 1, 1, 2], x=[None, None, None, NAN])
    rewrite(table, [(1, None), (2, NAN), (2, NAN), (2, NAN)])

    assert multiset(log(table, since)) == multiset([("delete", 1, None)] * 2 + [("insert", 2, NAN)] * 2)


def test_a_changed_sign_of_zero_is_a_change_and_nothing_else_is(table: Table) -> None:
    since = append(table, id=[1, 2, 3, 4], x=[0.0, NAN, None, -0.0])
    rewrite(table, [(4, -0.0), (3, None), (2, NAN), (1, -0.0)])

    assert multiset(log(table, since)) == multiset([("delete", 1, 0.0), ("insert", 1, -0.0)])


def test_deletes_by_place_are_deletes(table: Table) -> None:
    append(table, id=[1, 2, 3, 3], x=[1.0, 2.0, 3.0, 3.0])
    path = data_files(table)[0]
    since = delete_at(table, path, [0])
    delete_at(table, path, [2])
    append(table, id=[9], x=[None])

    assert log(table, since) == [("delete", 3, 3.0), ("insert", 9, None)]
    table.delete("id = 3")
    assert log(table, since) == [("delete", 3, 3.0), ("insert", 9, None), ("delete", 3, 3.0)]


def test_a_key_makes_a_delete_and_an_insert_an_update(table: Table, keyed: Table) -> None:
    before = [(1, 1.0), (2, 2.0), (3, None)]
    after = [(1, 1.0), (2, 20.0), (4, 4.0)]
    expected = [
        ("delete", 3, None),
        ("update_before", 2, 2.0),
        ("update_after", 2, 20.0),
        ("insert", 4, 4.0),
    ]
    for one, options in ((table, {"key": ["id"]}), (keyed, {})):
        since = rewrite(one, before)  # type: ignore[arg-type]
        rewrite(one, after)  # type: ignore[arg-type]
        assert log(one, since, **options) == expected
        assert log(one, since, columns=["x"], **options) == [(kind, x) for kind, _, x in expected]
        assert multiset(log(one, since, key=[])) == multiset(
            [({"b": "delete", "a": "insert"}.get(kind[7:8], kind), *row) for kind, *row in expected]
        )


def test_a_key_that_is_null_matches_null_and_one_that_comes_twice_is_no_update(table: Table) -> None:
    since = rewrite(table, [(None, 1.0), (5, 1.0), (5, 2.0)])
    rewrite(table, [(None, 2.0), (5, 3.0)])

    assert multiset(log(table, since, key=["id"])) == multiset(
        [
            ("update_before", None, 1.0),
            ("update_after", None, 2.0),
            ("delete", 5, 1.0),
            ("delete", 5, 2.0),
            ("insert", 5, 3.0),
        ]
    )


def test_a_condition_holds_for_each_image_of_a_row(table: Table) -> None:
    since = rewrite(table, [(1, 1.0), (2, 9.0), (3, 9.0)])
    rewrite(table, [(1, 9.0), (2, 1.0), (3, 8.0)])
    expected = [("insert", 1, 9.0), ("delete", 2, 9.0), ("update_before", 3, 9.0), ("update_after", 3, 8.0)]

    for where in ("x > 5", pl.col("x") > 5):
        assert multiset(log(table, since, where=where, key=["id"])) == multiset(expected)


def test_nested_and_binary_values_are_compared_by_value(catalog: Catalog) -> None:
    schema = Schema(
        NestedField(1, "id", LongType()),
        NestedField(2, "tags", ListType(6, DoubleType(), element_required=False)),
        NestedField(3, "place", StructType(NestedField(7, "x", DoubleType()), NestedField(8, "name", StringType()))),
        NestedField(4, "more", MapType(9, StringType(), 10, DoubleType(), value_required=False)),
        NestedField(5, "raw", BinaryType()),
    )
    table = catalog.create_table("default.nested", schema)
    same: list[tuple[object, ...]] = [
        (1, [0.0, None], {"x": NAN, "name": "a"}, [("k", 1.0)], b"\x00"),
        (2, [], None, [], b""),
        (3, None, {"x": None, "name": None}, None, None),
    ]
    since = rewrite(table, [*same, (4, [0.0], None, None, None)])
    rewrite(table, [*reversed(same), (4, [-0.0], None, None, None)])
    found = changes(table, since, on_change="changes", key=["id"]).frame

    assert found["_change_type"].to_list() == ["update_before", "update_after"]
    assert str(found["tags"].to_list()) == "[[0.0], [-0.0]]"
    assert difference(table, since).added["id"].to_list() == [4]


def test_the_updates_of_pyicebergs_upsert_come_as_deletes_and_inserts(keyed: Table) -> None:
    shape = keyed.schema().as_arrow()
    keyed.append(pa.table({"id": [1, 2, 3], "x": [1.0, 2.0, 3.0]}, schema=shape))
    since = head(keyed)
    keyed.upsert(pa.table({"id": [2, 4], "x": [20.0, 4.0]}, schema=shape))
    keyed.refresh()

    net = Counter(multiset(row[1:] for row in log(keyed, since) if row[0] in {"insert", "update_after"}))
    net.subtract(multiset(row[1:] for row in log(keyed, since) if row[0] in {"delete", "update_before"}))
    assert {row: count for row, count in net.items() if count} == {"(2, 20.0)": 1, "(4, 4.0)": 1, "(2, 2.0)": -1}


def test_what_was_changed_right_after_an_expired_start_cannot_be_told(table: Table) -> None:
    append(table, id=[0], x=[0.0])
    since = append(table, id=[1, 2], x=[1.0, 2.0])
    table.delete("id = 2")
    append(table, id=[3], x=[3.0])
    expire(table, since)

    with pytest.raises(SnapshotExpiredError, match="cannot be told"):
        log(table, since)


def test_a_column_with_the_name_of_a_label_is_refused_unless_it_is_left_out(catalog: Catalog) -> None:
    table = catalog.create_table(
        "default.odd", Schema(NestedField(1, "id", LongType()), NestedField(2, "_change_type", StringType()))
    )
    append(table, id=[1], _change_type=["mine"])

    with pytest.raises(ValidationError, match="_change_type"):
        changes(table, on_change="changes")
    assert changes(table, on_change="changes", columns=["id"]).frame["_change_type"].to_list() == ["insert"]


# --- the difference of two snapshots ----------------------------------------------------------------------


def shown(found: Difference) -> tuple[Rows, Rows, list[str], list[str]]:
    images = [[repr(row) for row in side.rows()] for side in (found.modified, found.before)]
    return multiset(found.added), multiset(found.removed), images[0], images[1]


def test_a_difference_counts_equal_rows_and_leaves_equal_ones_out(table: Table) -> None:
    first = append(table, id=[1, 1, None], x=[1.0, None, None])
    append(table, id=[1], x=[1.0])
    rewrite(table, [(None, None), (1, None), (1, 1.0), (1, 1.0), (7, NAN)])

    assert shown(difference(table, first)) == (multiset([(1, 1.0), (7, NAN)]), Counter(), [], [])


def test_a_difference_by_key_shows_both_images(table: Table, keyed: Table) -> None:
    for one, key in ((table, ["id"]), (keyed, None)):
        first = rewrite(one, [(1, 1.0), (2, None), (3, 3.0)])
        second = rewrite(one, [(1, 10.0), (2, None), (4, 4.0)])
        assert shown(difference(one, first, second, key=key)) == (
            multiset([(4, 4.0)]),
            multiset([(3, 3.0)]),
            ["(1, 10.0)"],
            ["(1, 1.0)"],
        )


def test_a_null_key_that_did_not_change_is_not_reported_and_one_that_did_is_modified(table: Table) -> None:
    first = rewrite(table, [(None, 1.0), (1, 1.0)])
    same = rewrite(table, [(1, 1.0), (None, 1.0)])
    changed = rewrite(table, [(1, 1.0), (None, 2.0)])

    assert shown(difference(table, first, same, key=["id"])) == (Counter(), Counter(), [], [])
    assert shown(difference(table, first, changed, key=["id"])) == (
        Counter(),
        Counter(),
        ["(None, 2.0)"],
        ["(None, 1.0)"],
    )


def test_a_difference_goes_either_way_and_nets_out_what_came_and_went(table: Table) -> None:
    first = append(table, id=[1, 2], x=[1.0, 2.0])
    append(table, id=[4, 5], x=[4.0, 5.0])
    delete_at(table, data_files(table)[0], [0])
    table.delete("id = 4")
    forth = difference(table, first)
    assert multiset(forth.added) | multiset(forth.removed) == multiset(
        set(pinned(table.refresh()).frame().rows()) ^ {(1, 1.0), (2, 2.0)}
    )
    back = difference(table, head(table), first)

    assert multiset(back.added) == multiset(forth.removed)
    assert multiset(back.removed) == multiset(forth.added)
    assert difference(table, first, first).added.schema == pl.Schema({"id": pl.Int64, "x": pl.Float64})


def test_a_difference_needs_snapshots_that_are_there(table: Table) -> None:
    first = append(table, id=[1], x=[1.0])
    append(table, id=[2], x=[1.0])
    expire(table, first)

    with pytest.raises(SnapshotExpiredError):
        difference(table, first)
    with pytest.raises(ValidationError, match="0"):
        difference(table, 0)
    with pytest.raises(ValidationError, match="unknown column nope"):
        difference(table, head(table), key=["nope"])


# --- any history ------------------------------------------------------------------------------------------


def check(model: Model) -> None:
    """Read from a random point in each way, and compare with the lists."""
    now = model.project(model.rows)
    assert multiset(changes(model.table).frame) == now
    if not model.line:
        return
    place = model.chance.randrange(len(model.line))
    start = model.line[place]
    then = model.project(start.rows)
    later = model.line[place + 1 :]
    broken = bool(model.expired)
    pure = all(state.how in {"append", "compact"} for state in later)
    try:
        found = changes(model.table, start.snapshot).frame
    except NonAppendSnapshotError:
        assert not pure
    except SnapshotExpiredError:
        assert broken
    else:
        assert multiset(found) == now - then
        assert not then - now
    try:
        logged = changes(model.table, start.snapshot, on_change="changes", key=["id"]).frame
    except SnapshotExpiredError:
        assert broken
    else:
        came = pl.col("_change_type").is_in(["insert", "update_after"])
        data = pl.exclude("_change_type", "_commit_snapshot_id")
        assert then + multiset(logged.filter(came).select(data)) == now + multiset(logged.filter(~came).select(data))
    try:
        net = difference(model.table, start.snapshot)
    except SnapshotExpiredError:
        assert start.snapshot in model.expired
    else:
        assert multiset(net.added) == now - then
        assert multiset(net.removed) == then - now
    for gone in model.left:
        with pytest.raises((RolledBackSnapshotError, SnapshotExpiredError) if broken else RolledBackSnapshotError):
            changes(model.table, gone)


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_after_any_history_a_read_is_right_or_a_named_error(catalog: Catalog, seed: int) -> None:
    chance = random.Random(seed)
    table = catalog.create_table(
        "default.any", Schema(NestedField(1, "id", LongType()), NestedField(2, "x", DoubleType()))
    )
    model = Model(table, chance)
    for _ in range(STEPS):
        operation = chance.choices(list(OPERATIONS), list(OPERATIONS.values()))[0]
        operation(model)
        if chance.random() < 0.4:
            check(model)
    check(model)
