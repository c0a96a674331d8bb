"""Nodes -> values of the types that a model declares, each key on its own, so that every error is found.

The declared type decides what a text means: `0123` is a text for a text, and an error for a number. This module
knows types, not keys. It never shows the value of a secret, nor one that a variable brought in.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from functools import cache
from typing import Final, TypeVar

import msgspec
from msgspec import inspect, structs

from conduit.config.models import Secret
from conduit.config.nodes import ListNode, MappingNode, Node, ScalarNode, UnknownNode
from conduit.config.problems import Place, Problems, closest, did_you_mean, shown
from conduit.config.scalars import LISTS, Misfit, kind, scalar, wanted
from conduit.errors import InternalError

Model = TypeVar("Model", bound=msgspec.Struct)


_TYPE_WORDS = {"int": "a whole number", "float": "a number", "str": "text", "array": "a list", "object": "a mapping"}


class _Wrong(Enum):
    WRONG = auto()


WRONG: Final = _Wrong.WRONG
"""Stands for a value whose problem was reported."""


class Draft(msgspec.Struct, frozen=True):
    """The keys of one mapping, as far as they are right.

    Attributes:
        path: where the mapping stands: `resources[2]`.
        node: the mapping itself.
        values: field name -> value, for the keys that are set and right.
        wrong: keys that are missing, unknown, misspelt or not right; each was reported.
    """

    path: str
    node: MappingNode
    values: dict[str, object]
    wrong: frozenset[str]

    def place(self, key: str) -> Place:
        """Where `key` stands; the mapping when it has no such key."""
        return self.node.keys.get(key, self.node)

    def path_of(self, key: str) -> str:
        """`resources[2].mode`."""
        return _join(self.path, key)

    def said(self, key: str) -> bool:
        """The key is set, rightly or not."""
        return key in self.values or key in self.wrong

    def build(self, model: type[Model]) -> Model:
        """The model from the right keys; a required text that is missing or wrong is empty."""
        required = {key.field: "" for key in keys_of(model) if key.required}
        return model(**(required | self.values))


class Key(msgspec.Struct, frozen=True):
    """One key that a mapping may have.

    Attributes:
        name: how it is written.
        field: the model's field.
        required: it must be there.
        annotation: the field's type with its limits.
        members: the types that its value may have.
    """

    name: str
    field: str
    required: bool
    annotation: object
    members: tuple[inspect.Type, ...]


@cache
def keys_of(model: type[msgspec.Struct]) -> tuple[Key, ...]:
    """The keys that the fields of `model` stand for."""
    return tuple(
        Key(field.encode_name, field.name, field.required, field.type, _members(inspect.type_info(field.type)))
        for field in structs.fields(model)
    )


def is_set(node: Node | None) -> bool:
    """The key is there and has a value."""
    return node is not None and not (isinstance(node, ScalarNode) and node.is_null)


def read(
    node: Node, keys: Sequence[Key], path: str, problems: Problems, *, beside: Iterable[str] = (), closed: bool = True
) -> Draft | None:
    """Read the keys of a mapping.

    Args:
        node: what should be the mapping.
        keys: the keys that it may have.
        path: where it stands, for messages.
        problems: where problems go.
        beside: known keys that the caller reads.
        closed: other keys are problems.

    Returns:
        The draft; None when `node` is no mapping, which is reported.
    """
    if isinstance(node, UnknownNode):
        return None
    if not isinstance(node, MappingNode):
        problems.add(f"expected keys and values, found {kind(node)}", node, path)
        return None
    wrong = _unknown(node, [*(key.name for key in keys), *beside], path, problems) if closed else set()
    values: dict[str, object] = {}
    for key in keys:
        value = WRONG if key.name in wrong else _read_key(node, key, path, problems)
        if value is WRONG:
            wrong.add(key.name)
        elif value is not None:
            values[key.field] = value
    return Draft(path, node, values, frozenset(wrong))


def _unknown(node: MappingNode, known: Sequence[str], path: str, problems: Problems) -> set[str]:
    """The unknown keys, each reported, and the keys that were probably meant: they are not missing."""
    unknown = {name for name in node.keys if name not in known}
    for name in unknown:
        problems.add(f"unknown key{did_you_mean(name, known)}", node.keys[name], _join(path, shown(name)))
    meant = {closest(name, known) for name in unknown} - node.keys.keys() - {""}
    return unknown | meant


def _read_key(node: MappingNode, key: Key, path: str, problems: Problems) -> object:
    """The key's value; None when it is not set."""
    found, place, key_path = node.values.get(key.name), node.keys.get(key.name, node), _join(path, key.name)
    if found is None or not is_set(found):
        if not key.required:
            return None
        problems.add("the key is missing" if found is None else "the key has no value", place, key_path)
        return WRONG
    value = _value(found, key.members, place, key_path, problems)
    if value is WRONG:
        return WRONG
    try:
        converted: object = msgspec.convert(value, key.annotation, dec_hook=_custom)
    except msgspec.ValidationError as error:
        problems.add(_limit(str(error)), place, key_path)
        return WRONG
    return converted


