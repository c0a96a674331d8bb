"""`partition:`: a read in ranges loads what a plain read loads, whatever the column holds and whoever writes."""

from __future__ import annotations

import random
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

import conduit
from conduit.report import ResourceReport
from tests.support.ends import NAMES, End, end
from tests.support.postgres import Database
from tests.support.processes import start
from tests.support.project import Project, pipeline

NONE = {"column": "id", "safety": "none"}


def source_of(database: Database) -> dict[str, Any]:
    """The database as a source: the tables stand in a schema of their own."""
    return {**database.keys, "schema": "origin"}


@pytest.fixture
def origin(database: Database) -> Database:
    database.execute("CREATE SCHEMA origin")
    return database


def fill(database: Database, ids: str, key: str = "g % 7") -> None:
    database.execute(
        "CREATE TABLE IF NOT EXISTS origin.t (id bigint PRIMARY KEY, key bigint, amount bigint, text text)"
    )
    database.execute(f"INSERT INTO origin.t SELECT g, {key}, g % 11, md5(g::text) FROM {ids} AS g")


def run(project: Project) -> ResourceReport:
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 0, report.error
    return report


def into(project: Project, database: Database, name: str, **resource: Any) -> End:
    """A pipeline from `origin.t` into a destination."""
    wanted = {"table": "t", "into": "t", "incremental_column": "id"} | resource
    destination = end(name, project.folder, database)
    project.write(pipeline(source_of(database), destination.keys, **wanted))
    return destination


def same(destination: End, database: Database) -> None:
    expected = database.execute("SELECT id, key, amount, text FROM origin.t")
    found = destination.read()
    assert found.total() == len(expected)
    assert set(found) == set(expected)


# --- every destination ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_destination_gets_every_row_once(origin: Database, project: Project, name: str) -> None:
    fill(origin, "generate_series(1, 5000)")
    destination = into(project, origin, name, partition={"column": "id", "number": 4})
    report = run(project)
    assert (report.read, report.written, report.commits, report.until) == (5000, 5000, 1, 5000)
    same(destination, origin)
    assert run(project).status == "nothing new"
    fill(origin, "generate_series(5001, 5100)")
    assert run(project).read == 100
    same(destination, origin)


@pytest.mark.parametrize("name", ["postgresql", "sqlite", "duckdb", "iceberg"])
def test_a_merge_in_ranges_of_another_column_is_exact(origin: Database, project: Project, name: str) -> None:
    fill(origin, "generate_series(1, 3000)")
    destination = into(
        project, origin, name, mode="merge", primary_key="id", partition={"column": "amount", "number": 3}
    )
    assert run(project).written == 3000
    origin.execute("UPDATE origin.t SET text = 'changed' WHERE id % 10 = 0")
    assert run(project).updated == 300
    same(destination, origin)


@pytest.mark.parametrize("name", ["parquet", "iceberg", "sqlite"])
def test_a_table_is_replaced_in_ranges(origin: Database, project: Project, name: str) -> None:
    fill(origin, "generate_series(1, 3000)")
    destination = into(
        project, origin, name, mode="replace", allow_shrink=1, incremental_column=None,
        partition={"column": "text", "number": 3},
    )  # fmt: skip
    run(project)
    origin.execute("DELETE FROM origin.t WHERE id > 10")
    run(project)
    same(destination, origin)
    origin.execute("DELETE FROM origin.t")
    run(project)
    assert destination.read().total() == 0


def test_ranges_are_staged_apart(origin: Database, project: Project) -> None:
    fill(origin, "generate_series(1, 4000)")
    into(project, origin, "parquet", partition={"column": "id", "number": 4})
    run(project)
    assert len(list((project.folder / "out").glob("**/*.parquet"))) == 4


def test_no_row_makes_no_commit(origin: Database, project: Project) -> None:
    fill(origin, "generate_series(1, 0)")
    for name in ("parquet", "postgresql"):
        destination = into(project, origin, name, partition={"column": "id", "number": 4})
        assert run(project).status == "nothing new"
        assert destination.read().total() == 0


