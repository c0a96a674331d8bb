"""A read in ranges of a column: where the ranges end, and the statements that read them.

The ends are values of a sample, so that ranges hold about as many rows each, whatever gaps and heaps the values have.
Any values would do: the ranges are disjoint and complete because each end closes one and opens the next, and the rows
without a value belong to the last. All statements run in one snapshot, so nothing comes in between.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from conduit.bounds import NULL_CURSORS, ROWS
from conduit.connectors.postgresql import catalogue
from conduit.connectors.postgresql.catalogue import Cursor
from conduit.connectors.postgresql.types import Column, quote
from conduit.contract import Read, Split
from conduit.errors import ConfigError
from conduit.query import Query
from conduit.splits import Partition, Range
from conduit.tokens import tokens_of, top_level_conditions

SPLIT_ROWS = 250_000
"""Rows that are worth a split of their own, where the number of splits is not said."""

MOST_AT_ONCE = 8
SAMPLE_ROWS = 20_000
"""Values that are looked at to find the ends: enough for a hundred groups of eight ranges."""

_FULL = 10 * SAMPLE_ROWS
"""A sample that grows to this size was drawn from far more rows than the planner knew of."""

_NARROW = 10
"""A read of less than this part of its table is sampled through its own statement, which finds its rows by an index."""

_LONGEST = 200
"""Characters of a text that count for an end."""

_TEXTS = ("text", "varchar", "bpchar")
_SPLITTABLE = (
    "int2", "int4", "int8", "numeric", "float4", "float8", "date", "timestamp", "timestamptz", "uuid", *_TEXTS,
)  # fmt: skip


class Ranged(msgspec.Struct, frozen=True, kw_only=True):
    """What is read in ranges.

    Attributes:
        sql: the statement that gives all rows of the read, their columns in the types that they have in the server.
        columns: what the read gives.
        column: the ranges are of this one.
        cursor: name of the incremental column; None: there is none. Texts of it are compared by their bytes.
        table: the quoted name of the relation that `sql` reads, if it reads one as it stands; empty: it does not.
        condition: which of its rows are read, over `q`; empty: all.
    """

    sql: str
    columns: tuple[Column, ...]
    column: Column
    cursor: str | None = None
    table: str = ""
    condition: str = ""

    @property
    def carried(self) -> str:
        """All rows, their columns as they travel."""
        select = "*" if all(column.is_plain for column in self.columns) else ", ".join(c.select() for c in self.columns)
        return f"SELECT {select} FROM (\n{self.sql}\n) AS q"

    @property
    def value(self) -> str:
        """The column over `q`, as it is compared."""
        return f"q.{quote(self.column.name)}{self.collation}"

    @property
    def collation(self) -> str:
        """What makes a comparison of texts one of bytes."""
        return ' COLLATE "C"' if self.column.name == self.cursor and self.column.type_name in _TEXTS else ""

    @property
    def type_name(self) -> str:
        """The type that ends are cast to."""
        return "text" if self.column.type_name in _TEXTS else self.column.type_name


def require_splittable(read: Read, columns: Sequence[Column]) -> None:
    """The column to split by, if there is to be one, is there and has an order.

    Raises:
        ConfigError: it is not, or has not.
    """
    if read.partition is None:
        return
    name = read.partition.column
    column = next((column for column in columns if column.name == name), None)
    if column is None:
        listed = ", ".join(column.name for column in columns)
        raise ConfigError(
            f"resource {read.resource}: the partition column {name} is not among the columns {listed}",
            hint="select it, or give the column this name with AS",
        )
    if column.type_name not in _SPLITTABLE:
        raise ConfigError(
            f"resource {read.resource}: `partition:` cannot split by {name}, which is of type {column.formatted}",
            hint="a number, a date, a timestamp, a text or a uuid can be split by",
        )


def is_whole(query: Query | None, column: str) -> bool:
    """Whether the pages of a query's table stand for its rows: it does not compute the column, and does not filter."""
    if query is None:
        return True
    if query.tree is not None and query.tree.args.get("where"):
        conditions = list(top_level_conditions(tokens_of(query.text, query.dialect)))
        if not conditions or len(conditions) != len(query.conditions):
            return False
    return bool(query.passed_through([column]))


