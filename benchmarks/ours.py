"""This project as a participant: an ingest.yml for each scenario, and `conduit run`."""

from __future__ import annotations

import subprocess
from typing import Any

import yaml

from benchmarks.rows import in_duckdb, in_iceberg, in_parquet, in_postgres
from benchmarks.scenario import Found, Participant, Turn


def ends(turn: Turn, kind: str) -> dict[str, Any]:
    """The keys of a connection: as a source its rows are `events`, as a destination it is a place in the folder."""
    known: dict[str, dict[str, Any]] = {
        "postgresql": turn.database.keys,
        "csv": {"type": "csv", "path": str(turn.files / "events.csv")},
        "parquet file": {"type": "parquet", "path": str(turn.files / "events.parquet")},
        "duckdb file": {"type": "duckdb", "database": str(turn.files / "events.duckdb")},
        "parquet": {"type": "parquet", "path": "lake/"},
        "duckdb": {"type": "duckdb", "database": "lake.duckdb"},
        "iceberg": {"type": "iceberg", "uri": "sqlite:///catalog.db", "warehouse": "warehouse"},
    }  # fmt: skip
    return known[kind]


def ours(source: str, destination: str, **keys: object) -> Participant:
    """`conduit run` of one resource: `events` into `copied`.

    Args:
        source: `postgresql`, or one of the files.
        destination: `postgresql`, `parquet`, `duckdb` or `iceberg`.
        **keys: of the resource.
    """
    return Participant(
        name="conduit",
        role="ours",
        before=lambda turn: write(turn, source, destination, resource("events", source, **keys)),
        command=lambda turn: command(turn, "events"),
        found=where(destination),
    )


def going_on(destination: str, **keys: object) -> Participant:
    """Runs after a first one; `events` is read by its cursor each time."""
    return Participant(
        name="conduit",
        role="ours",
        begin=lambda turn: first_run(turn, destination, resource("events", "postgresql", **keys)),
        command=lambda turn: command(turn, "events"),
        found=where(destination),
    )


def merging(destination: str) -> Participant:
    """Merges of the table `changes` into a copy that a first run made."""
    first = resource("events", "postgresql", incremental_column="id", mode="merge", primary_key="id")
    second = {"name": "changes", "table": "changes", "into": "copied", "mode": "merge", "primary_key": "id"}
    return Participant(
        name="conduit",
        role="ours",
        begin=lambda turn: first_run(turn, destination, first, second),
        command=lambda turn: command(turn, "changes"),
        found=where(destination),
    )


def resource(name: str, source: str, **keys: object) -> dict[str, Any]:
    """A resource that copies all rows, and by the cursor `id` where the source is a table."""
    given: dict[str, Any] = {"name": name, "into": "copied"} | keys
    if source in {"postgresql", "duckdb file"}:
        given = {"table": name, "incremental_column": "id"} | given
    return {"mode": "append"} | given


def write(turn: Turn, source: str, destination: str, *resources: dict[str, Any]) -> None:
    """The ingest.yml of a turn."""
    content = {
        "sources": [{"name": "source", **ends(turn, source)}],
        "destinations": [{"name": "destination", **ends(turn, destination)}],
        "resources": [{"source": "source", "destination": "destination", **one} for one in resources],
    }
    (turn.folder / "ingest.yml").write_text(yaml.safe_dump(content, sort_keys=False))


def first_run(turn: Turn, destination: str, *resources: dict[str, Any]) -> None:
    """Write the file and load the rows for the first time."""
    write(turn, "postgresql", destination, *resources)
    done = subprocess.run(command(turn, "events"), cwd=turn.folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the first run failed: {done.stdout} {done.stderr}")


def command(turn: Turn, name: str) -> list[str]:
    """What is measured."""
    return [str(turn.python), "-m", "conduit", "run", "ingest.yml", name]


def where(destination: str) -> Any:
    """How the copy is looked at."""
    looks: dict[str, Any] = {"postgresql": in_postgres, "iceberg": in_iceberg, "parquet": _parquet, "duckdb": _duckdb}
    return looks[destination]


def _parquet(turn: Turn) -> Found:
    return in_parquet(turn, "lake/copied/**/*.parquet")


def _duckdb(turn: Turn) -> Found:
    return in_duckdb(turn, "lake.duckdb", "copied")


def help_of_ours() -> Participant:
    """`conduit --help`, as it is installed."""
    return Participant(
        name="conduit", role="ours", command=lambda turn: [str(turn.python.with_name("conduit")), "--help"]
    )