def _limit(text: str) -> str:
    """The words of msgspec about a limit, in ours: `Expected `int` >= 1 - at `$[0]``."""
    limit = text.partition(" - at ")[0].replace("`", "").removeprefix("Expected ")
    if limit.endswith("of length >= 1"):
        return "the value is empty"
    what, _, rest = limit.partition(" ")
    return f"expected {_TYPE_WORDS.get(what, what)} {rest}"


def _custom(wanted: type, value: object) -> object:
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise InternalError(f"a key of ingest.yml cannot be of type {wanted.__name__}")


# --- by the type ----------------------------------------------------------------------------------------


def _value(node: Node, members: Sequence[inspect.Type], key: Place, path: str, problems: Problems) -> object:
    """The value that `node` means for one of the types; problems stand at `key`, the key's own place."""
    if isinstance(node, UnknownNode):
        return WRONG
    if isinstance(node, ListNode):
        return _list(node, members, key, path, problems)
    if isinstance(node, MappingNode):
        return _mapping(node, members, key, path, problems)
    try:
        return scalar(node, members)
    except Misfit as misfit:
        problems.add(str(misfit), key, path)
        return WRONG


def _members(info: inspect.Type) -> tuple[inspect.Type, ...]:
    """The types that a value may have; None is not among them: no value means that the key is not set."""
    if isinstance(info, inspect.Metadata):
        return _members(info.type)
    if isinstance(info, inspect.UnionType):
        members = [member for part in info.types for member in _members(part)]
        words = tuple(value for member in members if isinstance(member, inspect.LiteralType) for value in member.values)
        others = [member for member in members if not isinstance(member, inspect.LiteralType)]
        return (*others, inspect.LiteralType(words)) if words else tuple(others)
    return () if isinstance(info, inspect.NoneType) else (info,)


def _list(
    node: ListNode, members: Sequence[inspect.Type], key: Place, path: str, problems: Problems
) -> list[object] | _Wrong:
    list_type = next((member for member in members if isinstance(member, LISTS)), None)
    if list_type is None:
        problems.add(f"expected {wanted(members)}, found a list", key, path)
        return WRONG
    members = _members(list_type.item_type)
    values = [_value(item, members, item, f"{path}[{n}]", problems) for n, item in enumerate(node.items)]
    return WRONG if WRONG in values else values


def _mapping(node: MappingNode, members: Sequence[inspect.Type], key: Place, path: str, problems: Problems) -> object:
    for member in members:
        if isinstance(member, inspect.StructType):
            draft = read(node, keys_of(member.cls), path, problems)
            return WRONG if draft is None or draft.wrong else draft.build(member.cls)
        if isinstance(member, inspect.DictType):
            return _dictionary(node, _members(member.value_type), path, problems)
    problems.add(f"expected {wanted(members)}, found keys and values", key, path)
    return WRONG


def _dictionary(
    node: MappingNode, members: Sequence[inspect.Type], path: str, problems: Problems
) -> dict[str, object] | _Wrong:
    values: dict[str, object] = {}
    for name, value in node.values.items():
        place, key_path = node.keys[name], _join(path, shown(name))
        if ")" in name and not is_set(value):
            problems.add("a comma ends a value inside { }: put `decimal(12,2)` into quotes", place, key_path)
            values[name] = WRONG
        else:
            values[name] = _value(value, members, place, key_path, problems)
    return WRONG if WRONG in values.values() else values


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
