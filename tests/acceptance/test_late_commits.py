"""PostgreSQL writers that commit late, whatever their cursor says: every row is loaded, and loaded once."""

from __future__ import annotations

import json
import random
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg2.extensions
import pytest

import conduit
from conduit.report import ResourceReport
from tests.support.postgres import Database
from tests.support.project import Project, pipeline

QUERY = "SELECT id, at, v FROM events WHERE id > :last_value ORDER BY id"


@pytest.fixture
def events(database: Database) -> Database:
    database.execute("CREATE TABLE events (id bigserial PRIMARY KEY, at timestamptz DEFAULT now(), v text)")
    database.execute("INSERT INTO events (v) SELECT 'first' FROM generate_series(1, 5)")
    return database


def set_up(project: Project, database: Database, **resource: Any) -> None:
    wanted = {"into": "copy", "incremental_column": "id"} | resource
    if "query" not in wanted:
        wanted.setdefault("table", "events")
    project.write(pipeline(database.keys, database.keys, **wanted))


def run(project: Project) -> ResourceReport:
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 0, report.error
    return report


@contextmanager
def writer(database: Database) -> Iterator[psycopg2.extensions.cursor]:
    """A transaction that stays open for the block, and is committed."""
    with closing(database.connect()) as opened:
        opened.autocommit = False
        with opened.cursor() as cur:
            yield cur
        opened.commit()


def rows(database: Database, table: str) -> list[tuple[Any, ...]]:
    return database.execute(f"SELECT id, v FROM {table} ORDER BY id, v")


def same(database: Database) -> None:
    assert rows(database, "copy") == rows(database, "events")


@pytest.mark.parametrize("relation", [{}, {"query": QUERY}, {"query": "SELECT * FROM events"}], ids=str)
def test_a_row_that_commits_after_a_higher_one_is_loaded(
    events: Database, project: Project, relation: dict[str, str]
) -> None:
    set_up(project, events, **relation)
    run(project)
    with writer(events) as late:
        late.execute("INSERT INTO events (v) VALUES ('late')")
        events.execute("INSERT INTO events (v) VALUES ('early')")
        held = run(project)
        assert any("held back by transaction" in note for note in held.notes)
    report = run(project)
    same(events)
    assert run(project).status == "nothing new"
    assert report.exit_code == 0


def test_ids_that_were_taken_long_before_are_loaded(events: Database, project: Project) -> None:
    set_up(project, events)
    taken = [row[0] for row in events.execute("SELECT nextval('events_id_seq') FROM generate_series(1, 3)")]
    events.execute("INSERT INTO events (v) VALUES ('above')")
    run(project)
    for number in taken:
        events.execute("INSERT INTO events (id, v) VALUES (%s, 'taken')", number)
        run(project)
    same(events)


def test_a_transaction_of_many_statements_with_one_between_is_loaded_whole(events: Database, project: Project) -> None:
    set_up(project, events)
    run(project)
    with writer(events) as second:
        with writer(events) as first:
            first.execute("INSERT INTO events (v) VALUES ('first, early')")
            second.execute("INSERT INTO events (v) VALUES ('second')")
            first.execute("INSERT INTO events (v) VALUES ('first, late')")
        run(project)
    run(project)
    same(events)


def test_rows_of_savepoints_are_loaded(events: Database, project: Project) -> None:
    set_up(project, events)
    run(project)
    with writer(events) as late:
        late.execute("SAVEPOINT a; INSERT INTO events (v) VALUES ('in a'); SAVEPOINT b")
        events.execute("INSERT INTO events (v) VALUES ('between')")
        run(project)
        late.execute("INSERT INTO events (v) VALUES ('in b'); RELEASE SAVEPOINT b")
        run(project)
    run(project)
    same(events)


def test_rows_of_prepared_transactions_are_loaded(events: Database, project: Project) -> None:
    if events.execute("SHOW max_prepared_transactions") == [("0",)]:
        pytest.skip("this server has no prepared transactions")
    set_up(project, events)
    run(project)
    with closing(events.connect()) as opened:
        opened.autocommit = False
        with opened.cursor() as cur:
            cur.execute("INSERT INTO events (v) VALUES ('prepared'); PREPARE TRANSACTION 'late'")
    events.execute("INSERT INTO events (v) VALUES ('meanwhile')")
    assert any("prepared as late" in note for note in run(project).notes)
    events.execute("COMMIT PREPARED 'late'")
    run(project)
    same(events)


def test_rows_of_partitions_are_loaded(events: Database, project: Project) -> None:
    events.execute(
        "CREATE TABLE parts (id bigint, v text, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE high PARTITION OF parts DEFAULT;"
        "INSERT INTO parts VALUES (1, 'a'), (20, 'b')"
    )
    set_up(project, events, table="parts")
    run(project)
    with writer(events) as late:
        late.execute("INSERT INTO parts VALUES (5, 'late')")
        events.execute("INSERT INTO parts VALUES (30, 'early')")
        run(project)
    run(project)
    assert rows(events, "copy") == rows(events, "parts")


