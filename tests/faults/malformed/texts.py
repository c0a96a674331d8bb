"""The text of ingest.yml under attack: bombs, depth, tags, duplicates, encodings, and a good file damaged anywhere."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.faults.malformed.case import GOOD, Case

_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
_PLACE = r"ingest\.yml:\d+: "

_WHOLE: dict[str, tuple[str | bytes, str]] = {
    "a bomb of aliases": (_BOMB + GOOD, _PLACE),
    "an alias of itself": ("a: &a [*a]\n" + GOOD, _PLACE),
    "a mapping in itself": ("a: &a {b: *a}\n" + GOOD, _PLACE),
    "an unknown alias": ("a: *nobody\n" + GOOD, _PLACE),
    "lists without end": ("a: " + "[" * 5000 + "\n", _PLACE),
    "mappings without end": ("a: " + "{b: " * 5000 + "\n", _PLACE),
    "closed lists in lists": ("a: " + "[" * 3000 + "]" * 3000 + "\n" + GOOD, _PLACE),
    "blocks in blocks": ("".join("  " * n + "a:\n" for n in range(500)), _PLACE),
    "a tag of python": ("pipeline: !!python/object/apply:os.system [touch pwned]\n", _PLACE),
    "a tag of python, new": ("pipeline: !!python/object/new:subprocess.Popen [[touch, pwned]]\n", _PLACE),
    "a tag of a name": ("pipeline: !!python/name:os.system\n", _PLACE),
    "a tag of its own": ("pipeline: !secret x\n", _PLACE),
    "a standard tag": ("pipeline: !!binary aGk=\n", _PLACE),
    "a set": ("pipeline: !!set {a, b}\n", _PLACE),
    "a merge key": (GOOD.replace("    database: shop.db", "    <<: {database: shop.db}"), _PLACE),
    "two documents": (GOOD + "---\n" + GOOD, _PLACE),
    "an end and more": (GOOD + "...\nmore: x\n", _PLACE),
    "nothing": (b"", r"ingest\.yml"),
    "blanks": (b"  \n \n", r"ingest\.yml"),
    "a comment": (b"# nothing here\n", r"ingest\.yml"),
    "null": (b"null\n", r"ingest\.yml"),
    "a list": ("- " + GOOD.replace("\n", "\n  "), r"ingest\.yml"),
    "a text": (b"sources\n", r"ingest\.yml"),
    "a number": (b"42\n", r"ingest\.yml"),
    "JSON of another thing": (b'{"sources": 1, "destinations": 2, "resources": 3}', r"ingest\.yml:1: "),
    "a program": (b"#!/bin/sh\nrm -rf /\n", _PLACE),
    "HTML": (b"<html><body>404</body></html>\n", r"ingest\.yml"),
    "XML": (b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y">]><a/>', r"ingest\.yml"),
    "a tab": (GOOD.replace("    type: sqlite\n", "\ttype: sqlite\n", 1), _PLACE),
    "a NUL": (GOOD.replace("shop.db", "shop\0.db"), r"ingest\.yml"),
    "a control character": (GOOD.replace("shop.db", "shop\x07.db"), r"ingest\.yml"),
    "an escape": (GOOD.replace("shop.db", "\x1b[31mshop.db"), r"ingest\.yml"),
    "latin-1": (GOOD.replace("shop.db", "caf\xe9.db").encode("latin-1"), _PLACE),
    "a lone surrogate": (GOOD.replace("shop.db", "\ud800.db"), r"ingest\.yml"),
    "an escaped surrogate": (GOOD.replace("shop.db", '"\\ud800.db"'), r"ingest\.yml"),
    "random bytes": (random.Random(1).randbytes(2000), r"ingest\.yml"),
    "gzip": (b"\x1f\x8b\x08\x00" + random.Random(2).randbytes(200), r"ingest\.yml"),
    "a file without end": (b"# " + b"x" * 1_100_000, r"ingest\.yml"),
    "values without end": (b"a: [" + b"1," * 200_000 + b"]\n", r"ingest\.yml"),
    "an unclosed quote": (GOOD.replace("shop.db", '"shop.db'), _PLACE),
    "an unclosed list": (GOOD.replace("shop.db", "[shop.db"), _PLACE),
    "an indicator": (GOOD.replace("shop.db", "@shop.db"), _PLACE),
    "a backtick": (GOOD.replace("shop.db", "`shop.db"), _PLACE),
    "a percent sign": (GOOD.replace("shop.db", "%shop.db"), _PLACE),
    "a version of the future": ("%YAML 9.9\n---\n" + GOOD, r"ingest\.yml"),
    "a question": ("? [a, b]\n: c\n" + GOOD, _PLACE),
    "a key that is a mapping": ("{a: b}: c\n" + GOOD, _PLACE),
    "a key that is null": ("~: c\n" + GOOD, _PLACE),
    "a long key": ("k" * 2000 + ": c\n" + GOOD, _PLACE),
}

_LEFT_OUT = (
    "    type: sqlite\n    database: shop.db\n",
    "    database: shop.db\n",
    "    database: lake.db\n",
    "    source: shop\n",
    "    destination: lake\n",
    "    incremental_column: id\n",
    "  - name: r\n    ",
    "    table: orders\n",
    "  - name: shop\n    ",
    "  - name: lake\n    ",
)
_ADDED = {
    "an unknown section": (
        "resource:\n  - x\n" + GOOD,
        r"ingest\.yml:1: resource: unknown key; did you mean resources",
    ),
    "a section twice": (GOOD + "sources: []\n", r"ingest\.yml:\d+: .*twice"),
    "a key twice": (GOOD.replace("    type: sqlite\n", "    type: sqlite\n    type: duckdb\n", 1), _PLACE + ".*twice"),
    "an entry twice": (
        GOOD.replace("sources:\n", "sources:\n  - {name: SHOP, type: sqlite, database: b.db}\n"),
        "twice",
    ),
    "a resource twice": (GOOD + "  - {name: R, source: shop, destination: lake, table: t, mode: replace}\n", "twice"),
    "a dangling source": (GOOD.replace("source: shop", "source: shpo"), r"ingest\.yml:\d+: resources\[0\]\.source: "),
    "a dangling destination": (GOOD.replace("destination: lake", "destination: lkae"), r"did you mean lake"),
}


def cases() -> Iterator[Case]:
    """Attacks on the parser, and accidents with a good file."""
    for name, (file, says) in {**_WHOLE, **_ADDED}.items():
        yield Case(name, file, says=(says,))
    for part in _LEFT_OUT:
        yield Case(
            f"without {part.split()[0]} {part.split()[-1]}", GOOD.replace(part, "" if part[0:4] == "    " else "  - ")
        )
    for section in ("sources", "destinations", "resources"):
        for value in ("", " []", " {}", " x", " 5", " [[]]", " [x]", " [~]", " {a: b}", " [5, {}]"):
            yield Case(f"{section}:{value}", _with_section(section, value), says=(rf"ingest\.yml:\d+: {section}",))
    for cut in range(8, len(GOOD) - 24, 5):
        yield Case(f"cut at {cut}", GOOD[:cut], says=(r"ingest\.yml",))


def _with_section(section: str, value: str) -> str:
    lines: list[str] = []
    inside = False
    for line in GOOD.splitlines(keepends=True):
        if not line.startswith(" "):
            inside = line.startswith(section)
            lines.append(f"{section}:{value}\n" if inside else line)
        elif not inside:
            lines.append(line)
    return "".join(lines)
