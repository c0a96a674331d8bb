"""The primary key of a table that conduit makes: it comes with the first rows, whatever happens."""

from __future__ import annotations

from contextlib import closing

import conduit
from conduit.connectors.postgresql import keys
from conduit.report import ResourceReport
from tests.support.postgres import Database
from tests.support.project import Project, pipeline


def run(project: Project) -> ResourceReport:
    return conduit.run(project.folder / "ingest.yml")["r"]


def key(database: Database) -> list[tuple[str]]:
    return database.execute(
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) "
        "WHERE i.indrelid = to_regclass('copy') AND i.indisprimary"
    )


def comment(database: Database) -> str | None:
    found: str | None = database.execute("SELECT obj_description('copy'::regclass, 'pg_class')")[0][0]
    return found


def set_up(project: Project, database: Database) -> None:
    database.execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    project.write(pipeline(database.keys, database.keys, table="t", into="copy", incremental_column="id"))


def test_the_key_comes_with_the_first_rows(project: Project, database: Database) -> None:
    set_up(project, database)
    assert run(project).written == 2
    assert (key(database), comment(database)) == ([("id",)], None)


def test_a_killed_first_run_leaves_the_key_to_the_next(project: Project, database: Database) -> None:
    set_up(project, database)
    killed = project.conduit("run", env={"CONDUIT_CRASH_AT": "load.marked"})
    assert killed.code == -9
    assert (key(database), comment(database)) == ([], keys.FOLLOWS)
    assert run(project).written == 2
    assert (key(database), comment(database)) == ([("id",)], None)


def test_a_commit_that_has_not_the_table_for_itself_leaves_it_to_the_next(project: Project, database: Database) -> None:
    set_up(project, database)
    assert project.conduit("run", env={"CONDUIT_CRASH_AT": "load.begun"}).code == -9
    with closing(database.connect()) as reader, reader.cursor() as cur:
        reader.autocommit = False
        cur.execute("SELECT count(*) FROM copy")
        assert run(project).written == 2
        assert (key(database), comment(database)) == ([], keys.FOLLOWS)
    database.execute("INSERT INTO t VALUES (3, 'c')")
    assert run(project).written == 1
    assert (key(database), comment(database)) == ([("id",)], None)


def test_rows_of_somebody_else_that_share_a_key_stop_the_run(project: Project, database: Database) -> None:
    set_up(project, database)
    assert project.conduit("run", env={"CONDUIT_CRASH_AT": "load.begun"}).code == -9
    database.execute("INSERT INTO copy VALUES (5, 'x'), (5, 'y')")
    report = run(project)
    assert report.exit_code == 5
    assert "Key (id)=(5) is duplicated" in report.error
    assert database.execute("SELECT count(*) FROM copy") == [(2,)]


def test_a_table_of_your_own_gets_no_key(project: Project, database: Database) -> None:
    set_up(project, database)
    database.execute("CREATE TABLE copy (id int, v text)")
    assert run(project).written == 2
    assert key(database) == []
