"""Connecting to PostgreSQL, and turning what its drivers raise into conduit's errors. Knows no table."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from weakref import WeakSet

import psycopg2
import psycopg2.extensions

from conduit.connectors.postgresql.config import PostgresqlConnection, is_local
from conduit.connectors.postgresql.types import quote
from conduit.errors import Busy, ConduitError, ConfigError, ConnectionFailed, DataError
from conduit.interrupts import on_interrupt

CONNECT_TIMEOUT = "10"
READ_ONLY = "SET default_transaction_read_only = on"
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SETTINGS = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'"
_PERMANENT = ("authentication failed", "no password supplied", "does not exist", "certificate", "SSL", "pg_hba.conf")
_TRANSIENT_CODES = ("40001", "40P01", "57P01", "57P02", "57P03", "53300", "08")
"""Serialization failure, deadlock, shutdown, crash, starting up, too many connections, connection errors."""


_open: WeakSet[psycopg2.extensions.connection] = WeakSet()


SILENCE = {
    "keepalives_idle": "60",
    "keepalives_interval": "10",
    "keepalives_count": "6",
    "tcp_user_timeout": "120000",
}
"""A peer that vanished without a word is noticed after two minutes: asked when it is silent, or owing us a receipt. The
system's own defaults are hours, or never."""
GRACE = 5.0
"""Seconds that a server gets to take a cancellation, and then the run to end by it."""
ANSWERS_WITHIN = 2.0
"""Seconds within which a server that can cancel anything says its first word."""
_ASK_FOR_TLS = struct.pack("!II", 8, 80877103)


def _cancel_statements() -> None:
    """Break off what any connection of this process is waiting for; hang up where the server stays silent."""
    break_off(list(_open))
    last = threading.Timer(GRACE, _hang_up)
    last.daemon = True
    last.start()


def break_off(connections: Sequence[psycopg2.extensions.connection]) -> None:
    """Cancel what they wait for, each in a thread of its own: a silent server does not answer a cancellation either."""
    for connection in connections:
        threading.Thread(target=_cancel, args=(connection,), name="conduit-cancel", daemon=True).start()


def _cancel(connection: psycopg2.extensions.connection) -> None:
    with suppress(psycopg2.Error, OSError):  # it was closed, or its server is gone
        if _answers(connection.info.host, connection.info.port):
            connection.cancel()


def _answers(host: str, port: int) -> bool:
    """Whether a server still says a word, asked for TLS as any client may ask.

    The driver's own cancellation waits for a silent one for ever, and lets no other thread of Python run meanwhile.
    """
    with closing(_line(host, port)) as line:
        line.sendall(_ASK_FOR_TLS)
        return bool(line.recv(1))


def _line(host: str, port: int) -> socket.socket:
    if not host.startswith("/"):
        return socket.create_connection((host, port), timeout=ANSWERS_WITHIN)
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(ANSWERS_WITHIN)
    line.connect(f"{host}/.s.PGSQL.{port}")
    return line


def _hang_up() -> None:
    """Shut down the sockets: whoever waits in the driver gets an error, and the mark tells what became of a commit."""
    for connection in list(_open):
        with suppress(psycopg2.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)


on_interrupt(_cancel_statements)


def parameters(connection: PostgresqlConnection) -> dict[str, str]:
    """The libpq parameters of a connection: its URL, its parts, then conduit's defaults for what is left open.

    Raises:
        ConfigError: the URL cannot be read, or asks for texts in another encoding.
    """
    found: dict[str, str] = {}
    if connection.url is not None:
        found |= _of_url(connection.url.reveal())
    parts = {
        "host": connection.host,
        "port": str(connection.port) if connection.port else None,
        "dbname": connection.database,
        "user": connection.user,
        "password": connection.password.reveal() if connection.password else None,
        "sslmode": connection.sslmode,
        "sslrootcert": connection.sslrootcert,
    }
    found |= {key: value for key, value in parts.items() if value is not None}
    found |= connection.options
    found.setdefault("host", "localhost")
    found.setdefault("connect_timeout", CONNECT_TIMEOUT)
    found = SILENCE | found
    found.setdefault("application_name", "conduit")
    if found.setdefault("client_encoding", "UTF8").upper().replace("-", "") != "UTF8":
        raise ConfigError(
            f"`client_encoding` is {found['client_encoding']}: texts travel as UTF8", hint="take it out of the options"
        )
    found.setdefault("sslmode", "prefer" if is_local(found["host"]) else "verify-full")
    own_authority = os.path.exists(os.path.expanduser("~/.postgresql/root.crt"))  # noqa: PTH110, PTH111 - libpq's rule
    if found["sslmode"] == "verify-full" and not own_authority:
        found.setdefault("sslrootcert", "system")
    return found


