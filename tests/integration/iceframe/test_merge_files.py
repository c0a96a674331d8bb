"""MERGE: which files it touches, what it costs, and what it carries through; both ways of writing."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import polars as pl
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform
from pyiceberg.types import (
    ListType,
    LongType,
    StringType,
)

from iceframe.errors import UnsupportedError, ValidationError
from iceframe.merge import Merge
from tests.integration.iceframe.merging import (
    MODES,
    append,
    data_files,
    made,
    ordered,
    polars_rows,
    rows_of,
)

COUNTS = {"k": "string", "n": "long"}
TOTAL = {"n": pl.col("target.n") + pl.col("source.n")}


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def counts(catalog: Catalog, mode: str) -> Table:
    """a: 2, b: 1."""
    return made(catalog, COUNTS, pl.DataFrame({"k": ["a", "b"], "n": [2, 1]}), mode=mode)


@pytest.fixture
def table(catalog: Catalog) -> Table:
    """a: 2, b: 1, where the way of writing makes no difference."""
    return made(catalog, COUNTS, pl.DataFrame({"k": ["a", "b"], "n": [2, 1]}))


@pytest.fixture
def new() -> pl.DataFrame:
    """a: 1, z: 1."""
    return pl.DataFrame({"k": ["a", "z"], "n": [1, 1]})


def as_dict(table: Table) -> dict[Any, Any]:
    rows = rows_of(table)
    assert len({row["k"] for row in rows}) == len(rows)
    return {row["k"]: row["n"] for row in rows}


# --- files -------------------------------------------------------------------------------------------------


def test_only_files_that_hold_a_changed_row_are_rewritten(catalog: Catalog) -> None:
    frames = [pl.DataFrame({"k": [f"{a}{b}" for b in range(9)], "n": [0] * 9}) for a in "abcde"]
    table = made(catalog, COUNTS, *frames)
    before = {path: digest(path) for path in data_files(table)}
    source = pl.DataFrame({"k": ["b3", "d4", "c11"], "n": [1, 0, 1]})
    result = Merge(table, source, "k").when_matched_update().execute()
    assert (result.files_rewritten, result.files_added, result.updated) == (1, 1, 1)
    after = {path: digest(path) for path in data_files(table)}
    assert len(before.items() & after.items()) == 4


def digest(path: str) -> str:
    return hashlib.sha256(Path(urlparse(path).path).read_bytes()).hexdigest()


def test_rows_keep_their_order_in_a_rewritten_file(catalog: Catalog) -> None:
    names = ["q", "a", "z", "m", "b"]
    table = made(catalog, COUNTS, pl.DataFrame({"k": names, "n": [1, 2, 3, 4, 5]}))
    source = pl.DataFrame({"k": ["z", "b", "a"], "n": [30, 50, 20]})
    merge = Merge(table, source, "k").when_matched_delete(condition=pl.col("source.k") == "a").when_matched_update()
    merge.execute()
    assert table.refresh().scan().to_arrow().to_pydict() == {"k": ["q", "z", "m", "b"], "n": [1, 30, 4, 50]}


def test_a_file_of_which_no_row_is_left_is_gone(counts: Table) -> None:
    result = Merge(counts, pl.DataFrame({"k": ["a", "b"]}), "k").when_matched_delete().execute()
    assert (result.files_rewritten, result.files_added, result.delete_files) == (1, 0, 0)
    assert (data_files(counts), rows_of(counts)) == ([], [])


SPECS = {
    "identity": PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "c")),
    "bucket": PartitionSpec(PartitionField(1, 1000, BucketTransform(4), "b")),
    "day": PartitionSpec(PartitionField(3, 1000, DayTransform(), "d")),
}
EVENTS = {"k": "long", "c": "string", "at": "timestamp", "n": "long"}


def events(first: int, count: int) -> pl.DataFrame:
    return pl.DataFrame({"k": range(first, first + count)}).with_columns(
        c=pl.when(pl.col("k") % 3 > 0).then(pl.lit("c") + (pl.col("k") % 3).cast(pl.String)),
        at=pl.datetime(2024, 1, 1, time_unit="us") + pl.duration(hours=pl.col("k") * 7),
        n=pl.col("k") * 10,
    )


@pytest.mark.parametrize("spec", SPECS)
def test_rows_go_to_the_partition_that_they_belong_to(catalog: Catalog, mode: str, spec: str) -> None:
    table = made(catalog, EVENTS, events(0, 20), events(20, 20), mode=mode, spec=SPECS[spec])
    moved = (
        events(0, 60)
        .filter(pl.col("k") % 4 == 0)
        .with_columns(c=pl.lit("moved"), at=pl.col("at") + pl.duration(days=3))
    )
    result = Merge(table, moved, "k").when_matched_update().when_not_matched_insert().execute()
    assert (result.updated, result.inserted) == (10, 5)
    wanted = pl.concat([events(0, 40).filter(pl.col("k") % 4 > 0), moved])
    assert rows_of(table) == ordered(wanted.to_dicts())
    for part in ("moved", "c1", "c2"):
        found = table.scan(row_filter=f"c = '{part}'").to_arrow().to_pylist()
        assert ordered(found) == ordered(wanted.filter(pl.col("c") == part).to_dicts())


def test_keys_prune_partitions_and_files_that_cannot_hold_them(catalog: Catalog, mode: str) -> None:
    for name, spec in SPECS.items():
        table = made(catalog, EVENTS, events(0, 30), mode=mode, spec=spec, name=name)
        for path in data_files(table):
            if "c=c1" in path or "d=2024-01-05" in path:
                Path(urlparse(path).path).write_bytes(b"cannot be read")
        source = events(0, 3).filter(pl.col("c") != "c1").with_columns(n=pl.lit(1))
        if name != "bucket":
            on = ["k", "c"] if name == "identity" else ["k", "at"]
            assert Merge(table, source, on).when_matched_update({"n": pl.col("source.n")}).execute().updated == 1


def test_files_of_an_older_partition_spec_are_merged_into(catalog: Catalog, mode: str) -> None:
    table = made(catalog, EVENTS, events(0, 10), mode=mode)
    with table.update_spec() as update:
        update.add_field("c", IdentityTransform(), "c")
    append(table, events(10, 10))
    changed = events(0, 20).filter(pl.col("k") % 5 == 0).with_columns(n=pl.lit(-1, pl.Int64))
    Merge(table, changed, "k").when_matched_update().execute()
    assert rows_of(table) == ordered(pl.concat([events(0, 20).filter(pl.col("k") % 5 > 0), changed]).to_dicts())


def test_files_from_before_a_change_of_the_schema_are_merged_into(catalog: Catalog, mode: str) -> None:
    schema = {"k": "int", "old": "string", "gone": "long"}
    table = made(
        catalog,
        schema,
        pl.DataFrame({"k": [1, 2], "old": ["x", "y"], "gone": [1, 2]}, schema_overrides={"k": pl.Int32}),
        mode=mode,
    )
    with table.update_schema() as update:
        update.update_column("k", LongType())
        update.rename_column("old", "new")
        update.delete_column("gone")
        update.add_column("added", ListType(10, LongType(), element_required=False))
        update.add_column("gone", StringType())
    source = pl.DataFrame({"k": [2, 2**40], "new": ["z", "w"], "added": [[1], None], "gone": [None, "g"]})
    Merge(table, source, "k").when_matched_update().when_not_matched_insert().execute()
    assert rows_of(table) == ordered(
        [
            {"k": 1, "new": "x", "added": None, "gone": None},
            {"k": 2, "new": "z", "added": [1], "gone": None},
            {"k": 2**40, "new": "w", "added": None, "gone": "g"},
        ]
    )


def test_a_key_column_that_a_file_has_not_is_null_there(catalog: Catalog, mode: str) -> None:
    table = made(catalog, {"n": "long"}, pl.DataFrame({"n": [1]}), mode=mode)
    with table.update_schema() as update:
        update.add_column("k", StringType())
    append(table, pl.DataFrame({"n": [2], "k": ["a"]}))
    source = pl.DataFrame({"k": [None, "a"], "n": [10, 20]}, schema={"k": pl.String, "n": pl.Int64})
    Merge(table, source, "k").when_matched_update().execute()
    assert as_dict(table) == {None: 10, "a": 20}


def test_long_keys_are_found_although_their_bounds_are_cut(catalog: Catalog, mode: str) -> None:
    keys = [f"{'prefix' * 10}{number:04}\U0001f600" for number in range(40)]
    table = made(
        catalog, COUNTS, *(pl.DataFrame({"k": keys[a : a + 10], "n": [0] * 10}) for a in range(0, 40, 10)), mode=mode
    )
    source = pl.DataFrame({"k": keys[::3], "n": [1] * 14})
    assert Merge(table, source, "k").when_matched_update().execute().updated == 14


def test_a_table_without_statistics_is_merged_into(catalog: Catalog, mode: str) -> None:
    table = made(
        catalog, COUNTS, pl.DataFrame({"k": ["a", None], "n": [1, 1]}), mode=mode,
        properties={"write.metadata.metrics.default": "none"},
    )  # fmt: skip
    source = pl.DataFrame({"k": ["a", None], "n": [1, 1]}, schema={"k": pl.String, "n": pl.Int64})
    assert Merge(table, source, "k").when_matched_update(TOTAL).execute().updated == 2


def test_a_file_with_many_batches_is_merged_in_place(catalog: Catalog, mode: str) -> None:
    count = 300_000
    table = made(
        catalog,
        COUNTS,
        pl.DataFrame(
            {"k": pl.int_range(count, eager=True).cast(pl.String), "n": pl.zeros(count, pl.Int64, eager=True)}
        ),
        mode=mode,
    )
    assert len(data_files(table)) == 1
    source = pl.DataFrame({"k": ["5", "131072", "299999", "new"], "n": [1, 2, 3, 4]})
    Merge(table, source, "k").when_matched_update().when_not_matched_insert().execute()
    found = pl.DataFrame(table.refresh().scan().to_arrow())
    assert found.height == count + 1
    assert found.filter(pl.col("n") > 0).sort("n").to_dicts() == source.to_dicts()


def test_a_version_1_table_is_merged_into_by_copy_only(catalog: Catalog, mode: str, new: pl.DataFrame) -> None:
    table = made(catalog, COUNTS, pl.DataFrame({"k": ["a", "b"], "n": [2, 1]}), mode=mode, version=1)
    merge = Merge(table, new, "k").when_matched_update(TOTAL)
    if mode == "merge-on-read":
        with pytest.raises(UnsupportedError, match="format version 1"):
            merge.execute()
    else:
        merge.execute()
        assert as_dict(table) == {"a": 3, "b": 1}


def test_an_unknown_mode_is_refused(catalog: Catalog, new: pl.DataFrame) -> None:
    table = made(catalog, COUNTS, mode="merge-on-rea")
    with pytest.raises(ValidationError, match="merge-on-rea"):
        Merge(table, new, "k").when_matched_update(TOTAL).execute()


def test_polars_reads_what_was_merged(counts: Table, new: pl.DataFrame) -> None:
    Merge(counts, new, "k").when_matched_update(TOTAL).when_not_matched_insert().execute()
    assert polars_rows(counts) == rows_of(counts)


# --- a million rows ----------------------------------------------------------------------------------------


@pytest.fixture
def million(catalog: Catalog, mode: str) -> Table:
    """20 files of 50,000 rows."""
    frames = (changed(range(a, a + 50_000), 0) for a in range(0, 1_000_000, 50_000))
    schema = {"id": "long", "c": "string", "n": "long"}
    return made(catalog, schema, *frames, mode=mode)


@pytest.mark.parametrize("mode", MODES)
def test_a_few_keys_cost_little_in_a_table_of_a_million_rows(million: Table, mode: str) -> None:
    """1,000 keys of one file by a single key and by a composite one, then 20,000 composite keys of all files."""
    for number, on in enumerate((["id"], ["c", "id"]), 1):
        before = set(data_files(million))
        started = time.process_time()
        merge = Merge(million, changed(range(120_000, 121_000), number), on)
        result = merge.when_matched_update().when_not_matched_insert().execute()
        assert time.process_time() - started < 2
        assert (result.updated, result.inserted, result.files_added) == (1000, 0, 1)
        kept = 1 if mode == "copy-on-write" or number == 2 else 0
        assert len(before - set(data_files(million))) == kept
        found = pl.DataFrame(million.scan().to_arrow())
        assert (found.height, found["n"].sum()) == (1_000_000, 1000 * number)
    merge = Merge(million, changed(range(0, 1_010_000, 50), 9), ["c", "id"])
    result = merge.when_matched_update().when_not_matched_insert().execute()
    assert (result.updated, result.inserted) == (20_000, 200)
    found = pl.DataFrame(million.refresh().scan().to_arrow())
    assert found.filter(pl.col("n") == 9).sort("id").equals(changed(range(0, 1_010_000, 50), 9))


def changed(ids: range, n: int) -> pl.DataFrame:
    return pl.DataFrame({"id": pl.Series(ids, dtype=pl.Int64)}).with_columns(
        c=(pl.col("id") // 100).cast(pl.String), n=pl.lit(n, pl.Int64)
    )
