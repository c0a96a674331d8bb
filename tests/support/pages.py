"""The pages of the documentation as the tests see them: their blocks, headings, links and tables.

A comment right before a block says something about it, and no reader of the page sees it:

    <!-- file: ingest.yml -->     the block is also saved under this name before the next one runs
    <!-- exit: 4 -->              the last command of the block ends with this exit code, not with 0
    <!-- output -->               the block is what the Python block before it prints
    <!-- refused -->              the block is an ingest.yml that must not load
    <!-- database: shop -->       the SQL runs in this database
    <!-- installed: cellar -->    the ingest.yml loads where this connector of another package is installed
    <!-- not run: reason -->      the block cannot run here, and why
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from conduit import ResourcePlan

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

_FENCE = re.compile(r"(?P<indent> *)```(?P<language>[a-z]*)\s*")
_REMARK = re.compile(r"\s*<!-- (?P<text>.+) -->\s*")
_LINK = re.compile(r"(?<!!)\[(?:[^\]\[]|\[[^\]]*\])*\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: the file it stands in.
        line: of its fence, from 1.
        language: the word after the fence; empty: none.
        text: what stands in it.
        remarks: the comments right before it.
    """

    page: Path
    line: int
    language: str
    text: str
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def remark(self, key: str) -> str | None:
        """What the comment `key: …` says; empty for a bare `key`; None when there is none."""
        for text in self.remarks:
            name, _, value = text.partition(":")
            if name.strip() == key:
                return value.strip()
        return None


def pages() -> list[Path]:
    """The pages that a user reads: the README, docs/*.md and docs/connectors/*.md."""
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "connectors").glob("*.md"))]


def name_of(page: Path) -> str:
    """The page as a test id: `docs/connectors/files.md`."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, or those of one language."""
    return [block for block in _blocks(page) if language is None or block.language == language]


def _blocks(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    remarks: list[str] = []
    numbered = iter(enumerate(lines, start=1))
    for number, line in numbered:
        fence, remark = _FENCE.fullmatch(line), _REMARK.fullmatch(line)
        if remark:
            remarks.append(remark["text"])
        elif fence:
            text = _until_closed(numbered, len(fence["indent"]))
            yield Block(page, number, fence["language"], text, tuple(remarks))
            remarks = []
        elif line.strip():
            remarks = []


def _until_closed(lines: Iterator[tuple[int, str]], indent: int) -> str:
    inside: list[str] = []
    for _, line in lines:
        if line.strip() == "```":
            return "".join(f"{one}\n" for one in inside)
        inside.append(line[indent:])
    raise ValueError("a fence is not closed")


def prose(page: Path) -> str:
    """The text without fenced blocks."""
    inside = False
    kept: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.strip().startswith("```"):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def links(page: Path) -> list[str]:
    """The targets of all links."""
    return [match["target"] for match in _LINK.finditer(_CODE.sub("", prose(page)))]


def anchors(page: Path) -> set[str]:
    """What `#…` can name in a page, as GitHub makes it from the headings."""
    found: set[str] = set()
    for line in prose(page).splitlines():
        if line.startswith("#"):
            slug = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
            number = sum(1 for known in found if known == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", known))
            found.add(f"{slug}-{number}" if number else slug)
    return found


def table(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    lines = iter(prose(page).splitlines())
    for line in lines:
        if line.lstrip("#").strip() == heading and line.startswith("#"):
            break
    else:
        raise KeyError(f"{name_of(page)} has no heading {heading!r}")
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))])
        elif rows or line.startswith("#"):
            break
    return rows[2:]


def code(cell: str) -> list[str]:
    """The words in backquotes of a cell."""
    return re.findall(r"`([^`]+)`", cell)


def carried(plan: ResourcePlan) -> list[str]:
    """The Arrow types of the columns c0, c1, … that a plan would create a table with."""
    return re.findall(r"c\d+ (.+?)(?:, (?=c\d+ )|\)$)", plan.changes[0].partition(" (")[2])
