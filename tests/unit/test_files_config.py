"""Keys of file connections: what is refused when ingest.yml is read, and what a form of the path excludes."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from conduit.connectors.files.config import (
    CsvDestinationConnection,
    CsvSourceConnection,
    FileDestinationConnection,
    JsonDestinationConnection,
    ParquetDestinationConnection,
    ParquetSourceConnection,
)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (ParquetDestinationConnection, "lake.parquet"),
        (CsvDestinationConnection, "out.txt"),
        (CsvDestinationConnection, "out.json"),
        (JsonDestinationConnection, "out.csv"),
        (CsvDestinationConnection, ""),
        (ParquetDestinationConnection, "s3://bucket/lake/"),
        (ParquetSourceConnection, "https://example.com/x.parquet"),
    ],
)
def test_a_path_that_is_no_file_of_this_type_and_no_folder_is_refused(
    model: type[FileDestinationConnection], path: str
) -> None:
    with pytest.raises(ValueError, match="path"):
        model(path=path)


@pytest.mark.parametrize("settings", [{"delimiter": ";;"}, {"delimiter": "\n"}, {"quote": ","}, {"escape": "é"}])
def test_a_dialect_that_cannot_be_told_apart_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must"):
        CsvSourceConnection(path="x.csv", **settings)  # type: ignore[arg-type]


def test_an_unknown_encoding_is_refused_by_its_type() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"path": "x.csv", "encoding": "ebcdic"}, CsvSourceConnection)


def test_a_folder_cannot_merge_and_a_single_file_commits_once() -> None:
    assert set(ParquetDestinationConnection(path="lake/").cannot()) == {"merge", "repair"}
    assert set(CsvDestinationConnection(path="folder").cannot()) == {"merge", "repair"}
    assert set(JsonDestinationConnection(path="x.ndjson").cannot()) == {"merge", "repair", "checkpoints", "add_columns"}


def test_reading_the_keys_imports_no_reader() -> None:
    code = "import conduit.connectors.files.config, sys; print({'duckdb', 'pyarrow', 'ctypes'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
