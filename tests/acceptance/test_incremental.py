"""What is new, and only that: ties, late rows, NULLs, order, query shapes, renamed resources, sources that go back."""

from __future__ import annotations

from typing import Any

import pytest

import conduit
from conduit.report import ResourceReport
from tests.support.postgres import Database
from tests.support.project import Project, pipeline

NONE = {"column": "id", "safety": "none"}


@pytest.fixture
def events(database: Database) -> Database:
    """A database with a table of ten events."""
    database.execute("CREATE TABLE events (id bigint PRIMARY KEY, seen bigint, v text)")
    add(database, *range(1, 11))
    return database


def add(database: Database, *ids: int) -> None:
    """Insert events with these ids."""
    for number in ids:
        database.execute("INSERT INTO events VALUES (%s, %s, %s)", number, number, "a" if number % 2 else "z")


def run(project: Project) -> ResourceReport:
    """Run the one resource, which must succeed."""
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 0, report.error
    return report


def failed(project: Project) -> ResourceReport:
    """Run the one resource, which must fail."""
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code != 0
    return report


def ids(database: Database, table: str = "copy") -> list[int]:
    """The ids that were copied, sorted."""
    return [row[0] for row in database.execute(f"SELECT id FROM {table} ORDER BY id")]


def set_up(project: Project, database: Database, **resource: Any) -> None:
    """Copy `events` inside the database."""
    wanted: dict[str, Any] = {"into": "copy"} | resource
    if "query" not in wanted:
        wanted = {"table": "events"} | wanted
    project.write(pipeline(database.keys, database.keys, **wanted))


def test_only_rows_above_the_bound_value_are_read(events: Database, project: Project) -> None:
    set_up(project, events, query="SELECT * FROM events WHERE id > :last_value ORDER BY id", incremental=NONE)
    assert run(project).read == 10
    add(events, 11, 12, 13)
    [plan] = conduit.plan(project.folder / "ingest.yml")
    assert (plan.bound, plan.rows, plan.rows_exact) == ("10", 3, True)
    assert "id > ('10'::bigint)" in plan.sql
    assert run(project).read == 3
    before = (project.folder / ".conduit_state.json").stat().st_mtime_ns
    assert (run(project).status, run(project).read) == ("nothing new", 0)
    assert (project.folder / ".conduit_state.json").stat().st_mtime_ns == before


def test_looking_back_reads_loaded_rows_again_and_leaves_them_out(events: Database, project: Project) -> None:
    set_up(project, events, incremental={"column": "id", "safety": "lag"})
    run(project)
    add(events, 11, 12, 13)
    report = run(project)
    assert (report.read, report.written, report.already_present) == (13, 3, 10)
    assert "lag" in " ".join(report.notes)


def test_a_row_that_commits_late_is_loaded_once(events: Database, project: Project) -> None:
    set_up(project, events, incremental={"column": "id", "safety": "lag", "lag": 5})
    add(events, 20)
    run(project)
    add(events, 16, 3000)
    assert (run(project).written, run(project).written) == (2, 0)
    assert ids(events) == [*range(1, 11), 16, 20, 3000]


def test_without_looking_back_a_late_row_is_lost_and_every_run_says_so(events: Database, project: Project) -> None:
    set_up(project, events, incremental=NONE)
    add(events, 20)
    run(project)
    add(events, 16)
    report = run(project)
    assert report.written == 0
    assert "never loaded" in " ".join(report.notes)


def test_a_tie_is_loaded_once_when_looking_back(events: Database, project: Project) -> None:
    set_up(project, events, incremental={"column": "seen", "safety": "lag", "lag": 1}, primary_key="id")
    run(project)
    events.execute("INSERT INTO events VALUES (11, 10, 'tie')")
    assert (run(project).written, run(project).written) == (1, 0)
    assert ids(events) == list(range(1, 12))


