"""What a YAML file holds before anybody asks what it means: values as they were written, each with its place.

This module parses nothing and does not know which keys there are.
"""

from __future__ import annotations

import msgspec


class Spot(msgspec.Struct, frozen=True):
    """A place in the file; lines and columns count from 1."""

    line: int
    column: int


_NULLS = ("", "~", "null", "Null", "NULL")


class ScalarNode(msgspec.Struct, frozen=True):
    """A single value.

    Attributes:
        text: what was written, without its quotes.
        quoted: it stood in quotes or was a block, so it is text whatever it looks like.
        line: where it begins.
        column: where it begins.
        brought: the values that `${VAR}` brought into the text; they are never shown.
    """

    text: str
    quoted: bool
    line: int
    column: int
    brought: tuple[str, ...] = ()

    @property
    def is_null(self) -> bool:
        """Nothing was written, or `null`: the key is not set."""
        return not self.quoted and not self.brought and self.text in _NULLS


class ListNode(msgspec.Struct, frozen=True):
    """A list. `weight` counts its nodes, aliases in full; `height` is the number of levels below it."""

    items: tuple[Node, ...]
    line: int
    column: int
    weight: int
    height: int


class MappingNode(msgspec.Struct, frozen=True):
    """Keys and their values, in file order. `weight` and `height` as in a list."""

    keys: dict[str, ScalarNode]
    values: dict[str, Node]
    line: int
    column: int
    weight: int
    height: int


class UnknownNode(msgspec.Struct, frozen=True):
    """A value that could not be worked out; the problem was reported where it was found."""

    line: int
    column: int


Node = ScalarNode | ListNode | MappingNode | UnknownNode
