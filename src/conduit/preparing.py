"""Destinations that get ready for a load while the first rows are read."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from conduit.contract import Destination, Write


@runtime_checkable
class SupportsPreparing(Protocol):
    """A destination that has something to do before it can begin a load, such as slow imports."""

    def prepare(self, write: Write) -> None:
        """Get ready for this write; nothing becomes visible by it, and a `begin` need not follow."""
        ...


def prepare(destination: Destination, write: Write) -> None:
    """Let a destination that wants to, get ready; called by the writing thread, before it waits for the first row."""
    if isinstance(destination, SupportsPreparing):
        destination.prepare(write)
