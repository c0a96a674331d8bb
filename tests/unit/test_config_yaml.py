"""YAML text -> nodes: what is written is kept, what is dangerous or ambiguous is one error with its line."""

from __future__ import annotations

import time

import pytest
import yaml as pyyaml

from conduit.config import yaml
from conduit.config.nodes import ListNode, MappingNode, ScalarNode
from conduit.config.yaml import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse
from conduit.errors import ConfigError


@pytest.fixture(params=["CSafeLoader", "SafeLoader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs with the C parser and with the one that stands in for it."""
    monkeypatch.setattr(yaml, "LOADER", getattr(pyyaml, request.param))


def scalar(text: str) -> ScalarNode:
    node = parse(f"key: {text}\n".encode(), "ingest.yml").values["key"]
    assert isinstance(node, ScalarNode)
    return node


def refused(content: bytes | str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(content.encode() if isinstance(content, str) else content, "ingest.yml")
    assert caught.value.exit_code == 2
    assert len(caught.value.problems) == 1
    return str(caught.value.problems[0])


@pytest.mark.parametrize(
    "text", ["no", "yes", "on", "0123", "12:30:45", "0x10", "1_000", "1.10", "2024-01-01", "1e3", ".inf", "=", "a#b"]
)
def test_a_scalar_keeps_the_text_that_was_written(text: str) -> None:
    assert scalar(text).text == text
    assert not scalar(text).quoted


@pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
def test_nothing_and_null_are_not_set_unless_quoted(text: str) -> None:
    assert scalar(text).is_null
    assert not scalar(f"'{text}'").is_null


def test_a_block_is_text_whatever_it_holds() -> None:
    node = scalar("|-\n  null")
    assert node.text == "null"
    assert not node.is_null


def test_nodes_know_their_line_and_column() -> None:
    root = parse(b"a: 1\nb:\n  - c: x\n    d: y\n", "ingest.yml")
    items = root.values["b"]
    assert isinstance(items, ListNode)
    mapping = items.items[0]
    assert isinstance(mapping, MappingNode)
    assert (mapping.keys["d"].line, mapping.keys["d"].column) == (4, 5)
    assert (mapping.values["d"].line, mapping.values["d"].column) == (4, 8)


def test_a_byte_order_mark_is_allowed_and_moves_no_column() -> None:
    root = parse(b"\xef\xbb\xbfa: 1\n", "ingest.yml")
    assert list(root.keys) == ["a"]
    assert (root.keys["a"].line, root.keys["a"].column) == (1, 1)


def test_an_alias_is_the_value_that_it_names() -> None:
    root = parse(b"a: &x [1, 2]\nb: *x\n", "ingest.yml")
    assert root.values["a"] == root.values["b"]


ATTACKS = {
    "python tag": ("a: 1\nb: !!python/object/apply:os.system ['true']\n", 2, "a tag such as"),
    "str tag": ("a: !!str 1\n", 1, "a tag such as"),
    "local tag": ("a: !x 1\n", 1, "a tag such as"),
    "bare tag": ("a: ! 1\n", 1, "a tag such as"),
    "tag on a key": ("!!str a: 1\n", 1, "a tag such as"),
    "tag on a list": ("a: !!set {x}\n", 1, "a tag such as"),
    "tag directive": ("%TAG ! tag:evil,2000:\n---\na: !b c\n", 3, "a tag such as"),
    "recursive alias": ("a: &x [1, *x]\n", 1, "stands inside of what it names"),
    "recursive mapping": ("a: &x {b: *x}\n", 1, "stands inside of what it names"),
    "unknown alias": ("a: 1\nb: *nope\n", 2, "has no anchor &nope"),
    "alias as a key": ("a: &x k\n*x : 1\n", 2, "a key must be text"),
    "two anchors": ("a: &x 1\nb: &x 2\n", 2, "the anchor &x is there twice"),
    "duplicate key": ("a: 1\nb: 2\na: 3\n", 3, "the key a is there twice; first in line 1"),
    "duplicate quoted key": ("a: 1\n'a': 3\n", 2, "first in line 1"),
    "duplicate nested key": ("r:\n  - a: 1\n    a: 2\n", 3, "first in line 2"),
    "merge key": ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "`defaults:`"),
    "list as a key": ("? [a, b]\n: c\n", 1, "a key must be text"),
    "mapping as a key": ("? {a: b}\n: c\n", 1, "a key must be text"),
    "null as a key": ("~: c\n", 1, "empty or null"),
    "empty key": ("? \n: c\n", 1, "empty or null"),
    "tab": ("a:\n\tb: 1\n", 2, "YAML indents with spaces"),
    "two documents": ("a: 1\n---\nb: 2\n", 2, "a second document begins here"),
    "empty": ("", 1, "the file is empty"),
    "only a comment": ("# nothing\n", 1, "the file is empty"),
    "only a null": ("null\n", 1, "the file is empty"),
    "a list": ("- a\n", 1, "not a mapping"),
    "a text": ("just text\n", 1, "not a mapping"),
    "open bracket": ("a: 1\nb: [1, 2\nc: 3\n", 3, "begins in line 2"),
    "open quote": ("a: 'x\n", 2, "begins in line 1"),
    "colon in a value": ("a: b: c\n", 1, "'single quotes'"),
    "at sign": ("a: @b\n", 1, "'single quotes'"),
    "variable in braces": ("a: {p: ${X}}\n", 1, 'put ${VAR} into "quotes"'),
    "wrong yaml version": ("%YAML 3.0\n---\na: b\n", 1, "this is not YAML"),
    "bad escape": ('a: "\\q"\n', 1, "this is not YAML"),
    "NUL by escape": ('a: "\\0"\n', 1, "NUL"),
    "NUL in a key": ('"a\\0": 1\n', 1, "NUL"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_or_accident_is_one_error_with_its_line(name: str) -> None:
    content, line, words = ATTACKS[name]
    message = refused(content)
    assert words in message
    assert message.startswith(f"ingest.yml:{line}: ") or name in ("open quote", "open bracket")
    assert "\n" not in message


@pytest.mark.parametrize("text", [r'"\ud800"', r'"\UFFFFFFFF"', r'"\U00110000"'])
def test_an_escape_that_is_no_character_is_refused(text: str) -> None:
    assert "ingest.yml:1: " in refused(f"a: {text}\n")


BYTES = {
    "NUL": (b"a: 1\nb: \x00\n", 2, "U+0000"),
    "escape character": (b"a: \x1b[31m\n", 1, "U+001B"),
    "next line": ("a: x\u0085b: y\n".encode(), 1, "U+0085"),
    "line separator": ("a: 'x\u2028y'\n".encode(), 1, "U+2028"),
    "latin-1": ("a: 1\nb: \xe9\n".encode("latin-1"), 2, "not UTF-8"),
    "half a character": (b"a: \xe2\x82\n", 1, "not UTF-8"),
    "encoded surrogate": (b"a: \xed\xa0\x80\n", 1, "not UTF-8"),
    "UTF-16": ("a: 1\n".encode("utf-16"), 1, "UTF-16"),
    "UTF-16 without a mark": ("a: 1\n".encode("utf-16-le"), 1, "U+0000"),
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_text_are_one_error_with_its_line(name: str) -> None:
    content, line, words = BYTES[name]
    message = refused(content)
    assert message.startswith(f"ingest.yml:{line}: ")
    assert words in message


def test_a_file_that_is_too_large_is_refused() -> None:
    assert f"{MAX_BYTES:,} bytes" in refused(b"a: " + b"x" * MAX_BYTES)


def test_billion_laughs_is_refused_before_it_grows() -> None:
    lines = ["a0: &a0 lol"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    started = time.perf_counter()
    assert "aliases counted" in refused("\n".join(lines))
    assert time.perf_counter() - started < 5


def test_too_many_values_are_refused() -> None:
    assert f"{MAX_NODES:,} keys and values" in refused("a: [" + "1," * MAX_NODES + "1]")


@pytest.mark.parametrize(
    "text", ["[" * 400_000, "{a: " * 200_000, "- " * 400_000, "a: " + "[" * 100_000 + "]" * 100_000]
)
def test_deep_nesting_never_exhausts_the_stack(text: str) -> None:
    started = time.perf_counter()
    assert f"more than {MAX_DEPTH} levels" in refused(text)
    assert time.perf_counter() - started < 5


def test_depth_that_aliases_add_counts_too() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH + 5)]
    assert "with its aliases" in refused("\n".join(lines))


def test_a_message_shows_no_endless_key_and_no_control_characters() -> None:
    key = "k" * 50_000
    assert len(refused(f"{key}: 1\n{key}: 2\n")) < 300
    assert r"\x1b" in refused('"\\e[31m": 1\n"\\e[31m": 2\n')
