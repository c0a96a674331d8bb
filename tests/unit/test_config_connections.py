"""Entries of sources and destinations: types, keys and values that the connectors declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.config_files import (
    entry_problems,
)


def test_an_unknown_type_is_named_with_what_was_meant(tmp_path: Path) -> None:
    assert entry_problems(tmp_path, "{name: x, type: postgrsql, whatever: 1}") == [
        "ingest.yml:2: sources[0].type: unknown type 'postgrsql'; did you mean postgresql?"
    ]


def test_a_type_on_the_wrong_side_is_said(tmp_path: Path) -> None:
    assert entry_problems(tmp_path, "{name: x, type: python}", "destinations") == [
        "ingest.yml:6: destinations[0].type: the type python can only be a source, not a destination"
    ]


@pytest.mark.parametrize("entry", ["x", "[x]", "3", "null"])
def test_an_entry_that_is_no_mapping_is_said(tmp_path: Path, entry: str) -> None:
    assert entry_problems(tmp_path, entry)[0].startswith("ingest.yml:2: sources[0]: expected keys and values, found ")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("port: 0123", "port: expected a whole number, found '0123': a number has no leading zero"),
        ("port: 12:30:45", "port: expected a whole number, found '12:30:45': a number has no colon"),
        ("port: 0x10", "port: expected a whole number, found '0x10': write the number in decimal"),
        ("port: 1_000", "port: expected a whole number, found '1_000': write the number without underscores"),
        ("port: 5432.0", "port: expected a whole number, found '5432.0'"),
        ("port: '5432'", "port: write 5432 without quotes"),
        ("port: +5", "port: expected a whole number, found '+5'"),
        ("port: ٣", "port: expected a whole number, found '٣'"),
        ("port: 99999999999999999999", "port: expected a whole number, found '99999999999999999999': the number is "),
        ("port: [1]", "port: expected a whole number, found a list"),
        ("sslmode: strict", "sslmode: unknown value 'strict'; use one of: "),
        ("options: x", "options: expected keys and values, found a single value"),
        ("options: {a: [b]}", "options.a: expected text, found a list"),
        ("host: {a: b}", "host: expected text, found keys and values"),
        ("pasword: x", "pasword: unknown key; did you mean password?"),
        ("table: x", "table: unknown key"),
    ],
)
def test_a_wrong_key_of_a_connection_is_said(tmp_path: Path, keys: str, words: str) -> None:
    found = entry_problems(tmp_path, f"{{name: x, type: postgresql, {keys}}}")
    assert len(found) == 1
    assert found[0].startswith(f"ingest.yml:2: sources[0].{words}")


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "True", "FALSE", "1", "y"])
def test_only_true_and_false_are_booleans(tmp_path: Path, word: str) -> None:
    assert entry_problems(tmp_path, f"{{name: x, type: csv, path: a/, header: {word}}}") == [
        f"ingest.yml:2: sources[0].header: write true or false, not '{word}'"
    ]


def test_the_connectors_own_refusal_stands_at_its_entry(tmp_path: Path) -> None:
    assert entry_problems(tmp_path, "{name: x, type: csv, path: a/, delimiter: ';;'}") == [
        "ingest.yml:2: sources[0]: delimiter must be one ASCII character, and no end of line"
    ]


def test_a_connector_of_another_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moon_base.py").write_text(
        "from conduit.config.models import Connection\n"
        "from conduit.connectors.registry import Connector\n"
        "class Moon(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):\n    crater: str\n"
        "connector = Connector(source_connection='moon_base:Moon')\n"
    )
    info = tmp_path / "moon_base-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: moon-base\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[conduit.connectors]\nmoon = moon_base:connector\nbroken = moon_base:nothing\ngone = no_such_module:x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert entry_problems(tmp_path, "{name: x, type: moon}") == ["ingest.yml:2: sources[0].crater: the key is missing"]
    for name in ("broken", "gone"):
        assert "cannot be loaded" in entry_problems(tmp_path, f"{{name: x, type: {name}}}")[0]
