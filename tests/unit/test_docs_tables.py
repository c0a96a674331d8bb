"""The tables of the documentation are those of the code: keys of ingest.yml, options, exit codes, fields of JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import click
import msgspec
import pytest
from msgspec import inspect, structs

from conduit import ResourcePlan, ResourceReport, errors
from conduit.cli.main import VERBS
from conduit.cli.main import conduit as command_line
from conduit.config.convert import Key, keys_of
from conduit.config.document import NOT_YET, SECTIONS, Defaults, ResourceKeys, Top
from conduit.config.models import DestinationConfig, Incremental, Partition, Secret, SourceConfig
from conduit.connectors import registry
from conduit.schemas import DECLARABLE
from conduit.watermarks import DEFAULT_LAG
from tests.support.pages import DOCS, code, prose, table

INGEST_YML, CLI, CONCEPTS = DOCS / "ingest-yml.md", DOCS / "cli.md", DOCS / "concepts.md"
Side = Literal["source", "destination"]
Model = type[msgspec.Struct]
ENTRY = ("name", "type", "connection")

CONNECTIONS: dict[str, tuple[str, Side]] = {
    "postgresql": ("postgresql", "source"),
    "sqlite": ("sqlite", "source"),
    "duckdb": ("duckdb", "source"),
    "csv, as a source": ("csv", "source"),
    "json, as a source": ("json", "source"),
    "parquet, as a source": ("parquet", "source"),
    "csv, json, parquet, as a destination": ("csv", "destination"),
    "iceberg, as a source": ("iceberg", "source"),
    "iceberg, as a destination": ("iceberg", "destination"),
    "memory": ("memory", "source"),
}
"""Heading of the page -> the connector whose keys stand below it."""


def connection_model(name: str, side: Side) -> Model | None:
    """The keys that a connector declares for one side; None when it does not have that side."""
    connector = registry.find(name)
    assert connector is not None
    return registry.connection_model(connector, side)


# --- the keys of ingest.yml -----------------------------------------------------------------------------


def test_the_page_has_every_key_at_the_top() -> None:
    rows = require_described(Top, "At the top", beside=SECTIONS)
    assert {name: rows[name][1] for name in SECTIONS} == dict.fromkeys(SECTIONS, "required")


@pytest.mark.parametrize(
    ("heading", "model"), [("Resources", ResourceKeys), ("incremental", Incremental), ("partition", Partition)]
)
def test_the_page_has_every_key_of_the_work(heading: str, model: Model) -> None:
    require_described(model, heading)


def test_the_page_has_every_key_that_all_entries_share() -> None:
    require_described(SourceConfig, "Sources and destinations", without=("connection",))
    require_described(DestinationConfig, "Keys of every destination", without=ENTRY)


@pytest.mark.parametrize("heading", CONNECTIONS)
def test_the_page_has_every_key_of_a_connection(heading: str) -> None:
    model = connection_model(*CONNECTIONS[heading])
    assert model is not None
    require_described(model, heading)


def test_every_connector_has_its_keys_on_the_page() -> None:
    sides: tuple[Side, Side] = ("source", "destination")
    models = [connection_model(name, side) for name in registry.names() for side in sides]
    shown = [names_of(connection_model(*place)) for place in CONNECTIONS.values()]
    assert all(names_of(model) in shown for model in models if names_of(model))
    meaning = {code(row[0])[0]: row[3] for row in table(INGEST_YML, "Sources and destinations")}
    assert set(code(meaning["type"])) == set(registry.names())


def test_the_page_names_every_default_of_the_file() -> None:
    section = prose(INGEST_YML).partition("\n## defaults\n")[2].partition("\n## ")[0]
    assert names_of(Defaults) <= set(code(section))


def test_the_page_names_every_type_every_alias_and_every_key_that_is_still_to_come() -> None:
    text = " ".join(prose(INGEST_YML).split())
    assert DECLARABLE in text
    assert set(code(text)) >= {*NOT_YET, *registry.ALIASES}


def names_of(model: Model | None) -> frozenset[str]:
    """The keys of a model."""
    return frozenset(key.name for key in keys_of(model)) if model is not None else frozenset()


def require_described(
    model: Model, heading: str, *, without: tuple[str, ...] = (), beside: tuple[str, ...] = ()
) -> dict[str, list[str]]:
    """The table below the heading has the model's keys, with their types and defaults; it is returned by key."""
    rows = {code(row[0])[0]: row[1:] for row in table(INGEST_YML, heading)}
    keys = {key.name: key for key in keys_of(model) if key.name not in without}
    assert set(rows) == {*keys, *beside}
    defaults = {field.name: field.default for field in structs.fields(model)}
    for name, key in keys.items():
        shown_type, shown_default, _ = rows[name]
        assert sorted(shown_type.split(", ")) == sorted(type_words(key)), name
        require_default(name, key, defaults[key.field], shown_default)
    return rows


