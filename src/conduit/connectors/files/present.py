"""Append that leaves out what is there: staged rows against the keys of existing files, compared by DuckDB on disk.

What comes out is which rows are dropped; the rows themselves never pass through DuckDB, so their types stay exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conduit.arrow import pa, pq
from conduit.connectors.files import csv_lines, csv_scan, duck
from conduit.connectors.files.config import CsvSourceConnection
from conduit.connectors.files.parts import Part
from conduit.contract import Committed, Write
from conduit.positions import Position
from conduit.schemas import conform

MEMORY = "1GB"
"""What the comparison may hold in memory; the rest goes to disk."""


@dataclass(frozen=True, slots=True)
class Existing:
    """The files that hold the table's rows.

    Attributes:
        files: all of them.
        format: `parquet`, `csv`, or `json` for both layouts of JSON.
        columns: names that the table is known to have; empty: unknown.
    """

    files: Sequence[Path]
    format: str
    columns: Sequence[str] = ()


class Comparison:
    """Staged Parquet parts, in the order of their arrival, against existing files."""

    def __init__(self, parts: Sequence[Part], existing: Existing, write: Write, connection: duck.Connection) -> None:
        """Find the rows to drop.

        Raises:
            duckdb.Error: an existing file cannot be read, or holds a key of another type.
        """
        self._parts = parts
        self._duck = connection
        self._staged = sum(part.rows for part in parts)
        self._duck.execute(f"CREATE TEMP TABLE dropped AS {self._dropped(existing, write)}")

    @property
    def committed(self) -> Committed:
        """What becomes of the staged rows."""
        counts = self._duck.sql(
            "SELECT count(*) FILTER (superseded), count(*) FILTER (NOT superseded) FROM dropped"
        ).fetchall()
        superseded, present = counts[0]
        return Committed(inserted=self._staged - superseded - present, superseded=superseded, already_present=present)

    def kept(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows that are not dropped, in their order."""
        for part in self._parts:
            mask, start = self._mask(part), 0
            with pq.ParquetFile(str(part.path)) as content:
                for batch in content.iter_batches(duck.BATCH_ROWS):
                    kept = batch.filter(mask.slice(start, batch.num_rows))
                    start += batch.num_rows
                    yield conform(kept, schema)

    def _mask(self, part: Part) -> pa.BooleanArray:
        """For each row of a part whether it is kept."""
        file = duck.literal(str(part.path))
        relation = self._duck.sql(
            f"SELECT d.row IS NULL AS kept FROM range({part.rows}) AS r(row) LEFT JOIN (SELECT row FROM dropped "
            f"WHERE file = {file}) AS d ON d.row = r.row ORDER BY r.row"
        )
        table = pa.RecordBatchReader.from_stream(relation).read_all()
        return table.column(0).combine_chunks()  # type: ignore[return-value]

    # --- SQL --------------------------------------------------------------------------------------------

    def _dropped(self, existing: Existing, write: Write) -> str:
        """Rows that a later or higher row of the same key supersedes, and rows whose key is there already."""
        keys = ", ".join(duck.identifier(name) for name in write.key)
        newest = f"{duck.identifier(write.cursor)} DESC NULLS LAST, " if write.cursor else ""
        place = f"row_number() OVER (PARTITION BY {keys} ORDER BY {newest}filename DESC, file_row_number DESC)"
        same = " AND ".join(f"e.{duck.identifier(name)} = s.{duck.identifier(name)}" for name in write.key)
        there = self._existing(existing, write)
        present = f"EXISTS (SELECT 1 FROM ({there}) AS e WHERE {same})" if there else "false"
        return (
            f"SELECT file, row, place > 1 AS superseded FROM (SELECT *, filename AS file, file_row_number AS row, "
            f"{'1' if write.key_is_unique else place} AS place FROM {self._scan()}) AS s WHERE place > 1 OR {present}"
        )

    def _scan(self) -> str:
        files = duck.file_list([part.path for part in self._parts])
        return f"read_parquet({files}, filename=true, file_row_number=true, hive_partitioning=false)"

    def _existing(self, existing: Existing, write: Write) -> str:
        """A query for the keys that are there; empty when none can be."""
        files = [path for path in existing.files if path.exists() and path.stat().st_size]
        lacking = existing.columns and any(name not in existing.columns for name in write.key)
        if not files or lacking:
            return ""
        bound = write.cursor if write.present_from is not None and write.cursor in write.key else None
        names = list(dict.fromkeys([*write.key, *([bound] if bound else [])]))
        columns = ", ".join(duck.identifier(name) for name in names)
        relation = self._duck.sql(f"SELECT {columns} FROM {self._scan()} LIMIT 0")
        types = {name: str(type_) for name, type_ in zip(names, relation.types, strict=True)}
        query = _keys(files, existing.format, types)
        if bound is None or write.present_from is None or not query:
            return query
        return f"SELECT * FROM ({query}) WHERE {duck.identifier(bound)} >= {_value(write.present_from, types[bound])}"


def _value(position: Position, type_: str) -> str:
    wide = "HUGEINT" if position.type == "int" else type_
    return f"CAST({duck.literal(position.value)} AS {wide})"


def _keys(files: Sequence[Path], file_format: str, types: dict[str, str]) -> str:
    """The key columns of all existing files, in the types that they have in the staged rows."""
    if file_format == "parquet":
        same = [f"CAST({duck.identifier(name)} AS {type_}) AS {duck.identifier(name)}" for name, type_ in types.items()]
        scan = f"read_parquet({duck.file_list(files)}, union_by_name=true, hive_partitioning=false)"
        return f"SELECT {', '.join(same)} FROM {scan}"
    columns = ", ".join(f"{_from_text(name, type_)} AS {duck.identifier(name)}" for name, type_ in types.items())
    if file_format == "json":
        wanted = duck.struct(dict.fromkeys(types, "VARCHAR"))
        scan = f"read_json({duck.file_list(files)}, columns={wanted}, hive_partitioning=false)"
        return f"SELECT {columns} FROM {scan}"
    groups = {header: alike for header, alike in _by_header(files).items() if all(name in header for name in types)}
    scans = [csv_scan.scan(alike, header, CsvSourceConnection(path=str(alike[0]))) for header, alike in groups.items()]
    return " UNION ALL ".join(f"SELECT {columns} FROM {one}" for one in scans)


def _from_text(name: str, type_: str) -> str:
    """The expression that reads back what `encode` wrote."""
    column = duck.identifier(name)
    return f"unhex({column})" if type_ == "BLOB" else f"CAST({column} AS {type_})"


def _by_header(files: Sequence[Path]) -> dict[tuple[str, ...], list[Path]]:
    """CSV files by their columns: older loads may have fewer."""
    found: dict[tuple[str, ...], list[Path]] = {}
    for file in files:
        header = csv_lines.first_record(file, CsvSourceConnection(path=str(file))) or []
        found.setdefault(tuple(header), []).append(file)
    return found
