"""One text -> a value of the type that its key declares: text, number, true or false, one of a few words.

Nothing is guessed: `yes` is no boolean, `0123` no number. The value of a secret is never shown, nor one that a
variable brought in. This module knows types, not keys.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import inspect

from conduit import secrets
from conduit.config.models import Secret
from conduit.config.nodes import ListNode, MappingNode, Node, ScalarNode
from conduit.config.problems import did_you_mean, shown
from conduit.errors import InternalError

LISTS = (inspect.ListType, inspect.VarTupleType, inspect.SetType, inspect.FrozenSetType)

_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,17})(?:\.\d{1,18})?", re.ASCII)
_NOT_WHOLE = (
    (re.compile(r"[+-]?0\d+"), "a number has no leading zero"),
    (re.compile(r"\d+(:\d+)+"), "a number has no colon; YAML 1.1 would count it in sixties"),
    (re.compile(r"[+-]?0[xob]\w+", re.IGNORECASE), "write the number in decimal"),
    (re.compile(r"[+-]?\d[\d_]*_[\d_]*"), "write the number without underscores"),
    (re.compile(r"[+-]?\d{19,}"), "the number is too large"),
)
_TEXTS = (inspect.StrType, inspect.CustomType)


class Misfit(Exception):
    """A text does not fit its type; the words say why."""


def scalar(node: ScalarNode, members: Sequence[inspect.Type]) -> object:
    """The value that the text means for one of the types `members`; text is the last thing it can be.

    Raises:
        Misfit: it is none of them.
    """
    scalars = [member for member in members if not isinstance(member, (*LISTS, inspect.StructType, inspect.DictType))]
    if node.is_null:
        raise Misfit(f"expected {wanted(members)}, found nothing")
    if not scalars:
        raise Misfit(f"expected {wanted(members)}, found {kind(node)}")
    misfits: list[Misfit] = []
    for member in sorted(scalars, key=lambda member: isinstance(member, _TEXTS)):
        try:
            return _of_type(node, member)
        except Misfit as misfit:
            misfits.append(misfit)
    if len(misfits) == 1:
        raise misfits[0]
    raise Misfit(f"expected {wanted(members)}, found {said(node)}")


def _of_type(node: ScalarNode, info: inspect.Type) -> object:
    match info:
        case inspect.StrType():
            return node.text
        case inspect.CustomType(cls=cls) if cls is Secret:
            secrets.remember(node.text, node.brought)
            return node.text
        case inspect.BoolType():
            return _boolean(node)
        case inspect.IntType():
            return int(_plain(node, _WHOLE, "a whole number"))
        case inspect.FloatType():
            return float(_plain(node, _NUMBER, "a number"))
        case inspect.LiteralType(values=values):
            return _one_of(node, [str(value) for value in values])
    raise InternalError(f"a key of ingest.yml cannot be of type {type(info).__name__}")


def _boolean(node: ScalarNode) -> bool:
    if node.text not in ("true", "false"):
        raise Misfit(f"write true or false, not {said(node)}")
    _refuse_quotes(node)
    return node.text == "true"


def _plain(node: ScalarNode, form: re.Pattern[str], name: str) -> str:
    if form.fullmatch(node.text):
        _refuse_quotes(node)
        return node.text
    why = next((f": {why}" for shape, why in _NOT_WHOLE if shape.fullmatch(node.text)), "")
    raise Misfit(f"expected {name}, found {said(node)}{why}")


def _one_of(node: ScalarNode, known: Sequence[str]) -> str:
    if node.text not in known:
        close_to = "" if node.brought else node.text
        raise Misfit(f"unknown value {said(node)}{did_you_mean(close_to, known)}")
    return node.text


def _refuse_quotes(node: ScalarNode) -> None:
    if node.quoted and not node.brought:
        raise Misfit(f"write {node.text} without quotes")


# --- words ----------------------------------------------------------------------------------------------


def said(node: ScalarNode) -> str:
    """The text as a message may show it: not when a variable brought it."""
    return secrets.HIDDEN if node.brought else repr(shown(node.text))


def kind(node: Node) -> str:
    """What stands there: `a list`."""
    if isinstance(node, ListNode):
        return "a list"
    return "keys and values" if isinstance(node, MappingNode) else "a single value"


def wanted(members: Sequence[inspect.Type]) -> str:
    """What should stand there: `a whole number or text`."""
    return " or ".join(dict.fromkeys(_name(member) for member in members))


def _name(info: inspect.Type) -> str:
    match info:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number"
        case inspect.FloatType():
            return "a number"
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(str(value) for value in values)
        case inspect.StructType() | inspect.DictType():
            return "keys and values"
    return "a list" if isinstance(info, LISTS) else "text"
