"""The page about PostgreSQL: its commands run, its roles need the rights that it names and no more, its types hold."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import conduit
from tests.support.page_runner import PageRun
from tests.support.pages import DOCS, carried, code, table
from tests.support.postgres import Database, Server
from tests.support.project import Project, pipeline
from tests.support.zygote import Zygote

PAGE = DOCS / "connectors" / "postgresql.md"
ORDERS = """
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric(10,2));
INSERT INTO orders VALUES (1, 1.5), (2, 2), (3, 3);
"""


@dataclass(frozen=True)
class Ends:
    """Two databases, and the roles that a test made."""

    shop: Database
    warehouse: Database
    reader: str
    writer: str

    def source(self, **more: str) -> dict[str, object]:
        """Keys of the source."""
        return self.shop.keys | more

    def destination(self, **more: str) -> dict[str, object]:
        """Keys of the destination."""
        return self.warehouse.keys | more


@pytest.fixture
def ends(postgres_server: Server) -> Iterator[Ends]:
    """A shop with three orders, an empty warehouse, and names for two roles, which are dropped afterwards."""
    suffix = secrets.token_hex(4)
    names = f"reader_{suffix}", f"writer_{suffix}"
    with postgres_server.database() as shop, postgres_server.database() as warehouse:
        shop.execute(ORDERS)
        yield Ends(shop, warehouse, *names)
    with closing(postgres_server.connect()) as connection, connection.cursor() as cur:
        for name in names:
            cur.execute(f"DROP ROLE IF EXISTS {name}")


def test_the_page_runs_with_the_roles_that_it_makes(ends: Ends, tmp_path: Path, zygote: Zygote) -> None:
    server = ends.shop.server
    databases = {"shop": ends.shop, "warehouse": ends.warehouse}
    exchanged = {
        "host: db.example.com": f"host: {server.host}\n    port: {server.port}\n    sslmode: prefer",
        "conduit_reader": ends.reader,
        "conduit_writer": ends.writer,
    }
    for name, database in databases.items():
        exchanged |= {
            f"database: {name}": f"database: {database.name}",
            f"DATABASE {name}": f"DATABASE {database.name}",
        }
        exchanged |= {f"on {name},": f"on {database.name},"}
    page = PageRun(
        PAGE,
        tmp_path,
        zygote,
        environment={"SHOP_PASSWORD": "change me", "WAREHOUSE_PASSWORD": "change me"},
        exchanged=exchanged,
        execute=lambda name, text: databases[name].execute(text),
    )
    page.run()
    assert ends.warehouse.execute("SELECT count(*) FROM raw.orders") == [(3,)]


# --- rights ---------------------------------------------------------------------------------------------

MODES: dict[str, dict[str, Any]] = {
    "append with `safety: none`": {"incremental": {"column": "id", "safety": "none"}},
    "append that looks back": {"incremental": {"column": "id", "safety": "lag"}, "primary_key": "id"},
    "merge": {"incremental_column": "id", "mode": "merge", "primary_key": "id"},
    "replace": {"mode": "replace"},
}
RIGHTS = {row[0]: row[1].split(", ") for row in table(PAGE, "Roles and rights")}


def test_the_page_says_what_every_mode_needs() -> None:
    assert set(RIGHTS) == set(MODES)


@pytest.mark.parametrize("mode", MODES)
def test_a_table_of_others_takes_rows_with_these_rights_and_with_no_fewer(
    ends: Ends, project: Project, mode: str
) -> None:
    role = ends.writer
    ends.warehouse.execute(
        f"CREATE ROLE {role} LOGIN; CREATE SCHEMA raw; GRANT USAGE, CREATE ON SCHEMA raw TO {role}; "
        "CREATE TABLE raw.r (id bigint, total numeric(10,2))"
    )
    ends.warehouse.execute(f"GRANT {', '.join(RIGHTS[mode])} ON raw.r TO {role}")
    to = ends.destination(user=role, schema="raw")
    project.write(pipeline(ends.source(), to, table="orders", **MODES[mode]))
    for right in RIGHTS[mode]:
        ends.warehouse.execute(f"REVOKE {right} ON raw.r FROM {role}")
        report = conduit.run(project.folder / "ingest.yml")["r"]
        assert (report.exit_code, "permission denied" in report.error) == (3, True), right
        ends.warehouse.execute(f"GRANT {right} ON raw.r TO {role}")
    assert conduit.run(project.folder / "ingest.yml")["r"].written == 3


def test_a_query_that_names_its_columns_needs_only_these(ends: Ends, project: Project) -> None:
    ends.shop.execute(f"CREATE ROLE {ends.reader} LOGIN; GRANT SELECT (id) ON orders TO {ends.reader}")
    source, to = ends.source(user=ends.reader), {"type": "parquet", "path": "lake/"}
    project.write(pipeline(source, to, query="SELECT id FROM orders", incremental_column="id"))
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.written == 3
    assert any("no xid window: the role may read some columns" in note for note in report.notes)
    (project.folder / ".conduit_state.json").unlink()
    project.write(pipeline(source, to, table="orders", incremental_column="id", into="whole"))
    assert conduit.run(project.folder / "ingest.yml")["r"].exit_code == 3


# --- types ----------------------------------------------------------------------------------------------

OWN = {"an enum of your own": "mood", "a composite type of your own": "pair"}
TYPES = [(code(row[0])[0] if code(row[0]) else OWN[row[0]], row[1], code(row[2])[0]) for row in table(PAGE, "Types")]
REFUSED = [(code(row[0])[0], row[1]) for row in table(PAGE, "Refused")]


def test_every_type_of_the_page_becomes_what_the_page_says(ends: Ends, project: Project) -> None:
    ends.shop.execute("CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text)")
    columns = ", ".join(f"c{place} {type_}" for place, (type_, _, _) in enumerate(TYPES))
    ends.shop.execute(f"CREATE TABLE kinds ({columns})")
    project.write(pipeline(ends.source(), ends.destination(), table="kinds", mode="replace", into="kinds"))
    [plan] = conduit.plan(project.folder / "ingest.yml")
    assert carried(plan) == [arrow for _, arrow, _ in TYPES]
    assert conduit.run(project.folder / "ingest.yml")["r"].exit_code == 0
    made = ends.warehouse.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'kinds'::regclass AND attnum > 0 "
        "ORDER BY attnum"
    )
    assert [row[0] for row in made] == [created for _, _, created in TYPES]


@pytest.mark.parametrize(("value", "message"), REFUSED)
def test_every_value_that_the_page_refuses_is_refused_in_these_words(
    ends: Ends, project: Project, value: str, message: str
) -> None:
    to = {"type": "parquet", "path": "lake/"}
    project.write(pipeline(ends.source(), to, query=f"SELECT {value} AS v", mode="replace"))
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 5
    assert message in report.error
    assert "v" in report.error
    assert list((project.folder / "lake").rglob("*.parquet")) == []


@pytest.mark.parametrize("value", [value for value, _ in REFUSED])
def test_between_two_servers_the_same_values_pass_as_they_are(ends: Ends, project: Project, value: str) -> None:
    project.write(pipeline(ends.source(), ends.destination(), query=f"SELECT {value} AS v", mode="replace"))
    assert conduit.run(project.folder / "ingest.yml")["r"].written == 1
    assert ends.warehouse.execute("SELECT v::text FROM r") == ends.shop.execute(f"SELECT ({value})::text")
