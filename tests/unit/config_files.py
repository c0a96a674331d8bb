"""Texts of an ingest.yml, and what `load` says about them."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit.config.load import load
from conduit.config.models import Project, Resource
from conduit.errors import ConfigError

DOCUMENTED = """\
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
    type: postgresql
    # ... the connection's keys ...
    table: raw_users
    mode: append # Important for incremental loads

resources:
  - name: sync_new_users
    source: production_db
    destination: data_warehouse
    incremental_column: id # Track the 'id' column
    query: "SELECT id, name, email, created_at FROM users WHERE id > :last_value ORDER BY id"
    # Mode is implicitly 'incremental' because incremental_column is set
"""

ENDS = """\
sources:
  - {name: shop, type: postgresql}
  - {name: files, type: csv, path: in/}
  - {name: given, type: python}
destinations:
  - {name: lake, type: postgresql}
  - {name: raw, type: parquet, path: out/}
  - {name: one, type: csv, path: out.csv}
resources:
"""
FIRST = ENDS.count("\n") + 1
"""The line of the first resource."""


def written(folder: Path, text: str) -> Path:
    file = folder / "ingest.yml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return file


def project(folder: Path, text: str) -> Project:
    return load(written(folder, text), environment={"PG_PASSWORD": "x"})


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        project(folder, text)
    error = caught.value
    assert error.exit_code == 2
    count = len(error.problems)
    assert error.message == f"ingest.yml has {count} problem{'s' if count > 1 else ''}"
    return [str(problem) for problem in error.problems]


def line(keys: str, name: str = "users", source: str = "shop", destination: str = "lake") -> str:
    return f"  - {{name: {name}, source: {source}, destination: {destination}, {keys}}}\n"


def resource(folder: Path, keys: str, head: str = ENDS, source: str = "shop", destination: str = "lake") -> Resource:
    return project(folder, head + line(keys, source=source, destination=destination)).resources[0]


def only_problem(folder: Path, keys: str, source: str = "shop", destination: str = "lake") -> str:
    found = problems(folder, ENDS + line(keys, source=source, destination=destination))
    assert len(found) == 1, found
    assert found[0].startswith(f"ingest.yml:{FIRST}: resources[0]")
    return found[0].removeprefix(f"ingest.yml:{FIRST}: resources[0]").lstrip(".")


def entry_problems(folder: Path, entry: str, side: str = "sources") -> list[str]:
    good = ENDS.replace(f"{side}:\n", f"{side}:\n  - {entry}\n", 1)
    return problems(folder, good + line("table: t, mode: replace"))
