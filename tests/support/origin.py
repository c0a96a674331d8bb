"""A SQLite database as the source of the fault tests: unique, self-describing rows, written by a plain driver."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ends import Rows


@dataclass
class Origin:
    """The table `t` of `path`: id (primary key), key, amount, text (a digest of the rest)."""

    path: Path
    seed: int
    _random: random.Random = field(init=False)
    _last: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, key INTEGER NOT NULL, amount INTEGER NOT NULL, "
                "text TEXT NOT NULL)"
            )

    def add(self, rows: int) -> None:
        """Add rows with rising ids; now and then an id is left out, as sequences do."""
        fresh = []
        for _ in range(rows):
            self._last += self._random.choice((1, 1, 1, 2))
            key, amount = self._random.randrange(50), self._random.randrange(1000)
            digest = hashlib.sha256(f"{self._last}/{key}/{amount}/{self.seed}".encode()).hexdigest()[:16]
            fresh.append((self._last, key, amount, digest))
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", fresh)

    def rows(self) -> Rows:
        """What is there."""
        with closing(sqlite3.connect(self.path)) as connection:
            return Counter(connection.execute("SELECT id, key, amount, text FROM t").fetchall())
