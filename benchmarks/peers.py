"""The tools that `late_commits.py` compares, with their documented incremental settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.support.postgres import Database


@dataclass(frozen=True)
class Setting:
    """One tool with one of its ways to load incrementally.

    Attributes:
        tool: its name.
        label: the way, in its own words.
        prepare: writes what the tool needs into a folder; its command line.
    """

    tool: str
    label: str
    prepare: Callable[[Path, Path, Database], list[str]]


def url(database: Database, scheme: str = "postgresql") -> str:
    """The database as a URL."""
    one = database.server
    return f"{scheme}://{one.user}:{one.password or 'none'}@{one.host}:{one.port}/{database.name}"


def conduit(mode: str) -> Setting:
    """This project, with nothing set but the mode."""

    def prepare(folder: Path, _: Path, database: Database) -> list[str]:
        resource = {"name": "events", "source": "shop", "destination": "lake", "table": "events", "into": "events"}
        resource |= {"incremental_column": "id", "mode": mode} | ({"primary_key": "id"} if mode == "merge" else {})
        content = {
            "sources": [{"name": "shop", **database.keys}],
            "destinations": [{"name": "lake", **database.keys, "schema": "lake"}],
            "resources": [resource],
        }
        (folder / "ingest.yml").write_text(yaml.safe_dump(content))
        return [sys.executable, "-m", "conduit", "run"]

    return Setting("conduit", mode, prepare)


DLT = """
import dlt
from dlt.sources.sql_database import sql_table
pipeline = dlt.pipeline("events", pipelines_dir={folder!r}, destination=dlt.destinations.postgres({url!r}),
                        dataset_name="lake")
table = sql_table({source!r}, table="events", schema="public", incremental=dlt.sources.incremental("id"{lag}))
if {merges!r}:
    table.apply_hints(primary_key="id")
pipeline.run(table, write_disposition={mode!r})
"""


def dlt(mode: str, lag: int | None = None) -> Setting:
    """dlt: `sql_table` with `dlt.sources.incremental`."""

    def prepare(folder: Path, python: Path, database: Database) -> list[str]:
        given = f", lag={lag}" if lag else ""
        text = DLT.format(
            folder=str(folder / "dlt"),
            url=url(database),
            source=url(database, "postgresql+psycopg2"),
            lag=given,
            merges=mode == "merge",
            mode=mode,
        )
        (folder / "load.py").write_text(text)
        return [str(python), "load.py"]

    return Setting("dlt", mode + (f", lag={lag}" if lag else ""), prepare)


def ingestr(strategy: str) -> Setting:
    """ingestr: `--incremental-key` with one of its strategies."""

    def prepare(_: Path, python: Path, database: Database) -> list[str]:
        address = url(database) + "?sslmode=disable"
        return [
            str(python.with_name("ingestr")), "ingest", "--yes", "--progress", "log", "--source-uri", address,
            "--source-table", "public.events", "--dest-uri", address, "--dest-table", "lake.events",
            "--incremental-key", "id", "--incremental-strategy", strategy,
            *([] if strategy == "append" else ["--primary-key", "id"]),
        ]  # fmt: skip

    return Setting("ingestr", strategy, prepare)


def sling(mode: str) -> Setting:
    """sling: `mode: incremental` with `update_key`."""

    def prepare(folder: Path, python: Path, database: Database) -> list[str]:
        stream: dict[str, object] = {"mode": "incremental", "object": "lake.events", "update_key": "id"}
        stream |= {"primary_key": ["id"]} if mode == "merge" else {}
        (folder / "r.yaml").write_text(
            yaml.safe_dump({"source": "PG", "target": "PG", "streams": {"public.events": stream}})
        )
        (folder / "env.yaml").write_text(
            yaml.safe_dump({"connections": {"PG": {"type": "postgres", "url": url(database) + "?sslmode=disable"}}})
        )
        return [str(python.with_name("sling")), "run", "-r", "r.yaml"]

    return Setting("sling", mode, prepare)


def conduit_core(mode: str) -> Setting:
    """conduit-core: `incremental` with `strategy: sequential`."""

    def prepare(folder: Path, python: Path, database: Database) -> list[str]:
        one = database.server
        place = {
            "type": "postgresql", "host": one.host, "port": one.port, "database": database.name, "user": one.user,
            "password": one.password or "none",
        }  # fmt: skip
        keys = {"primary_keys": ["id"]} if mode == "merge" else {}
        content = {
            "sources": [{"name": "shop", **place}],
            "destinations": [
                {"name": "lake", **place, "schema": "lake", "db_schema": "lake", "table": "events", "write_mode": mode,
                 "auto_create_table": True, **keys}
            ],
            "resources": [
                {"name": "events", "source": "shop", "destination": "lake",
                 "query": "SELECT id, v FROM public.events ORDER BY id",
                 "incremental": {"column": "id", "strategy": "sequential"}}
            ],
        }  # fmt: skip
        (folder / "ingest.yml").write_text(yaml.safe_dump(content))
        database.execute("CREATE TABLE IF NOT EXISTS lake.events (id bigint PRIMARY KEY, v text)" if mode == "merge"
                         else "CREATE TABLE IF NOT EXISTS lake.events (id bigint, v text)")  # fmt: skip
        return [str(python.with_name("conduit")), "run", "ingest.yml"]

    return Setting("conduit-core", mode, prepare)


SETTINGS = [
    conduit("append"), conduit("merge"),
    dlt("append"), dlt("merge"), dlt("merge", lag=1000),
    ingestr("append"), ingestr("merge"), ingestr("delete+insert"),
    sling("append"), sling("merge"),
    conduit_core("append"), conduit_core("merge"),
]  # fmt: skip
