"""The peers as participants: each with the fastest settings that its documentation gives for the job."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import yaml
from pyiceberg.table import StaticTable

from benchmarks.limits import empty_copy, iceberg_append, run, script
from benchmarks.peers import url
from benchmarks.rows import COLUMNS, by_duckdb, in_duckdb, in_iceberg, in_parquet, in_postgres
from benchmarks.scenario import Found, Participant, Turn

Look = Callable[[Turn], Found]


def lake(turn: Turn) -> Found:
    """The table in the schema that peers write to."""
    return in_postgres(turn, "lake.copied")


# --- dlt ------------------------------------------------------------------------------------------------


def dlt(
    destination: str, *, csv: bool = False, backend: str = "connectorx", goes_on: bool = False, merges: bool = False
) -> Participant:
    """dlt from PostgreSQL, or from a CSV file.

    Args:
        destination: `postgresql`, `parquet`, `duckdb` or `iceberg`.
        csv: reads the file.
        backend: of `sql_table`.
        goes_on: reads by the cursor, after a first run.
        merges: `changes` into a copy that a first run made.
    """

    def command(turn: Turn, table: str = "events") -> list[str]:
        asked = {
            "source": str(turn.files / "events.csv") if csv else url(turn.database, "postgresql+psycopg2"),
            "table": table, "url": url(turn.database), "destination": destination, "folder": str(turn.folder),
            "backend": backend, "incremental": goes_on, "mode": "merge" if merges and table == "changes" else "append",
        }  # fmt: skip
        return script(turn, "dlt_load.py", json.dumps(asked))

    looks: dict[str, Look] = {
        "postgresql": lake,
        "parquet": lambda turn: in_parquet(turn, "lake/lake/copied/*.parquet"),
        "duckdb": lambda turn: in_duckdb(turn, "warehouse.duckdb", "lake.copied"),
        "iceberg": newest_metadata,
    }
    return Participant(
        name=f"dlt ({'CSV by DuckDB' if csv else backend})",
        role="peer",
        tool="dlt",
        begin=run(command) if goes_on or merges else lambda _: None,
        command=(lambda turn: command(turn, "changes")) if merges else command,
        found=looks[destination],
    )


def newest_metadata(turn: Turn) -> Found:
    """An Iceberg table by the newest of its metadata files."""
    folder = turn.folder / "lake" / "lake" / "copied" / "metadata"
    newest = max(folder.glob("*.metadata.json"), key=lambda file: file.stat().st_mtime_ns)
    rows = StaticTable.from_metadata(str(newest)).scan().to_arrow()
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        return by_duckdb(connection, "rows", turn)


# --- ingestr --------------------------------------------------------------------------------------------


def ingestr(
    destination: str, *, csv: bool = False, goes_on: bool = False, merges: bool = False, table: str = "events"
) -> Participant:
    """ingestr, in its last version whose program is in its package; it keeps no state, so going on is a merge."""

    def command(turn: Turn, table: str = table) -> list[str]:
        address = url(turn.database) + "?sslmode=disable"
        source = f"csv://{turn.files / 'events.csv'}" if csv else address
        into = address if destination == "postgresql" else f"duckdb:///{turn.folder}/warehouse.duckdb"
        strategy = "merge" if goes_on or (merges and table == "changes") else "replace"
        words = [
            "--source-uri", source, "--source-table", "events" if csv else f"public.{table}", "--dest-uri", into,
            "--dest-table", "lake.copied", "--incremental-strategy", strategy, "--page-size", "100000",
            *(["--incremental-key", "id"] if goes_on else []),
            *(["--primary-key", "id"] if strategy == "merge" else []),
        ]  # fmt: skip
        return [str(turn.python.with_name("ingestr")), "ingest", "--yes", "--progress", "log", *words]

    look: Look = (
        lake if destination == "postgresql" else lambda turn: in_duckdb(turn, "warehouse.duckdb", "lake.copied")
    )
    return Participant(
        name="ingestr",
        role="peer",
        tool="ingestr",
        begin=run(command) if goes_on or merges else lambda _: None,
        command=(lambda turn: command(turn, "changes")) if merges else command,
        found=look,
    )


# --- conduit-core ---------------------------------------------------------------------------------------


def conduit_core(*, goes_on: bool = False, merges: bool = False) -> Participant:
    """conduit-core from PostgreSQL to PostgreSQL; its table has to be there."""

    def write(turn: Turn, table: str = "events") -> None:
        one = turn.database.server
        place: dict[str, Any] = {
            "type": "postgresql", "host": one.host, "port": one.port, "database": turn.database.name, "user": one.user,
            "password": one.password or "none",
        }  # fmt: skip
        keys: dict[str, Any] = {"primary_keys": ["id"], "write_mode": "merge"} if merges else {"write_mode": "append"}
        resource: dict[str, Any] = {
            "name": "events", "source": "source", "destination": "lake",
            "query": f"SELECT {', '.join(COLUMNS)} FROM public.{table} ORDER BY id",
        }  # fmt: skip
        resource |= {"incremental": {"column": "id", "strategy": "sequential"}} if goes_on else {}
        content = {
            "sources": [{"name": "source", **place}],
            "destinations": [
                {"name": "lake", **place, "schema": "public", "db_schema": "public", "table": "copied", **keys}
            ],
            "resources": [resource],
        }  # fmt: skip
        (turn.folder / "ingest.yml").write_text(yaml.safe_dump(content, sort_keys=False))

    def begin(turn: Turn) -> None:
        if merges:
            turn.database.execute("CREATE TABLE copied (LIKE events INCLUDING ALL)")
            turn.database.execute("INSERT INTO copied SELECT * FROM events")
            write(turn, "changes")
        elif goes_on:
            before(turn)
            run(command)(turn)

    def before(turn: Turn) -> None:
        empty_copy(turn)
        write(turn)

    def command(turn: Turn) -> list[str]:
        return [str(turn.python.with_name("conduit")), "run", "ingest.yml"]

    return Participant(
        name="conduit-core",
        role="peer",
        tool="conduit-core",
        begin=begin,
        before=(lambda _: None) if goes_on or merges else before,
        command=command,
        found=in_postgres,
    )


# --- iceframe of others ---------------------------------------------------------------------------------


def iceframe_upsert() -> Participant:
    """The public package iceframe: its upsert into an Iceberg table that pyiceberg made."""
    first = iceberg_append().command

    def begin(turn: Turn) -> None:
        run(lambda turn: [sys.executable, *first(turn)[1:]])(turn)

    return Participant(
        name="iceframe (public)",
        role="peer",
        tool="iceframe",
        begin=begin,
        command=lambda turn: script(turn, "iceframe_upsert.py", turn.folder, turn.folder / "changes.arrow"),
        found=in_iceberg,
    )


def help_of(tool: str, program: str) -> Participant:
    """`--help` of a command."""

    def command(turn: Turn) -> list[str]:
        return [str(Path(turn.python).with_name(program)), "--help"]

    return Participant(name=tool, role="peer", tool=tool, command=command)
