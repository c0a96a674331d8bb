"""Roles with the rights of docs/connectors/postgresql.md and no others: what they can do, and what they are refused."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest

from tests.faults.malformed.attempt import in_process
from tests.support.pages import DOCS
from tests.support.postgres import Database
from tests.support.project import Project, pipeline

PAGE = DOCS / "connectors" / "postgresql.md"


@dataclass(frozen=True)
class Roles:
    """One database with a table of others, and the two roles of the page in it."""

    database: Database
    reader: str
    writer: str

    def project(self, project: Project, **resource: Any) -> None:
        """From the reader to the writer."""
        source = {**self.database.keys, "user": self.reader, "password": "change me"}
        target = {**self.database.keys, "user": self.writer, "password": "change me", "schema": "raw"}
        project.write(pipeline(source, target, **({"table": "orders", "incremental_column": "id"} | resource)))


@pytest.fixture
def roles(database: Database) -> Iterator[Roles]:
    """The page's own statements, with names of this test."""
    suffix = secrets.token_hex(4)
    made = Roles(database, f"reader_{suffix}", f"writer_{suffix}")
    database.execute(
        "CREATE TABLE orders (id bigint PRIMARY KEY, total numeric(10,2)); INSERT INTO orders VALUES (1, 2)"
    )
    database.execute("CREATE TABLE victim (word text); INSERT INTO victim VALUES ('alive')")
    for text in (_statements(PAGE.read_text(), "shop"), _statements(PAGE.read_text(), "warehouse")):
        for old, new in (
            ("conduit_reader", made.reader), ("conduit_writer", made.writer),
            ("DATABASE shop", f'DATABASE "{database.name}"'), ("DATABASE warehouse", f'DATABASE "{database.name}"'),
        ):  # fmt: skip
            text = text.replace(old, new)  # noqa: PLW2901 - each exchange builds on the one before
        database.execute(text)
    yield made
    with closing(database.connect()) as connection, connection.cursor() as cur:
        for role in (made.reader, made.writer):
            cur.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def _statements(page: str, database: str) -> str:
    return page.split(f"<!-- database: {database} -->\n```sql\n")[1].split("```", maxsplit=1)[0]


def test_every_verb_works_with_the_rights_of_the_page(roles: Roles, project: Project) -> None:
    roles.project(project)
    for arguments in (
        ("check",), ("plan",), ("run",), ("run",), ("state", "show"), ("state", "set", "r", "0", "--yes"), ("run",),
        ("state", "reset", "r", "--yes"), ("run", "--full-refresh", "r"), ("run", "ingest.yml", "r", "--limit", "1"),
    ):  # fmt: skip
        ran = in_process(project.folder, arguments)
        assert ran.code == 0, (arguments, ran)
    assert roles.database.execute("SELECT count(*) FROM raw.r") == [(1,)]


def test_neither_role_reaches_a_table_that_it_was_not_given(roles: Roles, project: Project) -> None:
    for resource in (
        {"table": "victim", "mode": "replace"},
        {"into": "public.victim", "mode": "replace"},
        {"into": "public.made"},
        {"query": "SELECT 1 AS id, pg_read_file('/etc/passwd') AS total", "mode": "replace"},
    ):
        roles.project(project, **({"incremental_column": None} if "mode" in resource else {}), **resource)
        if "query" in resource:
            content = (project.folder / "ingest.yml").read_text().replace("  table: orders\n", "")
            project.write(content)
        ran = in_process(project.folder, ("run",))
        assert ran.code == 3, (resource, ran)
        assert "permission denied" in ran.out or "must be owner" in ran.out
        assert "Traceback" not in ran.err
    assert roles.database.execute("SELECT word FROM victim") == [("alive",)]


@pytest.mark.parametrize(
    ("right", "who", "says"),
    [
        ("USAGE ON SCHEMA raw", "writer", "raw"),
        ("CREATE ON SCHEMA raw", "writer", "raw"),
        ("SELECT ON orders", "reader", "orders"),
    ],
)
def test_without_one_of_the_rights_a_run_says_which_and_writes_nothing(
    roles: Roles, project: Project, right: str, who: str, says: str
) -> None:
    roles.project(project)
    roles.database.execute(f"REVOKE {right} FROM {getattr(roles, who)}")
    ran = in_process(project.folder, ("run",))
    assert ran.code == 3, ran
    assert says in ran.out
    assert "docs/connectors/postgresql.md" in ran.out
    assert roles.database.execute("SELECT to_regclass('raw.r')") == [(None,)]
    assert not (project.folder / ".conduit_state.json").exists()
    roles.database.execute(f"GRANT {right} TO {getattr(roles, who)}")
    assert in_process(project.folder, ("run",)).code == 0
    assert roles.database.execute("SELECT count(*) FROM raw.r") == [(1,)]


def test_the_role_of_a_source_cannot_write_even_where_it_may(roles: Roles, project: Project) -> None:
    roles.database.execute(f"GRANT INSERT, UPDATE, DELETE ON orders TO {roles.reader}")
    roles.database.execute(
        "CREATE FUNCTION emptied() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN DELETE FROM orders; RETURN 1; END$$"
    )
    roles.project(project, query="SELECT emptied() AS id", table=None)
    ran = in_process(project.folder, ("run",))
    assert ran.code == 3, ran
    assert "read-only" in ran.out
    assert roles.database.execute("SELECT count(*) FROM orders") == [(1,)]
