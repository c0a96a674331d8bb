"""The section `resources`: each entry with its two ends and the defaults, and what the entries mean side by side.

What one entry may say stands in `rules`; here it is put together. This module reads no file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

from conduit.config import rules
from conduit.config.connections import Entry, check_names
from conduit.config.convert import WRONG, Draft, keys_of, read
from conduit.config.document import NOT_YET, ResourceKeys
from conduit.config.models import OnChangedFile, Resource
from conduit.config.names import name_problem
from conduit.config.nodes import MappingNode, Node, ScalarNode
from conduit.config.problems import Problems, did_you_mean
from conduit.config.rules import Line
from conduit.config.scalars import said
from conduit.contract import SHRINK, OnChange, SchemaChanges


def resources(
    nodes: Sequence[Node],
    defaults: Draft | None,
    sources: Mapping[str, Entry],
    destinations: Mapping[str, Entry],
    problems: Problems,
) -> tuple[Resource, ...]:
    """The resources in file order; one with a problem may be left out.

    Args:
        nodes: the entries.
        defaults: the file's defaults; None when they cannot be read.
        sources: by name.
        destinations: by name.
        problems: where problems go.
    """
    drafts = [_read(node, f"resources[{n}]", problems) for n, node in enumerate(nodes)]
    known = [draft for draft in drafts if draft is not None]
    check_names(known, problems)
    found: list[tuple[Line, Resource]] = []
    for draft in known:
        source = _end(draft, "source", sources, problems)
        destination = _end(draft, "destination", destinations, problems)
        line = Line(draft.build(ResourceKeys), draft, defaults, source, destination, problems)
        resource = _resource(line)
        if resource is not None:
            found.append((line, resource))
    _check_shared_tables(found)
    return tuple(resource for _, resource in found)


def _read(node: Node, path: str, problems: Problems) -> Draft | None:
    draft = read(node, keys_of(ResourceKeys), path, problems, beside=NOT_YET)
    for key in NOT_YET if isinstance(node, MappingNode) else ():
        if draft is not None and key in draft.node.keys:
            problems.add("not available in this version", draft.place(key), draft.path_of(key))
    return draft


def _end(
    draft: Draft, side: Literal["source", "destination"], entries: Mapping[str, Entry], problems: Problems
) -> Entry | None:
    """The source or destination that a resource names; a section without entries was reported."""
    name = draft.values.get(side)
    if not isinstance(name, str) or not entries or name in entries:
        return entries.get(name) if isinstance(name, str) else None
    node = draft.node.values[side]
    brought = isinstance(node, ScalarNode) and bool(node.brought)
    known = (other for other in entries if not name_problem(other))
    shown = said(node) if isinstance(node, ScalarNode) else ""
    text = f"there is no {side} {shown}{did_you_mean('' if brought else name, known)}"
    problems.add(text, draft.place(side), draft.path_of(side))
    return None


def _resource(line: Line) -> Resource | None:
    """The resource; None when the mode or the target is not known. All rules were applied."""
    rules.check_read(line)
    rules.check_columns(line)
    cursor = rules.incremental(line)
    key = rules.primary_key(line)
    into = rules.target(line)
    mode = rules.mode(line)
    if mode is None:
        return None
    rules.check_mode(line, mode)
    rules.check_changed_files(line, mode)
    rules.check_on_change(line)
    rules.check_partition(line)
    rules.check_abilities(line, mode)
    if into is None:
        return None
    keys = line.keys
    return Resource(
        name=keys.name,
        source=keys.source,
        destination=keys.destination,
        mode=mode,
        into=into,
        query=keys.query,
        table=keys.table,
        incremental=cursor,
        primary_key=key,
        update=keys.update,
        columns=keys.columns,
        metadata_columns=_or(line.setting("metadata_columns"), default=False) is True,
        schema_changes=cast("SchemaChanges", _or(line.setting("schema_changes"), "add")),
        checkpoint_interval=cast("int | None", _or(line.setting("checkpoint_interval"), None)),
        batch_size=cast("int | None", _or(line.setting("batch_size"), None)),
        on_changed_file=cast("OnChangedFile", _or(line.setting("on_changed_file"), "error")),
        on_change=cast("OnChange", _or(line.setting("on_change"), "error")),
        allow_shrink=SHRINK if keys.allow_shrink is None else keys.allow_shrink,
        partition=keys.partition,
        transform=keys.transform,
        where=f"{line.problems.file}:{line.draft.node.line}",
    )


def _or(value: object, default: object) -> object:
    return default if value is None or value is WRONG else value


# --- side by side ---------------------------------------------------------------------------------------


def _check_shared_tables(found: Sequence[tuple[Line, Resource]]) -> None:
    """A table that one resource replaces has no other writer: each would delete what the other wrote."""
    writers: dict[tuple[str, str], list[tuple[Line, Resource]]] = {}
    places: list[Entry] = []
    for line, resource in found:
        if line.destination is not None:
            place = _first_alike(line.destination, places)
            writers.setdefault((place.name, resource.into.casefold()), []).append((line, resource))
    for shared in writers.values():
        replacing = next((writer for writer in shared if writer[1].mode == "replace"), None)
        for line, resource in shared if replacing else ():
            if replacing and resource is not replacing[1]:
                other = f"{replacing[1].name} (line {replacing[0].draft.node.line})"
                line.refuse(f"{other} replaces the table that this one writes: give one another `into`", "into")


def _first_alike(entry: Entry, places: list[Entry]) -> Entry:
    """The first destination with the same keys: two names may stand for one place."""
    for place in places:
        if place is entry or (place.type == entry.type and place.connection == entry.connection is not None):
            return place
    places.append(entry)
    return entry
