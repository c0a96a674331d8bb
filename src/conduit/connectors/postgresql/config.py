"""Keys of a PostgreSQL connection in ingest.yml."""

# No `from __future__ import annotations` here: the keys of a file are read by these annotations, and as text each of
# them would be compiled in every run.

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal
from urllib.parse import parse_qsl, urlsplit

from msgspec import Meta

from conduit.config.models import Connection, Secret

LOCAL = ("", "localhost", "127.0.0.1", "::1")
OPEN_MODES = ("disable", "allow", "prefer")
"""Ways of TLS that go on without it when the server, or somebody in its place, says so."""

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class PostgresqlConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A PostgreSQL database: read in read-only sessions; written with the marks beside the tables."""

    windows: ClassVar[bool] = True
    partitions: ClassVar[bool] = True

    host: Annotated[str | None, Meta(description="Host name or socket folder; default localhost.")] = None
    port: Annotated[int | None, Meta(description="Port; default 5432.")] = None
    database: Annotated[str | None, Meta(description="Database name.")] = None
    user: Annotated[str | None, Meta(description="Role to connect as.")] = None
    password: Annotated[Secret | None, Meta(description="Password; write ${PG_PASSWORD}, not the word itself.")] = None
    url: Annotated[Secret | None, Meta(description="postgresql://user@host:port/database instead of the parts.")] = None
    schema: Annotated[str, Meta(description="Schema of tables named without one.")] = "public"
    sslmode: Annotated[
        SslMode | None, Meta(description="TLS; default verify-full for other hosts, prefer for this one.")
    ] = None
    sslrootcert: Annotated[
        str | None, Meta(description="File with the certificate authority; default: the system's.")
    ] = None
    options: Annotated[dict[str, str], Meta(description="More libpq parameters, such as connect_timeout.")] = {}

    def warnings(self) -> Sequence[str]:
        """That others on the way to the host can read along, or answer in its place."""
        host, mode = self._of_url()
        host = self.options.get("host") or self.host or host or "localhost"
        mode = self.options.get("sslmode") or self.sslmode or mode
        if mode not in OPEN_MODES or is_local(host):
            return ()
        return (f"sslmode: {mode} lets others on the way to {host} read along; `verify-full` does not",)

    def _of_url(self) -> tuple[str, str]:
        """Host and sslmode of the url; empty where it says nothing, or is none: connecting tells what is wrong."""
        try:
            url = urlsplit(self.url.reveal() if self.url else "")
            return url.hostname or "", dict(parse_qsl(url.query)).get("sslmode", "")
        except ValueError:
            return "", ""


def is_local(host: str) -> bool:
    """Whether a host is this machine: a name of it, or the folder of a socket."""
    return host in LOCAL or host.startswith("/")
