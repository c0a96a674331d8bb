"""A SQL catalog in a SQLite file without SQLAlchemy, whose import costs a short run a quarter of its time.

The tables and what stands in them are those of pyiceberg's `SqlCatalog`, which opens the same file, also at the same
time. What every run does is done here: a table is found, made, committed to. All else is left to `SqlCatalog`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pyiceberg.catalog import MetastoreCatalog, PropertiesUpdateSummary
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, SortOrder
from pyiceberg.table.update import TableRequirement, TableUpdate
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties
from pyiceberg.utils.config import Config

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.view import View
    from pyiceberg.view.metadata import ViewVersion

_URI = "sqlite:///"
_ONLY_ALCHEMY = {"echo", "pool_pre_ping", "init_catalog_tables", "schema_version", "py-catalog-impl"}
"""Properties that only pyiceberg's own catalog knows what to do with."""
_WAIT = 5.0
"""Seconds until a file that another process writes to is an error; what SQLAlchemy waits."""
_TABLES = (
    """CREATE TABLE IF NOT EXISTS iceberg_tables (
	catalog_name VARCHAR(255) NOT NULL,
	table_namespace VARCHAR(255) NOT NULL,
	table_name VARCHAR(255) NOT NULL,
	metadata_location VARCHAR(1000),
	previous_metadata_location VARCHAR(1000),
	iceberg_type VARCHAR(5),
	PRIMARY KEY (catalog_name, table_namespace, table_name)
)""",
    """CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
	catalog_name VARCHAR(255) NOT NULL,
	namespace VARCHAR(255) NOT NULL,
	property_key VARCHAR(255) NOT NULL,
	property_value VARCHAR(1000) NOT NULL,
	PRIMARY KEY (catalog_name, namespace, property_key)
)""",
)
_WHERE = "catalog_name = ? AND table_namespace = ? AND table_name = ?"
_FIND = f"SELECT metadata_location FROM iceberg_tables WHERE {_WHERE} AND coalesce(iceberg_type, 'TABLE') = 'TABLE'"
_SWAP = (
    "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ?"
    f" WHERE {_WHERE} AND metadata_location = ?"
)
_INSERT = "INSERT INTO iceberg_tables VALUES (?, ?, ?, ?, NULL, 'TABLE')"
_PROPERTIES = (
    "SELECT property_key, property_value FROM iceberg_namespace_properties WHERE catalog_name = ? AND namespace = ?"
)
_WITHIN = """SELECT EXISTS (SELECT 1 FROM iceberg_tables
    WHERE catalog_name = :catalog AND substr(table_namespace || '.', 1, length(:prefix)) = :prefix)
  OR EXISTS (SELECT 1 FROM iceberg_namespace_properties
    WHERE catalog_name = :catalog AND substr(namespace || '.', 1, length(:prefix)) = :prefix)"""


def sqlite_catalog(name: str, properties: dict[str, str]) -> SqliteCatalog | None:
    """The catalog of these properties; its file and tables are made when they are not there.

    Returns:
        None: this is no catalog in a SQLite file, or one that only pyiceberg's own can open.

    Raises:
        sqlite3.Error: the file cannot be opened or made.
    """
    uri = properties.get("uri", "")
    path = uri.removeprefix(_URI)
    if path in {uri, "", ":memory:"} or "?" in path or properties.get("type", "sql").lower() != "sql":
        return None
    if _ONLY_ALCHEMY & properties.keys() or Config().get_catalog_config(name):
        return None
    found = SqliteCatalog(name, Path(path), properties)
    return found if found.made() else None


