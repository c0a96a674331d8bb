"""Commands in processes that start from nothing, as a user's do: whatever a command needs, it imports itself.

The other tests fork their commands from a process that has imported everything.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import conduit
from tests.support.project import Project, pipeline

KINDS: dict[str, dict[str, Any]] = {
    "sqlite": {"database": "{}.sqlite"},
    "duckdb": {"database": "{}.duckdb"},
    "parquet": {"path": "{}/"},
    "csv": {"path": "{}/"},
    "json": {"path": "{}.ndjson"},
    "iceberg": {"uri": "sqlite:///{}.db", "warehouse": "{}"},
    "postgresql": {},
}
MERGING = ("sqlite", "duckdb", "iceberg", "postgresql")


def ends(name: str, request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two connections of one kind, so that no other kind imports what this one has forgotten."""
    if name == "postgresql":
        keys = dict(request.getfixturevalue("database").keys)
        return keys, keys
    first, second = ({key: text.format(place) for key, text in KINDS[name].items()} for place in ("in", "out"))
    return {"type": name} | first, {"type": name} | second


def filled(folder: Path, keys: dict[str, Any]) -> None:
    """Rows in a source."""
    project = Project(folder)
    project.write(pipeline({"type": "python"}, keys, into="t", mode="replace"))
    rows = pa.table({"id": pa.array([1, 2], pa.int64()), "v": ["a", "b"]})
    assert conduit.run(folder / "ingest.yml", sources={"src": rows})["r"].exit_code == 0
    (folder / ".conduit_state.json").unlink(missing_ok=True)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_connection_is_read_and_written(
    project: Project, name: str, request: pytest.FixtureRequest
) -> None:
    source, destination = ends(name, request)
    filled(project.folder, source)
    how: dict[str, Any] = {"mode": "merge", "primary_key": "id"} if name in MERGING else {}
    table = "default.t" if name == "iceberg" else "t"
    read = {} if "path" in source else {"table": table}
    project.write(pipeline(source, destination, into="copy", incremental_column="id", **read, **how))
    assert "2 rows" in project.cold("run").ok().out
    assert "nothing new" in project.cold("run").ok().out


def test_every_verb_runs(project: Project) -> None:
    project.cold("init").ok()
    project.cold("schema").ok()
    source, destination = {"type": "sqlite", "database": "in.db"}, {"type": "sqlite", "database": "out.db"}
    filled(project.folder, source)
    project.write(pipeline(source, destination, table="t", into="copy", incremental_column="id"))
    for verb in (
        ("plan",), ("check",), ("run", "ingest.yml", "r", "--limit", "1"), ("run",), ("verify",), ("repair", "r"),
        ("state", "show"), ("state", "log", "r"), ("state", "set", "r", "1", "--yes"), ("state", "reset", "r", "--yes"),
    ):  # fmt: skip
        ran = project.cold(*verb).ok()
        assert ran.out, verb
        assert not ran.err, verb
