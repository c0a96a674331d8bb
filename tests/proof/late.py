"""Hostile writers against PostgreSQL's window: what commits late, below what was read, while runs are killed.

They commit long after they took their ids, take ids long before they use them, write in savepoints of which some are
rolled back, and roll back whole transactions. The oracle is PostgreSQL's own EXCEPT ALL.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import cycle
from pathlib import Path

import psycopg2.extensions

from tests.proof import tally
from tests.proof.servers import terminate
from tests.support.postgres import Database, Server
from tests.support.project import Project, pipeline
from tests.support.zygote import Zygote

WRITERS = 8
SECONDS = 8.0
NAME = "postgresql, hostile writers"
_OPEN = "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()"
QUERY = "SELECT id, at, v FROM events WHERE id > :last_value ORDER BY id"
SHAPES: tuple[dict[str, object], ...] = (
    {"table": "events"},
    {"query": QUERY},
    {"table": "events", "checkpoint_interval": 500, "batch_size": 250},
    {"table": "events", "mode": "merge", "primary_key": "id"},
    {"table": "events", "incremental_column": "at", "primary_key": "id"},
)


def episode(zygote: Zygote, server: Server, folder: Path, seed: str, points: Sequence[str]) -> None:
    """Some seconds of writers and killed runs, then the oracle."""
    schedule = random.Random(seed)
    with server.database() as database:
        database.execute("CREATE TABLE events (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), v text)")
        shape = {"into": "copy", "incremental_column": "id", **schedule.choice(SHAPES)}
        Project(folder).write(pipeline(database.keys, database.keys, **shape))
        stop = threading.Event()
        with ThreadPoolExecutor(WRITERS) as writers:
            running = [writers.submit(_write, database, f"{seed}/{one}", stop) for one in range(WRITERS)]
            try:
                _attack(zygote, database, folder, schedule, points)
            finally:
                stop.set()
            for one in running:
                one.result()
        _exact(zygote, folder, database)


def _attack(zygote: Zygote, database: Database, folder: Path, schedule: random.Random, points: Sequence[str]) -> None:
    until = time.monotonic() + SECONDS
    rest = cycle(points)
    while time.monotonic() < until:
        how = schedule.random()
        if how < 0.25:
            ran = zygote.conduit(folder, "run", "ingest.yml", kill_after=schedule.uniform(0, 0.3))
            tally.killed(NAME, tally.RANDOM, ran.code)
        elif how < 0.6:
            point = next(rest)
            tally.killed(NAME, point, zygote.conduit(folder, "run", "ingest.yml", crash_at=point).code)
        elif how < 0.7:
            _terminated(zygote, database, folder, schedule)
        else:
            zygote.conduit(folder, "run", "ingest.yml").ok()


def _terminated(zygote: Zygote, database: Database, folder: Path, schedule: random.Random) -> None:
    """The sessions of a run end at a random moment; it tries again, or says so."""
    run = zygote.start(folder, "run", "ingest.yml")
    time.sleep(schedule.uniform(0, 0.3))
    terminate(database.server, [database.name])
    ran = zygote.finish(run)
    tally.note("sessions terminated")
    assert ran.code in (0, 3), ran


def _quiet(database: Database) -> None:
    """Wait until no transaction is open: the session of a killed run ends its statement first, and holds rows back."""
    until = time.monotonic() + 60
    while database.execute(_OPEN)[0][0] and time.monotonic() < until:
        time.sleep(0.05)


def _exact(zygote: Zygote, folder: Path, database: Database) -> None:
    _quiet(database)
    ran = zygote.conduit(folder, "run", "ingest.yml").ok()
    both = [f"SELECT id, at, v FROM {table}" for table in ("events", "copy")]
    counts = [f"SELECT count(*) FROM ({one} EXCEPT ALL {other}) AS q" for one, other in (both, both[::-1])]
    lost, doubled = (int(database.execute(text)[0][0]) for text in counts)
    rows = int(database.execute("SELECT count(*) FROM events")[0][0])
    tally.compared(NAME, rows, lost, doubled)
    tally.note("hostile rows", count=rows)
    assert (lost, doubled) == (0, 0), f"lost {lost}, doubled {doubled}: {ran.out}"
    again = zygote.conduit(folder, "run", "ingest.yml", "--output", "json").ok().json["resources"][0]
    assert (again["status"], again["written"]) == ("nothing new", 0)


def _write(database: Database, seed: str, stop: threading.Event) -> None:
    schedule = random.Random(seed)
    with closing(database.connect()) as connection, connection.cursor() as cur:
        connection.autocommit = False
        while not stop.is_set():
            schedule.choice((_plain, _plain, _with_ids_of_before, _in_savepoints))(cur, schedule)
            if schedule.random() < 0.1:
                connection.rollback()
            else:
                connection.commit()


def _plain(cur: psycopg2.extensions.cursor, schedule: random.Random) -> None:
    for _ in range(schedule.randrange(1, 4)):
        rows = schedule.randrange(1, 400)
        cur.execute("INSERT INTO events (v) SELECT 'w' || i FROM generate_series(1, %s) AS i", (rows,))
        time.sleep(schedule.uniform(0, 0.05))


def _with_ids_of_before(cur: psycopg2.extensions.cursor, schedule: random.Random) -> None:
    cur.execute("SELECT nextval('events_id_seq') FROM generate_series(1, %s)", (schedule.randrange(1, 40),))
    taken = [row[0] for row in cur.fetchall()]
    time.sleep(schedule.uniform(0, 0.3))
    cur.execute("INSERT INTO events (id, v) SELECT i, 'taken' FROM unnest(%s) AS i", (taken,))


def _in_savepoints(cur: psycopg2.extensions.cursor, schedule: random.Random) -> None:
    for _ in range(schedule.randrange(1, 4)):
        cur.execute("SAVEPOINT s")
        rows = schedule.randrange(1, 200)
        cur.execute("INSERT INTO events (v) SELECT 's' || i FROM generate_series(1, %s) AS i", (rows,))
        time.sleep(schedule.uniform(0, 0.03))
        cur.execute("ROLLBACK TO s" if schedule.random() < 0.3 else "RELEASE s")
