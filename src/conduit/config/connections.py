"""The sections `sources` and `destinations`: each entry is read by the model that its connector declares.

This module asks the registry for models; it makes no connection and imports no driver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from conduit import secrets
from conduit.config.convert import Draft, Key, is_set, keys_of, read
from conduit.config.models import Connection, DestinationConfig, SourceConfig
from conduit.config.names import name_problem, table_problem
from conduit.config.nodes import ListNode, MappingNode, Node, ScalarNode, UnknownNode
from conduit.config.problems import Problems, did_you_mean, shown
from conduit.config.scalars import said
from conduit.connectors import registry
from conduit.errors import ConfigError

Model = type[Connection]
Side = Literal["source", "destination"]


class Entry(msgspec.Struct, frozen=True):
    """A source or a destination, as far as its entry is right.

    Attributes:
        side: which of the two.
        name: its name; empty when that is wrong.
        type: the connector's own name for its type; empty when nobody knows it.
        model: the connector's model of the keys; None when the type is unknown.
        connection: the connector's keys; None when one of them is wrong.
        draft: all keys of the entry.
    """

    side: Side
    name: str
    type: str
    model: Model | None
    connection: Connection | None
    draft: Draft

    def source(self) -> SourceConfig | None:
        """The source; None when the entry has a problem."""
        if self.connection is None:
            return None
        return SourceConfig(name=self.name, type=self.type, connection=self.connection)

    def destination(self) -> DestinationConfig | None:
        """The destination; None when the entry has a problem."""
        if self.connection is None:
            return None
        own = {key.name for key in own_keys("destination")} - {"name", "type"}
        settings = {key: value for key, value in self.draft.values.items() if key in own}
        entry = {"name": self.name, "type": self.type, "connection": self.connection} | settings
        return DestinationConfig(**entry)  # type: ignore[arg-type]


def items(root: MappingNode, section: str, problems: Problems) -> tuple[Node, ...]:
    """The entries of a section at the top of the file; a missing or empty section is a problem."""
    node = root.values.get(section)
    if node is None or not is_set(node):
        text = "the key is missing" if node is None else "the section is empty"
        problems.add(text, root.keys.get(section, root), section)
        return ()
    if isinstance(node, UnknownNode):
        return ()
    if not isinstance(node, ListNode):
        problems.add("expected a list: `- name: …` for each entry", root.keys[section], section)
        return ()
    if not node.items:
        problems.add("the section is empty", root.keys[section], section)
    return node.items


def entries(root: MappingNode, side: Side, problems: Problems) -> dict[str, Entry]:
    """All entries of one side by name."""
    section = f"{side}s"
    found = [_entry(item, side, f"{section}[{n}]", problems) for n, item in enumerate(items(root, section, problems))]
    known = [entry for entry in found if entry is not None]
    check_names([entry.draft for entry in known], problems)
    named: dict[str, Entry] = {}
    for entry in known:
        named.setdefault(entry.name, entry)
    named.pop("", None)
    return named


def check_names(drafts: Sequence[Draft], problems: Problems) -> None:
    """Names must be tame and, even where case does not count, different."""
    first: dict[str, Draft] = {}
    for draft in drafts:
        name = draft.values.get("name")
        if not isinstance(name, str):
            continue
        problem = name_problem(name)
        if problem:
            problems.add(problem, draft.place("name"), draft.path_of("name"))
        other = first.setdefault(name.casefold(), draft)
        if other is not draft:
            told = "" if other.values["name"] == name else f", but for upper and lower case, as {other.values['name']}"
            text = f"the name is there twice{told}; first in line {other.place('name').line}"
            problems.add(text, draft.place("name"), draft.path_of("name"))


def own_keys(side: Side) -> tuple[Key, ...]:
    """The keys of an entry that do not depend on its type."""
    model = SourceConfig if side == "source" else DestinationConfig
    return tuple(key for key in keys_of(model) if key.name != "connection")


# --- one entry ------------------------------------------------------------------------------------------


def _entry(node: Node, side: Side, path: str, problems: Problems) -> Entry | None:
    type_name, model = _model(node, side, path, problems)
    keys = own_keys(side)
    own = () if model is None else keys_of(model)
    draft = read(node, (*keys, *own), path, problems, closed=model is not None)
    if draft is None:
        return None
    _check_target(draft, problems)
    connection = None if model is None else _connection(model, draft, problems)
    name = draft.values.get("name")
    return Entry(side, name if isinstance(name, str) else "", type_name, model, connection, draft)


def _model(node: Node, side: Side, path: str, problems: Problems) -> tuple[str, Model | None]:
    """The connector's name and its model of the keys; a type that is no text is left to the reading of the keys."""
    written = node.values.get("type") if isinstance(node, MappingNode) else None
    if not isinstance(node, MappingNode) or not isinstance(written, ScalarNode) or written.is_null:
        return "", None
    found = _look_up(written, side)
    if isinstance(found, str):
        problems.add(found, node.keys["type"], f"{path}.type")
        return "", None
    return registry.ALIASES.get(written.text, written.text), found


def _look_up(written: ScalarNode, side: Side) -> Model | str:
    """The model of a connector's keys, or why there is none."""
    try:
        connector = registry.find(written.text)
        model = registry.connection_model(connector, side) if connector else None
    except (ImportError, AttributeError) as error:
        return f"the connector {said(written)} cannot be loaded: {shown(secrets.scrub(str(error)), 200)}"
    if connector is None:
        close_to = "" if written.brought else written.text
        return f"unknown type {said(written)}{did_you_mean(close_to, (*registry.names(), *registry.ALIASES))}"
    other = "destination" if side == "source" else "source"
    return model or f"the type {written.text} can only be a {other}, not a {side}"


def _connection(model: type[Connection], draft: Draft, problems: Problems) -> Connection | None:
    """The connector's keys; its own checks of them may refuse what each key alone allows."""
    if draft.wrong:
        return None
    own = {key.field for key in keys_of(model)}
    try:
        return model(**{key: value for key, value in draft.values.items() if key in own})
    except (ValueError, TypeError) as error:
        problems.add(_hidden(str(error), draft), draft.node, draft.path)
    except ConfigError as error:
        hint = f"; {error.hint}" if error.hint else ""
        problems.add(_hidden(error.message + hint, draft), draft.node, draft.path)
    return None


def _hidden(text: str, draft: Draft) -> str:
    """A connector's words without secrets, and without what variables brought into its keys."""
    for node in draft.node.values.values():
        for value in node.brought if isinstance(node, ScalarNode) else ():
            text = text.replace(value, secrets.HIDDEN) if len(value) >= secrets.SHORT else text
    return shown(secrets.scrub(text), 500)


def _check_target(draft: Draft, problems: Problems) -> None:
    table = draft.values.get("table")
    problem = table_problem(table) if isinstance(table, str) else ""
    if problem:
        problems.add(problem, draft.place("table"), draft.path_of("table"))


def types_with_partitions() -> list[str]:
    """The connectors of conduit whose sources can be read in ranges at once."""
    models = {name: registry.find(name) for name in registry.names()}
    return [
        name
        for name, connector in models.items()
        if connector and (model := registry.connection_model(connector, "source")) and model.partitions
    ]
