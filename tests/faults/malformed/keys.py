"""Every key of every model with values of other types, unknown words, near-miss names and missing variables.

What a key should take is read from the models; what comes of a wrong value is the same for all: exit code 2, with
the line and the path of the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from msgspec import inspect

from conduit.config.convert import Key, keys_of
from conduit.config.document import Defaults, ResourceKeys, Top
from conduit.config.models import Incremental
from conduit.connectors import registry
from tests.faults.malformed.case import GOOD, Case, line_of

_SCALARS = (inspect.StrType, inspect.CustomType, inspect.BoolType, inspect.IntType, inspect.FloatType)
_LISTS = (inspect.ListType,)
_WORDS = (inspect.LiteralType,)
_NOT_A_NUMBER = ("many", "0123", "1_000", "12:30:45", "0x1F", "'5'", "1e3", "99999999999999999999", "+5", "NaN", ".inf")
_NOT_A_BOOLEAN = ("yes", "no", "on", "1", "TRUE", "'true'", "maybe")
_NOT_A_WORD = ("banana", "APPEND", "''", "append replace", "0")


def cases() -> Iterator[Case]:
    """The keys at the top, of the defaults, of resources, of cursors, and of every connector on both sides."""
    yield from _keys_at("top", keys_of(Top), "", lambda line: line + GOOD.removeprefix("pipeline: p\n"))
    yield from _keys_at("defaults", keys_of(Defaults), "  ", lambda line: f"defaults:\n{line}{GOOD}", "defaults.")
    yield from _keys_at("resource", keys_of(ResourceKeys), "    ", _in_resource, r"resources\[0\]\.")
    yield from _keys_at("cursor", keys_of(Incremental), "      ", _in_cursor, r"resources\[0\]\.incremental\.")
    for type_name in registry.names():
        connector = registry.find(type_name)
        assert connector is not None
        for side in ("source", "destination"):
            model = registry.connection_model(connector, side)
            if model is not None:
                yield from _keys_of_connection(type_name, side, keys_of(model))


def _in_resource(line: str) -> str:
    """The good file with `line` in its resource, instead of the key that it is about."""
    name = line.strip().split(":", maxsplit=1)[0]
    head, _, _ = GOOD.partition("  - name: r\n")
    keys = {"name": "r", "source": "shop", "destination": "lake", "table": "orders", "incremental_column": "id"}
    kept = [f"    {key}: {value}\n" for key, value in keys.items() if key != name]
    return f"{head}  - into: orders\n{''.join(kept)}{line}".replace(
        "  - into: orders\n    ", "  - " if name == "into" else "  - into: orders\n    "
    )


def _in_cursor(line: str) -> str:
    column = "" if line.strip().startswith("column") else "      column: id\n"
    return GOOD.replace("    incremental_column: id\n", f"    incremental:\n{column}{line}")


def _keys_of_connection(
    type_name: str, side: Literal["source", "destination"], keys: tuple[Key, ...]
) -> Iterator[Case]:
    first = {"source": "shop", "destination": "lake"}[side]
    needed = {"path": "lake/" if side == "destination" else "in/", "store": "s"}
    own = {key.name for key in keys}

    def put(line: str) -> str:
        name = line.strip().split(":", maxsplit=1)[0]
        more = "".join(f"    {key}: {value}\n" for key, value in needed.items() if key in own and key != name)
        if "database" in own and type_name != "postgresql" and name not in ("database", "url"):
            more += "    database: some.db\n"
        pattern = rf"  - name: {first}\n    type: sqlite\n    database: {first}.db\n"
        return re.sub(pattern, lambda _: f"  - name: {first}\n    type: {type_name}\n{more}{line}", GOOD)

    yield from _keys_at(f"{side} {type_name}", keys, "    ", put, rf"{side}s\[0\]\.")


# --- one key --------------------------------------------------------------------------------------------


def _keys_at(kind: str, keys: tuple[Key, ...], indent: str, put, path: str = "") -> Iterator[Case]:  # type: ignore[no-untyped-def]
    for key in keys:
        for number, value in enumerate(_wrong_values(key)):
            line = f"{indent}{key.name}: {value}\n"
            text = put(line)
            where = rf"ingest\.yml:{line_of(text, line)}: {path}{key.name}"
            yield Case(f"{kind} {key.name} {number} {value[:20]}", text, says=(where,))
        near = _near_miss(key.name, {other.name for other in keys})
        line = f"{indent}{near}: x\n"
        text = put(line)
        yield Case(
            f"{kind} near {near}", text, says=(rf"ingest\.yml:{line_of(text, line)}: {path}{near}: unknown key",)
        )
        yield from _twice(kind, key, indent, put)


def _twice(kind: str, key: Key, indent: str, put) -> Iterator[Case]:  # type: ignore[no-untyped-def]
    line = f"{indent}{key.name}: x\n"
    text = put(line + line)
    if text.count(line) == 2:
        yield Case(f"{kind} twice {key.name}", text, says=(r"ingest\.yml:\d+: .*twice",))


def _near_miss(name: str, known: set[str]) -> str:
    """The name with two letters exchanged, or a letter more."""
    swapped = name[:-2] + name[-1] + name[-2] if len(name) > 2 and name[-1] != name[-2] else name + "x"
    return swapped if swapped not in known else name + "x"


def _wrong_values(key: Key) -> Iterator[str]:
    kinds = tuple(member for member in key.members if not isinstance(member, inspect.NoneType))
    if not any(isinstance(member, _LISTS) for member in kinds):
        yield "[a, b]"
    if not any(isinstance(member, (inspect.DictType, inspect.StructType)) for member in kinds):
        yield "{a: b}"
    if not any(isinstance(member, (*_SCALARS, *_WORDS)) for member in kinds):
        yield "a single value"
    if any(isinstance(member, inspect.DictType) for member in kinds):
        yield "{a: [b]}"
        yield "{a: {b: c}}"
    if any(isinstance(member, _LISTS) for member in kinds):
        yield "[[a]]"
        yield "[{a: b}]"
    if not any(isinstance(member, (inspect.StrType, inspect.CustomType)) for member in kinds):
        yield from _of_kind(kinds)
    yield '"${NOT_SET_ANYWHERE}"'
    yield '"${}"'


def _of_kind(kinds: tuple[inspect.Type, ...]) -> Iterator[str]:
    for member in kinds:
        if isinstance(member, (inspect.IntType, inspect.FloatType)):
            yield from _NOT_A_NUMBER
        elif isinstance(member, inspect.BoolType):
            yield from _NOT_A_BOOLEAN
        elif isinstance(member, inspect.LiteralType):
            yield from _NOT_A_WORD
