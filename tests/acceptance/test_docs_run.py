"""Every page runs from top to bottom: its files, its commands, its Python, with the output that it shows."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from contextlib import closing
from inspect import getmembers, isfunction
from pathlib import Path

import duckdb
import pytest

import conduit
from conduit import contract, errors, faults
from tests.support.page_runner import PageRun
from tests.support.pages import DOCS, blocks, carried, code, name_of, pages, prose, table
from tests.support.zygote import Zygote

NEW_CONNECTOR = DOCS / "new-connector.md"
WITH_A_SERVER = {DOCS / "connectors" / "postgresql.md"}
"""These run in a test of their own."""

RUNNABLE = [page for page in pages() if page not in WITH_A_SERVER]


@pytest.mark.parametrize("page", RUNNABLE, ids=name_of)
def test_a_page_runs_from_top_to_bottom(page: Path, tmp_path: Path, zygote: Zygote) -> None:
    PageRun(page, tmp_path, zygote).run()


# --- types of the embedded databases --------------------------------------------------------------------


def declared_in_sqlite(folder: Path, columns: str) -> list[str]:
    """Make the source; what the destination declares, once it was made."""
    with closing(sqlite3.connect(folder / "in")) as source, source:
        source.execute(f"CREATE TABLE kinds ({columns})")
    assert conduit.run(folder / "ingest.yml", ["made"]).exit_code == 0
    with closing(sqlite3.connect(folder / "out")) as made:
        return [row[2] for row in made.execute("PRAGMA table_info(kinds)")]


def declared_in_duckdb(folder: Path, columns: str) -> list[str]:
    """The same in DuckDB."""
    with duckdb.connect(str(folder / "in")) as source:
        source.execute(f"CREATE TABLE kinds ({columns})")
    assert conduit.run(folder / "ingest.yml", ["made"]).exit_code == 0
    with duckdb.connect(str(folder / "out"), read_only=True) as made:
        return [row[1] for row in made.execute("DESCRIBE kinds").fetchall()]


@pytest.mark.parametrize(("name", "declared"), [("sqlite", declared_in_sqlite), ("duckdb", declared_in_duckdb)])
def test_every_type_of_the_page_becomes_what_the_page_says(
    tmp_path: Path, name: str, declared: Callable[[Path, str], list[str]]
) -> None:
    rows = table(DOCS / "connectors" / f"{name}.md", "Types")
    (tmp_path / "ingest.yml").write_text(
        f"sources: [{{name: a, type: {name}, database: in}}]\n"
        f"destinations: [{{name: b, type: {name}, database: out}}, {{name: c, type: parquet, path: lake/}}]\n"
        "resources:\n"
        "  - {name: made, source: a, destination: b, table: kinds, into: kinds, mode: replace}\n"
        "  - {name: carried, source: a, destination: c, table: kinds, mode: replace}\n"
    )
    made = declared(tmp_path, ", ".join(f"c{place} {code(row[0])[0]}" for place, row in enumerate(rows)))
    assert made == [code(row[2])[0] for row in rows]
    [plan] = conduit.plan(tmp_path / "ingest.yml", ["carried"])
    assert carried(plan) == [row[1] for row in rows]


# --- the page for authors of connectors -----------------------------------------------------------------


def test_a_connector_of_another_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    for block in blocks(NEW_CONNECTOR):
        name = block.remark("file")
        if name is not None:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(block.text)
    [project] = [tomllib.loads(block.text)["project"] for block in blocks(NEW_CONNECTOR, "toml")]
    installed = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    entries = "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in found.items())
        for group, found in project["entry-points"].items()
    )
    (installed / "entry_points.txt").write_text(entries)
    schema = json.loads(printed(tmp_path, "schema"))
    assert "shelf" in schema["$defs"]["source-cellar"]["properties"]
    assert "source here: 0 tables in memory" in printed(tmp_path, "check", "ingest.yml")


def printed(folder: Path, *arguments: str) -> str:
    """What the command prints in a process that has the folder's packages."""
    done = subprocess.run(
        [sys.executable, "-m", "conduit", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "protocol",
    [contract.Source, contract.Session, contract.Destination, contract.Load, contract.Stager],
    ids=lambda protocol: protocol.__name__,
)
def test_the_page_has_every_method_of_the_contract(protocol: type) -> None:
    methods = {name for name, _ in getmembers(protocol, isfunction) if not name.startswith("_")}
    rows = [row for row in prose(NEW_CONNECTOR).splitlines() if row.startswith("| `")]
    assert {name.rpartition(".")[2] for row in rows for name in code(row.split("|")[1])} >= methods


def test_the_page_names_every_ability_every_error_and_every_crash_point_of_a_destination() -> None:
    words = set(code(prose(NEW_CONNECTOR))) | {word.partition(".")[0] for word in code(prose(NEW_CONNECTOR))}
    abilities = {name for name in vars(contract) if name.startswith("Supports")}
    raised = {
        name for name, thing in vars(errors).items() if isinstance(thing, type) and thing.__module__ == errors.__name__
    }
    not_for_connectors = {"ConduitError", "InternalError", "Interrupted", "Problem"}
    points = {name for name in faults.CRASH_POINTS if name.startswith("load.")} - {"load.begun"}
    assert abilities | (raised - not_for_connectors) | points <= words
