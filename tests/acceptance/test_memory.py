"""What a run keeps in memory is bounded by bytes: wide rows, many rows, from every kind of reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.support.postgres import Database
from tests.support.project import pipeline

ROWS, CHARACTERS = 35_000, 10_240
"""Some 360 MB of rows: a run that kept them would be far above each limit."""

LIMIT_MB = 300
"""Most that a run may have in memory for it: its modules, and what is in flight."""

DUCKDB_MB = 500
"""The same where DuckDB reads: it works on 2048 rows at a time, here 20 MB, in each of its threads."""

_PROGRAM = """
import sys
import conduit
report = conduit.run("ingest.yml")
found = open("/proc/self/status").read()
peak = int(found.partition("VmHWM:")[2].split()[0]) // 1024
print(peak, report.resources[0].written, report.resources[0].error)
sys.exit(report.exit_code)
"""

WIDE = f"SELECT g::bigint AS id, repeat(md5(g::text), {CHARACTERS // 32}) AS body FROM generate_series(1, {ROWS}) AS g"


def peak_of_run(folder: Path, content: dict[str, Any]) -> tuple[int, int]:
    """Megabytes that a run had at its peak, in a process of its own, and the rows that it wrote."""
    (folder / "ingest.yml").write_text(yaml.safe_dump(content))
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], cwd=folder, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    peak, written = done.stdout.split()[:2]
    return int(peak), int(written)


@pytest.fixture(scope="module")
def wide_parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file with the wide rows, whose texts stand in dictionaries: its size does not tell of them."""
    path = tmp_path_factory.mktemp("wide") / "wide.parquet"
    fields: list[pa.Field[Any]] = [pa.field("id", pa.int64()), pa.field("body", pa.string())]
    schema = pa.schema(fields)
    bodies = ["ab" * (CHARACTERS // 2), "cd" * (CHARACTERS // 2)]
    with pq.ParquetWriter(path, schema, compression="snappy") as writer:
        for start in range(0, ROWS, 1000):
            texts = pa.DictionaryArray.from_arrays(pa.array([n % 2 for n in range(1000)]), bodies).cast(pa.string())
            writer.write_batch(pa.record_batch([pa.array(range(start, start + 1000)), texts], schema=schema), ROWS)
    return path


def test_wide_rows_of_postgres_do_not_fill_the_memory(database: Database, tmp_path: Path) -> None:
    database.execute(f"CREATE TABLE wide AS {WIDE}")
    content = pipeline(database.keys, {"type": "parquet", "path": "lake/"}, table="wide", mode="replace")
    peak, written = peak_of_run(tmp_path, content)
    assert (written, min(peak, LIMIT_MB)) == (ROWS, peak)
    into = pipeline(database.keys, database.keys, table="wide", into="copied", mode="replace", metadata_columns=True)
    peak, written = peak_of_run(tmp_path, into)
    assert (written, min(peak, LIMIT_MB)) == (ROWS, peak)


def test_wide_rows_of_parquet_do_not_fill_the_memory(wide_parquet: Path, database: Database, tmp_path: Path) -> None:
    content = pipeline({"type": "parquet", "path": str(wide_parquet)}, database.keys, mode="replace", into="copied")
    peak, written = peak_of_run(tmp_path, content)
    assert (written, min(peak, LIMIT_MB)) == (ROWS, peak)


def test_wide_rows_of_duckdb_do_not_fill_the_memory(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "source.duckdb")) as connection:
        connection.execute("SET force_compression = 'zstd'")  # to find the best one by itself takes it half a minute
        connection.execute(f"CREATE TABLE wide AS {WIDE.replace('AS g', 'AS t(g)')}")
    content = pipeline(
        {"type": "duckdb", "database": "source.duckdb", "memory_limit": "200MB"},
        {"type": "parquet", "path": "lake/"}, table="wide", mode="replace",
    )  # fmt: skip
    peak, written = peak_of_run(tmp_path, content)
    assert (written, min(peak, DUCKDB_MB)) == (ROWS, peak)


def test_wide_rows_of_csv_do_not_fill_the_memory(tmp_path: Path) -> None:
    with (tmp_path / "wide.csv").open("w") as stream:
        stream.write("id,body\n")
        for row in range(ROWS):
            stream.write(f"{row},{format(row, '08x') * (CHARACTERS // 8)}\n")
    content = pipeline({"type": "csv", "path": "wide.csv"}, {"type": "parquet", "path": "lake/"}, mode="replace")
    peak, written = peak_of_run(tmp_path, content)
    assert (written, min(peak, DUCKDB_MB)) == (ROWS, peak)


def test_five_times_the_rows_take_the_same_memory(database: Database, tmp_path: Path) -> None:
    peaks = []
    for rows in (600_000, 3_000_000):
        database.execute("DROP TABLE IF EXISTS many")
        database.execute(
            f"CREATE TABLE many AS SELECT g::bigint AS id, repeat('x', 60) AS note FROM generate_series(1, {rows}) AS g"
        )
        content = pipeline(database.keys, {"type": "parquet", "path": f"lake{rows}/"}, table="many", mode="replace")
        peak, written = peak_of_run(tmp_path, content)
        assert written == rows
        peaks.append(peak)
    assert peaks[1] < peaks[0] * 1.25, peaks
