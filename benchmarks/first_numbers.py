"""1 M and 5 M rows from PostgreSQL to PostgreSQL and to Parquet, beside `psql COPY` on the same server in the same run.

    make bench        # or: python benchmarks/first_numbers.py [--rows 1000000] [--large 5000000] [--rounds 3]

Whole processes, taken in turn; wall time is the median of the rounds, memory the largest peak of a process. Prints a
table and writes `benchmarks/first_numbers.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import pyarrow.parquet as pq
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.postgres import Database, server

TABLE = """
CREATE TABLE events AS SELECT g::bigint AS id, (g % 100)::int AS number, 'one of fifty ' || (g % 50) AS kind,
  repeat('x', 60) AS note, (g * 1.01)::numeric(12,2) AS amount, g * 0.5::float8 AS ratio, g % 2 = 0 AS even,
  now() AS seen_at, now()::timestamp AS local_at FROM generate_series(1, {rows}) g;
ALTER TABLE events ADD PRIMARY KEY (id); ANALYZE events;
"""
PACKAGES = ("conduit-iceframe", "pyarrow", "adbc-driver-postgresql", "psycopg2-binary", "pgpq", "duckdb")


@dataclass
class Measured:
    """One path at one size: medians over the rounds."""

    path: str
    rows: int
    seconds: float
    cpu: float
    peak_mb: float
    rows_per_second: int
    times_the_limit: float


@dataclass
class Once:
    """One process."""

    seconds: float
    cpu: float
    peak_mb: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--large", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    found: list[Measured] = []
    with server() as running:
        for rows in (wanted.rows, wanted.large):
            with running.database() as database:
                database.execute(TABLE.format(rows=rows))
                found += measure(database, rows, wanted.rounds)
    print(table(found))
    result = {"machine": machine(), "measured": [asdict(one) for one in found]}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


def measure(database: Database, rows: int, rounds: int) -> list[Measured]:
    """The limit and conduit's two paths, in turn."""
    paths: dict[str, Callable[[Database, int], Once]] = {
        "psql COPY binary | psql COPY": copy_pipe,
        "conduit PostgreSQL -> PostgreSQL": to_postgres,
        "conduit PostgreSQL -> Parquet": to_parquet,
    }
    runs: dict[str, list[Once]] = {name: [] for name in paths}
    for _ in range(rounds):
        for name, path in paths.items():
            runs[name].append(path(database, rows))
    limit = statistics.median(run.seconds for run in runs["psql COPY binary | psql COPY"])
    return [summary(name, rows, taken, limit) for name, taken in runs.items()]


def summary(name: str, rows: int, taken: list[Once], limit: float) -> Measured:
    """The medians of the rounds."""
    seconds = statistics.median(run.seconds for run in taken)
    cpu = statistics.median(run.cpu for run in taken)
    peak = max(run.peak_mb for run in taken)
    return Measured(
        name, rows, round(seconds, 2), round(cpu, 2), round(peak, 1), int(rows / seconds), round(seconds / limit, 2)
    )


def copy_pipe(database: Database, rows: int) -> Once:
    """The limit: two psql, binary COPY from one table to another."""
    database.execute("DROP TABLE IF EXISTS copied")
    database.execute("CREATE TABLE copied (LIKE events)")
    psql = f"psql -qX -h {database.server.host} -p {database.server.port} -U {database.server.user} -d {database.name}"
    command = f'{psql} -c "COPY events TO STDOUT (FORMAT binary)" | {psql} -c "COPY copied FROM STDIN (FORMAT binary)"'
    once = process(["bash", "-c", f"set -o pipefail; {command}"], Path.cwd())
    assert database.execute("SELECT count(*) FROM copied") == [(rows,)]
    return once


def to_postgres(database: Database, rows: int) -> Once:
    """`conduit run` into another table of the same server."""
    database.execute("DROP TABLE IF EXISTS copied, _conduit_state")
    with project(database, database.keys) as folder:
        once = process([sys.executable, "-m", "conduit", "run", "ingest.yml"], folder)
    assert database.execute("SELECT count(*), count(DISTINCT id) FROM copied") == [(rows, rows)]
    return once


def to_parquet(database: Database, rows: int) -> Once:
    """`conduit run` into a Parquet data set."""
    with project(database, {"type": "parquet", "path": "lake/"}) as folder:
        once = process([sys.executable, "-m", "conduit", "run", "ingest.yml"], folder)
        parts = (folder / "lake").glob("**/*.parquet")
        assert sum(pq.read_metadata(part).num_rows for part in parts) == rows
    return once


@contextmanager
def project(database: Database, destination: dict[str, object]) -> Iterator[Path]:
    """A project that copies `events` incrementally by id."""
    folder = Path(tempfile.mkdtemp(prefix="conduit-bench-"))
    resource = {"name": "events", "source": "src", "destination": "dst", "table": "events", "into": "copied"}
    content = {
        "sources": [{"name": "src", **database.keys}],
        "destinations": [{"name": "dst", **destination}],
        "resources": [{**resource, "incremental_column": "id"}],
    }
    (folder / "ingest.yml").write_text(yaml.safe_dump(content))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def process(command: list[str], folder: Path) -> Once:
    """Run a command to its end; its children are counted with it."""
    began = time.perf_counter()
    started = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(started.pid, 0)
    seconds = time.perf_counter() - began
    started.returncode = os.waitstatus_to_exitcode(status)
    assert started.returncode == 0, command
    return Once(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def machine() -> dict[str, object]:
    """What it was measured on."""
    return {
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "date": time.strftime("%Y-%m-%d"),
    }


def table(found: list[Measured]) -> str:
    """The results as text."""
    lines = [f"{'path':36} {'rows':>10} {'s':>7} {'cpu s':>7} {'peak MB':>8} {'rows/s':>10} {'x limit':>8}"]
    lines += [
        f"{one.path:36} {one.rows:>10,} {one.seconds:>7.2f} {one.cpu:>7.2f} {one.peak_mb:>8.1f} "
        f"{one.rows_per_second:>10,} {one.times_the_limit:>8.2f}"
        for one in found
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