# --- every kind of column -------------------------------------------------------------------------------

COLUMNS = {
    "heap": "CASE WHEN g % 100 < 95 THEN 1 ELSE g END::bigint",
    "negative": "(-g * 1000003)::bigint",
    "one value": "5::int",
    "only nulls": "NULL::int",
    "nulls": "CASE WHEN g % 3 = 0 THEN NULL ELSE g END::int",
    "smallint": "(g % 300 - 150)::smallint",
    "numeric": "CASE WHEN g % 5 = 0 THEN 'NaN'::numeric ELSE g / 7.0 END",
    "double": "CASE WHEN g % 5 = 0 THEN 'Infinity'::float8 ELSE sqrt(g) END",
    "date": "(date '2020-01-01' + (g % 400)::int)",
    "times in bursts": "timestamp '2020-01-01' + (g % 3) * interval '1 year' + g * interval '1 microsecond'",
    "times with zone": "timestamptz '2020-01-01 00:00+05' + g * interval '1.000001 s'",
    "uuid": "md5(g::text)::uuid",
    "text": "chr(65 + (g % 26)::int) || repeat('ü', (g % 300)::int) || '''\\' || g",
    "varchar": "(g % 50)::varchar(10)",
    "char": "(g % 50)::char(10)",
    "text in another order": "(CASE WHEN g % 2 = 0 THEN 'a' ELSE 'B' END || g) COLLATE \"en-x-icu\"",
}


@pytest.mark.parametrize("number", [2, 7])
@pytest.mark.parametrize("kind", COLUMNS)
def test_ranges_of_any_column_are_disjoint_and_complete(
    origin: Database, project: Project, kind: str, number: int
) -> None:
    origin.execute(f"CREATE TABLE origin.t AS SELECT g AS id, {COLUMNS[kind]} AS c FROM generate_series(1, 2000) g")
    project.write(
        pipeline(
            source_of(origin), {"type": "parquet", "path": "out/"}, table="t", into="t", mode="replace",
            columns={"c": "double"} if kind == "double" else {"c": "text"} if kind == "numeric" else {},
            partition={"column": "c", "number": number},
        )
    )  # fmt: skip
    report = run(project)
    assert (report.read, report.written) == (2000, 2000)
    found = sorted(row for part in ids_of(project.folder / "out") for row in part)
    assert found == list(range(1, 2001))


def ids_of(folder: Path) -> list[list[int]]:
    """The ids in each file of a folder, by an independent reader."""
    with closing(duckdb.connect()) as reader:
        return [
            [row[0] for row in reader.execute("SELECT id FROM read_parquet(?)", [str(path)]).fetchall()]
            for path in folder.glob("**/*.parquet")
        ]


IDS = {
    "negative": "generate_series(-2000, 2000, 7)",
    "gaps": "(SELECT (x ^ 5)::bigint FROM generate_series(1, 600) x)",
}


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS)
def test_a_cursor_with_gaps_is_committed_in_pieces(origin: Database, project: Project, ids: str) -> None:
    origin.execute("CREATE TABLE origin.t (id bigint PRIMARY KEY, key bigint, amount bigint, text text)")
    origin.execute(f"INSERT INTO origin.t SELECT g, 1, 2, 'x' FROM {ids} AS f(g)")
    destination = into(project, origin, "duckdb", partition={"column": "id", "number": 3}, checkpoint_interval=100)
    report = run(project)
    assert 4 <= report.commits <= 8
    same(destination, origin)


