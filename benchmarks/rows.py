"""The rows that every scenario moves, as a table and as files, and what a destination holds of them.

All values follow from the id, so that the right sum of any number of rows can be asked of the server.
"""

from __future__ import annotations

import re
import subprocess
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

from benchmarks.scenario import Found, Turn
from tests.support.postgres import Database, binaries

COLUMNS = {
    "id": "bigint", "number": "integer", "kind": "text", "note": "text", "amount": "numeric(12,2)",
    "ratio": "double precision", "even": "boolean", "seen_at": "timestamptz", "local_at": "timestamp",
}  # fmt: skip
KINDS = {
    "id": "integer", "number": "integer", "kind": "text", "note": "text", "amount": "decimal", "ratio": "double",
    "even": "boolean", "seen_at": "timestamptz", "local_at": "timestamp",
}  # fmt: skip
"""What each column has to be in a destination; a wider one of the same kind is as good."""
IN_DUCKDB = {name: {"numeric(12,2)": "DECIMAL(12,2)"}.get(kind, kind) for name, kind in COLUMNS.items()}
CHANGED = "changed in turn {turn}"

VALUES = """i::bigint AS id, (i % 100)::int AS number, 'one of fifty ' || (i % 50) AS kind, {note} AS note,
  (i * 1.01)::numeric(12,2) AS amount, i * 0.5::float8 AS ratio, i % 2 = 0 AS even,
  timestamptz '2024-01-01 00:00:00Z' + i * interval '1 second' AS seen_at,
  timestamp '2024-01-01 00:00:00' + i * interval '1 second' AS local_at"""
NOTE = "md5(i::text) || left(md5((i + 1)::text), 28)"
FILL = f"""CREATE TABLE events AS SELECT {VALUES.format(note=NOTE)} FROM generate_series(1::bigint, {{rows}}) i;
ALTER TABLE events ADD PRIMARY KEY (id);
CREATE TABLE changes (LIKE events INCLUDING ALL);
VACUUM ANALYZE events"""


def fill(database: Database, rows: int) -> None:
    """Make the table `events`, and an empty one for changes."""
    for statement in FILL.format(rows=rows).split(";"):
        database.execute(statement)


def psql(database: Database, *words: str) -> list[str]:
    """A command line of psql that stops at the first error."""
    one = database.server
    where = ["-h", one.host, "-p", str(one.port), "-U", one.user, "-d", database.name]
    return [program_of_psql(), "-qX", "-v", "ON_ERROR_STOP=1", *where, *words]


def program_of_psql() -> str:
    """The one beside the server, else the one of the path."""
    place = binaries()
    return str(place / "psql") if place and (place / "psql").exists() else "psql"


# --- what changes between two turns ---------------------------------------------------------------------


def few(rows: int) -> int:
    """Rows that are new or changed in a turn: 10,000 of 1 M."""
    return max(10, rows // 100)


def insert_new(turn: Turn) -> None:
    """New rows at the end of `events`."""
    first = turn.rows + turn.number * few(turn.rows) + 1
    series = f"generate_series({first}::bigint, {first + few(turn.rows) - 1}) i"
    note = f"'{CHANGED.format(turn=turn.number)}'"
    turn.database.execute(f"INSERT INTO events SELECT {VALUES.format(note=note)} FROM {series}")
    turn.database.execute("CHECKPOINT")


def new_ids(rows: int) -> int:
    """One change in ten is a new row."""
    return few(rows) // 10


def change(turn: Turn) -> None:
    """Put other changes into `changes`: nine of ten spread over all ids that were there, one of ten new."""
    old, new = few(turn.rows) - new_ids(turn.rows), new_ids(turn.rows)
    first = turn.rows + turn.number * new + 1
    ids = (
        f"(SELECT 1 + g * ({turn.rows} / {old}) + {turn.number} AS i FROM generate_series(0::bigint, {old - 1}) g"
        f" UNION ALL SELECT * FROM generate_series({first}::bigint, {first + new - 1})) ids"
    )
    note = f"'{CHANGED.format(turn=turn.number)}'"
    turn.database.execute("TRUNCATE changes")
    turn.database.execute(f"INSERT INTO changes SELECT {VALUES.format(note=note)} FROM {ids}")
    turn.database.execute("ANALYZE changes")
    turn.database.execute("CHECKPOINT")


def after_inserts(rows: int, turn: int) -> int:
    """Rows after the new ones of this turn."""
    return rows + (turn + 1) * few(rows)


def after_changes(rows: int, turn: int) -> int:
    """Rows after the merge of this turn."""
    return rows + (turn + 1) * new_ids(rows)


# --- files ----------------------------------------------------------------------------------------------


def write_files(database: Database, folder: Path) -> None:
    """The rows as `events.csv`, `.parquet`, `.arrow` and `.duckdb`."""
    csv = folder / "events.csv"
    save_csv(database, "events", csv)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"ATTACH '{folder / 'events.duckdb'}' AS made (STORAGE_VERSION 'v1.2.0')")
        connection.execute(f"CREATE TABLE made.events AS {typed(csv)}")
        connection.execute(f"COPY made.events TO '{folder / 'events.parquet'}'")
        save_arrow(connection, "FROM made.events", folder / "events.arrow")


