"""Replace: readers see the old rows or the new ones. DELETE, not TRUNCATE: an older snapshot keeps its rows."""

from __future__ import annotations

from conduit.strategies.statements import Statement


def emptied(target: str) -> Statement:
    """Remove all rows; grants, views and indexes of the table stay."""
    return Statement(f"DELETE FROM {target}", "deleted")
