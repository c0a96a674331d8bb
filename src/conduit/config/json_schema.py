"""The JSON Schema of ingest.yml, made from the models: editors complete and check the file with it.

It says no more than `load` does: what `load` reads is valid. The rules between keys are left to `load`.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Any, Literal

from msgspec.json import schema_components

from conduit.config.connections import Model, own_keys
from conduit.config.document import SECTIONS, ResourceKeys, Top
from conduit.config.models import DestinationConfig, Secret, SourceConfig
from conduit.connectors import registry

Schema = dict[str, Any]
Side = Literal["source", "destination"]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
_VARIABLE: Schema = {"type": "string", "pattern": r"\$\{"}
"""Any value can come from a variable; only `load` knows what the variable holds."""


def json_schema() -> Schema:
    """JSON Schema (draft 2020-12) of the whole file, with the keys of every connector that is installed.

    Raises:
        ImportError: a connector that another package registered cannot be loaded.
    """
    models = _models()
    shared = (Top, ResourceKeys, SourceConfig, DestinationConfig)
    references, found = schema_components(
        [*shared, *models.values()], schema_hook=_custom, ref_template="#/$defs/{name}"
    )
    names = [reference["$ref"].rpartition("/")[2] for reference in references]
    components = {name: _as_read(component) for name, component in found.items()}
    top, resource, source, destination, *connections = (components[name] for name in names)
    entries = {
        _definition(side, name): _entry(side, name, source if side == "source" else destination, connection)
        for (side, name), connection in zip(models, connections, strict=True)
    }
    nested = {name: component for name, component in components.items() if name not in names}
    sections = {
        "sources": _section("Where rows come from.", _one_of("source", models)),
        "destinations": _section("Where rows go to.", _one_of("destination", models)),
        "resources": _section("The work, line by line, in this order.", resource),
    }
    return {
        "$schema": DRAFT,
        "title": "ingest.yml",
        "type": "object",
        "properties": top["properties"] | sections,
        "required": list(SECTIONS),
        "additionalProperties": False,
        "$defs": nested | entries,
    }


def _models() -> dict[tuple[Side, str], Model]:
    """The connection model of every side of every type."""
    installed = importlib.metadata.entry_points(group=registry.ENTRY_POINTS).names
    sides: tuple[Side, Side] = ("source", "destination")
    found: dict[tuple[Side, str], Model] = {}
    for name in (*registry.names(), *sorted(installed)):
        connector = registry.find(name)
        for side in sides:
            model = registry.connection_model(connector, side) if connector else None
            if model is not None:
                found[side, name] = model
    return found


def _custom(wanted: type) -> Schema:
    if wanted is Secret:
        return {"type": "string", "format": "password"}
    raise NotImplementedError


# --- sections -------------------------------------------------------------------------------------------


def _section(description: str, entry: Schema) -> Schema:
    return {"description": description, "type": "array", "minItems": 1, "items": entry}


def _definition(side: Side, name: str) -> str:
    return f"{side}-{name}"


def _words(name: str) -> list[str]:
    """The words for a type: its name and its aliases."""
    return [name, *(alias for alias, meant in registry.ALIASES.items() if meant == name)]


def _one_of(side: Side, models: dict[tuple[Side, str], Model]) -> Schema:
    """An entry whose `type` decides which keys it has."""
    names = [name for entry_side, name in models if entry_side == side]
    words = [word for name in names for word in _words(name)]
    cases = [
        {
            "if": {"properties": {"type": {"enum": _words(name)}}, "required": ["type"]},
            "then": {"$ref": f"#/$defs/{_definition(side, name)}"},
        }
        for name in names
    ]
    return {
        "type": "object",
        "properties": {"type": {"anyOf": [{"enum": words}, _VARIABLE]}},
        "required": ["name", "type"],
        "allOf": cases,
    }


def _entry(side: Side, name: str, shared: Schema, connection: Schema) -> Schema:
    """The keys of an entry of one type: those that every entry has, and the connector's own."""
    own = {key.name: shared["properties"][key.name] for key in own_keys(side)}
    own["type"] = {"description": own["type"]["description"], "enum": _words(name)}
    return {
        "description": connection.get("description", ""),
        "type": "object",
        "properties": own | connection["properties"],
        "required": ["name", "type", *connection.get("required", [])],
        "additionalProperties": False,
    }


# --- what the file may say for a value ------------------------------------------------------------------


def _as_read(component: Schema) -> Schema:
    """A model's schema, widened to what people may write for its keys."""
    if "properties" not in component:
        return component
    required = component.get("required", [])
    properties = {
        name: _value(value) if name in required else _or_nothing(_value(value))
        for name, value in component["properties"].items()
    }
    return component | {"properties": properties}


def _value(schema: Schema) -> Schema:
    """The schema of a value: a text may look like a number, and everything may come from a variable."""
    told, plain = _parted(schema)
    if "anyOf" in plain:
        return told | _any_of([_value(choice) for choice in plain["anyOf"]])
    kind = plain.get("type")
    if kind == "string":
        return told | plain | {"type": ["string", "number", "boolean"]}
    if kind in ("integer", "number", "boolean") or "enum" in plain:
        return told | _any_of([plain, _VARIABLE])
    if kind == "array":
        return told | plain | {"items": _value(plain["items"])}
    if kind == "object" and isinstance(plain.get("additionalProperties"), dict):
        return told | plain | {"additionalProperties": _value(plain["additionalProperties"])}
    return told | plain


def _or_nothing(schema: Schema) -> Schema:
    """A key that may be left out may also have no value."""
    if {"type": "null"} in schema.get("anyOf", ()):
        return schema
    told, plain = _parted(schema)
    return told | _any_of([plain, {"type": "null"}])


def _any_of(choices: Sequence[Schema]) -> Schema:
    """One list of choices, each once."""
    flat: list[Schema] = []
    for choice in choices:
        nested = choice["anyOf"] if set(choice) == {"anyOf"} else [choice]
        flat += [option for option in nested if option not in flat]
    return {"anyOf": flat}


def _parted(schema: Schema) -> tuple[Schema, Schema]:
    """What is told to people, and what is checked. Only a default that says something is told."""
    told = {key: schema[key] for key in ("description", "default") if schema.get(key) not in (None, {}, [])}
    if isinstance(told.get("default"), dict):
        del told["default"]
    return told, {key: value for key, value in schema.items() if key not in ("description", "default")}
