"""Tables and marks in memory, by the name of their store. A table never changes: a commit puts another in its place."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from conduit.arrow import pa
from conduit.errors import Fenced
from conduit.marks import Identity, Mark


@dataclass
class Store:
    """A set of tables.

    Attributes:
        tables: by name.
        marks: by identity.
        lock: held around a commit.
    """

    tables: dict[str, pa.Table] = field(default_factory=dict)
    marks: dict[Identity, Mark] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def move_mark(self, old: Mark | None, new: Mark) -> None:
        """Set a mark if it still is `old` (I3).

        Raises:
            Fenced: it is not.
        """
        found = self.marks.get(new.identity)
        if (found.token() if found else None) != (old.token() if old else None):
            raise Fenced(f"{new.identity.resource}: another run moved the mark of table {new.identity.table}")
        self.marks[new.identity] = new


_STORES: dict[str, Store] = {}


def store(name: str) -> Store:
    """The store of that name in this process; made at the first call."""
    return _STORES.setdefault(name, Store())
