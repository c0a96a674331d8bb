"""Parquet files that others have written, as data files of a table: proved to fit before they are added.

Knows no snapshot but the head, and commits nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import UnsupportedPyArrowTypeException
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.metadata import TableMetadata

from iceframe.errors import SchemaError, ValidationError
from iceframe.footers import null_counts, partition_of, statistics
from iceframe.internals import refuse_unreadable
from iceframe.scan import planned, storage
from iceframe.schemas import arrow_schema
from iceframe.widening import children

_FIELD_ID = b"PARQUET:field_id"


def full_paths(paths: str | Path | Iterable[str | Path]) -> list[str]:
    """Paths as a table keeps them; local ones are absolute.

    Raises:
        ValidationError: one comes twice, or there is none.
    """
    given = [paths] if isinstance(paths, str | Path) else list(paths)
    full = [_full(str(path)) for path in given]
    twice = sorted({path for path in full if full.count(path) > 1})
    if twice:
        raise ValidationError(f"{twice[0]} is given twice")
    if not full:
        raise ValidationError("no files are given")
    return full


def described_files(metadata: TableMetadata, io: FileIO, paths: Iterable[str]) -> tuple[DataFile, ...]:
    """The files with their partition and statistics.

    Raises:
        StorageError: a file is missing or is no Parquet file.
        SchemaError: its columns do not fit, or its rows belong to several partitions.
    """
    return tuple(_described(metadata, io, path) for path in paths)


def refuse_known(table: Table, paths: Iterable[str], branch: str) -> None:
    """Refuse files that the table holds already.

    Raises:
        ValidationError: it holds one.
    """
    head = table.metadata.snapshot_by_name(branch)
    if head is None:
        return
    with storage("the manifests"):
        there = {_full(task.file.file_path) for task in planned(table.metadata, table.io, head.snapshot_id)}
    known = sorted(there.intersection(paths))
    if known:
        raise ValidationError(
            f"{known[0]} is part of {'.'.join(table.name())} already", hint="its rows would be doubled"
        )


def with_name_mapping(metadata: TableMetadata) -> dict[str, str]:
    """The property by which columns of files without field ids are found; empty where the table has it."""
    if metadata.name_mapping() is not None:
        return {}
    return {TableProperties.DEFAULT_NAME_MAPPING: metadata.schema().name_mapping.model_dump_json()}


def _full(path: str) -> str:
    plain = path.removeprefix("file://").removeprefix("file:")
    return path if "://" in plain else f"file://{Path(plain).absolute()}"


def _described(metadata: TableMetadata, io: FileIO, path: str) -> DataFile:
    with storage(path):
        opened = io.new_input(path)
        size = len(opened)
        with opened.open() as stream:
            footer = pq.read_metadata(cast("IO[Any]", stream))
    schema = metadata.schema()
    try:
        _refuse_columns(footer, metadata)
        known = statistics(footer, schema, metadata.properties)
        partition = partition_of(footer, schema, metadata.spec())
    except KeyError as error:
        raise SchemaError(f"{path}: the table has no column {error}") from error
    except (SchemaError, ValueError, TypeError, UnsupportedPyArrowTypeException) as error:
        raise SchemaError(f"{path}: {error}") from error
    made = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=partition,
        file_size_in_bytes=size,
        sort_order_id=None,
        equality_ids=None,
        key_metadata=None,
        **known,
    )
    made.spec_id = metadata.default_spec_id
    return made


def _refuse_columns(footer: pq.FileMetaData, metadata: TableMetadata) -> None:
    """Refuse columns that do not fit by name, type, nullability or field id."""
    nulls = null_counts(footer)
    given = pa.schema(
        [one.with_nullable(nulls.get(one.name) != 0 and one.nullable) for one in footer.schema.to_arrow_schema()]
    )
    schema = metadata.schema()
    children(given, [one.with_nullable(True) for one in arrow_schema(schema)])
    ids = {one.name: one.field_id for one in schema.fields}
    for one in given:
        found = (one.metadata or {}).get(_FIELD_ID)
        if found is not None and int(found) != ids[one.name]:
            raise SchemaError(
                f"column {one.name} has field id {int(found)}, and {ids[one.name]} in the table",
                hint="the file was written for another table; append its rows instead",
            )
    refuse_unreadable(schema, given, metadata.name_mapping() or schema.name_mapping)
