"""The file connectors keep what every connector promises."""

from __future__ import annotations

import csv
import datetime as dt
import json
import uuid
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from conduit.config.models import Connection
from conduit.connectors.files import config
from conduit.connectors.files.destination import FileDestination
from conduit.connectors.files.source import FileSource
from conduit.contract import Ability
from conduit.testing import DestinationPromises, SourcePromises
from tests.integration.values import VALUES


class FileDestinationPromises(DestinationPromises):
    """What the forms share: where the files are, and how one of them is read."""

    values = VALUES
    connection: ClassVar[Any]
    nowhere: ClassVar[Any]

    def make(self, place: Path) -> FileDestination:
        return FileDestination("conformance", self.connection, place)

    def unreachable(self, place: Path) -> FileDestination:
        (place / "file").write_text("a file where a folder should be")
        return FileDestination("conformance", self.nowhere, place)

    def cannot(self) -> Mapping[Ability, str]:
        connection: Connection = self.connection
        return connection.cannot()

    def records(self, place: Path) -> list[dict[str, Any]]:
        """All rows of all committed files, read by a plain reader."""
        raise NotImplementedError

    def rows(self, place: Path) -> list[tuple[Any, ...]]:
        return [(int(row["id"]), row["name"], str(row["amount"])) for row in self.records(place)]

    def read_back(self, place: Path, name: str) -> list[Any]:
        ordered = sorted(self.records(place), key=lambda row: int(row["id"]))
        return [self.python(name, row[name]) for row in ordered]

    def python(self, name: str, value: Any) -> Any:
        """A value of the reader as the value that was written."""
        raise NotImplementedError


class TestParquetFolder(FileDestinationPromises):
    connection = config.ParquetDestinationConnection(path="out/")
    nowhere = config.ParquetDestinationConnection(path="file/out/")

    def records(self, place: Path) -> list[dict[str, Any]]:
        return [row for path in sorted(place.glob("out/**/*.parquet")) for row in pq.read_table(path).to_pylist()]

    def python(self, name: str, value: Any) -> Any:
        if isinstance(value, uuid.UUID):
            return value.bytes
        return value.astimezone(dt.UTC) if getattr(value, "tzinfo", None) else value


def csv_records(path: Path) -> list[dict[str, Any]]:
    """Rows by the csv module; an empty field without quotes is NULL, which that module cannot tell: see `python`."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file, strict=True, quoting=csv.QUOTE_MINIMAL))


class CsvPromises(FileDestinationPromises):
    """CSV knows text only; NULL is the empty field, '' the quoted one, which DuckDB's reader tells apart."""

    def paths(self, place: Path) -> list[Path]:
        raise NotImplementedError

    def records(self, place: Path) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for path in self.paths(place):
            with duckdb.connect() as connection:
                found = connection.execute(
                    "SELECT * FROM read_csv(?, header = true, delim = ',', quote = '\"', escape = '\"', "
                    f"auto_detect = false, allow_quoted_nulls = false, nullstr = '', columns = {_columns(path)})",
                    [str(path)],
                )
                names = [column[0] for column in found.description or ()]
                rows += [dict(zip(names, row, strict=True)) for row in found.fetchall()]
        return rows

    def python(self, name: str, value: Any) -> Any:
        return None if value is None else _FROM_TEXT.get(name, lambda v: v)(value)


def _columns(path: Path) -> str:
    with path.open(newline="") as file:
        names = next(csv.reader(file))
    return "{" + ", ".join(f"'{name}': 'VARCHAR'" for name in names) + "}"


_FROM_TEXT: dict[str, Any] = {
    "small": int, "big": int, "exact": Decimal, "real": float, "yes": lambda v: {"true": True, "false": False}[v],
    "bytes": bytes.fromhex, "day": dt.date.fromisoformat, "clock": dt.time.fromisoformat,
    "local": dt.datetime.fromisoformat, "moment": dt.datetime.fromisoformat, "key": lambda v: uuid.UUID(v).bytes,
}  # fmt: skip


class TestCsvFolder(CsvPromises):
    connection = config.CsvDestinationConnection(path="out/")
    nowhere = config.CsvDestinationConnection(path="file/out/")

    def paths(self, place: Path) -> list[Path]:
        return sorted(place.glob("out/**/*.csv"))