def test_a_cursor_of_text_is_committed_in_the_order_of_its_bytes(origin: Database, project: Project) -> None:
    origin.execute(
        "CREATE TABLE origin.t AS SELECT CASE WHEN g % 2 = 0 THEN 'a' ELSE 'Z' END || g AS id, g AS key, g AS amount, "
        "'x' AS text FROM generate_series(1, 1000) g; ALTER TABLE origin.t ADD PRIMARY KEY (id)"
    )
    project.write(
        pipeline(
            source_of(origin), origin.keys, table="t", into="t", incremental={"column": "id", "safety": "none"},
            partition={"column": "id", "number": 2}, checkpoint_interval=200,
        )
    )  # fmt: skip
    killed = project.conduit("run", "ingest.yml", env={"CONDUIT_CRASH_AT": "run.committed:2"})
    assert killed.code == -9
    loaded = origin.execute("SELECT count(*) FROM t")[0][0]
    assert 0 < loaded < 1000
    report = run(project)
    assert report.read == 1000 - loaded
    assert origin.execute("SELECT count(*), count(DISTINCT id) FROM t") == [(1000, 1000)]


def test_ties_of_the_cursor_are_never_cut(origin: Database, project: Project) -> None:
    origin.execute("CREATE TABLE origin.t AS SELECT g / 90 AS id, g AS key FROM generate_series(0, 2999) g")
    project.write(
        pipeline(
            source_of(origin), {"type": "parquet", "path": "out/"}, table="t", into="t", incremental=NONE,
            partition={"column": "id", "number": 2}, checkpoint_interval=250,
        )
    )  # fmt: skip
    for nth in (1, 2, 1, 1):
        project.conduit("run", "ingest.yml", env={"CONDUIT_CRASH_AT": f"run.committed:{nth}"})
    run(project)
    found = [row for part in ids_of(project.folder / "out") for row in part]
    assert sorted(found) == sorted(g // 90 for g in range(3000))


@pytest.mark.parametrize("on_null", ["exclude", "include"])
@pytest.mark.parametrize("interval", [None, 100])
def test_rows_without_a_cursor_are_counted_once(
    origin: Database, project: Project, on_null: str, interval: int | None
) -> None:
    origin.execute(
        "CREATE TABLE origin.t AS SELECT g AS key, CASE WHEN g % 10 = 0 THEN NULL ELSE g END AS id "
        "FROM generate_series(1, 1000) g"
    )
    project.write(
        pipeline(
            source_of(origin), origin.keys, table="t", into="t", primary_key="key", checkpoint_interval=interval,
            incremental={"column": "id", "on_null": on_null}, partition={"column": "id", "number": 3},
        )
    )  # fmt: skip
    report = run(project)
    taken = 1000 if on_null == "include" else 900
    assert (report.read, report.written, report.filtered) == (1000, taken, 1000 - taken)
    assert origin.execute("SELECT count(*), count(DISTINCT key) FROM t") == [(taken, taken)]
    run(project)
    assert origin.execute("SELECT count(*) FROM t") == [(taken,)]


# --- every kind of read ---------------------------------------------------------------------------------

QUERIES = [
    "SELECT id, key, amount, text FROM t WHERE id > :last_value ORDER BY id -- the newest",
    "SELECT * FROM t",
    "SELECT * FROM t WHERE key < 4 OR amount > 3",
    "SELECT id + 0 AS id, key, amount, text FROM t WHERE key <> 3 AND id > :last_value",
    "SELECT t.id, t.key, t.amount, u.text FROM t JOIN t AS u USING (id) WHERE t.id > :last_value",
    "WITH x AS (SELECT id, key, amount, text FROM t UNION ALL SELECT -id, key, amount, text FROM t) SELECT * FROM x",
]


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("column", ["id", "amount"])
def test_a_query_in_ranges_gives_what_it_gives_at_once(
    origin: Database, project: Project, query: str, column: str
) -> None:
    fill(origin, "generate_series(1, 2000)")
    loaded = {}
    for name, partition in (("plain", {}), ("ranges", {"partition": {"column": column, "number": 3}})):
        folder = project.folder / name
        folder.mkdir()
        Project(folder).write(
            pipeline(
                source_of(origin), {"type": "sqlite", "database": "out.sqlite"}, query=query, into="t",
                incremental={"column": "id"}, primary_key="id", **partition,
            )
        )  # fmt: skip
        for _ in range(2):
            run(Project(folder))
        loaded[name] = end("sqlite", folder, None).read()
    assert loaded["ranges"] == loaded["plain"]


def test_a_large_table_is_sampled_and_its_ranges_are_even(origin: Database, project: Project) -> None:
    fill(origin, "generate_series(1, 60000)")
    into(project, origin, "parquet", partition={"column": "text", "number": 4}, checkpoint_interval=None)
    run(project)
    sizes = [len(part) for part in ids_of(project.folder / "out")]
    assert sum(sizes) == 60000
    assert all(11_000 < size < 19_000 for size in sizes), sizes


def test_auto_does_not_split_a_small_read(origin: Database, project: Project) -> None:
    fill(origin, "generate_series(1, 5000)")
    into(project, origin, "parquet", partition={"column": "id"})
    [plan] = conduit.plan(project.folder / "ingest.yml")
    assert plan.ranges == ["all rows"]
    run(project)
    assert len(ids_of(project.folder / "out")) == 1


def test_the_plan_shows_the_ranges_and_a_statement(origin: Database, project: Project) -> None:
    fill(origin, "generate_series(1, 5000)")
    into(project, origin, "parquet", partition={"column": "id", "number": 2}, checkpoint_interval=1000)
    [plan] = conduit.plan(project.folder / "ingest.yml")
    assert (len(plan.ranges), plan.commits) == (10, 5)
    assert plan.range_sql.endswith(plan.ranges[0])
    assert "age(xmin)" in plan.range_sql
    shown = project.conduit("plan", "ingest.yml").ok().out
    assert "ranges: 10 in 5 commits" in shown
    assert plan.ranges[0] in shown


@pytest.mark.parametrize(
    ("column", "words"), [("nothing", "not among the columns"), ("j", "cannot split by j, which is of type jsonb")]
)
def test_a_column_that_cannot_be_split_by_is_refused(
    origin: Database, project: Project, column: str, words: str
) -> None:
    origin.execute("CREATE TABLE origin.t AS SELECT 1 AS id, '{}'::jsonb AS j")
    into(project, origin, "sqlite", partition={"column": column})
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 2
    assert words in report.error


def test_checkpoints_of_another_column_have_no_effect_and_say_so(origin: Database, project: Project) -> None:
    fill(origin, "generate_series(1, 1000)")
    destination = into(
        project, origin, "sqlite", query="SELECT * FROM t ORDER BY id", table=None, checkpoint_interval=100,
        partition={"column": "amount", "number": 2},
    )  # fmt: skip
    report = run(project)
    assert report.commits == 1
    assert any("checkpoint_interval has no effect" in note for note in report.notes)
    same(destination, origin)


ROW_BY_ROW_AND_GROUPED = [
    "SELECT id, key, amount, text || '!' AS text FROM batch",
    "SELECT max(id) AS id, key, sum(amount)::bigint AS amount, 'x' AS text FROM batch GROUP BY key",
]


@pytest.mark.parametrize("sql", ROW_BY_ROW_AND_GROUPED)
@pytest.mark.parametrize("name", ["parquet", "sqlite"])
def test_a_transform_sees_all_rows_of_a_commit(origin: Database, project: Project, name: str, sql: str) -> None:
    fill(origin, "generate_series(1, 1000)")
    destination = into(
        project, origin, name, transform=sql, incremental=NONE, incremental_column=None, checkpoint_interval=200,
        partition={"column": "id", "number": 2},
    )  # fmt: skip
    report = run(project)
    grouped = "GROUP" in sql
    assert (report.commits == 1) is grouped
    assert destination.read().total() == (7 if grouped else 1000)
    assert report.until == 1000


# --- whoever writes meanwhile ---------------------------------------------------------------------------


def test_a_row_that_commits_late_is_loaded(origin: Database, project: Project) -> None:
    fill(origin, "generate_series(1, 1000)")
    destination = into(project, origin, "duckdb", partition={"column": "id", "number": 3}, checkpoint_interval=300)
    run(project)
    with closing(origin.connect()) as late:
        late.autocommit = False
        with late.cursor() as cur:
            cur.execute("INSERT INTO origin.t VALUES (-5, 0, 0, 'late')")
            fill(origin, "generate_series(1001, 2000)")
            assert any("held back by transaction" in note for note in run(project).notes)
        late.commit()
    run(project)
    same(destination, origin)
    assert run(project).status == "nothing new"


TRANSACTIONS = 50
"""Of each writer: a slow machine must not mean ever more rows."""


@pytest.mark.parametrize("name", ["postgresql", "parquet"])
def test_hostile_writers_lose_and_double_nothing(origin: Database, project: Project, name: str) -> None:
    origin.execute("CREATE TABLE origin.t (id bigserial PRIMARY KEY, key bigint, amount bigint, text text)")
    origin.execute("INSERT INTO origin.t (key) SELECT 1 FROM generate_series(1, 20)")
    destination = into(project, origin, name, partition={"column": "id", "number": 3}, checkpoint_interval=60)
    stop, failed = threading.Event(), list[BaseException]()

    def write(seed: int) -> None:
        mine = random.Random(seed)
        try:
            with closing(origin.connect()) as opened, opened.cursor() as cur:
                opened.autocommit = False
                for _ in range(TRANSACTIONS):
                    if stop.is_set():
                        return
                    for _ in range(mine.randrange(1, 12)):
                        cur.execute("INSERT INTO origin.t (key) VALUES (%s)", (seed,))
                        time.sleep(mine.uniform(0, 0.03))
                    opened.commit()
        except BaseException as error:
            failed.append(error)
            raise

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for one in writers:
        one.start()
    try:
        for _ in range(6):
            run(project)
    finally:
        stop.set()
        for one in writers:
            one.join()
    assert not failed
    origin.execute("UPDATE origin.t SET amount = 0, text = 'x'")
    run(project)
    expected = origin.execute("SELECT id FROM origin.t ORDER BY id")
    assert origin_ids(destination, project, origin) == [row[0] for row in expected]
    assert len(expected) > 100


def origin_ids(destination: End, project: Project, database: Database) -> list[int]:
    if destination.name == "postgresql":
        return [row[0] for row in database.execute("SELECT id FROM t ORDER BY id")]
    return sorted(row for part in ids_of(project.folder / "out") for row in part)


def test_changes_during_a_long_read_neither_lose_nor_double_a_row(origin: Database, project: Project) -> None:
    origin.execute("CREATE TABLE origin.t (id bigint PRIMARY KEY, seen bigint, v text)")
    origin.execute("INSERT INTO origin.t SELECT g, g, repeat('x', 50) FROM generate_series(1, 200000) g")
    project.write(
        pipeline(
            source_of(origin), origin.keys, table="t", into="copy", incremental=NONE, batch_size=1000,
            partition={"column": "id", "number": 3},
        )
    )  # fmt: skip
    disturbed = False

    def disturb(event: conduit.Event) -> None:
        nonlocal disturbed
        if event.rows and not disturbed:
            disturbed = True
            origin.execute("UPDATE origin.t SET v = 'y' WHERE id % 2 = 0")
            origin.execute("DELETE FROM origin.t WHERE id < 1000")
            origin.execute("INSERT INTO origin.t SELECT g, g, 'new' FROM generate_series(200001, 200100) g")

    report = conduit.run(project.folder / "ingest.yml", watch=disturb)["r"]
    assert disturbed
    assert report.written == 200_000
    found = origin.execute("SELECT count(*), count(DISTINCT id), min(v) FROM copy")
    assert found == [(200_000, 200_000, "x" * 50)]
    assert run(project).written == 100


# --- what fails -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_error_in_one_range_leaves_nothing(origin: Database, project: Project, name: str) -> None:
    fill(origin, "generate_series(1, 3000)")
    query = "SELECT id, key, amount / (id - 2900) AS amount, text FROM t"
    destination = into(
        project, origin, name, query=query, table=None, primary_key="id", partition={"column": "id", "number": 3}
    )
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 5
    assert "division by zero" in report.error
    assert destination.read().total() == 0
    leftovers = [path for path in project.folder.glob("**/*.parquet") if path.is_file()]
    assert leftovers == []
    into(project, origin, name, partition={"column": "id", "number": 3})
    project.conduit("state", "adopt", "ingest.yml", "r")
    run(project)
    same(destination, origin)


def slow_function(database: Database, seconds: float) -> None:
    """It says that it is immutable: a volatile one would run for every row of the sample too."""
    database.execute(
        "CREATE FUNCTION origin.slow(x bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql "
        f"AS $$ BEGIN PERFORM pg_sleep({seconds}); RETURN x; END $$"
    )


@pytest.mark.parametrize("name", ["parquet", "duckdb"])
def test_a_range_that_takes_forever_is_broken_off_when_another_fails(
    origin: Database, project: Project, name: str
) -> None:
    fill(origin, "generate_series(1, 300)")
    slow_function(origin, 60)
    slow = (
        "SELECT id, key, CASE WHEN id < 100 THEN 1 / (id - 50) WHEN id > 250 THEN slow(id) END AS amount, text FROM t"
    )
    into(
        project, origin, name, query=slow, table=None, mode="replace", incremental_column=None,
        partition={"column": "id", "number": 3},
    )  # fmt: skip
    began = time.monotonic()
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 5
    assert "division by zero" in report.error
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("name", ["parquet", "postgresql"])
def test_a_signal_stops_all_ranges(origin: Database, project: Project, name: str) -> None:
    fill(origin, "generate_series(1, 300)")
    slow_function(origin, 0.5)
    slow = "SELECT id, key, slow(id) AS amount, text FROM t"
    into(
        project, origin, name, query=slow, table=None, mode="replace", incremental_column=None,
        partition={"column": "id", "number": 3},
    )  # fmt: skip
    running = start(project.folder)
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    while origin.execute(asleep)[0][0] < 3:
        time.sleep(0.05)
    began = time.monotonic()
    running.terminate()
    out, err = running.communicate(timeout=30)
    assert running.returncode == 143, (out, err)
    assert "Traceback" not in err
    assert time.monotonic() - began < 10


TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND datname = current_database()"
)


