"""The documentation says what is true: its files load, its links lead somewhere, its messages are those of the code."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest

from conduit.config.load import load
from conduit.errors import ConfigError
from tests.support.pages import DOCS, ROOT, Block, anchors, blocks, links, name_of, pages

LANGUAGES = {"", "console", "csv", "json", "python", "sql", "text", "toml", "yaml"}
REMARKS = {"file", "exit", "output", "not run", "refused", "database", "installed"}
ALL_BLOCKS = [block for page in pages() for block in blocks(page)]
LINKED = [*pages(), *sorted((DOCS / "decisions").glob("*.md")), ROOT / "SECURITY.md", ROOT / "CHANGELOG.md"]


def of(*languages: str) -> list[Block]:
    """The blocks in these languages."""
    return [block for block in ALL_BLOCKS if block.language in languages]


# --- blocks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_block_is_checked_in_its_language_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, block
        assert {text.partition(":")[0].strip() for text in block.remarks} <= REMARKS, block
        reason = block.remark("not run")
        assert reason is None or len(reason) > 10, block


@pytest.mark.parametrize("block", [one for one in of("yaml") if one.remark("installed") is None], ids=str)
def test_every_yaml_block_is_an_ingest_yml(block: Block, tmp_path: Path) -> None:
    variables = dict.fromkeys(re.findall(r"\$\{(\w+)", block.text), "x")
    file = tmp_path / "ingest.yml"
    file.write_text(block.text, encoding="utf-8")
    if block.remark("refused") is not None:
        with pytest.raises(ConfigError):
            load(file, environment=variables)
    else:
        assert load(file, environment=variables).resources


@pytest.mark.parametrize("block", of("json", "toml"), ids=str)
def test_every_json_and_toml_block_can_be_parsed(block: Block) -> None:
    parse = msgspec.json.decode if block.language == "json" else tomllib.loads
    assert parse(block.text)


# --- links ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_every_link_inside_the_project_leads_somewhere(page: Path) -> None:
    for link in links(page):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        place = page if not target else (page.parent / target).resolve()
        assert place.exists(), f"{name_of(page)} links to {link}"
        if anchor:
            assert anchor in anchors(place), f"{name_of(page)} links to {link}: there is {sorted(anchors(place))}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        targets = [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if "://" not in link]
        ahead += [target for target in targets if target.suffix == ".md" and target not in reached]
    assert set(pages()) <= reached


# --- messages -------------------------------------------------------------------------------------------

SAID_BY_DATABASES = (
    "canceling statement due to lock timeout",
    "database is locked",
    "permission denied for table",
    "array with dimensions or bounds of its own",
)
"""What stands in a message behind `connection: what was tried:`."""


def test_every_message_of_the_troubleshooting_is_a_message_of_the_code() -> None:
    found = [line for block in blocks(DOCS / "troubleshooting.md", "text") for line in messages(block.text)]
    assert len(found) > 60
    for line in found:
        said = any(text in line for text in SAID_BY_DATABASES)
        assert said or any(template.fullmatch(line) for template in templates()), line


def messages(text: str) -> Iterator[str]:
    """The messages of a block, without what stands before them."""
    for line in text.splitlines():
        told = re.fullmatch(r"\s*(?:error|note|hint): (.*)", line)
        problem = re.fullmatch(r"\s+ingest\.yml:\d+: (?:\S+: )?(.*)", line)
        for match in (told, problem):
            if match:
                yield match[1]


@cache
def templates() -> list[re.Pattern[str]]:
    """The texts of the code, with anything for what is put into them."""
    found = []
    for path in sorted((ROOT / "src" / "conduit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            pieces = list(_pieces(node))
            fixed = "".join(piece for piece in pieces if piece is not None)
            if len(fixed) >= 10 and "\n" not in fixed:
                found.append(re.compile("".join(".*" if piece is None else re.escape(piece) for piece in pieces)))
    return found


def _pieces(node: ast.AST) -> Iterator[str | None]:
    """The fixed pieces of a text; None for what is put in between."""
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    for part in parts:
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            yield part.value
        elif isinstance(part, ast.FormattedValue):
            yield None
