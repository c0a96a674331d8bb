"""Keys of an Iceberg connection in ingest.yml: which catalog, and how new tables are laid out. Opens nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from conduit import secrets
from conduit.config.models import Connection, ReadBack
from conduit.errors import ConfigError

LOCAL_FOLDER = ".iceframe"
"""Catalog and warehouse of a connection that names none, beside ingest.yml."""

_SECRET = re.compile(r"secret|token|password|credential|authorization|access-key|account-key|sas|oauth", re.IGNORECASE)
_SQLITE = "sqlite:///"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


class IcebergConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An Iceberg catalog; without keys a SQLite catalog and a warehouse in `.iceframe/` beside ingest.yml."""

    snapshots: ClassVar[bool] = True

    catalog: Annotated[
        dict[str, str] | str | None,
        Meta(description="Properties of the catalog as pyiceberg takes them, or its name in .pyiceberg.yaml."),
    ] = None
    uri: Annotated[str | None, Meta(description="Short for the property `uri` of the catalog.")] = None
    warehouse: Annotated[
        str | None, Meta(description="Short for the property `warehouse`; a folder is relative to ingest.yml.")
    ] = None

    def __post_init__(self) -> None:
        """Remember what must not be printed, and refuse keys that name two catalogs."""
        given = self.catalog if isinstance(self.catalog, dict) else {}
        for name, value in given.items():
            if _SECRET.search(name):
                secrets.remember(value)
        if isinstance(self.catalog, str) and (self.uri or self.warehouse):
            raise ConfigError(
                "`catalog` names an entry of .pyiceberg.yaml, which has a uri and a warehouse of its own",
                hint="take `uri` and `warehouse` out, or make `catalog` a mapping",
            )
        twice = [key for key in ("uri", "warehouse") if key in given and getattr(self, key)]
        if twice:
            raise ConfigError(f"{' and '.join(twice)} is there twice: as a key, and in `catalog`")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"

    def opening(self, folder: Path) -> dict[str, str] | str:
        """What pyiceberg opens the catalog by; relative files and folders belong to `folder`."""
        if isinstance(self.catalog, str):
            return self.catalog
        given = dict(self.catalog or {})
        given |= {key: value for key in ("uri", "warehouse") if (value := getattr(self, key))}
        local = folder.resolve() / LOCAL_FOLDER
        if not given.keys() - {"warehouse"}:
            given |= {"type": "sql", "uri": f"{_SQLITE}{local / 'catalog.db'}"}
            given.setdefault("warehouse", (local / "warehouse").as_uri())
        file = sqlite_file(given.get("uri", ""))
        if file is not None:
            given["uri"] = f"{_SQLITE}{folder.resolve() / file}"
            if not _URL.match(given.get("warehouse", "file:")):
                given["warehouse"] = (folder.resolve() / given["warehouse"]).as_uri()
        return given


class IcebergDestinationConnection(IcebergConnection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An Iceberg catalog whose tables are written; the marks are properties of the tables."""

    partition_spec: Annotated[
        list[str] | None, Meta(description="Partitions of a new table: `day(created_at)`, `bucket(16, id)`, `region`.")
    ] = None
    sort_order: Annotated[
        list[str] | None, Meta(description="Order of the rows in the files of a new table: `created_at desc`, `id`.")
    ] = None
    properties: Annotated[
        dict[str, str] | None, Meta(description="Properties of a new table, such as `write.merge.mode`.")
    ] = None

    def read_back(self, table: str) -> ReadBack:
        """The table in the same catalog, pinned to its head."""
        return ReadBack(IcebergSourceConnection(catalog=self.catalog, uri=self.uri, warehouse=self.warehouse), table)


class IcebergSourceConnection(IcebergConnection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An Iceberg catalog whose tables are read: what was appended since a snapshot, or by a cursor."""

    register_reader: Annotated[
        bool,
        Meta(
            description="Write into a table how far it was read, so that IceFrame's expire_snapshots spares the rest."
        ),
    ] = False


def sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite catalog; None for another one."""
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None