def test_connections_that_break_are_made_again(origin: Database, project: Project) -> None:
    fill(origin, "generate_series(1, 200000)")
    destination = into(project, origin, "duckdb", partition={"column": "id", "number": 3}, batch_size=500)
    broken = False

    def break_all(event: conduit.Event) -> None:
        nonlocal broken
        if event.rows and not broken:
            broken = True
            origin.execute(TERMINATE)

    report = conduit.run(project.folder / "ingest.yml", watch=break_all)["r"]
    assert broken
    assert (report.exit_code, report.read, report.written) == (0, 200_000, 200_000), report.error
    same(destination, origin)


def test_a_cursor_that_travels_as_text_is_committed_in_its_own_order(origin: Database, project: Project) -> None:
    origin.execute("CREATE TABLE origin.t AS SELECT (g / 7.0)::numeric AS id, g AS key FROM generate_series(1, 1000) g")
    project.write(
        pipeline(
            source_of(origin), origin.keys, table="t", into="t", incremental=NONE,
            partition={"column": "id", "number": 2}, checkpoint_interval=200,
        )
    )  # fmt: skip
    report = run(project)
    assert report.commits >= 4
    assert origin.execute("SELECT id, key FROM t EXCEPT SELECT id, key FROM origin.t") == []
    assert origin.execute("SELECT count(*), count(DISTINCT id) FROM t") == [(1000, 1000)]
