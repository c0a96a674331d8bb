"""Every type of cursor, five runs: 10, 13, 13, 13, 15 rows, none doubled; and the values at the edges of each type."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import conduit
from tests.support.postgres import Database
from tests.support.project import Project, pipeline

QUERY = "SELECT id, cur, note FROM events WHERE cur > :last_value ORDER BY cur"

CURSORS = {
    "int": "%s",
    "smallint": "%s",
    "bigint": "3000000000 + %s",
    "numeric": "12345678901234567890.12 + %s",
    "numeric(30,2)": "12345678901234567890.12 + %s",
    "date": "date '2024-02-25' + %s",
    "timestamp": "timestamp '2024-01-01 00:00:00.123456' + %s * interval '1 second'",
    "timestamptz": "timestamptz '2024-03-10 09:59:58.123456+00' + %s * interval '1 second'",
    "text": "lpad(%s::text, 3, '0')",
    "varchar(10)": "chr(96 + %s)",
    "uuid": "('00000000-0000-4000-8000-' || lpad(%s::text, 12, '0'))::uuid",
}


def add(database: Database, expression: str, first: int, last: int) -> None:
    """Insert rows whose cursor is `expression` of first … last."""
    for number in range(first, last + 1):
        value = expression.replace("%s", str(number))
        database.execute(f"INSERT INTO events (cur, note) VALUES ({value}, 'row {number}')")


def with_events(database: Database, type_: str) -> None:
    """The table `events` with a cursor of this type."""
    database.execute(f"CREATE TABLE events (id serial PRIMARY KEY, cur {type_} NOT NULL, note text)")


@pytest.mark.parametrize("safety", ["auto", "none"])
@pytest.mark.parametrize("type_", CURSORS)
def test_five_runs_move_each_row_once(database: Database, project: Project, type_: str, safety: str) -> None:
    with_events(database, type_)
    incremental = {"column": "cur", "safety": safety}
    project.write(pipeline(database.keys, database.keys, query=QUERY, into="copy", incremental=incremental))
    totals = []
    for first, last in ((1, 10), (11, 13), (1, 0), (1, 0), (14, 15)):
        add(database, CURSORS[type_], first, last)
        report = conduit.run(project.folder / "ingest.yml")
        assert report.exit_code == 0, report["r"].error
        totals.append(database.execute("SELECT count(*), count(DISTINCT id) FROM copy")[0])
    assert totals == [(10, 10), (13, 13), (13, 13), (13, 13), (15, 15)]
    assert database.execute("SELECT * FROM events EXCEPT ALL SELECT * FROM copy") == []


@pytest.mark.parametrize("type_", CURSORS)
def test_a_parquet_data_set_gets_each_row_once(database: Database, project: Project, type_: str) -> None:
    with_events(database, type_)
    incremental = {"column": "cur", "safety": "none"}
    destination = {"type": "parquet", "path": "lake/"}
    project.write(pipeline(database.keys, destination, table="events", into="copy", incremental=incremental))
    totals = []
    for first, last in ((1, 10), (11, 13), (1, 0), (1, 0), (14, 15)):
        add(database, CURSORS[type_], first, last)
        assert conduit.run(project.folder / "ingest.yml").exit_code == 0
        notes = [
            n for path in project.folder.glob("lake/copy/**/*.parquet") for n in pq.read_table(path)["note"].to_pylist()
        ]
        totals.append((len(notes), len(set(notes))))
    assert totals == [(10, 10), (13, 13), (13, 13), (13, 13), (15, 15)]


@pytest.mark.parametrize(
    ("type_", "value", "shown"),
    [
        ("int", "7", 7),
        ("bigint", "9223372036854775807", 9223372036854775807),
        ("numeric", "12345678901234567890.12", "12345678901234567890.12"),
        ("date", "'2024-02-29'", "2024-02-29"),
        ("timestamp", "'2024-01-01 00:00:00.123456'", "2024-01-01T00:00:00.123456"),
        ("timestamptz", "'2024-01-01 05:30:00.123456+05:30'", "2024-01-01T00:00:00.123456+00:00"),
        ("text", "'9'", "9"),
        ("uuid", "'0e37df36-f698-11e6-8dd4-cb9ced3df976'", "0e37df36-f698-11e6-8dd4-cb9ced3df976"),
    ],
)
def test_the_state_file_shows_the_value_in_its_own_form(
    database: Database, project: Project, type_: str, value: str, shown: Any
) -> None:
    with_events(database, type_)
    database.execute(f"INSERT INTO events (cur) VALUES ({value})")
    incremental = {"column": "cur", "safety": "none"}
    project.write(pipeline(database.keys, database.keys, query=QUERY, into="copy", incremental=incremental))
    assert conduit.run(project.folder / "ingest.yml").exit_code == 0
    assert project.state == {"r": shown}
    assert conduit.run(project.folder / "ingest.yml")["r"].written == 0


def test_a_negative_id_and_zero_are_loaded_on_the_first_run(database: Database, project: Project) -> None:
    with_events(database, "int")
    database.execute("INSERT INTO events (cur) VALUES (-5), (0), (3)")
    project.write(pipeline(database.keys, database.keys, query=QUERY, into="copy", incremental_column="cur"))
    assert conduit.run(project.folder / "ingest.yml")["r"].written == 3


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "UTC", "America/New_York"])
def test_the_servers_time_zone_changes_nothing(database: Database, project: Project, zone: str) -> None:
    database.execute(f"ALTER DATABASE \"{database.name}\" SET TimeZone = '{zone}'")
    with_events(database, "timestamptz")
    add(database, CURSORS["timestamptz"], 1, 5)
    incremental = {"column": "cur", "safety": "none"}
    project.write(pipeline(database.keys, database.keys, query=QUERY, into="copy", incremental=incremental))
    assert [conduit.run(project.folder / "ingest.yml")["r"].written for _ in range(2)] == [5, 0]
    add(database, CURSORS["timestamptz"], 6, 7)
    assert conduit.run(project.folder / "ingest.yml")["r"].written == 2


def test_text_is_compared_by_its_bytes_whatever_the_databases_collation(postgres_server: Any, tmp_path: Path) -> None:
    with postgres_server.database() as database:
        database.execute('CREATE TABLE events (id serial PRIMARY KEY, cur text COLLATE "en-x-icu" NOT NULL, note text)')
        project = Project(tmp_path)
        incremental = {"column": "cur", "safety": "none"}
        project.write(pipeline(database.keys, database.keys, query=QUERY, into="copy", incremental=incremental))
        for value in ("a", "B", "c", "E'", "Z"):
            database.execute("INSERT INTO events (cur) VALUES (%s)", value)
        assert conduit.run(tmp_path / "ingest.yml")["r"].written == 5
        assert project.state == {"r": "c"}
        database.execute("INSERT INTO events (cur) VALUES ('d'), ('cc')")
        assert conduit.run(tmp_path / "ingest.yml")["r"].written == 2


def test_unconstrained_numeric_keeps_every_digit(database: Database, project: Project) -> None:
    with_events(database, "numeric")
    value = Decimal("0.00000000000000000000000000000000000001")
    database.execute("INSERT INTO events (cur) VALUES (%s), (1), (12345678901234567890.125)", value)
    incremental = {"column": "cur", "safety": "none"}
    project.write(pipeline(database.keys, database.keys, query=QUERY, into="copy", incremental=incremental))
    assert conduit.run(project.folder / "ingest.yml").exit_code == 0
    assert database.execute("SELECT min(cur), max(cur) FROM copy")[0] == (value, Decimal("12345678901234567890.125"))
    assert conduit.run(project.folder / "ingest.yml")["r"].written == 0


def test_a_float_cursor_is_refused_before_anything_is_written(database: Database, project: Project) -> None:
    with_events(database, "double precision")
    project.write(pipeline(database.keys, database.keys, query=QUERY, into="copy", incremental_column="cur"))
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert (report.exit_code, "incremental_column cur" in report.error) == (2, True)
    assert database.execute("SELECT to_regclass('copy')") == [(None,)]
