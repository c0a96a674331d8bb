"""The documented ingest.yml runs as it stands; only its database and its destination are reachable ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.support.postgres import Database
from tests.support.project import Project

SEED = Path(__file__).parents[3] / "shared" / "seeds" / "state-management-and-incremental-loading.md"

LIKE_THE_DOCUMENTED = """
sources:
  - name: production_db
    type: postgresql
    database: appdb
    user: readonly
    password: ${PG_PASSWORD}
    host: db.example.com
    schema: public

destinations:
  - name: data_warehouse
    type: snowflake
    # ... its keys ...
    table: raw_users
    mode: append

resources:
  - name: sync_new_users
    source: production_db
    destination: data_warehouse
    incremental_column: id
    query: "SELECT id, name, email, created_at FROM users WHERE id > :last_value ORDER BY id"
"""


def documented() -> str:
    """The YAML block of the document where that stands beside the project, else one of the same shape."""
    if not SEED.exists():
        return LIKE_THE_DOCUMENTED
    blocks = re.findall(r"```yaml\n(.*?)```", SEED.read_text(), flags=re.DOTALL)
    return str(blocks[0])


def reachable(text: str, source: Database, destination: dict[str, object]) -> str:
    """The same file with its host, database and user, and its destination's type, exchanged."""
    keys = {"host": source.server.host, "database": source.name, "user": source.server.user}
    for key, value in keys.items():
        text = re.sub(rf"(?m)^(\s+){key}: .*$", rf"\g<1>{key}: {value}", text, count=1)
    text = text.replace("    schema: public", f"    schema: public\n    port: {source.server.port}", 1)
    lines = "".join(f"    {key}: {value}\n" for key, value in destination.items() if key != "type")
    return re.sub(r"    type: snowflake\n(\s+#[^\n]*\n)?", f"    type: {destination['type']}\n{lines}", text, count=1)


def users(database: Database, first: int, last: int) -> None:
    """Insert users with these ids."""
    database.execute(
        "INSERT INTO users SELECT g, 'n' || g, 'e' || g || '@example.com', now() FROM generate_series(%s, %s) g",
        first,
        last,
    )


@pytest.fixture
def with_users(database: Database) -> Database:
    """A database with the document's table and ten users."""
    database.execute("CREATE TABLE users (id serial PRIMARY KEY, name text, email text, created_at timestamptz)")
    users(database, 1, 10)
    return database


def test_it_runs_five_times_and_moves_only_what_is_new(with_users: Database, project: Project) -> None:
    project.write(reachable(documented(), with_users, with_users.keys))
    secret = Project(project.folder, {"PG_PASSWORD": "not used by a trusting server"})
    totals = []
    for first, last in ((0, 0), (11, 13), (0, 0), (0, 0), (14, 15)):
        if last:
            users(with_users, first, last)
        secret.run()
        totals.append(with_users.execute("SELECT count(*), count(DISTINCT id) FROM raw_users")[0])
        assert secret.state == {"sync_new_users": with_users.execute("SELECT max(id) FROM users")[0][0]}
    assert totals == [(10, 10), (13, 13), (13, 13), (13, 13), (15, 15)]


def test_it_runs_into_every_other_destination(with_users: Database, project: Project) -> None:
    for number, keys in enumerate(
        (
            {"type": "sqlite", "database": "w.sqlite"},
            {"type": "duckdb", "database": "w.duckdb"},
            {"type": "parquet", "path": "w/"},
            {"type": "csv", "path": "w.csv"},
            {"type": "json", "path": "w.ndjson"},
        )
    ):
        folder = project.folder / str(number)
        folder.mkdir()
        one = Project(folder, {"PG_PASSWORD": "x"})
        one.write(reachable(documented(), with_users, dict(keys)))
        assert one.run()["written"] == 10
        assert one.run()["written"] == 0
        assert one.state == {"sync_new_users": 10}


def test_an_unset_password_is_named_before_anything_connects(with_users: Database, project: Project) -> None:
    project.write(reachable(documented(), with_users, with_users.keys))
    ran = project.conduit("run", "ingest.yml")
    line = next(
        n for n, text in enumerate((project.folder / "ingest.yml").read_text().splitlines(), 1) if "PG_PASS" in text
    )
    assert ran.code == 2
    assert "PG_PASSWORD" in ran.err
    assert f"ingest.yml:{line}" in ran.err


def test_the_file_is_yaml_that_a_plain_parser_reads() -> None:
    assert set(yaml.safe_load(documented())) == {"sources", "destinations", "resources"}