def require_default(name: str, key: Key, default: object, shown: str) -> None:
    """A default that says something is shown as it is; where there is none the page may say what happens then."""
    if key.required:
        assert shown == "required", name
    elif isinstance(default, str | int | float):
        assert code(shown) == [str(default).lower() if isinstance(default, bool) else str(default)], name
    else:
        assert shown != "required", name


def type_words(key: Key) -> Iterator[str]:
    """The type of a key as the page writes it."""
    words: dict[type[inspect.Type], str] = {
        inspect.StrType: "text",
        inspect.IntType: "whole number",
        inspect.FloatType: "number",
        inspect.BoolType: "true or false",
        inspect.ListType: "list of text",
        inspect.DictType: "keys and texts",
        inspect.StructType: "mapping",
    }
    for member in key.members:
        match member:
            case inspect.LiteralType(values=values):
                yield from (f"`{value}`" for value in values)
            case inspect.CustomType(cls=cls) if cls is Secret:
                yield "secret"
            case _:
                yield words[type(member)]


# --- the command line -----------------------------------------------------------------------------------


def commands(group: click.Group = command_line, path: str = "conduit") -> Iterator[tuple[str, click.Command]]:
    """All commands by what people type."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, f"{path} {name}")
        else:
            yield f"{path} {name}", found


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_has_every_option_of_a_command(name: str) -> None:
    options = {spelled(param): default_of(param) for param in COMMANDS[name].params if isinstance(param, click.Option)}
    rows = table(CLI, name) if options else []
    assert {frozenset(code(row[0])): row[1] for row in rows} == options
    assert f"`{name}" in prose(CLI)


def test_the_page_has_every_verb_and_the_options_before_it() -> None:
    assert {code(row[0])[0] for row in table(CLI, "The command line")} == set(VERBS)
    own = {spelling for param in command_line.params if isinstance(param, click.Option) for spelling in param.opts}
    assert own <= set(code(prose(CLI)))


def spelled(option: click.Option) -> frozenset[str]:
    """An option with its values, as the page writes it."""
    if isinstance(option.type, click.Choice):
        return frozenset(f"{option.opts[0]} {choice}" for choice in option.type.choices)
    value = "" if option.is_flag else f" {option.metavar or 'FILE'}"
    return frozenset(f"{opt}{value}" for opt in option.opts)


def default_of(option: click.Option) -> str:
    """The default of an option, as the page writes it."""
    if option.is_flag:
        return "off"
    return f"`{option.default}`" if isinstance(option.default, str) else ""


def test_the_exit_codes_are_those_of_the_errors() -> None:
    rows = {int(row[0]): row[1].split(", ") for row in table(CLI, "Exit codes")}
    found = [thing for thing in vars(errors).values() if isinstance(thing, type)]
    for error in found:
        if issubclass(error, errors.ConduitError) and error not in (errors.ConduitError, errors.Interrupted):
            assert error.__name__ in rows[error.exit_code]
    assert rows[130] == rows[143] == [errors.Interrupted.__name__]
    assert set(rows) == {0, 6, *errors.EXIT_ORDER}
    assert ", ".join(str(number) for number in errors.EXIT_ORDER) in prose(CLI)


@pytest.mark.parametrize(
    ("heading", "fields"),
    [
        ("### JSON of a run", set(ResourceReport(resource="r").as_dict())),
        ("## conduit plan", set(ResourcePlan(resource="r", mode="append", table="t").as_dict())),
    ],
    ids=["run", "plan"],
)
def test_the_page_has_every_field_of_the_json(heading: str, fields: set[str]) -> None:
    section = prose(CLI).partition(f"\n{heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    assert fields <= {word for row in rows for word in code(row)}


# --- numbers of the code --------------------------------------------------------------------------------


def test_the_page_says_how_far_back_auto_looks() -> None:
    rows = table(CONCEPTS, "Boundaries, ties and late rows")
    told = {
        cursor.strip(): row[2].replace(",", "")
        for row in rows
        for cursor in row[1].split(",")
        if row[0] == "PostgreSQL, anything else"
    }
    words = {"int": "integer", "timestamp-text": "timestamp"}
    assert {words.get(type_, type_): f"looks back {lag}" for type_, lag in DEFAULT_LAG.items()}.items() <= told.items()
