"""What the three strategies share: the two tables, and a statement with its count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from conduit.contract import Committed
from conduit.strategies.dialects import Dialect

Count = Literal["inserted", "updated", "taken_out", "deleted", "superseded", "duplicate_key"]


class Statement(msgspec.Struct, frozen=True):
    """One statement and what its number of affected rows means.

    `taken_out` are rows that a later statement inserts anew. `duplicate_key` marks a query instead: a row that it
    returns is a key that stands twice, an error.
    """

    sql: str
    count: Count


class Tables(msgspec.Struct, frozen=True, kw_only=True):
    """A stage table whose rows go into a target.

    Attributes:
        dialect: how to spell it.
        target: the target's quoted name.
        stage: the stage table's quoted name.
        columns: column names, in the order of the stage.
        key: columns that identify a row.
        cursor: column whose highest value wins among rows of one key.
        casts: column -> expression over the stage row `source`, where the target's type needs one.
        comparable: column -> expression template (`{}` is the column) for types without equality (json).
        update: column -> expression of the user over `target.` and `source.`.
        unwatched: columns that do not make a row "changed" (run id, load time).
        present_from: condition on `target` that every already present row fulfils; empty: none.
        whole_rows: the stage has all columns of the target, whose key is unique, so that a row can be changed by being
            taken out and inserted anew; for databases where that is cheaper than an UPDATE.
    """

    dialect: Dialect
    target: str
    stage: str
    columns: tuple[str, ...]
    key: tuple[str, ...] = ()
    cursor: str | None = None
    casts: Mapping[str, str] = msgspec.field(default_factory=dict)
    comparable: Mapping[str, str] = msgspec.field(default_factory=dict)
    update: Mapping[str, str] = msgspec.field(default_factory=dict)
    unwatched: tuple[str, ...] = ()
    present_from: str = ""
    whole_rows: bool = False

    def names(self) -> str:
        """The columns as a list for INSERT."""
        return ", ".join(self.dialect.quote(name) for name in self.columns)

    def value(self, column: str) -> str:
        """The column of a stage row in the target's type."""
        return self.casts.get(column, f"source.{self.dialect.quote(column)}")

    def values(self) -> str:
        """All columns of a stage row in the target's types."""
        return ", ".join(self.value(name) for name in self.columns)

    def same_key(self) -> str:
        """Target and stage row have the same key. Keys hold no NULL: the engine refuses them."""
        quote = self.dialect.quote
        return " AND ".join(f"target.{quote(name)} = {self.value(name)}" for name in self.key)


def remove_superseded(tables: Tables) -> Statement:
    """Of the stage rows with one key keep the one with the highest cursor; of equals, the last that came."""
    quote, row_id = tables.dialect.quote, tables.dialect.row_id
    newest = f"{quote(tables.cursor)} DESC NULLS LAST, " if tables.cursor else ""
    keys = ", ".join(quote(name) for name in tables.key)
    return Statement(
        f"DELETE FROM {tables.stage} WHERE {row_id} IN (SELECT id FROM (SELECT {row_id} AS id, row_number() OVER "
        f"(PARTITION BY {keys} ORDER BY {newest}{row_id} DESC) AS place FROM {tables.stage}) AS ranked "
        f"WHERE place > 1)",
        "superseded",
    )


def find_duplicate_key(tables: Tables) -> Statement:
    """A key that stands twice in the stage, if there is one."""
    keys = ", ".join(tables.dialect.quote(name) for name in tables.key)
    return Statement(f"SELECT {keys} FROM {tables.stage} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1", "duplicate_key")


def insert_missing(tables: Tables) -> Statement:
    """Insert the stage rows whose key the target does not hold."""
    bound = f" AND {tables.present_from}" if tables.present_from else ""
    return Statement(
        f"INSERT INTO {tables.target} ({tables.names()}) SELECT {tables.values()} FROM {tables.stage} AS source "
        f"WHERE NOT EXISTS (SELECT 1 FROM {tables.target} AS target WHERE {tables.same_key()}{bound})",
        "inserted",
    )


def tally(staged: int, counts: Mapping[str, int]) -> Committed:
    """What the statements did to `staged` rows; those that changed nothing were already present."""
    taken_out = counts.get("taken_out", 0)
    inserted, updated = counts.get("inserted", 0) - taken_out, counts.get("updated", 0) + taken_out
    superseded = counts.get("superseded", 0)
    return Committed(
        inserted=inserted,
        updated=updated,
        deleted=counts.get("deleted", 0),
        superseded=superseded,
        already_present=staged - inserted - updated - superseded,
    )