def test_looking_back_without_a_key_is_refused_with_the_choice(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE events (id bigint, v text)")
    set_up(project, database, incremental_column="id")
    report = failed(project)
    assert report.exit_code == 2
    assert "primary_key" in report.error
    assert "safety: none" in report.error
    assert database.execute("SELECT to_regclass('copy')") == [(None,)]


def test_lag_full_looks_at_every_row_again(events: Database, project: Project) -> None:
    set_up(project, events, incremental={"column": "id", "safety": "lag", "lag": "full"})
    add(events, 500_000)
    run(project)
    add(events, 11)
    assert run(project).written == 1


def test_the_mark_is_the_highest_row_wherever_it_came(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE events (n serial, id bigint PRIMARY KEY)")
    database.execute("INSERT INTO events (id) VALUES (5), (9), (2)")
    set_up(project, database, query="SELECT id FROM events WHERE id > :last_value ORDER BY n", incremental=NONE)
    assert run(project).until == 9
    assert run(project).written == 0


def test_a_checkpoint_interval_without_order_is_said_to_have_no_effect(events: Database, project: Project) -> None:
    set_up(
        project, events, query="SELECT * FROM events WHERE id > :last_value", incremental=NONE, checkpoint_interval=2
    )
    report = run(project)
    assert (report.commits, report.written) == (1, 10)
    assert "add ORDER BY id" in " ".join(report.notes)


def test_a_checkpoint_interval_with_order_commits_in_pieces(events: Database, project: Project) -> None:
    query = "SELECT * FROM events WHERE id > :last_value ORDER BY id"
    set_up(project, events, query=query, incremental=NONE, checkpoint_interval=4)
    assert run(project).commits == 3


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM events",
        "SELECT * FROM events;",
        "SELECT * FROM events -- c",
        "SELECT * FROM events /* :last_value */ WHERE v <> ':last_value'",
        "SELECT * FROM events WHERE v = 'a' OR v = 'z'",
        "SELECT * FROM events WHERE v = 'a' UNION ALL SELECT * FROM events WHERE v <> 'a'",
        "SELECT id, max(seen) AS seen, max(v) AS v FROM events GROUP BY id",
        "WITH e AS (SELECT * FROM events) SELECT * FROM e",
        "SELECT * FROM events WHERE v LIKE '%' ORDER BY id",
        "SELECT * FROM events WHERE id > :last_value OR id = :last_value",
        "SELECT * FROM events WHERE id BETWEEN 0 AND 1000 AND id > :last_value AND (v = 'a' OR v = 'z')",
        "SELECT * FROM (SELECT * FROM events WHERE id > :last_value) x WHERE x.id > :last_value ORDER BY x.id",
        "SELECT * FROM events WHERE id > :last_value::int AND $$ :last_value $$ IS NOT NULL",
        "SELECT e.* FROM events e JOIN events f USING (id) WHERE e.id > (:last_value) ORDER BY 1",
    ],
)
def test_any_shape_of_query_gives_each_row_once_on_both_runs(events: Database, project: Project, query: str) -> None:
    key = {"primary_key": "id"} if "OR id =" in query else {}
    safety = "lag" if key else "none"
    set_up(project, events, query=query, incremental={"column": "id", "safety": safety}, **key)
    assert run(project).written == 10
    add(events, 11, 12)
    assert run(project).written == 2
    assert run(project).written == 0
    assert ids(events) == list(range(1, 13))


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT * FROM events LIMIT 5", "LIMIT"),
        ("SELECT * FROM events WHERE id > :last_values", "did you mean :last_value"),
        ("SELECT * FROM events WHERE id > :other", ":other"),
        ("SELECT seen, v FROM events", "incremental_column id"),
        ("SELECT 1; SELECT 2", "several statements"),
        ("DELETE FROM events", "SELECT"),
        ("SELECT * FROM nothing_here", "nothing_here"),
        ("SELECT * FROM events WHERE nope > 1", "nope"),
        ("SELEC * FROM events", "syntax"),
        ('SELECT id AS "Id", id FROM events', "Id"),
    ],
)
def test_a_query_that_cannot_work_is_one_error_and_no_table(
    events: Database, project: Project, query: str, told: str
) -> None:
    set_up(project, events, query=query, incremental=NONE)
    report = failed(project)
    assert (report.exit_code, report.resource) == (2, "r")
    assert told in report.error
    assert events.execute("SELECT to_regclass('copy')") == [(None,)]


def test_rows_without_a_cursor_are_an_error_that_counts_them(events: Database, project: Project) -> None:
    events.execute("UPDATE events SET seen = NULL WHERE id > 7")
    set_up(project, events, incremental={"column": "seen", "safety": "none"})
    report = failed(project)
    assert report.exit_code == 5
    assert "3 rows have no seen" in report.error


def test_rows_without_a_cursor_can_be_left_out(events: Database, project: Project) -> None:
    events.execute("UPDATE events SET seen = NULL WHERE id > 7")
    set_up(project, events, incremental={"column": "seen", "safety": "none", "on_null": "exclude"})
    report = run(project)
    assert (report.written, report.filtered, report.until) == (7, 3, 7)
    assert run(project).written == 0


def test_rows_without_a_cursor_can_be_loaded_once(events: Database, project: Project) -> None:
    events.execute("UPDATE events SET seen = NULL WHERE id > 7")
    set_up(project, events, incremental={"column": "seen", "safety": "none", "on_null": "include"})
    assert [run(project).written, run(project).written] == [10, 0]
    events.execute("INSERT INTO events VALUES (11, NULL, 'a')")
    assert [run(project).written, run(project).written] == [1, 0]
    assert ids(events) == list(range(1, 12))


