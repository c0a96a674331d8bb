"""Queries, updates and transforms: several statements, writes, injection, and `:last_value` where it cannot stand."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.malformed.case import FORGOTTEN, GOOD, NEW, Case

_REFUSED = (
    "DROP TABLE victim",
    "DELETE FROM victim",
    "INSERT INTO victim VALUES ('x')",
    "UPDATE victim SET word = 'x'",
    "CREATE TABLE pwned (a)",
    "ALTER TABLE victim RENAME TO v",
    "PRAGMA writable_schema = 1",
    "VACUUM",
    "VACUUM INTO 'pwned.db'",
    "ATTACH 'pwned.db' AS p",
    "DETACH main",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "REINDEX",
    "ANALYZE",
    "SELECT id FROM orders; DROP TABLE victim",
    "SELECT id FROM orders;; DELETE FROM victim",
    "; SELECT id FROM orders; SELECT 1",
    "SELECT id FROM orders WHERE id > :last_value; COMMIT; DROP TABLE victim; --",
    "WITH x AS (DELETE FROM victim RETURNING *) SELECT 1 AS id FROM x WHERE 1 > :last_value",
    "SELECT id INTO pwned FROM orders",
    "SELECT",
    "SELEC id FROM orders",
    "SELECT id FROM",
    "SELECT id FROM orders WHERE",
    "SELECT id FROM orders WHERE id > ",
    "SELECT id FROM orders WHERE (id > :last_value",
    "SELECT id FROM orders WHERE id > :last_value)",
    "SELECT 'unclosed FROM orders",
    'SELECT "unclosed FROM orders',
    "SELECT id /* unclosed FROM orders",
    "--",
    "/* */",
    ";",
    "   ",
    "hello",
    "42",
    "SELECT id FROM nowhere WHERE id > :last_value",
    "SELECT nothing FROM orders WHERE id > :last_value",
    "SELECT customer FROM orders WHERE id > :last_value",
    "SELECT id FROM orders WHERE id > :last_values",
    "SELECT id FROM orders WHERE id > :Last_value",
    "SELECT id FROM orders WHERE id > :other",
    "SELECT id FROM orders WHERE id > :1",
    "SELECT id FROM orders WHERE id > ?",
    "SELECT id FROM orders WHERE id > $1",
    "SELECT id FROM orders WHERE id > @last_value",
    "SELECT id FROM orders WHERE id > :last_value LIMIT 1",
    "SELECT id FROM orders WHERE id > :last_value LIMIT 1 OFFSET 1",
    "SELECT id FROM orders ORDER BY :last_value LIMIT 2",
    "SELECT id FROM :last_value",
    "SELECT :last_value FROM orders",
    "SELECT id AS [:last_value] FROM orders",
    "SELECT load_extension('x') AS id WHERE 1 > :last_value",
    "SELECT writefile('pwned', 'x') AS id WHERE 1 > :last_value",
    "SELECT readfile('/etc/passwd') AS id WHERE 1 > :last_value",
    "SELECT randomblob(2000000000) AS id WHERE 1 > :last_value",
    "SELECT NULL AS id WHERE 2 > :last_value",
    "SELECT 1.5 AS id, 1 AS b WHERE 9 > :last_value",
    "VALUES (1)",
    "TABLE orders",
    "EXPLAIN SELECT id FROM orders",
    "SELECT id FROM orders WHERE id > :last_value UNION SELECT word FROM nowhere",
    "WITH RECURSIVE t(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM t) SELECT id FROM",
    "SELECT " + "(" * 3000 + "1" + ")" * 3000 + " AS id WHERE 1 > :last_value",
    "SELECT id FROM orders WHERE " + " AND ".join(["id > :last_value"] * 3000) + " AND",
)
_HARMLESS = (
    "SELECT id, customer FROM orders WHERE id > 0 -- :last_value",
    "SELECT id, customer FROM orders WHERE customer <> ':last_value'",
    "SELECT id, customer FROM orders /* :last_value; DROP TABLE victim */ WHERE id > :last_value",
    "SELECT id, customer FROM orders WHERE id > :last_value;",
    "SELECT id, '; DROP TABLE victim; --' AS customer FROM orders WHERE id > :last_value",
    'SELECT id, customer AS "a""; DROP TABLE victim; --" FROM orders WHERE id > :last_value',
    'SELECT id, customer AS "it\'s" FROM orders WHERE id > :last_value',
    "SELECT id, customer AS `a``b` FROM orders WHERE id > :last_value",
    "SELECT id, customer AS [a;b] FROM orders WHERE id > :last_value",
    'SELECT id, 1 AS "" FROM orders WHERE id > :last_value',
    'SELECT id, customer AS "%s %(x)s {} {0} ? $1 :x" FROM orders WHERE id > :last_value',
    'SELECT id, customer AS "_conduit_state" FROM orders WHERE id > :last_value',
)
_UPDATES = (
    "source.customer; DROP TABLE victim",
    "'x'; DROP TABLE victim; --",
    "(SELECT word FROM victim",
    "target.nothing",
    "source.nothing",
    "nothing",
    "",
    " ",
    "source.customer, at = 'x'",
    "'unclosed",
    '"unclosed',
    "/* unclosed",
    "source.customer)",
    "source.customer WHERE 1",
    ":last_value",
    "?",
)
_TRANSFORMS = (
    "DROP TABLE batch",
    "SELECT * FROM batch; DROP TABLE batch",
    "INSERT INTO batch VALUES (1)",
    "SELECT",
    "SELEC * FROM batch",
    "SELECT * FROM nowhere",
    "SELECT nothing FROM batch",
    "SELECT * FROM 'shop.db'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('ingest.yml')",
    "SELECT * FROM sqlite_scan('shop.db', 'victim')",
    "SELECT * FROM glob('*')",
    "COPY batch TO 'pwned.csv'",
    "COPY (SELECT 1) TO 'pwned.parquet'",
    "ATTACH 'pwned.db' AS p",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SELECT * FROM read_parquet('https://example.invalid/x.parquet')",
    "PRAGMA enable_profiling",
    "SET enable_external_access = true",
    "EXPORT DATABASE 'pwned'",
    "CREATE TABLE pwned AS SELECT * FROM batch",
    "SELECT getenv('HOME') AS id",
    "CALL pragma_version()",
    "SELECT * FROM duckdb_secrets()",
    "CREATE SECRET s (TYPE s3)",
    "SELECT id FROM batch WHERE id > :last_value",
    "SELECT ? FROM batch",
    "SELECT INTERVAL 1 DAY AS d FROM batch",
    "SELECT error('stop') AS e FROM batch",
    "SELECT 1/0 AS a, CAST(customer AS INTEGER) AS b FROM batch",
    "SELECT id AS a, id AS a FROM batch",
    'SELECT id AS a, id AS "A" FROM batch',
    "SELECT * FROM batch, batch b2 LIMIT",
    "  ",
    "--",
    "SELECT 'unclosed FROM batch",
    "SELECT CAST('x' || id AS DATE) AS d FROM batch",
    "FROM batch SELECT",
    "DESCRIBE batch",
    "SHOW TABLES",
    "SELECT * FROM information_schema.tables; SELECT 1",
    "SELECT " + "(" * 3000 + "1" + ")" * 3000 + " FROM batch",
)


def _block(key: str, text: str) -> str:
    lines = "".join(f"        {line}\n" for line in text.splitlines() or [""])
    return f"{key}: |2\n{lines}".rstrip("\n") + "\n"


def cases() -> Iterator[Case]:
    """Each text where SQL stands."""
    named = (r"^r: failed|resources\[0\]",)
    for text in _REFUSED:
        file = NEW.replace("table: orders\n", _block("query", text))
        yield Case(f"query {text[:70]}", file, FORGOTTEN, codes=(2, 3, 5), says=named)
    for text in _HARMLESS:
        file = NEW.replace("table: orders\n", _block("query", text))
        yield Case(f"harmless {text[:70]}", file, FORGOTTEN, codes=(2, 5), harmless=True)
    for text in _UPDATES:
        file = f"{GOOD}    mode: merge\n    primary_key: id\n    update:\n      {_block('customer', text)}"
        yield Case(f"update {text}", file, codes=(2, 5), says=named)
    for text in _TRANSFORMS:
        file = f"{NEW}    {_block('transform', text)}"
        yield Case(f"transform {text[:70]}", file, FORGOTTEN, codes=(2, 5), says=named, never=("canary",))
