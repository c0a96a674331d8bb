"""Names and paths: traversal, absolute paths, NUL, length, reserved words, twins, quotes and injection."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.malformed.case import FORGOTTEN, GOOD, NEW, Case

_WILD = (
    "../x",
    "../../etc/passwd",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a b",
    "",
    ".",
    "..",
    ".hidden",
    "x" * 101,
    "x" * 5000,
    "é",
    "a\0b",
    "a\nb",
    "a\x1b[31m",
    "a;b",
    "a'b",
    'a"b',
    "a`b",
    "$(touch pwned)",
    "`touch pwned`",
    "a|b",
    "a&b",
    "a*b",
    "a?b",
    "a:b",
    "-" * 101,
    "\u202egnp.exe",
    "\u200b",
    "ａｂｃ",
    "a\u0301",
    "😀",
    "%2e%2e%2fx",
    "..%2fx",
    "con:",
    "a\tb",
)
_INJECTIONS = (
    "x; DROP TABLE victim",
    'x"; DROP TABLE victim; --',
    "x'; DROP TABLE victim; --",
    "x`; DROP TABLE victim; --",
    'x" AS q; DELETE FROM victim; --',
    "(SELECT word FROM victim)",
    "victim) UNION SELECT * FROM (victim",
    "x]; DROP TABLE",
    'orders"."x',
    "orders UNION SELECT word, 1, 2 FROM victim",
    "orders -- ",
    "orders /*",
    "pg_sleep(10)",
    "orders;",
    "main.orders.x.y",
    "sqlite_master; ATTACH 'pwned.db' AS p",
    "load_extension('x')",
    "'orders'",
    "orders WHERE 1=1",
)
_TARGETS = (
    "../x",
    "/x",
    "a/b",
    "a\\b",
    ".",
    "..",
    "a..b",
    ".a",
    "a.",
    "x" * 64,
    "é" * 32,
    "a." + "x" * 64,
    'a"b',
    "a\x00b",
    "a\x1fb",
    "a\nb",
    "\x7f",
)
_PATHS = (
    "",
    ".",
    "..",
    "/",
    "no/such/folder/x.db",
    "x\0y",
    "x" * 300,
    "x/" * 3000 + "y",
    "/proc/self/mem",
    "/dev/null",
    "/dev/full",
    "ingest.yml",
    ".conduit_state.json",
    ":memory:",
    ":memory:x",
    "file:x?mode=rwc",
    "http://x/y.db",
    "~nobody/x.db",
    "folder",
)
_LEGAL = ("file:x?mode=rwc", "~nobody/x.db")
"""Odd, but names of files all the same."""
_URLS = (
    "x",
    "sqlite://",
    "sqlite:///",
    "sqlite://host/x.db",
    "sqlite:///x.db?mode=rwc",
    "sqlite:///x.db#y",
    "duckdb:///x.db",
    "sqlite:///%00",
    "http://[::1",
    "sqlite:///:memory:",
    "sqlite:x.db",
    "postgresql://x/y",
)


def _quoted(text: str) -> str:
    """A YAML text in double quotes, every character that is not plain escaped."""
    plain = (char if char.isalnum() and char.isascii() else f"\\U{ord(char):08x}" for char in text)
    return '"' + "".join(plain) + '"'


def cases() -> Iterator[Case]:
    """Each name where it can stand."""
    yield from _names_of_entries()
    yield from _identifiers()
    yield from _files()


def _names_of_entries() -> Iterator[Case]:
    for name in _WILD:
        told = _quoted(name)
        yield Case(
            f"pipeline {len(name)} {name[:30]!r}",
            GOOD.replace("pipeline: p", f"pipeline: {told}"),
            says=(r"ingest\.yml:1: ",),
        )
        yield Case(
            f"resource {len(name)} {name[:30]!r}",
            GOOD.replace("name: r\n", f"name: {told}\n"),
            says=(r"ingest\.yml:11: ",),
        )
        yield Case(
            f"source {len(name)} {name[:30]!r}",
            GOOD.replace("name: shop\n", f"name: {told}\n").replace("source: shop", f"source: {told}"),
            says=(r"ingest\.yml:3: ",),
        )
    for target in _TARGETS:
        told = _quoted(target)
        file = GOOD.replace("into: orders", f"into: {told}")
        yield Case(f"into {target[:30]!r}", file, says=(r"ingest\.yml:14: ",))
        file = GOOD.replace("database: lake.db", f"database: lake.db\n    table: {told}").replace(
            "    into: orders\n", ""
        )
        yield Case(f"table of a destination {target[:30]!r}", file, says=(r"ingest\.yml:10: ",))


def _identifiers() -> Iterator[Case]:
    """Payloads where the database is asked for a table or a column: quoted, so there is none of that name."""
    for payload in _INJECTIONS:
        told, codes, names = _quoted(payload), (2, 3), ("r: failed|ingest.yml:",)
        file = GOOD.replace("table: orders\n", f"table: {told}\n")
        yield Case(f"table {payload}", file, codes=codes, says=names, never=("canary",))
        file = GOOD.replace("incremental_column: id", f"incremental_column: {told}")
        yield Case(f"cursor {payload}", file, codes=codes, says=names, never=("canary",))
        file = GOOD + f"    mode: merge\n    primary_key: {told}\n"
        yield Case(f"key {payload}", file, codes=codes, says=names, never=("canary",))
        file = GOOD + f"    columns: {{{told}: text}}\n"
        yield Case(f"column {payload}", file, codes=codes, says=names, never=("canary",))
        file = GOOD + f"    mode: merge\n    primary_key: id\n    update: {{{told}: source.customer}}\n"
        yield Case(f"updated column {payload}", file, codes=codes, says=names, never=("canary",))
        file = GOOD.replace("into: orders", f"into: {told}")
        yield Case(f"target {payload}", file, codes=(*codes, 4), harmless=True)
    for twin in ("id, ID", "customer, id, Customer", "id, id"):
        file = NEW.replace("table: orders", f"query: SELECT {twin} FROM orders WHERE id > :last_value")
        yield Case(f"twins {twin}", file, FORGOTTEN, codes=(2, 5), says=("r: failed",))


def _files() -> Iterator[Case]:
    for path in _PATHS:
        told = _quoted(path)
        for side in ("shop", "lake"):
            file = GOOD.replace(f"database: {side}.db", f"database: {told}")
            laid = {"folder/x": b"", **FORGOTTEN}
            legal = side == "lake" and path in _LEGAL
            says = (rf"{side}: |(sources|destinations)\[0\]|ingest\.yml:\d+: ",)
            yield Case(f"database of {side} {path[:30]!r}", file, laid, codes=(2, 3), says=says, harmless=legal)
    for url in _URLS:
        told = _quoted(url)
        for side in ("shop", "lake"):
            file = GOOD.replace(f"database: {side}.db", f"url: {told}")
            yield Case(f"url of {side} {url}", file, says=(r"ingest\.yml:\d+: (sources|destinations)\[0\]",))
    for path in ("", "x.parquet", "s3://bucket/x/", "a\0b", "x.txt"):
        for type_name in ("parquet", "csv", "json"):
            file = GOOD.replace("type: sqlite\n    database: lake.db", f"type: {type_name}\n    path: {_quoted(path)}")
            yield Case(f"path of {type_name} {path!r}", file, says=(r"ingest\.yml:[79]: ",))