def _of_url(url: str) -> dict[str, str]:
    """The parameters in a url or a DSN.

    Raises:
        ConfigError: libpq cannot read it.
    """
    try:
        return {key: str(value) for key, value in psycopg2.extensions.parse_dsn(url).items()}
    except psycopg2.ProgrammingError as error:
        raise ConfigError(
            f"`url` cannot be read: {' '.join(str(error).split())}",
            hint="postgresql://user@host:port/database, special characters as %40 and the like",
        ) from error


def conninfo(connection: PostgresqlConnection) -> str:
    """The same parameters as one libpq string, for drivers that take nothing else."""
    return psycopg2.extensions.make_dsn(**parameters(connection))


def connect(
    name: str, connection: PostgresqlConnection, *also: str, snapshot: bool = False
) -> psycopg2.extensions.connection:
    """An open connection in UTC, with exact floats; every statement of it is a transaction of its own.

    All that sets it up goes in one round trip. It could go with the connection itself, in libpq's `options`, for none;
    but poolers refuse that, or drop it without a word.

    Args:
        name: the connection's name, for messages.
        connection: its keys.
        also: settings besides. READ_ONLY: the server refuses writes in every transaction of the session, also in one
            that a query begins by itself.
        snapshot: a read-only transaction is open, whose first query fixes its snapshot.

    Raises:
        ConnectionFailed: with the connection's name; retryable unless the server has said no.
    """
    wanted = conninfo(connection)
    try:
        opened: psycopg2.extensions.connection = psycopg2.connect(wanted)
    except psycopg2.OperationalError as error:
        text = str(error).strip()
        permanent = any(sign in text for sign in _PERMANENT)
        raise ConnectionFailed(
            f"connection {name}: {text}",
            hint="check host, port, database, user and password of this connection",
            retryable=not permanent,
        ) from error
    except psycopg2.ProgrammingError as error:
        raise ConfigError(f"connection {name}: {str(error).strip()}") from error
    _open.add(opened)
    opened.autocommit = True
    with mapped(name, "connect"), opened.cursor() as cursor:
        settings = "; ".join((_SETTINGS, f"SET search_path = {quote(connection.schema)}", *also))
        # committed before the snapshot's transaction begins: a query that ends that one must not take them back
        cursor.execute(f"BEGIN; {settings}; COMMIT{f'; {_SNAPSHOT}' if snapshot else ''}")
    return opened


@contextmanager
def alone(connection: psycopg2.extensions.connection) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor whose statements are transactions of their own: one round trip each, instead of three."""
    connection.autocommit = True
    try:
        with connection.cursor() as cur:
            yield cur
    finally:
        if not connection.closed:
            connection.autocommit = False


@contextmanager
def mapped(name: str, doing: str) -> Iterator[None]:
    """Raise conduit's error for what psycopg2 raises inside; `doing` says what was tried, and on which object."""
    try:
        yield
    except psycopg2.Error as error:
        raise translate(name, doing, error) from error


def translate(name: str, doing: str, error: psycopg2.Error) -> ConduitError:
    """The conduit error for a psycopg2 error, by its SQLSTATE."""
    return by_sqlstate(f"{name}: {doing}: {_text(error)}", error.pgcode or "08")


def by_sqlstate(text: str, code: str) -> ConduitError:
    """The conduit error for a SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""
    if code == "55P03":
        return Busy(text, hint="somebody holds a lock on it; try again later")
    if code == "53100":
        return ConnectionFailed(text, hint="free some space on the database server")
    if code == "25006":
        return ConnectionFailed(text, hint="a source is only read; a destination must be a server that takes writes")
    if code == "42501":
        return ConnectionFailed(text, hint="grant the role what it needs (docs/connectors/postgresql.md)")
    if code.startswith(("22", "23")):
        return DataError(text)
    if code.startswith(("42", "0A")):
        return ConfigError(text, hint="correct the query, the table name or the expression")
    return ConnectionFailed(text, retryable=code.startswith(_TRANSIENT_CODES))


def _text(error: psycopg2.Error) -> str:
    """The server's message, its detail (the key or row that fails) and its constraint, on one line."""
    parts = [error.diag.message_primary or " ".join(str(error).split()) or type(error).__name__]
    if error.diag.message_detail:
        parts.append(error.diag.message_detail[:300])
    if error.diag.context:
        parts.append(error.diag.context.splitlines()[0][:200])
    if error.diag.message_hint:
        parts.append(error.diag.message_hint[:200])
    return "; ".join(parts)
