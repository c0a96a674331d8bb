"""The verbs as a stranger uses them; and secrets, which appear nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema
import pytest
import yaml

from conduit.config.models import SourceConfig
from conduit.connectors import registry
from conduit.connectors.postgresql.config import PostgresqlConnection
from conduit.errors import ConfigError
from tests.support.postgres import Database
from tests.support.project import Project, pipeline

CANARY = "c4nary/s:e@cret#42"


def test_init_writes_a_file_that_loads_and_never_overwrites_one(project: Project) -> None:
    project.cold("init").ok()
    content = yaml.safe_load((project.folder / "ingest.yml").read_text())
    schema = json.loads(project.cold("schema").ok().out)
    jsonschema.validate(content, schema)
    again = project.cold("init")
    assert again.code == 2
    assert "exists already" in again.err


def test_a_backfill_from_the_command_line(database: Database, project: Project) -> None:
    database.execute(
        "CREATE TABLE e (id bigint PRIMARY KEY, v text); INSERT INTO e SELECT g, 'a' FROM generate_series(1, 9) g"
    )
    more = {"into": "t", "mode": "merge", "primary_key": "id", "incremental": {"column": "id", "safety": "none"}}
    project.write(pipeline(database.keys, database.keys, table="e", **more))
    project.run()
    database.execute("UPDATE e SET v = 'b'")
    report = project.cold("run", "ingest.yml", "r", "--from", "3", "--to", "5", "--output", "json").ok().json
    assert report["resources"][0]["updated"] == 2
    assert project.cold("run", "ingest.yml", "--from", "3").code == 2
    plain = pipeline(database.keys, database.keys, table="e", into="u", incremental={"column": "id", "safety": "none"})
    project.write(plain)
    refused = project.cold("run", "ingest.yml", "--from", "3", "--to", "5")
    assert refused.code == 2
    assert "merge" in refused.out + refused.err


@pytest.mark.parametrize("arguments", [("run", "nowhere.yml"), ("plan", "nowhere.yml"), ("check", "nowhere.yml")])
def test_a_missing_file_is_one_clear_error(project: Project, arguments: tuple[str, ...]) -> None:
    ran = project.cold(*arguments)
    assert ran.code == 2
    assert "nowhere.yml" in ran.err
    assert "Traceback" not in ran.err


def test_an_unknown_resource_names_those_there_are(database: Database, project: Project) -> None:
    project.write(pipeline(database.keys, database.keys, table="e", mode="replace"))
    ran = project.cold("run", "ingest.yml", "nope")
    assert (ran.code, "ingest.yml has: r" in ran.err) == (2, True)


def test_an_unknown_verb_or_option_is_a_usage_error(project: Project) -> None:
    assert project.cold("fly").code == 2
    assert project.cold("run", "--wings").code == 2


def test_a_crash_point_outside_a_test_is_refused(project: Project) -> None:
    ran = project.cold("run", env={"CONDUIT_CRASH_AT": "run.locked", "CONDUIT_TESTING": "0"})
    assert ran.code == 2
    assert "CONDUIT_CRASH_AT" in ran.err


def test_a_missing_driver_names_its_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'conduit-iceframe\[postgres\]'"):
        registry.source(SourceConfig(name="s", type="postgresql", connection=PostgresqlConnection()), Path())


def _with_canary(keys: dict[str, Any], form: str) -> dict[str, Any]:
    """The same connection with a password that the trusting server never asks for."""
    if form == "password":
        return keys | {"password": "${CANARY}"}
    url = f"postgresql://{keys['user']}:{quote(CANARY, safe='')}@{keys['host']}:{keys['port']}/{keys['database']}"
    return {"type": "postgresql", "url": url}


@pytest.mark.parametrize("form", ["password", "url"])
def test_a_secret_is_in_no_output_no_record_and_no_table(database: Database, project: Project, form: str) -> None:
    database.execute("CREATE TABLE e (id bigint PRIMARY KEY, v text); INSERT INTO e VALUES (1, 'a')")
    ends = _with_canary(dict(database.keys), form)
    broken = (
        ends | {"port": 1}
        if form == "password"
        else {**ends, "url": ends["url"].replace(f":{database.server.port}/", ":1/")}
    )
    shown = ""
    for source, table in ((ends, "e"), (ends, "missing"), (broken, "e")):
        project.write(pipeline(source, ends, table=table, into="t", incremental_column="id"))
        for arguments in (
            ("run",),
            ("plan",),
            ("check",),
            ("state", "show"),
            ("--debug", "run"),
            ("run", "--output", "json"),
        ):
            ran = project.conduit(*arguments, env={"CANARY": CANARY})
            shown += ran.out + ran.err
    files = b"".join(
        path.read_bytes() for path in project.folder.rglob("*") if path.is_file() and path.name != "ingest.yml"
    )
    rows = str(database.execute("SELECT * FROM _conduit_state")) + str(database.execute("SELECT * FROM t"))
    for secret in (CANARY, "c4nary%2Fs%3Ae%40cret%2342", "c4nary"):
        assert secret not in shown
        assert secret.encode() not in files
        assert secret not in rows