def test_a_column_of_nulls_does_not_reset_the_mark(events: Database, project: Project) -> None:
    set_up(project, events, incremental={"column": "seen", "safety": "none", "on_null": "exclude"})
    run(project)
    events.execute("UPDATE events SET seen = NULL")
    assert run(project).until == 10
    assert project.state == {"r": 10}


def test_an_initial_value_is_where_the_first_run_begins(events: Database, project: Project) -> None:
    set_up(project, events, incremental={"column": "id", "initial_value": 7, "safety": "none"})
    assert run(project).written == 3


def test_a_renamed_resource_does_not_load_everything_again(events: Database, project: Project) -> None:
    set_up(project, events, incremental_column="id")
    run(project)
    text = (project.folder / "ingest.yml").read_text().replace("name: r\n", "name: renamed\n")
    (project.folder / "ingest.yml").write_text(text)
    report = conduit.run(project.folder / "ingest.yml")["renamed"]
    assert report.exit_code == 4
    assert "conduit state move r renamed" in report.error
    project.conduit("state", "move", "r", "renamed", "--yes").ok()
    assert conduit.run(project.folder / "ingest.yml")["renamed"].written == 0
    assert project.state == {"renamed": 10}


def test_a_source_that_went_back_stops_the_run(events: Database, project: Project) -> None:
    set_up(project, events, incremental=NONE)
    run(project)
    events.execute("DELETE FROM events WHERE id > 5")
    report = failed(project)
    assert report.exit_code == 4
    assert "conduit state set r 5" in report.error


def test_another_source_under_the_same_mark_stops_the_run(events: Database, project: Project) -> None:
    set_up(project, events, incremental=NONE)
    run(project)
    events.execute("CREATE TABLE others AS SELECT * FROM events")
    set_up(project, events, table="others", incremental=NONE)
    assert failed(project).exit_code == 4
    project.conduit("state", "adopt", "r", "--yes").ok()
    assert run(project).written == 0


def test_a_cursor_that_changed_its_type_stops_the_run(events: Database, project: Project) -> None:
    set_up(project, events, incremental=NONE)
    run(project)
    events.execute("ALTER TABLE events ALTER COLUMN id TYPE text")
    report = failed(project)
    assert report.exit_code == 4
    assert "type" in report.error


def test_changes_during_a_long_read_neither_lose_nor_double_a_row(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE events (id bigint PRIMARY KEY, seen bigint, v text)")
    database.execute("INSERT INTO events SELECT g, g, 'x' FROM generate_series(1, 200000) g")
    set_up(project, database, incremental=NONE, batch_size=1000)
    disturbed = False

    def disturb(event: conduit.Event) -> None:
        nonlocal disturbed
        if event.rows and not disturbed:
            disturbed = True
            database.execute("UPDATE events SET v = 'y' WHERE id % 2 = 0")
            database.execute("DELETE FROM events WHERE id < 1000")
            database.execute("INSERT INTO events SELECT g, g, 'new' FROM generate_series(200001, 200100) g")

    report = conduit.run(project.folder / "ingest.yml", watch=disturb)["r"]
    assert disturbed
    assert report.written == 200_000
    assert database.execute("SELECT count(*), count(DISTINCT id), min(v) FROM copy") == [(200_000, 200_000, "x")]
    assert run(project).written == 100


def test_a_backfill_loads_a_range_again_and_leaves_the_mark(events: Database, project: Project) -> None:
    set_up(project, events, incremental=NONE, mode="merge", primary_key="id")
    run(project)
    events.execute("UPDATE events SET v = 'corrected' WHERE id IN (3, 5)")
    again = conduit.run(project.folder / "ingest.yml", backfill=conduit.Backfill("2", "4"))["r"]
    assert (again.exit_code, again.read, again.updated) == (0, 2, 1)
    assert events.execute("SELECT id FROM copy WHERE v = 'corrected'") == [(3,)]
    assert project.state == {"r": 10}


def test_a_query_that_makes_several_rows_of_one_has_no_proved_key(database: Database, project: Project) -> None:
    database.execute("CREATE TABLE events (id bigint PRIMARY KEY, parts int[])")
    database.execute("INSERT INTO events VALUES (1, '{1,2}'), (2, '{3}')")
    for query in ("SELECT id, unnest(parts) AS part FROM events", "SELECT id + 0 AS id, parts FROM events"):
        set_up(project, database, query=query, incremental_column="id")
        assert failed(project).exit_code == 2
    set_up(project, database, query="SELECT id, unnest(parts) AS part FROM events", incremental=NONE)
    assert run(project).written == 3
