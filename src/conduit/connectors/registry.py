"""Which connectors there are: name -> where its classes live, and what to install when they are missing.

Built-in connectors stand in an explicit table. Others register a `Connector` under the entry-point group
`conduit.connectors`; the group is looked at only for a `type` that the table does not know.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from conduit.config.models import Connection, DestinationConfig, ReadBack, SourceConfig
from conduit.contract import Destination, Source
from conduit.errors import ConfigError
from conduit.late import late

if TYPE_CHECKING:
    from importlib import metadata
else:
    metadata = late("importlib.metadata")

ENTRY_POINTS = "conduit.connectors"


class Connector(msgspec.Struct, frozen=True, kw_only=True):
    """Where a connector lives. Every path is `module:Class`; an empty one means: not that side.

    Attributes:
        source_connection: model of the keys of a `sources:` entry, derived from Connection. Imports no driver.
        source: class with the signature `(name: str, connection, folder: Path)` that fulfils `Source`.
        destination_connection: model of the keys of a `destinations:` entry, derived from Connection.
        destination: class with the signature `(name: str, connection, folder: Path)` that fulfils `Destination`.
        needs: modules that an extra installs.
        extra: name of that extra.
    """

    source_connection: str = ""
    source: str = ""
    destination_connection: str = ""
    destination: str = ""
    needs: tuple[str, ...] = ()
    extra: str = ""


def _database(name: str, prefix: str, *, needs: tuple[str, ...] = (), extra: str = "") -> Connector:
    base = f"conduit.connectors.{name}"
    return Connector(
        source_connection=f"{base}.config:{prefix}Connection",
        source=f"{base}.source:{prefix}Source",
        destination_connection=f"{base}.config:{prefix}Connection",
        destination=f"{base}.destination:{prefix}Destination",
        needs=needs,
        extra=extra,
    )


def _files(prefix: str) -> Connector:
    base = "conduit.connectors.files"
    return Connector(
        source_connection=f"{base}.config:{prefix}SourceConnection",
        source=f"{base}.source:FileSource",
        destination_connection=f"{base}.config:{prefix}DestinationConnection",
        destination=f"{base}.destination:FileDestination",
    )


_BUILTIN: dict[str, Connector] = {
    "postgresql": _database(
        "postgresql", "Postgresql", needs=("psycopg2", "pgpq", "adbc_driver_postgresql"), extra="postgres"
    ),
    "sqlite": _database("sqlite", "Sqlite"),
    "duckdb": _database("duckdb", "Duckdb"),
    "csv": _files("Csv"),
    "json": _files("Json"),
    "parquet": _files("Parquet"),
    "iceberg": Connector(
        source_connection="conduit.connectors.iceberg.config:IcebergSourceConnection",
        source="conduit.connectors.iceberg.source:IcebergSource",
        destination_connection="conduit.connectors.iceberg.config:IcebergDestinationConnection",
        destination="conduit.connectors.iceberg.destination:IcebergDestination",
    ),
    "memory": _database("memory", "Memory"),
    "python": Connector(
        source_connection="conduit.connectors.python.config:PythonConnection",
        source="conduit.connectors.python.source:PythonSource",
    ),
}

ALIASES = {"postgres": "postgresql", "ndjson": "json", "jsonl": "json"}
"""Other words for a type that people write."""


def names() -> tuple[str, ...]:
    """The built-in types."""
    return tuple(_BUILTIN)


def find(type_name: str) -> Connector | None:
    """The connector of a `type:`, built in or registered by another package; None: nobody knows it."""
    known = _BUILTIN.get(ALIASES.get(type_name, type_name))
    if known is not None:
        return known
    found = metadata.entry_points(group=ENTRY_POINTS, name=type_name)
    return cast("Connector", next(iter(found)).load()) if found else None


def connection_model(connector: Connector, side: Literal["source", "destination"]) -> type[Connection] | None:
    """The model of a connection's keys, or None when the connector does not have that side."""
    path = connector.source_connection if side == "source" else connector.destination_connection
    return cast("type[Connection]", _load(path)) if path else None


def source(config: SourceConfig, folder: Path, given: object = None) -> Source:
    """The source of a `sources:` entry; connects to nothing yet.

    Args:
        config: the entry.
        folder: what relative paths belong to.
        given: the Python object that a connector of `relation = "object"` reads.

    Raises:
        ConfigError: its driver is not installed; the message holds the install line.
    """
    make = _load(_installed(config.type).source)
    if config.connection.relation == "object":
        return cast("Source", make(config.name, config.connection, folder, given))
    return cast("Source", make(config.name, config.connection, folder))


def destination(config: DestinationConfig, folder: Path) -> Destination:
    """The destination of a `destinations:` entry; connects to nothing yet.

    Raises:
        ConfigError: its driver is not installed; the message holds the install line.
    """
    make = _load(_installed(config.type).destination)
    return cast("Destination", make(config.name, config.connection, folder))


def read_back(config: DestinationConfig, back: ReadBack, folder: Path) -> Source:
    """The source that reads what a destination holds.

    Raises:
        ConfigError: there is no such source.
    """
    if not _installed(config.type).source:
        raise ConfigError(f"{config.name}: the connector {config.type} cannot read back what it wrote")
    return source(SourceConfig(name=config.name, type=config.type, connection=back.connection), folder)


def _installed(type_name: str) -> Connector:
    connector = find(type_name)
    if connector is None:
        raise ConfigError(f"unknown connector type {type_name!r}", hint=f"use one of: {', '.join(names())}")
    missing = [module for module in connector.needs if importlib.util.find_spec(module) is None]
    if missing:
        raise ConfigError(
            f"the connector {type_name} needs {', '.join(missing)}, which is not installed",
            hint=f"pip install 'conduit-iceframe[{connector.extra}]'",
        )
    return connector


def _load(path: str) -> Callable[..., object]:
    module, _, name = path.partition(":")
    return cast("Callable[..., object]", getattr(importlib.import_module(module), name))
