"""Keys of a PostgreSQL connection in ingest.yml."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from conduit.config.models import Connection, Secret

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class PostgresqlConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A PostgreSQL database: read in read-only sessions; written with the marks beside the tables."""

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
