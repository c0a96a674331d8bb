"""PostgreSQL to PostgreSQL: binary COPY passed from one server to the other, without a row being looked at.

Only where every column has one type on both sides, to the modifier: the server mostly takes the bytes of another type
in silence. A source that dies while it sends looks like the end of the rows to the other server, so the reader raises
what happened to the sender instead of ending, and both servers' counts are compared.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from conduit.connectors.postgresql.connection import break_off, mapped
from conduit.connectors.postgresql.types import Column, quote
from conduit.faults import crash_point
from conduit.positions import Position
from conduit.wires import Wire

if TYPE_CHECKING:
    import psycopg2.extensions

CHUNK = 1 << 20
"""Bytes that are read and written at a time; a row at a time costs four times as much."""

PATIENCE = 1.0
"""Seconds that a sender gets to end by itself before its statement is broken off."""

_F_SETPIPE_SZ = 1031  # fcntl names it from Python 3.10 on, on Linux only

_PLAIN = {
    "bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar", "name", "bytea", "date",
    "time", "timetz", "timestamp", "timestamptz", "interval", "uuid", "json", "jsonb", "bit", "varbit", "inet", "cidr",
    "macaddr", "macaddr8", "point", "line", "lseg", "box", "path", "polygon", "circle", "int4range", "int8range",
    "numrange", "tsrange", "tstzrange", "daterange",
}  # fmt: skip
"""Types whose binary form means the same on every server. Not those that hold ids of a server's own objects (regclass,
composite types), or that depend on a locale (money)."""

CARRIED = frozenset(_PLAIN | {f"_{name}" for name in _PLAIN})


def kind(connection: psycopg2.extensions.connection) -> str:
    """The format: texts travel in the encoding of the connection."""
    return f"pgcopy {connection.encoding}"


class Sent(msgspec.Struct, frozen=True):
    """The columns of a wire: their names and types, and the expressions over `q` that give them."""

    columns: tuple[tuple[str, str], ...]
    select: tuple[str, ...]


def chosen(known: Sequence[Column], names: Sequence[str], key: Sequence[str]) -> Sent | None:
    """The columns with these names; None: there is no such column, or one of the key may be NULL.

    What cannot travel as it is becomes text.
    """
    by_name = {column.name: column for column in known}
    if not set(names) <= set(by_name) or any(by_name[name].nullable for name in key):
        return None
    wanted = [by_name[name] for name in names]
    return Sent(
        tuple((column.name, column.formatted if _as_it_is(column) else "text") for column in wanted),
        tuple(_expression(column) for column in wanted),
    )


def _as_it_is(column: Column) -> bool:
    return column.builtin and column.type_name in CARRIED


def _expression(column: Column) -> str:
    name = quote(column.name)
    return f"q.{name}" if _as_it_is(column) else f"q.{name}::text AS {name}"


def offered(
    name: str,
    connection: psycopg2.extensions.connection,
    sent: Sent,
    statement: str,
    *,
    reached: Callable[[], Position | None],
) -> Wire:
    """The wire for the rows of a statement, in the transaction of a connection that this takes over."""

    def send(out: Any) -> int:
        with mapped(name, "send rows"), connection.cursor() as cur:
            cur.copy_expert(f"COPY (\n{statement}\n) TO STDOUT (FORMAT binary)", out, CHUNK)
            out.flush()
            return cur.rowcount

    def cancel() -> None:
        break_off([connection])

    return Wire(kind=kind(connection), columns=sent.columns, reached=reached, send=send, cancel=cancel)


def fits(wire: Wire, connection: psycopg2.extensions.connection, columns: Sequence[Column]) -> bool:
    """Whether the columns of a table are, in this order, those of the wire."""
    own = tuple((column.name, column.formatted) for column in columns)
    return all(_as_it_is(column) for column in columns) and wire.kind == kind(connection) and wire.columns == own


class Inflow(io.RawIOBase):
    """A file to read from for COPY: what a thread sends into a pipe. Close it, whatever happened.

    Attributes:
        sent: rows, once the sender has ended.
        failure: what was raised on either side of the pipe; the driver would only say that reading failed.
    """

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.sent = 0
        self.failure: BaseException | None = None
        self._wire = wire
        self._read_end, self._write_end = os.pipe()
        _widen(self._write_end)
        self._thread = threading.Thread(target=self._send, name="conduit-send", daemon=True)
        self._thread.start()

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes. At the end: empty if the sender ended well, else what happened to it is raised."""
        try:
            chunk = os.read(self._read_end, size if size > 0 else CHUNK)
            crash_point("run.batch")
            if not chunk:
                self._require_whole()
        except BaseException as error:
            self.failure = self.failure or error
            raise
        return chunk

    def _require_whole(self) -> None:
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Let the sender end, soon if it has not."""
        if self.closed:
            return
        super().close()
        os.close(self._read_end)
        self._thread.join(PATIENCE)
        while self._thread.is_alive():
            self._wire.cancel()
            self._thread.join(PATIENCE)

    def _send(self) -> None:
        try:
            with os.fdopen(self._write_end, "wb", buffering=CHUNK) as out:
                self.sent = self._wire.send(out)
        except BaseException as error:  # noqa: BLE001 - crosses to the reading thread and is raised there
            self.failure = self.failure or error


def _widen(pipe: int) -> None:
    """Let a pipe hold a whole chunk, where the system can: fewer changes between the two threads."""
    with suppress(ImportError, OSError):
        import fcntl  # noqa: PLC0415 - there is none on Windows

        fcntl.fcntl(pipe, _F_SETPIPE_SZ, CHUNK)