def save_changes(turn: Turn) -> None:
    """The changes of this turn, and as `changes.arrow` too."""
    change(turn)
    save_csv(turn.database, "changes", turn.folder / "changes.csv")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        save_arrow(connection, typed(turn.folder / "changes.csv"), turn.folder / "changes.arrow")


def save_csv(database: Database, table: str, file: Path) -> None:
    """A table as CSV with a header, its booleans as true and false."""
    columns = ", ".join(f"{name}::text" if kind == "boolean" else name for name, kind in COLUMNS.items())
    query = f"SELECT {columns} FROM {table} ORDER BY id"
    with file.open("wb") as out:
        subprocess.run(psql(database, "-c", f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)"), stdout=out, check=True)


def save_arrow(connection: duckdb.DuckDBPyConnection, query: str, file: Path) -> None:
    """The rows of a query as an Arrow file."""
    reader = connection.sql(query).to_arrow_reader(100_000)
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_file(out, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)


def typed(csv: Path) -> str:
    """A SELECT of DuckDB over a CSV file with the right types."""
    columns = ", ".join(f"'{name}': '{kind}'" for name, kind in IN_DUCKDB.items())
    return f"FROM read_csv('{csv}', header = true, columns = {{{columns}}})"


# --- what a destination holds ---------------------------------------------------------------------------


def expected_amount(rows: int) -> Decimal:
    """The right sum: of 1.01 times each id."""
    return Decimal("1.01") * (rows * (rows + 1) // 2)


SUMS = (
    "SELECT count(*), count(DISTINCT id), sum(CAST(amount AS decimal(38,2))),"
    " count(CASE WHEN note = '{changed}' THEN 1 END) FROM {place}"
)


def in_postgres(turn: Turn, table: str = "copied") -> Found:
    """A table of the database of the turn."""
    schema, _, name = table.rpartition(".")
    types = turn.database.execute(
        "SELECT column_name, CASE WHEN data_type = 'numeric' THEN format('decimal(%%s,%%s)', numeric_precision,"
        " numeric_scale) ELSE data_type END FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s",
        schema or "public", name,
    )  # fmt: skip
    [sums] = turn.database.execute(SUMS.format(changed=CHANGED.format(turn=turn.number), place=table))
    return found(sums, types)


def in_parquet(turn: Turn, pattern: str) -> Found:
    """Parquet files below the folder of the turn."""
    with duckdb.connect() as connection:
        return by_duckdb(connection, f"read_parquet('{turn.folder / pattern}')", turn)


def in_duckdb(turn: Turn, file: str, table: str) -> Found:
    """A table of a DuckDB file in the folder of the turn."""
    with duckdb.connect(str(turn.folder / file), read_only=True) as connection:
        return by_duckdb(connection, table, turn)


def in_iceberg(turn: Turn, table: str = "default.copied") -> Found:
    """A table of the SQLite catalog in the folder of the turn."""
    place = {"uri": f"sqlite:///{turn.folder}/catalog.db", "warehouse": f"file://{turn.folder}/warehouse"}
    catalog = SqlCatalog("iceframe", **place)
    rows = catalog.load_table(table).scan().to_arrow_batch_reader()
    with duckdb.connect() as connection:
        connection.register("rows", rows.read_all())
        return by_duckdb(connection, "rows", turn)


def by_duckdb(connection: duckdb.DuckDBPyConnection, place: str, turn: Turn) -> Found:
    """Anything that DuckDB reads."""
    types = [row[:2] for row in connection.execute(f"DESCRIBE FROM {place}").fetchall()]
    sums = connection.execute(SUMS.format(changed=CHANGED.format(turn=turn.number), place=place)).fetchone()
    assert sums is not None
    return found(sums, types)


def found(sums: tuple[Any, ...], types: list[tuple[Any, ...]]) -> Found:
    """One row of sums and the types of the columns."""
    rows, distinct, amount, changed = sums
    kinds = {str(name).lower(): kind_of(str(kind)) for name, kind in types}
    return Found(rows=rows, distinct=distinct, amount=Decimal(amount or 0), changed=changed, types=kinds)


def kind_of(type_name: str) -> str:
    """The kind of a type of PostgreSQL or DuckDB: `BIGINT` is an integer, `decimal(12,2)` a decimal."""
    text = type_name.lower()
    for kind, words in {
        "integer": ("bigint", "integer", "int"),
        "decimal": ("decimal",),
        "text": ("varchar", "text", "character varying"),
        "double": ("double", "double precision"),
        "boolean": ("boolean",),
        "timestamptz": ("timestamp with time zone", "timestamptz"),
        "timestamp": ("timestamp", "timestamp without time zone", "timestamp_ns", "timestamp_ms"),
    }.items():
        if text in words:
            return kind
    scale = re.fullmatch(r"decimal\(\d+,\s*(\d+)\)", text)
    return "decimal" if scale and int(scale[1]) >= 2 else text
