"""The limits: the shortest way that the machine knows, by the tools that come with the two ends. No mark, no checks."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable

from benchmarks.environments import ROOT, surroundings
from benchmarks.rows import COLUMNS, in_duckdb, in_iceberg, in_parquet, in_postgres, psql
from benchmarks.scenario import Found, Participant, Turn

SCRIPTS = ROOT / "benchmarks" / "scripts"


def script(turn: Turn, name: str, *words: object) -> list[str]:
    """A script of this folder in the environment of the participant."""
    return [str(turn.python), str(SCRIPTS / name), *map(str, words)]


def run(command: Callable[[Turn], list[str]]) -> Callable[[Turn], None]:
    """The command itself as a preparation that is not measured."""

    def first(turn: Turn) -> None:
        where, patience = turn.folder, 900
        subprocess.run(
            command(turn), check=True, capture_output=True, cwd=where, env=surroundings(where), timeout=patience
        )

    return first


# --- PostgreSQL -----------------------------------------------------------------------------------------


def empty_copy(turn: Turn) -> None:
    """The table that is written to, empty and without an index."""
    turn.database.execute("DROP TABLE IF EXISTS copied")
    turn.database.execute("CREATE TABLE copied (LIKE events)")


def copy_pipe(*, then: str = "", name: str = "") -> Participant:
    """Binary COPY from one table into another.

    Args:
        then: a statement in the same transaction.
        name: what that makes of it.
    """

    def command(turn: Turn) -> list[str]:
        words = [
            "--single-transaction",
            "-c",
            "COPY copied FROM STDIN (FORMAT binary)",
            *(["-c", then] if then else []),
        ]
        out = shlex.join(psql(turn.database, "-c", "COPY events TO STDOUT (FORMAT binary)"))
        return ["bash", "-c", f"set -o pipefail; {out} | {shlex.join(psql(turn.database, *words))}"]

    return Participant(
        name=f"psql COPY binary, piped{name}",
        role="limit",
        package="psql",
        before=empty_copy,
        command=command,
        found=in_postgres,
    )


def bare_script() -> Participant:
    """psycopg2 and two COPY."""

    def command(turn: Turn) -> list[str]:
        return script(turn, "psycopg2_new_rows.py", dsn(turn))

    def begin(turn: Turn) -> None:
        empty_copy(turn)
        turn.database.execute("CREATE INDEX ON copied (id)")
        run(command)(turn)

    return Participant(
        name="bare psycopg2 script",
        role="limit",
        package="psycopg2-binary",
        begin=begin,
        command=command,
        found=in_postgres,
    )


def on_conflict() -> Participant:
    """INSERT … ON CONFLICT DO UPDATE."""
    sets = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS if name != "id")
    statement = f"INSERT INTO copied SELECT * FROM changes ON CONFLICT (id) DO UPDATE SET {sets}"

    def begin(turn: Turn) -> None:
        turn.database.execute("CREATE TABLE copied (LIKE events INCLUDING ALL)")
        turn.database.execute("INSERT INTO copied SELECT * FROM events")

    return Participant(
        name="psql INSERT … ON CONFLICT",
        role="limit",
        package="psql",
        begin=begin,
        command=lambda turn: psql(turn.database, "-c", statement),
        found=in_postgres,
    )


def copy_csv() -> Participant:
    """COPY of the file."""

    def command(turn: Turn) -> list[str]:
        file = turn.files / "events.csv"
        return psql(turn.database, "-c", f"\\copy copied FROM '{file}' (FORMAT csv, HEADER)")

    return Participant(
        name="psql COPY csv", role="limit", package="psql", before=empty_copy, command=command, found=in_postgres
    )


def dsn(turn: Turn) -> str:
    """The database for libpq."""
    one = turn.database.server
    password = f" password={one.password}" if one.password else ""
    return f"host={one.host} port={one.port} user={one.user} dbname={turn.database.name}{password}"


# --- DuckDB ---------------------------------------------------------------------------------------------


def duckdb(statement: str, begin: str = "") -> Participant:
    """SQL in DuckDB; `{pg}` attaches the database, `{files}` and `{folder}` are places.

    Where no PostgreSQL is read it is the DuckDB that conduit uses.
    """

    def command(turn: Turn) -> list[str]:
        return sql(turn, statement)

    def first(turn: Turn) -> None:
        if begin:
            run(lambda turn: sql(turn, begin))(turn)

    look = (lambda turn: in_parquet(turn, "copied.parquet")) if "copied.parquet" in statement else in_lake
    tool = "duckdb" if "{pg}" in statement else "conduit"
    return Participant(
        name="duckdb", role="limit", tool=tool, package="duckdb", begin=first, command=command, found=look
    )


def sql(turn: Turn, statement: str) -> list[str]:
    """DuckDB with a statement whose places are filled in."""
    pg = f"ATTACH '{dsn(turn)}' AS pg (TYPE postgres, READ_ONLY);"
    lake = f"ATTACH '{turn.folder}/lake.duckdb' AS lake;"
    return script(turn, "duckdb_sql.py", statement.format(pg=pg, lake=lake, files=turn.files, folder=turn.folder))


def in_lake(turn: Turn) -> Found:
    """The copy in the DuckDB file."""
    return in_duckdb(turn, "lake.duckdb", "copied")


FROM_CSV = (
    "read_csv('{files}/events.csv', header = true,"
    " types = {{'amount': 'DECIMAL(12,2)', 'number': 'INTEGER', 'local_at': 'TIMESTAMP'}})"
)
TO_PARQUET = "{pg} COPY (FROM pg.public.events) TO '{folder}/copied.parquet'"
CSV_TO_PARQUET = f"COPY (FROM {FROM_CSV}) TO '{{folder}}/copied.parquet'"
PARQUET_TO_PARQUET = "COPY (FROM '{files}/events.parquet') TO '{folder}/copied.parquet'"
TO_DUCKDB = "{pg} {lake} CREATE TABLE lake.copied AS FROM pg.public.events"
DUCKDB_TO_DUCKDB = (
    "{lake} ATTACH '{files}/events.duckdb' AS source (READ_ONLY); CREATE TABLE lake.copied AS FROM source.events"
)
MERGE = (
    "{pg} {lake} MERGE INTO lake.copied USING (FROM pg.public.changes) AS changes USING (id)"
    " WHEN MATCHED THEN UPDATE WHEN NOT MATCHED THEN INSERT"
)


# --- Iceberg --------------------------------------------------------------------------------------------


def iceberg_append() -> Participant:
    """pyiceberg writing rows that are in memory."""
    return Participant(
        name="pyiceberg, writing alone",
        role="limit",
        package="pyiceberg",
        command=lambda turn: script(turn, "iceberg_append.py", turn.folder, turn.files / "events.arrow"),
        found=in_iceberg,
    )


def iceberg_upsert() -> Participant:
    """pyiceberg's `Table.upsert`."""
    first = iceberg_append()
    return Participant(
        name="pyiceberg Table.upsert",
        role="limit",
        package="pyiceberg",
        begin=run(first.command),
        command=lambda turn: script(turn, "iceberg_upsert.py", turn.folder, turn.folder / "changes.arrow"),
        found=in_iceberg,
    )


def python_alone() -> Participant:
    """An interpreter that does nothing."""
    return Participant(
        name="python", role="limit", package="python", command=lambda turn: [str(turn.python), "-c", "pass"]
    )
