"""The door of the configuration: one ingest.yml -> a `Project`, or one error that names everything wrong with it.

Nothing is connected to, no driver is imported. What a key means is said elsewhere; here is the order of the steps.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from conduit.config.connections import Entry, entries, items
from conduit.config.convert import Draft, is_set, keys_of, read
from conduit.config.document import SECTIONS, Defaults, Top
from conduit.config.expand import dotenv, expand, permission_notes
from conduit.config.models import Project
from conduit.config.names import name_problem
from conduit.config.nodes import MappingNode
from conduit.config.problems import Problems
from conduit.config.resources import resources
from conduit.config.yaml import MAX_BYTES, parse
from conduit.errors import ConfigError


def load(file: str | Path, *, environment: Mapping[str, str] | None = None) -> Project:
    """Read an ingest.yml.

    Args:
        file: its path.
        environment: the variables for `${VAR}`; default the process's own. They win over those of `.env`.

    Returns:
        The project; its `notes` are for a person to see.

    Raises:
        ConfigError: the file cannot be read, or something in it is wrong; `problems` lists all of it.
    """
    path = Path(file)
    problems = Problems(path.name)
    root = parse(_content(path), path.name)
    variables = dotenv(path.parent, problems) | dict(os.environ if environment is None else environment)
    project = _project(path, expand(root, variables, problems), problems)
    problems.raise_any()
    return project


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no file {path}", hint="`conduit init` writes one to start from") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"the file {path} cannot be read: {why}") from error


def _project(path: Path, root: MappingNode, problems: Problems) -> Project:
    plain = [key for key in keys_of(Top) if key.name != "defaults"]
    draft = read(root, plain, "", problems, beside=("defaults", *SECTIONS))
    top = draft.build(Top) if draft else Top()
    problem = name_problem(top.pipeline)
    if problem:
        problems.add(problem, root.keys["pipeline"], "pipeline")
    sources = entries(root, "source", problems)
    destinations = entries(root, "destination", problems)
    lines = resources(items(root, "resources", problems), _defaults(root, problems), sources, destinations, problems)
    return Project(
        file=path,
        pipeline=top.pipeline,
        sources={name: config for name, entry in sources.items() if (config := entry.source())},
        destinations={name: found for name, entry in destinations.items() if (found := entry.destination())},
        resources=lines,
        notes=(*permission_notes(path), *_warnings(sources), *_warnings(destinations)),
    )


def _warnings(named: Mapping[str, Entry]) -> Iterator[str]:
    """What the connections have to tell, with their names."""
    for name, entry in named.items():
        for text in entry.connection.warnings() if entry.connection else ():
            yield f"{entry.side} {name}: {text}"


def _defaults(root: MappingNode, problems: Problems) -> Draft | None:
    node = root.values.get("defaults")
    if node is None or not is_set(node):
        return Draft("defaults", root, {}, frozenset())
    return read(node, keys_of(Defaults), "defaults", problems)
