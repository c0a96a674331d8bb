"""Secrets appear nowhere, planted links are not followed, files are private, sources are only read."""

from __future__ import annotations

import json
import os
import stat
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg2
import pytest

import conduit
from conduit import secrets
from conduit.config.load import load
from conduit.connectors.postgresql.config import PostgresqlConnection
from tests.faults.malformed.attempt import in_process, statements
from tests.support.postgres import Database
from tests.support.project import Project, pipeline

CORE = "c4nary"
"""The part of every secret here that no spelling changes."""
PASSWORDS = (f"{CORE}@sh/op:x", f"x#{CORE} 'y\" z", f"%2F{CORE}%20$HOME", f"p&{CORE};q=\\w", f"ö{CORE}\t{{x}}")
COMMANDS = (
    ("run",), ("run", "--output", "json"), ("plan",), ("check",), ("check", "--output", "json"), ("state", "show"),
    ("run", "--full-refresh", "r"), ("--debug", "run", "ingest.yml", "r", "--limit", "1"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _forgotten_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test starts as a process does: nothing is known to be a secret."""
    monkeypatch.setattr(secrets, "_remembered", set())


# --- secrets --------------------------------------------------------------------------------------------


def _with_password(
    database: Database, place: str, password: str, folder: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """The keys of a connection whose password stands in `place`, and the variables that it needs."""
    keys, written = dict(database.keys), password.replace("${", "$${")
    address = f"{keys['host']}:{keys['port']}/{keys['database']}"
    url = f"postgresql://{keys['user']}:{quote(password, safe='')}@{address}"
    named = f"postgresql://{address}?user={keys['user']}&password={quote(password, safe='')}"
    if place == "key":
        return {**keys, "password": written}, {}
    if place == "variable":
        return {**keys, "password": "${CANARY}"}, {"CANARY": password}
    if place == "default":
        return {**keys, "password": "${CANARY:-" + password.replace("}", "").replace("{", "") + "}"}, {}
    if place == ".env":
        told = password.replace("\\", "\\\\").replace('"', '\\"')
        (folder / ".env").write_text(f'CANARY="{told}"\n')
        return {**keys, "password": "${CANARY}"}, {}
    if place == "url":
        return {"type": "postgresql", "url": url}, {}
    if place == "query of a url":
        return {"type": "postgresql", "url": named}, {}
    if place == "variable in a url":
        told = url.replace(quote(password, safe=""), "${CANARY}")
        return {"type": "postgresql", "url": told}, {"CANARY": quote(password, safe="")}
    return {"type": "postgresql", "url": "${CANARY}"}, {"CANARY": url}


PLACES = ("key", "variable", "default", ".env", "url", "query of a url", "variable in a url", "url in a variable")


@pytest.mark.parametrize("place", PLACES)
def test_a_password_is_in_no_output_no_file_and_no_table(database: Database, project: Project, place: str) -> None:
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY, v text); INSERT INTO e VALUES (1, 'a')")
    shown = ""
    for password in PASSWORDS:
        keys, environment = _with_password(database, place, password, project.folder)
        nowhere = json.loads(json.dumps(keys | environment).replace(str(database.server.port), "1"))
        attempts: list[tuple[dict[str, Any], dict[str, str], str, tuple[tuple[str, ...], ...]]] = [
            (keys, environment, "e", COMMANDS if password == PASSWORDS[0] else COMMANDS[:1])
        ]
        attempts += [(keys, environment, "missing", COMMANDS[-1:]), ({**nowhere}, nowhere, "e", COMMANDS[-1:])]
        for source, variables, table, commands in attempts:
            given = {key: value for key, value in source.items() if key != "CANARY"}
            project.write(pipeline(given, keys, table=table, into="t", incremental_column="id"))
            for arguments in commands:
                ran = in_process(
                    project.folder, arguments, **{key: variables[key] for key in variables.keys() & {"CANARY"}}
                )
                assert ran.code in (0, 2, 3), (arguments, ran)
                shown += ran.out + ran.err
    assert "loaded" in shown
    assert "Traceback" in shown  # with --debug
    rows = str(database.execute("SELECT * FROM _conduit_state")) + str(database.execute("SELECT * FROM t"))
    assert CORE not in shown
    assert CORE not in rows
    assert not _files_with_the_secret(project.folder)


def _files_with_the_secret(folder: Path) -> list[str]:
    written = [path for path in folder.rglob("*") if path.is_file() and path.name not in ("ingest.yml", ".env")]
    assert any(path.name == "history.db" for path in written)
    return [str(path) for path in written if CORE.encode() in path.read_bytes()]


def test_a_refused_password_is_not_repeated_by_the_error(project: Project) -> None:
    """PostgreSQL's library repeats what it cannot read of a DSN."""
    for url in (f"postgresql://u:{CORE}@[::1/x", f"host=h password={CORE} nonsense"):
        project.write(pipeline({"type": "postgresql", "url": url}, {"type": "sqlite", "database": "o.db"}, table="t",
                               incremental_column="id"))  # fmt: skip
        for arguments in (("run",), ("--debug", "run"), ("check",)):
            ran = in_process(project.folder, arguments)
            assert ran.code in (2, 3)
            assert CORE not in ran.out + ran.err


def test_secrets_of_a_catalog_are_in_no_output_no_metadata_and_no_file(project: Project) -> None:
    statements(project.folder / "shop.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    catalog = {
        "uri": "sqlite:///catalog.db", "warehouse": "warehouse", "token": f"{CORE}-1", "credential": f"id:{CORE}-2",
        "s3.secret-access-key": f"{CORE}/3+x", "s3.session-token": "${CANARY}", "adls.account-key": f"{CORE}-5==",
    }  # fmt: skip
    ends = {"type": "sqlite", "database": "shop.db"}, {"type": "iceberg", "catalog": catalog}
    project.write(pipeline(*ends, table="t", incremental_column="id"))
    shown = ""
    for arguments in COMMANDS:
        ran = in_process(project.folder, arguments, CANARY=f"{CORE}-4")
        shown += ran.out + ran.err
    assert "loaded" in shown
    for broken in (
        {"type": "rest", "uri": f"http://u:{CORE}@127.0.0.1:1"},
        {"type": "nothing", "uri": f"x://u:{CORE}@h"},
    ):
        project.write(pipeline(ends[0], {"type": "iceberg", "catalog": catalog | broken}, table="t", mode="replace"))
        ran = in_process(project.folder, ("--debug", "run"), CANARY=f"{CORE}-4")
        assert ran.code in (2, 3)
        shown += ran.out + ran.err
    assert CORE not in shown
    assert (project.folder / "warehouse").is_dir()
    assert not _files_with_the_secret(project.folder)


def test_what_python_shows_of_a_project_or_an_error_has_no_secret(project: Project) -> None:
    nowhere = {"type": "postgresql", "host": "127.0.0.1", "port": 1, "password": f"{CORE}@x"}
    lake = {"type": "iceberg", "catalog": {"type": "rest", "uri": "http://127.0.0.1:1", "token": CORE}}
    project.write(pipeline(nowhere, lake, table="t", incremental_column="id"))
    found = load(project.folder / "ingest.yml")
    assert CORE not in repr(found)
    assert CORE not in str(found.sources["src"].connection)
    report = conduit.run(project.folder / "ingest.yml")["r"]
    assert report.exit_code == 3
    assert CORE not in secrets.scrub(report.error)
    assert CORE not in json.dumps(report.as_dict())


# --- planted links and modes ----------------------------------------------------------------------------


@pytest.fixture
def simple(project: Project) -> Project:
    """From a SQLite table to a folder of Parquet files."""
    statements(project.folder / "shop.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    source, target = {"type": "sqlite", "database": "shop.db"}, {"type": "parquet", "path": "lake/"}
    project.write(pipeline(source, target, table="t", incremental_column="id"))
    return project


PLANTED = (
    ".conduit_state.json", ".conduit/history.db", ".conduit/state.lock", ".conduit/locks/default.r.lock",
    ".conduit/locks/default.r.owner",
)  # fmt: skip


@pytest.mark.parametrize("place", PLANTED)
@pytest.mark.parametrize("content", ["", "precious"])
def test_a_planted_link_is_replaced_or_refused_and_its_target_is_not_touched(
    simple: Project, tmp_path_factory: pytest.TempPathFactory, place: str, content: str
) -> None:
    victim = tmp_path_factory.mktemp("elsewhere") / "victim"
    victim.write_text(content)
    link = simple.folder / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim)
    ran = in_process(simple.folder, ("run",))
    assert ran.code in (0, 3, 4), ran
    assert "Traceback" not in ran.err
    assert victim.read_text() == content
    assert victim.stat().st_nlink == 1


def test_a_link_that_dangles_makes_no_file_elsewhere(simple: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for place in PLANTED:
        link = simple.folder / place
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(elsewhere / link.name)
        in_process(simple.folder, ("run",))
        link.unlink(missing_ok=True)
    assert list(elsewhere.iterdir()) == []


def test_what_conduit_keeps_is_private_and_data_follows_the_umask(simple: Project) -> None:
    before = os.umask(0o022)
    try:
        assert in_process(simple.folder, ("run",)).code == 0
    finally:
        os.umask(before)
    own = [simple.folder / ".conduit_state.json", *(simple.folder / ".conduit").rglob("*")]
    modes = {str(path.relative_to(simple.folder)): stat.S_IMODE(path.stat().st_mode) for path in own}
    assert {name for name, mode in modes.items() if mode & 0o077} == set(), modes
    assert stat.S_IMODE((simple.folder / ".conduit").stat().st_mode) == 0o700
    data = list((simple.folder / "lake").rglob("*.parquet"))
    assert data
    assert {stat.S_IMODE(path.stat().st_mode) for path in data} == {0o644}


@pytest.mark.parametrize("arguments", [("run",), ("run", "--output", "json")])
def test_files_that_others_can_read_or_change_are_told(simple: Project, arguments: tuple[str, ...]) -> None:
    (simple.folder / ".env").write_text("A=b\n")
    (simple.folder / ".env").chmod(0o644)
    (simple.folder / "ingest.yml").chmod(0o664)
    ran = in_process(simple.folder, arguments)
    assert ran.code == 0
    assert ".env can be read by other users" in ran.out
    assert "ingest.yml can be changed by other users" in ran.out


# --- sources are only read ------------------------------------------------------------------------------

WRITER = """
CREATE TABLE e (id bigint PRIMARY KEY); INSERT INTO e VALUES (1);
CREATE TABLE victim (word text); INSERT INTO victim VALUES ('alive');
CREATE FUNCTION write_it() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN DELETE FROM victim; RETURN 1; END $$;
"""
WRITES = (
    "SELECT write_it() AS id",
    "SELECT id FROM e WHERE write_it() = 1 AND id > :last_value",
    "SELECT set_config('transaction_read_only', 'off', false), write_it() AS id",
    "SELECT 1 AS id) AS q; COMMIT; DELETE FROM victim; SELECT * FROM (SELECT 1 AS id",
    "SELECT 1 AS id) AS q; ROLLBACK; SELECT * FROM (SELECT write_it() AS id",
    "SELECT nextval('numbers') AS id",
)


@pytest.mark.parametrize("query", WRITES)
def test_a_query_that_writes_is_refused_by_the_server_too(database: Database, project: Project, query: str) -> None:
    database.execute(WRITER + "CREATE SEQUENCE numbers")
    project.write(pipeline(database.keys, {"type": "sqlite", "database": "o.db"}, query=query,
                           incremental={"column": "id", "safety": "none"}))  # fmt: skip
    ran = in_process(project.folder, ("run",))
    assert ran.code in (2, 3, 5), ran
    assert "r: failed" in ran.out
    assert database.execute("SELECT word FROM victim") == [("alive",)]
    assert database.execute("SELECT last_value, is_called FROM numbers") == [(1, False)]
    assert not (project.folder / "o.db").exists()


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_statement_that_ends_the_transaction_meets_a_read_only_session(database: Database, end: str) -> None:
    """The second wall, without the first: what a query could do if the look at its tokens failed."""
    database.execute(WRITER)
    connection = PostgresqlConnection(**{key: value for key, value in database.keys.items() if key != "type"})
    from conduit.connectors.postgresql.connection import READ_ONLY, connect  # noqa: PLC0415 - the driver's module

    with closing(connect("src", connection, READ_ONLY, snapshot=True)) as opened, opened.cursor() as cur:
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            cur.execute(f"SELECT 1; {end}; DELETE FROM victim")
        assert not opened.closed
    assert database.execute("SELECT word FROM victim") == [("alive",)]


@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_a_database_file_is_opened_for_reading_only(project: Project, kind: str) -> None:
    path = project.folder / f"shop.{kind}"
    if kind == "sqlite":
        statements(path, "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    else:
        import duckdb  # noqa: PLC0415 - one case needs it

        with closing(duckdb.connect(str(path))) as opened:
            opened.execute("CREATE TABLE t (id BIGINT PRIMARY KEY); INSERT INTO t VALUES (1); CREATE SEQUENCE numbers")
    before = path.read_bytes()
    path.chmod(0o444)
    target = {"type": "csv", "path": "out/"}
    project.write(pipeline({"type": kind, "database": path.name}, target, table="t", incremental_column="id"))
    assert in_process(project.folder, ("run",)).code == 0
    (project.folder / ".conduit_state.json").unlink()
    for query in (
        "SELECT nextval('numbers') AS id",
        "SELECT 1 AS id) AS q; DELETE FROM t; SELECT * FROM (SELECT 1 AS id",
    ):
        project.write(
            pipeline({"type": kind, "database": path.name}, target, query=query, into="u", incremental_column="id")
        )
        assert in_process(project.folder, ("run",)).code in (2, 3, 5)
    assert path.read_bytes() == before
    assert [found.name for found in project.folder.glob(f"shop.{kind}*")] == [path.name]
