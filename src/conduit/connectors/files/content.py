"""The new content of a single file: the old bytes, then the rows of the parts, in the form that the file has.

An array keeps its brackets, CSV its one header; the bytes of old rows are never changed. Knows no mark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from conduit.connectors.files import duck
from conduit.connectors.files.encode import Encoder
from conduit.connectors.files.marklog import chunks
from conduit.connectors.files.parts import Layout, Part
from conduit.errors import DataError

_TAIL = 1 << 16


@dataclass(frozen=True, slots=True)
class Content:
    """What a file is made of.

    Attributes:
        path: the file.
        layout: of the parts, which have no header.
        is_array: the file is a JSON array.
    """

    path: Path
    layout: Layout
    is_array: bool

    def appended(self, parts: Sequence[Part]) -> Iterator[bytes]:
        """The file with the rows at its end."""
        if self.is_array:
            yield from self._array(parts, *_open_array(self.path))
            return
        yield from chunks(self.path)
        yield self._missing_line_end()
        for part in parts:
            yield from chunks(part.path)

    def replaced(self, parts: Sequence[Part]) -> Iterator[bytes]:
        """A file with these rows only."""
        if self.is_array:
            yield from self._array(parts, 0, empty=True)
            return
        if self.layout.format == "csv":
            with duck.connect() as connection:
                yield Encoder(self.layout.schema, "csv", connection).header()
        for part in parts:
            yield from chunks(part.path)

    def _array(self, parts: Sequence[Part], kept: int, empty: bool) -> Iterator[bytes]:
        yield from chunks(self.path, kept) if kept else [b"["]
        pending = b"\n" if empty else b",\n"
        for part in parts:
            for chunk in chunks(part.path):
                yield pending
                pending = b",\n" if chunk.endswith(b"\n") else b""
                yield chunk.removesuffix(b"\n").replace(b"\n", b",\n")
        yield b"\n]\n"

    def _missing_line_end(self) -> bytes:
        """The end of the last line, where it has none."""
        size = self.path.stat().st_size
        if not size:
            return b""
        with self.path.open("rb") as stream:
            stream.seek(-1, 2)
            return b"" if stream.read(1) in b"\r\n" else self.layout.line_end.encode()


def _open_array(path: Path) -> tuple[int, bool]:
    """How many bytes of the array come before its closing bracket, and whether it is empty.

    Raises:
        DataError: the file does not end as an array does.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        stream.seek(max(0, size - _TAIL))
        tail = stream.read().rstrip()
    inner = tail[:-1].rstrip()
    if not tail.endswith(b"]") or not inner:
        raise DataError(f"{path.name} does not end as a JSON array does")
    return size - min(size, _TAIL) + len(inner), inner.endswith(b"[")