def splits_of(cur: Cursor, ranged: Ranged, partition: Partition, *, nulls: str) -> list[Split]:
    """The ranges, with their statements, in groups; a split for the rows without a cursor joins the last.

    Args:
        cur: in the transaction whose snapshot the rows are read in.
        ranged: what is read.
        partition: how many ranges are wanted.
        nulls: the statement for the rows without a cursor; empty: they are not wanted apart.
    """
    if not nulls and not _has_rows(cur, ranged):
        return []
    at_once, ends = _planned(cur, ranged, partition)
    found = [
        Range(sql=f"{ranged.carried} WHERE {text}", condition=text, group=place // at_once)
        for place, text in enumerate(_conditions(cur, ranged, ends))
    ] or [Range(sql=ranged.carried)]
    splits = [Split(ROWS, one) for one in found]
    return [*splits, Split(NULL_CURSORS, Range(sql=nulls, group=found[-1].group))] if nulls else splits


def _has_rows(cur: Cursor, ranged: Ranged) -> bool:
    """Whether there is a row to load: one with a cursor, where there is one."""
    known = f"q.{quote(ranged.cursor)} IS NOT NULL" if ranged.cursor else "TRUE"
    cur.execute(f"SELECT EXISTS (SELECT 1 FROM (\n{ranged.sql}\n) AS q WHERE {known})")
    found = cur.fetchone()
    return bool(found and found[0])


def _planned(cur: Cursor, ranged: Ranged, partition: Partition) -> tuple[int, list[str]]:
    """How many ranges are read at once, and where all of them end."""
    guess = catalogue.planned_rows(cur, ranged.sql)
    if partition.number is None and partition.group_rows is None and guess < SPLIT_ROWS:
        return 1, []
    rows, values = _sample(cur, ranged, guess)
    groups = max(1, -(-rows // partition.group_rows)) if partition.group_rows else 1
    at_once = partition.number or _automatic(rows // groups)
    return at_once, ends_of(values, at_once * groups)


def _automatic(rows: int) -> int:
    return max(1, min(rows // SPLIT_ROWS, MOST_AT_ONCE, os.cpu_count() or 1))


def ends_of(values: Sequence[str], parts: int) -> list[str]:
    """The values that part a sorted sample into `parts` pieces of about one size; fewer where many values are equal."""
    places = (len(values) * part // parts - 1 for part in range(1, parts))
    return list(dict.fromkeys(values[place] for place in places if place >= 0))


# --- the sample -----------------------------------------------------------------------------------------


def _sample(cur: Cursor, ranged: Ranged, guess: int) -> tuple[int, list[str]]:
    """About how many rows are read, and some values of them in ascending order, as text."""
    shown = f"left({ranged.value}, {_LONGEST})" if ranged.type_name == "text" else ranged.value
    wanted = float(SAMPLE_ROWS)
    while True:
        drawn, share = _drawn(cur, ranged, guess, shown, wanted)
        cur.execute(
            f"SELECT s.v::text FROM (SELECT d.v FROM ({drawn}) AS d WHERE d.v IS NOT NULL LIMIT {_FULL}) AS s "
            f"ORDER BY s.v{ranged.collation}"
        )
        values = [row[0] for row in cur.fetchall()]
        if len(values) < _FULL:
            return int(len(values) / share), values
        wanted /= 50  # the planner knew of too few rows; those that came first tell nothing of the others


def _drawn(cur: Cursor, ranged: Ranged, guess: int, shown: str, wanted: float) -> tuple[str, float]:
    """The statement that draws values, and which share of the rows it draws: pages of a table, or rows of a query."""
    if ranged.table and catalogue.has_pages(cur, ranged.table):
        rows = catalogue.planned_rows(cur, f"SELECT 1 FROM {ranged.table}")
        if guess * _NARROW >= rows:
            share = min(1.0, wanted / max(rows, 1))
            pages = f" TABLESAMPLE SYSTEM ({share * 100:.6f})" if share < 1 else ""
            where = f" WHERE {ranged.condition}" if ranged.condition else ""
            return f"SELECT {shown} AS v FROM {ranged.table} AS q{pages}{where}", share
    share = min(1.0, wanted / max(guess, 1))
    some = f" WHERE random() < {share:.9f}" if share < 1 else ""
    return f"SELECT {shown} AS v FROM (\n{ranged.sql}\n) AS q{some}", share


# --- the ranges -----------------------------------------------------------------------------------------


def _conditions(cur: Cursor, ranged: Ranged, ends: Sequence[str]) -> list[str]:
    """One condition a range, none for a single one; the last range holds the rows without a value too."""
    if not ends:
        return []
    literals = [_literal(cur, ranged, end) for end in ends]
    first = [f"{ranged.value} <= {literals[0]}"]
    between = [f"{ranged.value} > {low} AND {ranged.value} <= {high}" for low, high in pairwise(literals)]
    nulls = f" OR q.{quote(ranged.column.name)} IS NULL" if ranged.column.nullable else ""
    return [*first, *between, f"({ranged.value} > {literals[-1]}{nulls})"]


def _literal(cur: Cursor, ranged: Ranged, value: str) -> str:
    return f"{catalogue.quoted(cur.connection, value)}::{ranged.type_name}"