class SqliteCatalog(MetastoreCatalog):
    """One catalog of a SQLite file. A connection lives for one question, so that it belongs to no thread."""

    def __init__(self, name: str, file: Path, properties: dict[str, str]) -> None:
        super().__init__(name, **properties)
        self._file = file.absolute()
        self._other: SqlCatalog | None = None

    def made(self) -> bool:
        """Make the tables where they are missing; False: they are those of an older version, which has no views."""
        with self._connected() as file:
            columns = {column for _, column, *_ in file.execute("PRAGMA table_info(iceberg_tables)")}
            if not columns:
                for statement in _TABLES:
                    file.execute(statement)
        return not columns or "iceberg_type" in columns

    # --- tables ---

    def load_table(self, identifier: str | Identifier) -> Table:
        """The table as it is now.

        Raises:
            NoSuchTableError: there is none of that name.
        """
        return self._at(identifier, self._location(identifier))

    def create_table(
        self,
        identifier: str | Identifier,
        schema: Schema | pa.Schema,
        location: str | None = None,
        partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
        sort_order: SortOrder = UNSORTED_SORT_ORDER,
        properties: Properties = EMPTY_DICT,
    ) -> Table:
        """Make a table.

        Raises:
            TableAlreadyExistsError: there is one of that name.
            NoSuchNamespaceError: there is no such namespace.
        """
        if not self.namespace_exists(self.namespace_from(identifier)):
            raise NoSuchNamespaceError(f"Namespace does not exist: {self.namespace_from(identifier)}")
        _, *named = self._row(identifier)
        staged = self._create_staged_table(tuple(named), schema, location, partition_spec, sort_order, properties)
        self._write_metadata(staged.metadata, staged.io, staged.metadata_location)
        try:
            with self._connected() as file:
                file.execute(_INSERT, (*self._row(identifier), staged.metadata_location))
        except sqlite3.IntegrityError as error:
            raise TableAlreadyExistsError(f"Table {'.'.join(named)} already exists") from error
        return self.load_table(identifier)

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """Change a table, if the requirements hold for what it is now and nobody else changes it meanwhile.

        Raises:
            CommitFailedException: they do not, or somebody did.
        """
        try:
            now = self.load_table(table.name())
        except NoSuchTableError:
            return self._whole().commit_table(table, requirements, updates)
        staged = self._update_and_stage_table(now, table.name(), requirements, updates)
        if staged.metadata == now.metadata:
            return _response(now)
        self._write_metadata(staged.metadata, staged.io, staged.metadata_location)
        with self._connected() as file:
            places = staged.metadata_location, now.metadata_location
            swapped = file.execute(_SWAP, (*places, *self._row(table.name()), now.metadata_location)).rowcount
        if swapped != 1:
            raise CommitFailedException(f"Table has been updated by another process: {'.'.join(table.name())}")
        return _response(staged)

    def _location(self, identifier: str | Identifier) -> str:
        row = self._row(identifier)
        with self._connected() as file:
            found = file.execute(_FIND, row).fetchone()
        if found is None or not found[0]:
            raise NoSuchTableError(f"Table does not exist: {'.'.join(row[1:])}")
        return str(found[0])

    def _at(self, identifier: str | Identifier, location: str) -> Table:
        metadata = FromInputFile.table_metadata(self._load_file_io(location=location).new_input(location))
        return Table(
            identifier=self.identifier_to_tuple(identifier),
            metadata=metadata,
            metadata_location=location,
            io=self._load_file_io(metadata.properties, location),
            catalog=self,
        )

    def _row(self, identifier: str | Identifier) -> tuple[str, str, str]:
        namespace = self.namespace_to_string(self.namespace_from(identifier))
        return self.name, namespace, self.table_name_from(identifier)

    # --- namespaces ---

    def namespace_exists(self, namespace: str | Identifier) -> bool:
        """Whether there is such a namespace, or one in it, or a table."""
        prefix = self.namespace_to_string(namespace, NoSuchNamespaceError) + "."
        with self._connected() as file:
            [found] = file.execute(_WITHIN, {"catalog": self.name, "prefix": prefix}).fetchone()
        return bool(found)

    def create_namespace(self, namespace: str | Identifier, properties: Properties = EMPTY_DICT) -> None:
        """Make a namespace.

        Raises:
            NamespaceAlreadyExistsError: it is there.
        """
        name = self.namespace_to_string(namespace, NoSuchNamespaceError)
        if self.namespace_exists(namespace):
            raise NamespaceAlreadyExistsError(f"Namespace {name} already exists")
        rows = [(self.name, name, key, value) for key, value in (properties or {"exists": "true"}).items()]
        with self._connected() as file:
            file.executemany("INSERT INTO iceberg_namespace_properties VALUES (?, ?, ?, ?)", rows)

    def load_namespace_properties(self, namespace: str | Identifier) -> Properties:
        """The properties of a namespace.

        Raises:
            NoSuchNamespaceError: it is not there.
        """
        name = self.namespace_to_string(namespace)
        if not self.namespace_exists(namespace):
            raise NoSuchNamespaceError(f"Namespace {name} does not exist")
        with self._connected() as file:
            return dict(file.execute(_PROPERTIES, (self.name, name)).fetchall())

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """The file, for one transaction."""
        with closing(sqlite3.connect(self._file, timeout=_WAIT)) as opened, opened:
            yield opened

    # --- by pyiceberg's own catalog ---

    def _whole(self) -> SqlCatalog:
        if self._other is None:
            from pyiceberg.catalog.sql import SqlCatalog  # noqa: PLC0415 - SQLAlchemy comes with it

            self._other = SqlCatalog(self.name, **self.properties)
        return self._other

    def close(self) -> None:
        """Give back the connections."""
        if self._other is not None:
            self._other.close()
            self._other = None

    def drop_table(self, identifier: str | Identifier) -> None:
        """As `SqlCatalog` does."""
        self._whole().drop_table(identifier)

    def rename_table(self, from_identifier: str | Identifier, to_identifier: str | Identifier) -> Table:
        """As `SqlCatalog` does."""
        self._whole().rename_table(from_identifier, to_identifier)
        return self.load_table(to_identifier)

    def register_table(self, identifier: str | Identifier, metadata_location: str, overwrite: bool = False) -> Table:
        """As `SqlCatalog` does."""
        self._whole().register_table(identifier, metadata_location, overwrite)
        return self.load_table(identifier)

    def list_tables(self, namespace: str | Identifier) -> list[Identifier]:
        """As `SqlCatalog` does."""
        return self._whole().list_tables(namespace)

    def list_namespaces(self, namespace: str | Identifier = ()) -> list[Identifier]:
        """As `SqlCatalog` does."""
        return self._whole().list_namespaces(namespace)

    def drop_namespace(self, namespace: str | Identifier) -> None:
        """As `SqlCatalog` does."""
        self._whole().drop_namespace(namespace)

    def update_namespace_properties(
        self, namespace: str | Identifier, removals: set[str] | None = None, updates: Properties = EMPTY_DICT
    ) -> PropertiesUpdateSummary:
        """As `SqlCatalog` does."""
        return self._whole().update_namespace_properties(namespace, removals, updates)

    def list_views(self, namespace: str | Identifier) -> list[Identifier]:
        """As `SqlCatalog` does."""
        return self._whole().list_views(namespace)

    def view_exists(self, identifier: str | Identifier) -> bool:
        """As `SqlCatalog` does."""
        return self._whole().view_exists(identifier)

    def load_view(self, identifier: str | Identifier) -> View:
        """As `SqlCatalog` does."""
        return self._whole().load_view(identifier)

    def drop_view(self, identifier: str | Identifier) -> None:
        """As `SqlCatalog` does."""
        self._whole().drop_view(identifier)

    def register_view(self, identifier: str | Identifier, metadata_location: str) -> View:
        """As `SqlCatalog` does."""
        return self._whole().register_view(identifier, metadata_location)

    def create_view(
        self,
        identifier: str | Identifier,
        schema: Schema | pa.Schema,
        view_version: ViewVersion,
        location: str | None = None,
        properties: Properties = EMPTY_DICT,
    ) -> View:
        """As `SqlCatalog` does."""
        return self._whole().create_view(identifier, schema, view_version, location, properties)


def _response(table: Table) -> CommitTableResponse:
    return CommitTableResponse.model_validate(
        {"metadata": table.metadata, "metadata-location": table.metadata_location}
    )
