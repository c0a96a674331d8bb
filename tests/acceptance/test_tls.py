"""TLS to PostgreSQL: verified wherever the host is not this machine, and told where it may be left out."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from conduit.config.load import load
from conduit.config.models import Secret
from conduit.connectors.postgresql.config import PostgresqlConnection
from conduit.connectors.postgresql.connection import parameters
from tests.faults.malformed.attempt import in_process
from tests.support import postgres
from tests.support.postgres import Server
from tests.support.project import Project, pipeline


@pytest.mark.parametrize(
    ("keys", "mode"),
    [
        ({}, "prefer"),
        ({"host": "localhost"}, "prefer"),
        ({"host": "127.0.0.1"}, "prefer"),
        ({"host": "::1"}, "prefer"),
        ({"host": "/var/run/postgresql"}, "prefer"),
        ({"host": "db.example.com"}, "verify-full"),
        ({"host": "10.0.0.5"}, "verify-full"),
        ({"url": "postgresql://db.example.com/x"}, "verify-full"),
        ({"url": "postgresql://localhost/x"}, "prefer"),
        ({"url": "postgresql://db.example.com/x?sslmode=require"}, "require"),
        ({"host": "db.example.com", "sslmode": "disable"}, "disable"),
        ({"url": "host=db.example.com dbname=x"}, "verify-full"),
        ({"host": "localhost.example.com"}, "verify-full"),
    ],
)
def test_tls_is_verified_wherever_the_host_is_not_this_machine(keys: dict[str, Any], mode: str) -> None:
    given: dict[str, Any] = {key: Secret(value) if key == "url" else value for key, value in keys.items()}
    assert parameters(PostgresqlConnection(**given))["sslmode"] == mode


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"host": "db.example.com", "sslmode": "disable"}, True),
        ({"host": "db.example.com", "sslmode": "prefer"}, True),
        ({"url": "postgresql://db.example.com/x?sslmode=allow"}, True),
        ({"host": "db.example.com", "sslmode": "require"}, False),
        ({"host": "db.example.com"}, False),
        ({"host": "localhost", "sslmode": "disable"}, False),
        ({}, False),
        ({"host": "db.example.com", "options": {"sslmode": "disable"}}, True),
    ],
)
def test_a_connection_to_another_machine_that_may_be_plain_is_told(
    project: Project, keys: dict[str, Any], told: bool
) -> None:
    project.write(
        pipeline({"type": "postgresql", **keys}, {"type": "sqlite", "database": "o.db"}, table="t", mode="replace")
    )
    notes = load(project.folder / "ingest.yml").notes
    assert any("source src: sslmode: " in note and "db.example.com" in note for note in notes) is told


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server with TLS whose certificate is for db.example.test, and the authority that signed it."""
    openssl = shutil.which("openssl")
    if openssl is None or os.environ.get("CONDUIT_TEST_POSTGRES") or postgres.binaries() is None:
        pytest.skip("no openssl, or no PostgreSQL server of our own: nothing that concerns TLS was tested")
    folder = tmp_path_factory.mktemp("tls")
    _certificates(openssl, folder)
    with postgres.server() as server:
        with closing(server.connect()) as connection, connection.cursor() as cur:
            cur.execute("SELECT current_setting('data_directory'), current_setting('ssl_library')")
            data, library = cur.fetchone() or ("", "")
            if not library:
                pytest.skip("this PostgreSQL server was built without TLS: nothing that concerns TLS was tested")
            for name in ("server.crt", "server.key"):
                target = Path(data) / name
                target.write_bytes((folder / name).read_bytes())
                owner = Path(data).stat()
                os.chown(target, owner.st_uid, owner.st_gid)
                target.chmod(0o600)
            cur.execute("ALTER SYSTEM SET ssl = on")
            cur.execute("SELECT pg_reload_conf()")
        _wait_for_tls(server)
        yield server, folder / "ca.crt"


def _certificates(openssl: str, folder: Path) -> None:
    def call(*words: str) -> None:
        subprocess.run([openssl, *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    call(*new, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test authority")
    (folder / "names").write_text("subjectAltName=DNS:db.example.test\n")
    call(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "server.key",
        "-out",
        "server.csr",
        "-subj",
        "/CN=db.example.test",
    )
    call(
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "server.crt",
    )


def _wait_for_tls(server: Server) -> None:
    for _ in range(100):
        with (
            suppress(psycopg2.OperationalError),
            closing(
                psycopg2.connect(
                    host=server.host, port=server.port, user=server.user, dbname="postgres", sslmode="require"
                )
            ),
        ):
            return
    raise AssertionError("the server did not turn on TLS")


def _over_tls(server: Server, host: str, **keys: str) -> dict[str, Any]:
    """The name `host` stands for this machine."""
    address = {"options": {"hostaddr": server.host}}
    return {
        "type": "postgresql",
        "host": host,
        "port": server.port,
        "user": server.user,
        "database": "postgres",
        **keys,
        **address,
    }


def test_rows_travel_over_tls_that_was_verified(tls_server: tuple[Server, Path], project: Project) -> None:
    server, authority = tls_server
    query = "SELECT pid AS id, ssl::text AS encrypted FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    project.write(
        pipeline(
            _over_tls(server, "db.example.test", sslrootcert=str(authority)),
            {"type": "sqlite", "database": "o.db"},
            query=query,
            mode="replace",
        )
    )
    ran = in_process(project.folder, ("run",))
    assert ran.code == 0, ran
    with closing(sqlite3.connect(project.folder / "o.db")) as connection:
        assert connection.execute("SELECT encrypted FROM r").fetchall() == [("true",)]


@pytest.mark.parametrize("wrong", ["another name", "another authority", "no TLS"])
def test_a_server_that_is_not_the_one_it_should_be_gets_no_password(
    tls_server: tuple[Server, Path], postgres_server: Server, project: Project, wrong: str
) -> None:
    server, authority = tls_server
    keys = {
        "another name": _over_tls(server, "other.example.test", sslrootcert=str(authority)),
        "another authority": _over_tls(server, "db.example.test"),
        "no TLS": _over_tls(postgres_server, "db.example.test", sslrootcert=str(authority)),
    }[wrong]
    project.write(pipeline(keys, {"type": "sqlite", "database": "o.db"}, query="SELECT 1 AS id", mode="replace"))
    ran = in_process(project.folder, ("run",))
    assert ran.code == 3, ran
    assert "src" in ran.out
    assert "SSL" in ran.out or "certificate" in ran.out
    assert "trying again" not in ran.err
    assert not (project.folder / "o.db").exists()
