"""`${VAR}` in the values of a parsed file, and the variables themselves: the environment over a `.env`.

A value is expanded after the file was parsed, so that nothing in it can become a key, a comment or another value.
This module does not know which keys there are; what a variable brought in is marked and never shown.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from conduit.config.nodes import ListNode, MappingNode, Node, ScalarNode, Spot, UnknownNode
from conduit.config.problems import Problems, shown
from conduit.late import late

if TYPE_CHECKING:
    from dotenv import parser
else:
    parser = late("dotenv.parser")

DOTENV = ".env"
MAX_DOTENV_BYTES = 1_000_000

_VARIABLE = re.compile(
    r"(?P<escaped>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:(?!\$\{)[^}])*))?\}|(?P<broken>\$\{)"
)
_NEVER_A_VALUE = re.compile("[\x00\ud800-\udfff]")


# --- the variables --------------------------------------------------------------------------------------


def dotenv(folder: Path, problems: Problems) -> dict[str, str]:
    """The variables of the `.env` in `folder`; none when there is no such file. Nothing in it is expanded."""
    path = folder / DOTENV
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_DOTENV_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        problems.add(f"the file cannot be read: {error.strerror}", Spot(1, 1), file=DOTENV)
        return {}
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.add("this is not UTF-8; save the file as UTF-8", Spot(line, 1), file=DOTENV)
        return {}
    if len(content) > MAX_DOTENV_BYTES:
        problems.add(f"the file has more than {MAX_DOTENV_BYTES:,} bytes", Spot(1, 1), file=DOTENV)
        return {}
    return dict(_bindings(text, problems))


def _bindings(text: str, problems: Problems) -> Iterator[tuple[str, str]]:
    for binding in parser.parse_stream(io.StringIO(text)):
        if binding.error:
            blank = len(binding.original.string) - len(binding.original.string.lstrip("\r\n"))
            line = binding.original.line + binding.original.string[:blank].count("\n")
            problems.add("this line is not NAME=value", Spot(line, 1), file=DOTENV)
        elif binding.key is not None and binding.value is not None:
            yield binding.key, binding.value


def permission_notes(file: Path) -> tuple[str, ...]:
    """What a person should know about who may read `.env` and write `file`; nothing where there are no modes."""
    notes = []
    if (mode := _mode(file.parent / DOTENV)) & 0o077:
        notes.append(f"{DOTENV} can be read by other users (mode {mode:03o}); `chmod 600 {DOTENV}` keeps it private")
    if (mode := _mode(file)) & 0o022:
        notes.append(
            f"{file.name} can be changed by other users (mode {mode:03o}), and its SQL is run as it stands; "
            f"`chmod go-w {file.name}` keeps it yours"
        )
    return tuple(notes)


def _mode(path: Path) -> int:
    """The permissions of a regular file; 0 when there is none, or the system has no such modes."""
    try:
        found = path.stat()
    except OSError:
        return 0
    return stat.S_IMODE(found.st_mode) if os.name == "posix" and stat.S_ISREG(found.st_mode) else 0


# --- the values -----------------------------------------------------------------------------------------


def expand(root: MappingNode, variables: Mapping[str, str], problems: Problems, key: str = "") -> MappingNode:
    """The tree with every `${VAR}` and `${VAR:-default}` of its values replaced; `$${` becomes `${`.

    A default also stands in for an empty variable, as in a shell. A value whose variable is not set becomes an
    UnknownNode, and a problem that names variable, line and key.
    """
    prefix = f"{key}." if key else ""
    values = {name: _node(value, variables, problems, prefix + shown(name)) for name, value in root.values.items()}
    return replace(root, values=values)


def _node(node: Node, variables: Mapping[str, str], problems: Problems, key: str) -> Node:
    if isinstance(node, ScalarNode):
        return _scalar(node, variables, problems, key)
    if isinstance(node, MappingNode):
        return expand(node, variables, problems, key)
    if isinstance(node, ListNode):
        items = (_node(item, variables, problems, f"{key}[{n}]") for n, item in enumerate(node.items))
        return replace(node, items=tuple(items))
    return node


def _scalar(node: ScalarNode, variables: Mapping[str, str], problems: Problems, key: str) -> Node:
    brought: list[str] = []
    wrong = False

    def put(match: re.Match[str]) -> str:
        nonlocal wrong
        if match["escaped"]:
            return "${"
        problem, value = _look_up(match, variables)
        if problem:
            wrong = True
            problems.add(problem, node, key)
        brought.append(value)
        return value

    text = _VARIABLE.sub(put, node.text)
    if wrong:
        return UnknownNode(node.line, node.column)
    return replace(node, text=text, brought=tuple(brought))


def _look_up(match: re.Match[str], variables: Mapping[str, str]) -> tuple[str, str]:
    """A problem and a value, one of them empty."""
    name, default = match["name"], match["default"]
    if match["broken"]:
        return "`${` begins a variable: write ${NAME} or ${NAME:-default}, and $${ for the two characters", ""
    value = variables.get(name)
    if default is not None and not value:
        return "", default
    if value is None:
        return f"the variable {shown(name)} is not set, neither in the environment nor in {DOTENV}", ""
    if _NEVER_A_VALUE.search(value):
        return f"the variable {shown(name)} holds bytes that are not UTF-8 text", ""
    return "", value
