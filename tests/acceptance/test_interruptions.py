"""Signals, lost connections and retries: a run stops soon, or goes on by itself, and nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from contextlib import closing
from typing import Any

import pytest

import conduit
from conduit.config.models import Secret
from conduit.connectors.postgresql.config import PostgresqlConnection
from conduit.connectors.postgresql.connection import connect
from conduit.connectors.postgresql.session import PostgresqlSession
from conduit.contract import Described
from tests.support.postgres import Database
from tests.support.processes import start
from tests.support.project import Project, pipeline
from tests.support.proxy import proxy

TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)
NONE = {"column": "id", "safety": "none"}


def events(database: Database, rows: int) -> None:
    database.execute(
        f"CREATE TABLE events AS SELECT g::bigint AS id, repeat('x', 100) AS v FROM generate_series(1, {rows}) g"
    )
    database.execute("ALTER TABLE events ADD PRIMARY KEY (id)")


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_a_signal_in_the_middle_stops_the_run_and_the_next_goes_on(
    database: Database, project: Project, number: signal.Signals, code: int
) -> None:
    events(database, 300_000)
    query = "SELECT id, v FROM events WHERE id > :last_value ORDER BY id"
    project.write(
        pipeline(database.keys, database.keys, query=query, into="copy", incremental=NONE, checkpoint_interval=20_000)
    )
    run = start(project.folder)
    while database.execute("SELECT to_regclass('copy')") == [(None,)] or not database.execute(
        "SELECT 1 FROM copy LIMIT 1"
    ):
        time.sleep(0.01)
    run.send_signal(number)
    out, err = run.communicate(timeout=30)
    assert run.returncode == code, (out, err)
    assert "goes on from there" in out
    assert "Traceback" not in err
    committed = database.execute("SELECT count(*) FROM copy")[0][0]
    assert 0 < committed < 300_000
    report = project.run()
    assert report["read"] == 300_000 - committed
    assert database.execute("SELECT count(*), count(DISTINCT id) FROM copy") == [(300_000, 300_000)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
@pytest.mark.parametrize("safely", [True, False], ids=["while bounds are asked for", "while rows are read"])
def test_a_statement_that_takes_forever_is_broken_off(
    database: Database, project: Project, number: signal.Signals, code: int, safely: bool
) -> None:
    query = "SELECT x.id FROM (SELECT 1::bigint AS id, pg_sleep(120)) x WHERE x.id > :last_value"
    mode: dict[str, Any] = {"incremental": NONE} if safely else {"mode": "replace"}
    text = query if safely else query.replace(" WHERE x.id > :last_value", "")
    project.write(pipeline(database.keys, database.keys, query=text, into="copy", **mode))
    run = start(project.folder)
    asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    while not database.execute(asleep):
        time.sleep(0.05)
    began = time.monotonic()
    run.send_signal(number)
    run.communicate(timeout=30)
    assert run.returncode == code
    assert time.monotonic() - began < 10


def test_a_connection_that_is_cut_while_rows_are_read_is_tried_again(database: Database, project: Project) -> None:
    events(database, 400_000)
    project.write(
        pipeline(database.keys, {"type": "parquet", "path": "lake/"}, table="events", into="t", incremental=NONE)
    )
    cut = threading.Event()
    notes: list[str] = []

    def watch(event: conduit.Event) -> None:
        notes.append(event.note)
        if event.rows and not cut.is_set():
            cut.set()
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid <> pg_backend_pid() AND datname = current_database()"
            )

    report = conduit.run(project.folder / "ingest.yml", watch=watch)["r"]
    assert cut.is_set()
    assert (report.exit_code, report.written, report.commits) == (0, 400_000, 1), report.error
    assert any("trying again" in note for note in notes)


def test_a_deadlock_or_lost_destination_is_tried_again_as_a_whole_transaction(
    database: Database, project: Project
) -> None:
    events(database, 200_000)
    project.write(pipeline(database.keys, database.keys, table="events", into="t", incremental=NONE))
    cut = threading.Event()

    def watch(event: conduit.Event) -> None:
        if event.rows and not cut.is_set():
            cut.set()
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY \"public\"%%'"
            )

    report = conduit.run(project.folder / "ingest.yml", watch=watch)["r"]
    assert cut.is_set()
    assert report.exit_code == 0, report.error
    assert database.execute("SELECT count(*), count(DISTINCT id) FROM t") == [(200_000, 200_000)]


def test_a_dead_server_is_told_after_a_few_tries(project: Project) -> None:
    nowhere: dict[str, Any] = {"type": "postgresql", "host": "127.0.0.1", "port": 1, "database": "x", "user": "u"}
    project.write(pipeline(nowhere, {"type": "sqlite", "database": "o.sqlite"}, table="t", incremental_column="id"))
    began = time.monotonic()
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 3
    assert "src" in report.error
    assert time.monotonic() - began < 15


@pytest.mark.parametrize(
    ("side", "words", "number"),
    [
        ("src", b"pg_control_system", signal.SIGINT),
        ("src", b"COPY (", signal.SIGTERM),
        ("dst", b"FROM STDIN", signal.SIGINT),
        ("dst", b"COMMIT", signal.SIGTERM),
    ],
)
def test_a_server_that_falls_silent_does_not_keep_a_run_that_is_told_to_stop(
    database: Database, project: Project, side: str, words: bytes, number: signal.Signals
) -> None:
    """Its connections stay open, and so does one that asks it to cancel."""
    events(database, 50_000)
    with proxy(database.server.host, database.server.port) as silent:
        ends = {"src": dict(database.keys), "dst": dict(database.keys)}
        ends[side]["port"] = silent.port
        resource = {"table": "events", "into": "copy", "incremental": NONE}
        project.write(pipeline(ends["src"], ends["dst"], **resource))
        silent.fall_silent_at = words
        run = start(project.folder)
        assert silent.is_silent.wait(60)
        time.sleep(0.5)
        run.send_signal(number)
        out, err = run.communicate(timeout=30)
    assert run.returncode == 128 + number, (out, err)
    assert "Traceback" not in err
    project.write(pipeline(database.keys, database.keys, **resource))
    database.execute(TERMINATE)
    project.run()
    assert database.execute("SELECT count(*), count(DISTINCT id) FROM copy") == [(50_000, 50_000)]


def test_a_peer_that_vanished_is_noticed_by_the_system(database: Database) -> None:
    """A test cannot take the peer's kernel away, so it looks at what our kernel was told."""
    keys = {key: value for key, value in database.keys.items() if key != "type"}
    keys["password"] = Secret(keys["password"]) if "password" in keys else None
    for options, seconds in (({}, 60), ({"keepalives_idle": "7"}, 7)):
        connection = PostgresqlConnection(**keys, options=options)
        with (
            closing(connect("db", connection)) as opened,
            socket.socket(fileno=os.dup(opened.fileno())) as line,
        ):
            assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == seconds
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 6
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 120_000


