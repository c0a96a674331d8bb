"""The source of the fault tests: unique, self-describing rows in SQLite or PostgreSQL, written by a plain driver."""

from __future__ import annotations

import hashlib
import random
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from psycopg2.extras import execute_values

from tests.support.ends import Row, Rows
from tests.support.postgres import Database


@dataclass
class Origin:
    """The table `t` of `path`: id (primary key), key, amount, text (a digest of the rest)."""

    path: Path
    seed: int
    _random: random.Random = field(init=False)
    _last: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._create()

    def _create(self) -> None:
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
        self._insert(fresh)

    def _insert(self, fresh: list[Row]) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", fresh)

    def rows(self) -> Rows:
        """What is there."""
        with closing(sqlite3.connect(self.path)) as connection:
            return Counter(connection.execute("SELECT id, key, amount, text FROM t").fetchall())


@dataclass
class ServerOrigin(Origin):
    """The same table in a PostgreSQL database."""

    database: Database = field(kw_only=True)

    def _create(self) -> None:
        self.database.execute("CREATE TABLE t (id bigint PRIMARY KEY, key int, amount int, text text NOT NULL)")

    def _insert(self, fresh: list[Row]) -> None:
        with closing(self.database.connect()) as connection, connection.cursor() as cur:
            execute_values(cur, "INSERT INTO t VALUES %s", fresh, page_size=len(fresh))

    def rows(self) -> Rows:
        return Counter((i, k, a, t) for i, k, a, t in self.database.execute("SELECT id, key, amount, text FROM t"))
