"""The JSON Schema and the template: an editor accepts what `load` accepts, and `conduit init` writes what loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from conduit.config.json_schema import json_schema
from conduit.config.load import load
from conduit.config.template import ENV_EXAMPLE, INGEST_YML
from conduit.connectors import registry
from conduit.errors import ConfigError

GOOD = """\
pipeline: nightly
defaults: {schema_changes: fail, batch_size: 1000, primary_key: id}
sources:
  - {name: shop, type: postgresql, host: db, port: "${PORT:-5432}", password: 12345, options: {connect_timeout: 5}}
  - {name: again, type: postgres, port: 5432, user: ~, schema: ~, sslmode: require}
  - {name: files, type: csv, path: in/, header: false}
  - {name: given, type: python}
destinations:
  - {name: lake, type: postgresql, table: raw.users, mode: merge, metadata_columns: true}
resources:
  - {name: a, source: shop, destination: lake, query: SELECT 1,
     incremental: {column: id, lag: 100000, initial_value: 0}}
  - {name: b, source: shop, destination: lake, table: t, mode: full_refresh, into: b, primary_key: [a, b],
     columns: {x: text}, metadata_columns: false, partition: {column: id, number: auto}}
  - {name: c, source: files, destination: lake, mode: "${MODE:-merge}", primary_key: id, into: c,
     update: {n: target.n + source.n}, on_changed_file: reload, incremental: , columns: ~}
"""

BAD = {
    "pipeline: nightly": "piplines: nightly",
    "batch_size: 1000": "batch_size: 0",
    "schema_changes: fail": "schema_changes: explode",
    "type: csv": "type: csvv",
    "type: csv, path: in/": "type: csv, pth: in/",
    "type: python}": "type: python, host: x}",
    "header: false": "header: no",
    "port: 5432": "port: many",
    "sslmode: require": "sslmode: strict",
    "destinations:\n  - {name: lake, type: postgresql": "destinations:\n  - {name: lake, type: python",
    "mode: merge, metadata": "mode: banana, metadata",
    "metadata_columns: true": "metadata_columns: 1",
    "query: SELECT 1": "query: ''",
    "{column: id, lag": "{colum: id, lag",
    "primary_key: [a, b]": "primary_key: []",
    "columns: {x: text}": "columns: [x]",
    "name: c, source: files": "source: files",
    "on_changed_file: reload": "on_changed_file: maybe",
    "update: {n: target.n + source.n}": "updat: {n: 1}",
    "number: auto": "number: some",
}


class _AsAnEditorReads(yaml.SafeLoader):
    """YAML 1.2, as editors read it: `no`, `0123` and `2024-01-01` are no booleans, octals and dates."""


_AsAnEditorReads.yaml_implicit_resolvers = {}
for tag, form, first in (
    ("bool", "true|false", "tf"),
    ("int", "-?(0|[1-9][0-9]*)", "-0123456789"),
    ("null", "~|null|", ["~", "n", ""]),
):
    _AsAnEditorReads.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(f"^(?:{form})$"), list(first))


def errors(text: str) -> list[str]:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    document = yaml.load(text, _AsAnEditorReads)
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]


def loads(folder: Path, text: str) -> bool:
    file = folder / "ingest.yml"
    file.write_text(text, encoding="utf-8")
    try:
        load(file, environment={"PG_PASSWORD": "x"})
    except ConfigError:
        return False
    return True


def test_what_load_reads_is_valid(tmp_path: Path) -> None:
    assert loads(tmp_path, GOOD)
    assert errors(GOOD) == []


@pytest.mark.parametrize("good", BAD)
def test_a_mistake_is_found_by_the_schema_and_by_load(tmp_path: Path, good: str) -> None:
    assert GOOD.count(good) == 1
    text = GOOD.replace(good, BAD[good])
    assert errors(text) != []
    assert not loads(tmp_path, text)


@pytest.mark.parametrize("section", ["sources", "destinations", "resources"])
def test_a_section_that_is_missing_is_found(section: str) -> None:
    document: dict[str, list[str]] = {"sources": [], "destinations": [], "resources": []}
    del document[section]
    assert any(section in message for message in errors(yaml.safe_dump(document)))


def test_every_built_in_type_has_its_own_keys() -> None:
    definitions = json_schema()["$defs"]
    for name in registry.names():
        assert f"source-{name}" in definitions
    assert "destination-python" not in definitions
    assert "password" in definitions["source-postgresql"]["properties"]
    assert "password" not in definitions["source-python"]["properties"]


def test_every_key_is_explained() -> None:
    def unexplained(node: Any, path: str) -> list[str]:
        found = []
        for name, value in node.get("properties", {}).items():
            if not value.get("description") and not path.endswith("items"):
                found.append(f"{path}.{name}")
            found += unexplained(value, f"{path}.{name}")
        return found

    schema = json_schema()
    missing = unexplained(schema, "")
    for name, definition in schema["$defs"].items():
        missing += unexplained(definition, name)
    assert missing == []


# --- conduit init ---------------------------------------------------------------------------------------


def test_the_template_loads_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "ingest.yml").write_text(INGEST_YML)
    project = load(tmp_path / "ingest.yml", environment={})
    assert [(one.source, one.destination, one.mode) for one in project.resources] == [("shop", "lake", "append")]
    assert (project.sources["shop"].type, project.destinations["lake"].type) == ("sqlite", "parquet")


def test_what_the_template_comments_out_loads_too(tmp_path: Path) -> None:
    everything = re.sub(r"(?m)^  # ", "  ", INGEST_YML)
    (tmp_path / "ingest.yml").write_text(everything)
    (tmp_path / ".env").write_text(ENV_EXAMPLE)
    project = load(tmp_path / "ingest.yml", environment={})
    assert {source.type for source in project.sources.values()} == {
        "sqlite", "postgresql", "duckdb", "csv", "json", "parquet",
    }  # fmt: skip
    assert len(project.destinations) == 4
    assert len(project.resources) == 4
    assert errors(everything) == []


def test_the_template_has_short_lines_and_no_tabs() -> None:
    assert max(len(line) for line in INGEST_YML.splitlines()) <= 120
    assert "\t" not in INGEST_YML + ENV_EXAMPLE
