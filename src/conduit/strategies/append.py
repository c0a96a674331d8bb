"""Append: all staged rows are new, or those whose key the target does not hold yet."""

from __future__ import annotations

from conduit.strategies.statements import Statement, Tables, insert_missing, remove_superseded


def everything(tables: Tables) -> list[Statement]:
    """Insert every staged row."""
    return [
        Statement(
            f"INSERT INTO {tables.target} ({tables.names()}) SELECT {tables.values()} FROM {tables.stage} AS source",
            "inserted",
        )
    ]


def leaving_out_present(tables: Tables, *, key_is_unique: bool) -> list[Statement]:
    """Insert the staged rows that the target lacks, by key; among staged rows of one key the newest."""
    return [*([] if key_is_unique else [remove_superseded(tables)]), insert_missing(tables)]
