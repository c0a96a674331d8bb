"""Which catalog, and the names of tables in it. Knows nothing of rows and snapshots."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    NotInstalledError,
    RESTError,
    TableAlreadyExistsError,
)
from pyiceberg.exceptions import ValidationError as PropertyError
from pyiceberg.table import Table
from pyiceberg.typedef import Identifier

from iceframe.drivers import catalog_errors, database_errors, twice_errors
from iceframe.errors import CatalogError, TableExistsError, TableNotFoundError, ValidationError
from iceframe.sqlite import sqlite_catalog

DEFAULT_NAMESPACE = "default"
"""Where a table without a namespace lives."""
TABLES_OF_A_SQL_CATALOG = 2
LOCAL_FOLDER = ".iceframe"
"""Catalog and warehouse of an IceFrame without a config, in the working directory."""


def open_catalog(config: Mapping[str, object] | str | Catalog | None) -> Catalog:
    """The catalog of a config.

    Args:
        config: properties as pyiceberg takes them (`type`, `uri`, `warehouse`, …), the name of a catalog in
            `.pyiceberg.yaml`, a catalog that is open already, or None: a SQLite catalog and a warehouse in `.iceframe/`
            of the working directory.

    Raises:
        CatalogError: it cannot be opened.
        ValidationError: the config is nothing of that.
    """
    if isinstance(config, Catalog):
        return config
    with mapped("the catalog"):
        if config is None:
            return _opened("iceframe", _local(Path.cwd() / LOCAL_FOLDER))
        if isinstance(config, str):
            return _opened(config, {})
        if isinstance(config, Mapping):
            properties = {str(key): str(value) for key, value in config.items() if value is not None}
            return _loaded(properties)
    raise ValidationError(f"a config is a dictionary, the name of a catalog, or None; this is {type(config).__name__}")


def _opened(name: str, properties: dict[str, str]) -> Catalog:
    """A SQL catalog makes its tables when it is first opened: of two processes at it, one is refused once for each."""
    if found := sqlite_catalog(name, properties):
        return found
    for _ in range(TABLES_OF_A_SQL_CATALOG):
        try:
            return load_catalog(name, **properties)
        except database_errors() as error:
            if not isinstance(error, twice_errors()) and "already exists" not in str(error):
                raise
    return load_catalog(name, **properties)


def _loaded(properties: dict[str, str]) -> Catalog:
    """The catalog of some properties; `py-catalog-impl` among them may name anything that Python can import."""
    try:
        found: object = _opened(properties.pop("name", "iceframe"), properties)
    except TypeError as error:
        raise CatalogError(f"the catalog cannot be made of its properties: {error}") from error
    if not isinstance(found, Catalog):
        raise CatalogError(f"py-catalog-impl makes a {type(found).__name__}, which is no catalog")
    return found


def load_catalog_config_from_env(prefix: str = "ICEBERG_") -> dict[str, str]:
    """Catalog properties from the environment: `ICEBERG_CATALOG_URI` or `ICEBERG_URI` become `uri`, and so on.

    Words are parted by `_` and become `-`, two by `__` become `.`: `ICEBERG_S3__ACCESS_KEY_ID` is `s3.access-key-id`.

    Args:
        prefix: what the names of the variables begin with.
    """
    found = {}
    for name, value in os.environ.items():
        if name.startswith(prefix):
            words = name.removeprefix(prefix).removeprefix("CATALOG_").lower()
            found[words.replace("__", ".").replace("_", "-")] = value
    return found


def identifier(name: str | Identifier) -> Identifier:
    """Namespace and name of a table: `raw.events`, or `events` in the default namespace.

    Raises:
        ValidationError: a part is empty.
    """
    parts = tuple(name.split(".")) if isinstance(name, str) else tuple(name)
    if not parts or not all(part.strip() for part in parts):
        raise ValidationError(f"{name!r} is no name of a table; a name is `table` or `namespace.table`")
    return parts if len(parts) > 1 else (DEFAULT_NAMESPACE, *parts)


def load_table(catalog: Catalog, name: str | Identifier) -> Table:
    """The table as it is now.

    Raises:
        TableNotFoundError: there is none of that name.
    """
    parts = identifier(name)
    try:
        with mapped(f"table {'.'.join(parts)}"):
            return catalog.load_table(parts)
    except TableNotFoundError as error:
        raise TableNotFoundError(f"there is no table {'.'.join(parts)}", hint=_nearest(catalog, parts)) from error


def ensure_namespace(catalog: Catalog, parts: Identifier) -> None:
    """Make the namespace of a table if it is not there."""
    with mapped(f"namespace {'.'.join(parts[:-1])}"):
        if not catalog.namespace_exists(parts[:-1]):
            try:
                catalog.create_namespace(parts[:-1])
            except twice_errors(NamespaceAlreadyExistsError):  # another run made it; the second is how SQL says so
                return


@contextmanager
def mapped(what: str) -> Iterator[None]:
    """Errors of catalogs become ours.

    Raises:
        TableNotFoundError, TableExistsError, CatalogError: instead of pyiceberg's and the driver's.
    """
    try:
        yield
    except (NoSuchTableError, NoSuchNamespaceError) as error:
        raise TableNotFoundError(f"{what}: {error}") from error
    except TableAlreadyExistsError as error:
        raise TableExistsError(f"{what}: {error}") from error
    except NotInstalledError as error:
        raise CatalogError(f"{what}: {error}", hint="install what the catalog needs") from error
    except catalog_errors(RESTError, PropertyError, OSError, ValueError) as error:
        raise CatalogError(f"{what}: {' '.join(str(error).split())[:300]}") from error


def _local(folder: Path) -> dict[str, str]:
    warehouse = folder / "warehouse"
    warehouse.mkdir(parents=True, exist_ok=True)
    return {"type": "sql", "uri": f"sqlite:///{folder / 'catalog.db'}", "warehouse": warehouse.as_uri()}


def _nearest(catalog: Catalog, parts: Identifier) -> str:
    """Which tables there are, for a message."""
    with mapped("the catalog"):
        if not catalog.namespace_exists(parts[:-1]):
            return f"there is no namespace {'.'.join(parts[:-1])} either"
        names = sorted(".".join(found) for found in catalog.list_tables(parts[:-1]))
    return f"tables there: {', '.join(names[:10])}" if names else "the namespace has no tables"
