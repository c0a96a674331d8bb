"""YAML text -> a tree of nodes that know their line and keep their text as it was written.

Nothing is resolved here: `no`, `0123` and `12:30` stay text; the type of the key decides later what they mean. The
tree is built from the parser's events, so that depth, size and aliases are checked before anything is built.

This module does not know which keys there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
import yaml

from conduit.config.nodes import ListNode, MappingNode, Node, ScalarNode, Spot
from conduit.config.problems import Place, refusal, shown
from conduit.errors import ConfigError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_NODES = 100_000
"""Keys and values of a file, with every alias counted as often as it is used."""
TOO_DEEP = f"lists and mappings are nested more than {MAX_DEPTH} levels deep"

LOADER: type[yaml.SafeLoader | yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]")
_NEVER_A_VALUE = re.compile("[\x00\ud800-\udfff]")
_LINE_END = re.compile("\r\n|\r|\n")
_QUOTE_IT = ("mapping values are not allowed", "cannot start any token", "unknown escape")


def parse(content: bytes, file: str) -> MappingNode:
    """The mapping that a YAML file holds.

    Args:
        content: the file.
        file: its name, for messages.

    Raises:
        ConfigError: the file is not one YAML mapping of text, or is made to exhaust its reader.
    """
    text = _decoded(content, file)
    events = _events(text, file)
    return _Builder(file).document(events)


# --- bytes to text --------------------------------------------------------------------------------------


def _decoded(content: bytes, file: str) -> str:
    if len(content) > MAX_BYTES:
        raise refusal(f"the file has more than {MAX_BYTES:,} bytes", Spot(1, 1), file)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        why = "the file is UTF-16; save it as UTF-8" if wide else "this is not UTF-8; save the file as UTF-8"
        raise refusal(why, _spot(before, len(before)), file) from error
    control = _NOT_TEXT.search(text)
    if control:
        name = f"U+{ord(control[0]):04X}"
        raise refusal(f"the character {name} does not belong in a text file", _spot(text, control.start()), file)
    return text


def _spot(text: str, offset: int) -> Spot:
    lines = _LINE_END.split(text[:offset])
    return Spot(len(lines), len(lines[-1]) + 1)


# --- text to events -------------------------------------------------------------------------------------


def _events(text: str, file: str) -> Iterator[yaml.Event]:
    try:
        yield from yaml.parse(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Spot(mark.line + 1, mark.column + 1) if mark else Spot(1, 1)
        raise refusal(_explained(error, text, place), place, file) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the pure Python scanner lets chr() fail
        raise refusal("this is not YAML", Spot(1, 1), file) from error


def _explained(error: yaml.MarkedYAMLError, text: str, place: Spot) -> str:
    lines = _LINE_END.split(text)
    line = lines[place.line - 1] if place.line <= len(lines) else ""
    if line[place.column - 1 : place.column] == "\t":
        return "a tab stands in the indentation; YAML indents with spaces"
    if "nesting depth" in str(error.problem):  # libyaml has a limit of its own, far above ours
        return TOO_DEEP
    what = f"this is not YAML: {shown(str(error.problem), 120)}"
    if error.context and error.context_mark and error.context_mark.line + 1 != place.line:
        what += f" ({error.context} that begins in line {error.context_mark.line + 1})"
    if "flow" in str(error.context) and "${" in line:
        return f'{what}; inside {{ }} and [ ] put ${{VAR}} into "quotes"'
    if any(words in what for words in _QUOTE_IT):
        what += "; put the value into 'single quotes'"
    return what


# --- events to nodes ------------------------------------------------------------------------------------


class _Size(msgspec.Struct):
    weight: int = 1
    height: int = 0

    def take(self, node: Node) -> None:
        weight, height = (node.weight, node.height) if isinstance(node, ListNode | MappingNode) else (1, 0)
        self.weight += weight
        self.height = max(self.height, 1 + height)


class _Builder:
    """Builds one document. `_nodes` counts what was built, with every alias in full."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._nodes = 0
        self._anchors: dict[str, Node | None] = {}

    def document(self, events: Iterator[yaml.Event]) -> MappingNode:
        next(events)  # the start of the stream
        if isinstance(next(events), yaml.StreamEndEvent):
            raise self._refused("the file is empty", Spot(1, 1))
        root = self._node(next(events), events, depth=0)
        next(events)  # the end of the document
        following = next(events)
        if not isinstance(following, yaml.StreamEndEvent):
            raise self._refused("a second document begins here; a file holds one", _start(following))
        if isinstance(root, ScalarNode) and root.is_null:
            raise self._refused("the file is empty", root)
        if not isinstance(root, MappingNode):
            raise self._refused("the file is not a mapping; it begins with a key such as `sources:`", root)
        return root

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
        place = _start(event)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, place, depth)
        self._check(event, place, depth)
        anchor = self._open(event, place)
        node: Node
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, place)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._list(events, place, depth)
        else:
            node = self._mapping(events, place, depth)
        if anchor:
            self._anchors[anchor] = node
        return node

    def _check(self, event: yaml.Event, place: Place, depth: int) -> None:
        self._count(1, place)
        if depth > MAX_DEPTH:
            raise self._refused(TOO_DEEP, place)
        if getattr(event, "tag", None) is not None:
            raise self._refused("a tag such as `!x` or `!!x` is not read; the key decides the type", place)

    def _count(self, nodes: int, place: Place) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise self._refused(f"the file has more than {MAX_NODES:,} keys and values, aliases counted", place)

    def _open(self, event: yaml.Event, place: Place) -> str | None:
        anchor: str | None = getattr(event, "anchor", None)
        if anchor:
            if anchor in self._anchors:
                raise self._refused(f"the anchor &{shown(anchor)} is there twice", place)
            self._anchors[anchor] = None
        return anchor

    def _alias(self, event: yaml.AliasEvent, place: Place, depth: int) -> Node:
        anchor = str(event.anchor)
        name = shown(anchor)
        if anchor not in self._anchors:
            raise self._refused(f"the alias *{name} has no anchor &{name} before it", place)
        node = self._anchors[anchor]
        if node is None:
            raise self._refused(f"the alias *{name} stands inside of what it names", place)
        size = _Size(weight=0)
        size.take(node)
        self._count(size.weight, place)
        if depth + size.height - 1 > MAX_DEPTH:
            raise self._refused(f"with its aliases the file is nested more than {MAX_DEPTH} levels deep", place)
        return node

    def _scalar(self, event: yaml.ScalarEvent, place: Spot) -> ScalarNode:
        if _NEVER_A_VALUE.search(event.value):
            raise self._refused("the value holds the character NUL or half of a surrogate pair", place)
        return ScalarNode(event.value, bool(event.style), place.line, place.column)

    def _list(self, events: Iterator[yaml.Event], place: Spot, depth: int) -> ListNode:
        items: list[Node] = []
        size = _Size()
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._node(event, events, depth + 1))
            size.take(items[-1])
        return ListNode(tuple(items), place.line, place.column, size.weight, size.height)

    def _mapping(self, events: Iterator[yaml.Event], place: Spot, depth: int) -> MappingNode:
        keys: dict[str, ScalarNode] = {}
        values: dict[str, Node] = {}
        size = _Size()
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._key(event, events, depth + 1)
            if key.text in keys:
                first = keys[key.text].line
                raise self._refused(f"the key {shown(key.text)} is there twice; first in line {first}", key)
            keys[key.text] = key
            values[key.text] = self._node(next(events), events, depth + 1)
            size.weight += 1
            size.take(values[key.text])
        return MappingNode(keys, values, place.line, place.column, size.weight, size.height)

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> ScalarNode:
        place = _start(event)
        if not isinstance(event, yaml.ScalarEvent):
            raise self._refused("a key must be text", place)
        key = self._node(event, events, depth)
        if not isinstance(key, ScalarNode) or key.is_null:
            raise self._refused("a key must be text, and this one is empty or null", place)
        if key.text == "<<" and not key.quoted:
            raise self._refused("merge keys `<<` are not read; write what resources share under `defaults:`", place)
        return key

    def _refused(self, text: str, place: Place) -> ConfigError:
        return refusal(text, place, self._file)


def _start(event: yaml.Event) -> Spot:
    mark = event.start_mark
    return Spot(mark.line + 1, mark.column + 1) if mark else Spot(1, 1)
