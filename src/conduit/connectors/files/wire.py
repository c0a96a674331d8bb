"""Parquet to Parquet: whole files passed from folder to folder, read through on the way but never written anew.

A file passes as the bytes that the ledger names: what was copied is added up and compared with it. Its rows are decoded
all the same, so that a damaged page is found before there is a mark; what is saved is making new files of them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from conduit import interrupts
from conduit.arrow import pa, pq
from conduit.connectors.files import disk
from conduit.connectors.files.failures import reading, writing
from conduit.connectors.files.listing import Found
from conduit.connectors.files.parquet_reader import ParquetReader
from conduit.connectors.files.parts import DRAFT, Part
from conduit.contract import Staged
from conduit.errors import ConnectionFailed, DataError
from conduit.faults import crash_point
from conduit.wires import Wire

SMALL = 1 << 20
"""Bytes. Files that are smaller on average are written together, so that a folder of crumbs does not become another."""

_CHUNK = 1 << 20

Take = Callable[[Iterator[bytes]], None]
"""What one file is handed to, in pieces."""


def kind(schema: pa.Schema) -> str:
    """The format: nothing of a stored schema may differ, its metadata included."""
    return f"parquet {hashlib.sha256(schema.serialize()).hexdigest()}"


def _columns(schema: pa.Schema) -> tuple[tuple[str, str], ...]:
    return tuple((field.name, str(field.type)) for field in schema)


def fits(wire: Wire, schema: pa.Schema) -> bool:
    """Whether files with this schema are what the wire brings."""
    return wire.kind == kind(schema) and wire.columns == _columns(schema)


# --- the source -----------------------------------------------------------------------------------------


def offered(source: str, reader: ParquetReader, files: Sequence[Found], digests: Mapping[str, str]) -> Wire | None:
    """The wire for some files; None: they are too small, or not all of one schema.

    Args:
        source: name of the connection, for messages.
        reader: of these files.
        files: what is sent, in this order.
        digests: name of a file -> its sha256 in the ledger.
    """
    small = len(files) > 1 and sum(file.size for file in files) < SMALL * len(files)
    if small or not reader.is_uniform:
        return None

    def send(take: Take) -> int:
        return sum(_sent(source, reader, file, digests[file.name], take) for file in files)

    return Wire(
        kind=kind(reader.schema),
        columns=_columns(reader.schema),
        reached=lambda: None,
        send=send,
        cancel=lambda: None,  # a file is sent in the thread that takes it
    )


def _sent(source: str, reader: ParquetReader, file: Found, digest: str, take: Take) -> int:
    """Hand over one file that has rows; how many.

    Raises:
        ConnectionFailed: it is not the file that the ledger names any more.
        DataError: it is malformed.
    """
    try:
        rows = sum(batch.num_rows for batch in _watched(reader.batches(file)))
    except DataError:
        file.require_unchanged(source)  # a file that changed meanwhile is no malformed one
        raise
    added = hashlib.sha256()
    if rows:
        take(_pieces(source, file, added.update))
    file.require_unchanged(source)
    if rows and added.hexdigest() != digest:
        raise ConnectionFailed(
            f"{source}: {file.name} changed while it was read",
            hint="write files under another name and rename them when they are whole",
            retryable=True,
        )
    return rows


def _watched(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        interrupts.check()
        yield batch


def _pieces(source: str, file: Found, add: Callable[[bytes], None]) -> Iterator[bytes]:
    with reading(source, file.name), file.path.open("rb") as stream:
        while piece := stream.read(_CHUNK):
            add(piece)
            yield piece


# --- the destination ------------------------------------------------------------------------------------


def copied(wire: Wire, destination: str, folder: Path) -> Staged:
    """Every file of the wire as a part in `folder`, on disk. The rows that they hold are those that were sent.

    Raises:
        ConnectionFailed: the disk is full, or refuses; or the source failed.
        DataError: a row is missing.
    """
    stem = f"part-0-{secrets.token_hex(8)}"
    parts: list[Part] = []

    def take(pieces: Iterator[bytes]) -> None:
        with writing(destination, folder):
            parts.append(_copy(pieces, folder / f"{stem}-{len(parts) + 1:05d}.{DRAFT}"))
        crash_point("run.batch")

    sent = wire.send(take)
    taken = sum(part.rows for part in parts)
    if sent != taken:
        raise DataError(f"{destination}: {sent} rows were sent, the files that arrived hold {taken}")
    return Staged(part="part-0", rows=taken, detail=tuple(parts))


def _copy(pieces: Iterator[bytes], path: Path) -> Part:
    with disk.new_file(path) as stream:
        for piece in pieces:
            interrupts.check()
            stream.write(piece)
        disk.sync(stream)
        size = stream.tell()
    return Part(path, pq.read_metadata(str(path)).num_rows, size)
