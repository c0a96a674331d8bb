"""Rows in a format that both ends speak: what they promise so that rows can pass from one to the other as they are.

Speed costs no guarantee here: the highest cursor comes from the same snapshot as the rows, both ends count them, and
the counts are compared before there is a mark. A session offers its rows, a load looks whether it can take them; where
either says no, they travel as Arrow. Part of the contract; it knows no connector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import msgspec

from conduit.contract import Staged
from conduit.positions import Position


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """All rows of a read in a format that the other end may speak too, so that none of them becomes Arrow on the way.

    Attributes:
        kind: the format, with everything that both ends must agree on: `pgcopy UTF8`.
        columns: name and exact type of each column, in order, as the format knows them.
        reached: asks for the highest cursor among exactly these rows, in the session's snapshot; None: there is none.
        send: gives the rows, from the session's snapshot, to what `kind` writes to (for `pgcopy` a binary file), and
            returns how many there were. What it raises is the source's error.
        cancel: lets a `send` that is under way end soon.
    """

    kind: str
    columns: tuple[tuple[str, str], ...]
    reached: Callable[[], Position | None]
    send: Callable[[Any], int]
    cancel: Callable[[], None]


@runtime_checkable
class SupportsWire(Protocol):
    """A session that can give its rows in a format of its own, where nothing has to be looked at on the way."""

    def wire(self, columns: Sequence[str], key: Sequence[str]) -> Wire | None:
        """These columns of all rows of the read.

        Args:
            columns: what the destination wants, in its order.
            key: columns that may not be NULL; the catalogue has to prove it.

        Returns:
            None: the rows must be looked at (NULL cursors, declared types, a key that can be NULL), or the format does
            not carry them exactly.
        """
        ...


@runtime_checkable
class WiredDestination(Protocol):
    """A destination some of whose loads are `TakesWire`; those of others are not begun in vain."""

    takes_wires: bool


@runtime_checkable
class TakesWire(Protocol):
    """A load that can take rows in a format of its own, straight into the open transaction."""

    def takes(self, wire: Wire) -> bool:
        """Whether the columns of the table are of exactly these types, so that every value arrives as it left."""
        ...

    def receive(self, wire: Wire) -> Staged:
        """Take all rows. Those that were sent and those that arrived are counted apart, and must be equal.

        Raises:
            ConduitError: the source failed while it sent, or a row is missing; nothing of it may be committed.
        """
        ...