class TestCsvFile(CsvPromises):
    connection = config.CsvDestinationConnection(path="out.csv")
    nowhere = config.CsvDestinationConnection(path="file/out.csv")

    def paths(self, place: Path) -> list[Path]:
        return [path for path in [place / "out.csv"] if path.exists()]


class JsonPromises(FileDestinationPromises):
    """JSON has numbers, booleans, text and nested values; the rest is text."""

    values = VALUES | {"doc": (pa.json_(), ['{"a": 1.5, "b": [null, "é"]}', "[]", None])}

    def python(self, name: str, value: Any) -> Any:
        if name == "doc" and value is not None:
            return json.dumps(value, ensure_ascii=False)
        is_text = isinstance(value, str) and name in _FROM_TEXT
        return _FROM_TEXT[name](value) if is_text else value


class TestJsonFolder(JsonPromises):
    connection = config.JsonDestinationConnection(path="out/")
    nowhere = config.JsonDestinationConnection(path="file/out/")

    def records(self, place: Path) -> list[dict[str, Any]]:
        parts = sorted(place.glob("out/**/*.ndjson"))
        return [json.loads(line) for path in parts for line in path.read_text().split("\n") if line]


class TestJsonLinesFile(JsonPromises):
    connection = config.JsonDestinationConnection(path="out.ndjson")
    nowhere = config.JsonDestinationConnection(path="file/out.ndjson")

    def records(self, place: Path) -> list[dict[str, Any]]:
        path = place / "out.ndjson"
        return [json.loads(line) for line in path.read_text().split("\n") if line] if path.exists() else []


class TestJsonArrayFile(JsonPromises):
    connection = config.JsonDestinationConnection(path="out.json")
    nowhere = config.JsonDestinationConnection(path="file/out.json")

    def records(self, place: Path) -> list[dict[str, Any]]:
        path = place / "out.json"
        return list(json.loads(path.read_text())) if path.exists() else []


class FileSourcePromises(SourcePromises):
    """Files: the connection names the rows."""

    takes_tables = False
    connection: ClassVar[Any]
    nowhere: ClassVar[Any]

    def make(self, place: Path) -> FileSource:
        return FileSource("conformance", self.connection, place)

    def unreachable(self, place: Path) -> FileSource:
        return FileSource("conformance", self.nowhere, place)

    def insert(self, place: Path, rows: list[tuple[int, int | None, str]]) -> None:
        folder = place / "in"
        folder.mkdir(exist_ok=True)
        self.write(folder / f"part-{len(list(folder.iterdir())):03d}", rows)

    def write(self, path: Path, rows: list[tuple[int, int | None, str]]) -> None:
        raise NotImplementedError


class TestParquetSource(FileSourcePromises):
    connection = config.ParquetSourceConnection(path="in/")
    nowhere = config.ParquetSourceConnection(path="nothing/*.parquet")

    def write(self, path: Path, rows: list[tuple[int, int | None, str]]) -> None:
        columns = list(zip(*rows, strict=True))
        types = (pa.int64(), pa.int64(), pa.string())
        arrays = [pa.array(column, type_) for column, type_ in zip(columns, types, strict=True)]
        pq.write_table(pa.table(arrays, names=["id", "seen", "name"]), path.with_suffix(".parquet"))


class TestCsvSource(FileSourcePromises):
    connection = config.CsvSourceConnection(path="in/")
    nowhere = config.CsvSourceConnection(path="nothing/*.csv")

    def write(self, path: Path, rows: list[tuple[int, int | None, str]]) -> None:
        with path.with_suffix(".csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "seen", "name"])
            writer.writerows(rows)


class TestJsonSource(FileSourcePromises):
    connection = config.JsonSourceConnection(path="in/")
    nowhere = config.JsonSourceConnection(path="nothing/*.json")

    def write(self, path: Path, rows: list[tuple[int, int | None, str]]) -> None:
        lines = [json.dumps({"id": i, "seen": seen, "name": name}) for i, seen, name in rows]
        path.with_suffix(".ndjson").write_text("\n".join(lines) + "\n")