def test_a_locked_table_is_busy_and_changes_nothing(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conduit.connectors.postgresql.destination.LOCK_SECONDS", 1)
    events(database, 10)
    project.write(pipeline(database.keys, database.keys, table="events", into="t", incremental=NONE))
    conduit.run(project.folder / "ingest.yml")
    database.execute("INSERT INTO events VALUES (11, 'x')")
    holder = database.connect()
    holder.autocommit = False
    with holder.cursor() as cur:
        cur.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        report = conduit.run(project.folder / "ingest.yml")["r"]
    holder.rollback()
    holder.close()
    assert report.exit_code == 75, report.error
    assert conduit.run(project.folder / "ingest.yml")["r"].written == 1


@pytest.mark.parametrize(
    "query",
    [
        "SELECT e.id FROM e, lo_create(4711)",
        "SELECT e.id FROM e, pg_advisory_lock(4711)",
        "SELECT e.id FROM e, pg_advisory_xact_lock(4711)",
        "WITH once AS MATERIALIZED (SELECT pg_advisory_lock(4711)) SELECT id FROM e, once",
    ],
)
def test_a_query_that_would_wait_for_itself_is_refused(database: Database, project: Project, query: str) -> None:
    """It is described in one session and read in another; a read-only transaction lets these functions through."""
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY); INSERT INTO e VALUES (1)")
    lite = {"type": "sqlite", "database": "o.db"}
    project.write(pipeline(database.keys, lite, query=f"{query} WHERE id > :last_value", incremental=NONE))
    began = time.monotonic()
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert (report.exit_code, report.written) == (2, 0)
    assert "resource r: the query has an effect in src" in report.error
    assert time.monotonic() - began < 5


def test_a_query_that_waits_for_the_lock_of_another_is_busy(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conduit.connectors.postgresql.reader.LOCK_SECONDS", 1)
    query = "SELECT 1::bigint AS id, pg_advisory_xact_lock_shared(9)::text AS v"
    project.write(pipeline(database.keys, {"type": "sqlite", "database": "o.db"}, query=query, mode="replace"))
    with closing(database.connect()) as other, other.cursor() as cur:
        cur.execute("SELECT pg_advisory_lock(9)")
        report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 75, report.error
    assert "lock timeout" in report.error
    assert conduit.run(project.folder / "ingest.yml")["r"].written == 1


def test_a_table_that_is_altered_between_its_description_and_its_rows_is_read_after_that(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY); INSERT INTO e SELECT generate_series(1, 100)")
    project.write(pipeline(database.keys, database.keys, table="e", into="copy", incremental_column="id"))
    monkeypatch.setattr("conduit.connectors.postgresql.reader.LOCK_SECONDS", 1)
    altering: list[threading.Thread] = []
    describe = PostgresqlSession.describe

    def described(session: PostgresqlSession) -> Described:
        found = describe(session)
        if not altering:
            alter = "ALTER TABLE e ADD COLUMN v text"
            altering.append(threading.Thread(target=database.execute, args=(alter,)))
            altering[0].start()
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while database.execute(waits) != [(1,)]:
                time.sleep(0.01)
        return found

    monkeypatch.setattr(PostgresqlSession, "describe", described)
    report = conduit.run(project.folder / "ingest.yml")["r"]
    altering[0].join()
    assert report.exit_code == 0, report.error
    assert database.execute("SELECT count(*), count(DISTINCT id) FROM copy") == [(100, 100)]