def test_a_rewritten_table_is_read_again_and_nothing_is_doubled(events: Database, project: Project) -> None:
    set_up(project, events)
    run(project)
    events.execute("ALTER TABLE events ALTER COLUMN v TYPE varchar(20)")
    events.execute("ALTER TABLE events ADD COLUMN more double precision DEFAULT random()")
    project.write(
        pipeline(
            events.keys, events.keys, table="events", into="copy", incremental_column="id", schema_changes="ignore"
        )
    )
    report = run(project)
    assert (report.written, report.already_present) == (0, 5)
    same(events)


def test_a_server_that_was_restored_to_an_earlier_time_stops_the_run(events: Database, project: Project) -> None:
    set_up(project, events)
    run(project)
    [(mark,)] = events.execute("SELECT mark FROM _conduit_state")
    text = mark if isinstance(mark, str) else json.dumps(mark)
    ahead = re.sub(r'"(start|end|next)":\s*"\d+"', lambda found: f'"{found[1]}":"99999999"', text)
    assert ahead != text
    events.execute("UPDATE _conduit_state SET mark = %s", ahead)
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 4
    assert "it was restored" in report.error


def test_times_that_were_set_when_a_transaction_began_are_loaded(events: Database, project: Project) -> None:
    set_up(project, events, incremental_column="at", primary_key="id")
    run(project)
    with writer(events) as late:
        late.execute("SELECT now()")
        events.execute("INSERT INTO events (v) VALUES ('after')")
        run(project)
        late.execute("INSERT INTO events (v) VALUES ('with an old time')")
    run(project)
    same(events)


def test_an_updated_row_is_not_loaded_again_by_an_append(events: Database, project: Project) -> None:
    set_up(project, events)
    run(project)
    events.execute("UPDATE events SET v = 'changed' WHERE id = 2")
    report = run(project)
    assert (report.read, report.written, report.already_present) == (1, 0, 1)
    assert [row[0] for row in rows(events, "copy")] == [1, 2, 3, 4, 5]


def test_an_updated_row_is_loaded_by_a_merge(events: Database, project: Project) -> None:
    set_up(project, events, mode="merge", primary_key="id")
    run(project)
    events.execute("UPDATE events SET v = 'changed' WHERE id = 2")
    assert run(project).updated == 1
    same(events)


def test_a_quiet_run_says_nothing_of_lag_and_moves_nothing(events: Database, project: Project) -> None:
    set_up(project, events)
    assert not any("lag" in note for note in run(project).notes)
    before = events.execute("SELECT * FROM _conduit_state")
    assert run(project).status == "nothing new"
    assert events.execute("SELECT * FROM _conduit_state") == before


def test_a_query_over_two_tables_looks_back_and_says_why(events: Database, project: Project) -> None:
    query = "SELECT e.id, e.v FROM events e JOIN events o ON o.id = e.id WHERE e.id > :last_value ORDER BY e.id"
    set_up(project, events, query=query, primary_key="id")
    assert any("no xid window: the query is more than a SELECT from one table" in note for note in run(project).notes)


def test_a_window_that_must_be_had_is_refused_where_there_is_none(events: Database, project: Project) -> None:
    events.execute("CREATE VIEW seen AS SELECT * FROM events")
    project.write(
        pipeline(
            events.keys, events.keys, table="seen", into="copy", primary_key="id",
            incremental={"column": "id", "safety": "xid_window"},
        )
    )  # fmt: skip
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 2
    assert "safety: xid_window cannot be had" in report.error
    assert "is no table" in report.error


def test_the_plan_shows_the_window_and_its_statement(events: Database, project: Project) -> None:
    set_up(project, events, query=QUERY)
    run(project)
    [plan] = conduit.plan(project.folder / "ingest.yml")
    assert "age(xmin)" in plan.sql
    assert plan.nothing_new


def test_a_checkpoint_in_a_window_goes_on_where_it_was_cut(events: Database, project: Project) -> None:
    events.execute("INSERT INTO events (v) SELECT 'more' FROM generate_series(1, 3000)")
    set_up(project, events, query=QUERY, checkpoint_interval=1000, batch_size=500)
    killed = project.conduit("run", "ingest.yml", env={"CONDUIT_CRASH_AT": "run.committed:2"})
    assert killed.code == -9
    state = events.execute("SELECT count(*) FROM copy")[0][0]
    assert 0 < state < 3005
    events.execute("INSERT INTO events (v) VALUES ('afterwards')")
    report = run(project)
    assert report.read == 3006 - state
    same(events)
    assert run(project).status == "nothing new"


def test_hostile_writers_lose_and_double_nothing(events: Database, project: Project) -> None:
    set_up(project, events)
    schedule = random.Random(11)
    stop = threading.Event()
    failed: list[BaseException] = []

    def write(seed: int) -> None:
        mine = random.Random(seed)
        try:
            while not stop.is_set():
                with writer(events) as cur:
                    for _ in range(mine.randrange(1, 4)):
                        cur.execute("INSERT INTO events (v) VALUES (%s)", (f"w{seed}",))
                        time.sleep(mine.uniform(0, 0.02))
        except BaseException as error:
            failed.append(error)
            raise

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(6)]
    for one in writers:
        one.start()
    try:
        for _ in range(15):
            run(project)
            time.sleep(schedule.uniform(0, 0.05))
    finally:
        stop.set()
        for one in writers:
            one.join()
    assert not failed
    run(project)
    same(events)
    assert run(project).status == "nothing new"
    assert len(rows(events, "copy")) > 100
