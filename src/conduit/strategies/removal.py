"""Removal: the rows whose identity stands in a stage go, so that a repair can insert them anew in the same commit."""

from __future__ import annotations

from conduit.strategies.statements import Statement, Tables


def identified(tables: Tables) -> Statement:
    """Remove the rows of the target whose `columns` have the values of a stage row; a NULL matches nothing."""
    stage = f"SELECT {tables.values()} FROM {tables.stage} AS source"
    return Statement(f"DELETE FROM {tables.target} WHERE ({tables.names()}) IN ({stage})", "deleted")
