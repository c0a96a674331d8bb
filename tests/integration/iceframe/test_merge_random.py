"""Random tables, sources and clauses: a merge does what a few lines of plain Python do with rows."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform, IdentityTransform

from iceframe.merge import Merge
from tests.integration.iceframe.merging import MODES, files_on_disk, known_files, made, ordered, rows_of

Row = dict[str, Any]
FIELDS: dict[str, pa.DataType] = {
    "a": pa.int64(),
    "b": pa.string(),
    "v": pa.int64(),
    "tag": pa.string(),
    "l": pa.list_(pa.int64()),
}
SCHEMA = pa.schema(FIELDS)
SPECS = (
    PartitionSpec(),
    PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "b")),
    PartitionSpec(PartitionField(1, 1000, BucketTransform(3), "a_bucket")),
    PartitionSpec(PartitionField(4, 1000, IdentityTransform(), "tag")),
)
KEYS = (("a",), ("b",), ("a", "b"))


@dataclass(frozen=True)
class When:
    """A condition, for both."""

    expr: pl.Expr | None
    holds: Callable[[Row, Row], bool]


@dataclass(frozen=True)
class Do:
    """What a clause does, for both; None: by name."""

    values: dict[str, Any] | None
    made: Callable[[Row, Row], Row]


def positive(value: int | None) -> bool:
    return value is not None and value > 0


def plus(*values: int | None) -> int | None:
    return None if None in values else sum(value or 0 for value in values)


ALWAYS = When(None, lambda _t, _s: True)
OF_BOTH = (
    When(pl.col("source.v") > 0, lambda _, s: positive(s["v"])),
    When(pl.col("target.v") > 0, lambda t, _: positive(t["v"])),
    When(pl.col("target.tag").eq_missing(pl.col("source.tag")), lambda t, s: t["tag"] == s["tag"]),
)
OF_SOURCE = (OF_BOTH[0], When(pl.col("source.tag").is_null(), lambda _, s: s["tag"] is None))
OF_TARGET = (OF_BOTH[1], When(pl.col("target.b").is_null(), lambda t, _: t["b"] is None))
BY_NAME = Do(None, lambda _, s: s)
UPDATES = (
    BY_NAME,
    Do({"v": pl.col("target.v") + pl.col("source.v")}, lambda t, s: {"v": plus(t["v"], s["v"])}),
    Do(
        {"tag": pl.coalesce("source.tag", "target.tag"), "l": None},
        lambda t, s: {"tag": s["tag"] or t["tag"], "l": None},
    ),
    Do({"l": pl.col("source.l"), "v": 5}, lambda _, s: {"l": s["l"], "v": 5}),
)
BY_SOURCE_UPDATES = (
    Do({"v": pl.col("target.v") * 2, "tag": "left"}, lambda t, _: {"v": plus(t["v"], t["v"]), "tag": "left"}),
    Do({"l": pl.concat_list("target.v")}, lambda t, _: {"l": [t["v"]]}),
)

Clause = tuple[str, str, When, Do | None]


@st.composite
def clauses(draw: st.DrawFn, keys: Sequence[str]) -> list[Clause]:
    """Clauses of all kinds; the last of a kind may be without a condition."""
    inserts = (
        BY_NAME,
        Do({**{key: pl.col(f"source.{key}") for key in keys}, "tag": "new"}, lambda _, s: inserted(s, keys)),
    )
    kinds = (
        ("matched", OF_BOTH, UPDATES, True),
        ("not_matched", OF_SOURCE, inserts, False),
        ("not_matched_by_source", OF_TARGET, BY_SOURCE_UPDATES, True),
    )
    found: list[Clause] = []
    for kind, conditions, actions, deletes in kinds:
        count = draw(st.integers(0, 2))
        for place in range(count):
            when = draw(st.sampled_from((*conditions, ALWAYS) if place == count - 1 else conditions))
            action = draw(st.sampled_from((*actions, None) if deletes else actions))
            word = "delete" if action is None else "insert" if kind == "not_matched" else "update"
            found.append((kind, word, when, action))
    return found or [("not_matched", "insert", ALWAYS, BY_NAME)]


def inserted(source: Row, keys: Sequence[str]) -> Row:
    return {**dict.fromkeys(SCHEMA.names), **{key: source[key] for key in keys}, "tag": "new"}


def oracle(target: list[Row], source: list[Row], keys: Sequence[str], wanted: list[Clause]) -> list[Row]:
    """The table after the merge."""

    def key(row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in keys)

    by_key = {key(row): row for row in source}
    found: list[Row] = []
    for row in target:
        other = by_key.get(key(row))
        kind = "matched" if other is not None else "not_matched_by_source"
        found += applied(kind, row, other or {}, wanted, keys)
    present = {key(row) for row in target}
    for row in source:
        if key(row) not in present:
            found += applied("not_matched", {}, row, wanted, keys)
    return ordered(found)


def applied(kind: str, target: Row, source: Row, wanted: list[Clause], keys: Sequence[str]) -> list[Row]:
    for of, word, when, action in wanted:
        if of == kind and when.holds(target, source):
            if action is None:
                return []
            new = action.made(target, source)
            kept = {key: target[key] for key in keys} if word == "update" else {}
            return [{**target, **new, **kept}]
    return [target] if target else []


def built(table: Table, source: list[Row], keys: Sequence[str], wanted: list[Clause]) -> Merge:
    merge = Merge(table, pa.Table.from_pylist(source, schema=SCHEMA), list(keys))
    for kind, word, when, action in wanted:
        method = getattr(merge, f"when_{kind}_{word}")
        _ = method(condition=when.expr) if action is None else method(action.values, condition=when.expr)
    return merge


ROWS = st.fixed_dictionaries(
    {
        "a": st.one_of(st.none(), st.integers(0, 6)),
        "b": st.one_of(st.none(), st.sampled_from(["x", "y", "zz"])),
        "v": st.one_of(st.none(), st.integers(-2, 3)),
        "tag": st.one_of(st.none(), st.sampled_from(["p", "q"])),
        "l": st.one_of(st.none(), st.lists(st.integers(0, 2), max_size=2)),
    }
)


@st.composite
def merges(draw: st.DrawFn) -> tuple[Sequence[str], list[list[Row]], list[tuple[list[Row], list[Clause]]], int]:
    """Key columns, the files of a table, some merges one after the other, and a partition spec."""
    keys = draw(st.sampled_from(KEYS))
    files = draw(st.lists(st.lists(ROWS, max_size=8), max_size=3))
    unique = st.lists(ROWS, max_size=8, unique_by=lambda row: tuple(row[key] for key in keys))
    steps = draw(st.lists(st.tuples(unique, clauses(keys)), min_size=1, max_size=3))
    return keys, files, steps, draw(st.integers(0, len(SPECS) - 1))


@pytest.mark.parametrize("mode", MODES)
def test_merges_do_what_plain_python_does(catalog: Catalog, mode: str) -> None:
    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
    @given(merges())
    def check(case: tuple[Sequence[str], list[list[Row]], list[tuple[list[Row], list[Clause]]], int]) -> None:
        keys, files, steps, spec = case
        frames = [pa.Table.from_pylist(rows, schema=SCHEMA) for rows in files]
        table = made(catalog, SCHEMA, *frames, mode=mode, spec=SPECS[spec], name=f"t{uuid.uuid4().hex}")
        wanted = [row for rows in files for row in rows]
        for source, given_clauses in steps:
            before, ids = ordered(wanted), table.refresh().metadata.current_snapshot_id
            wanted = oracle(wanted, source, keys, given_clauses)
            result = built(table, source, keys, given_clauses).execute()
            assert rows_of(table) == wanted
            assert (result.snapshot_id is None) == (table.metadata.current_snapshot_id == ids)
            assert result.snapshot_id or before == wanted
            assert len(wanted) - len(before) == result.inserted - result.deleted
        assert files_on_disk(table) == known_files(table)

    check()
