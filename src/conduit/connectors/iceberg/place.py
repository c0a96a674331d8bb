"""The catalog of a connection: opened when it is needed, its tables by name, its errors as conduit's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from conduit import secrets
from conduit.connectors.iceberg.config import LOCAL_FOLDER, IcebergConnection, sqlite_file
from conduit.errors import Busy, ConduitError, ConfigError, ConnectionFailed, DataError, Fenced, StateConflict
from conduit.late import late
from iceframe import errors as ice

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from iceframe import catalog as catalogs
else:
    catalogs = late("iceframe.catalog")

_HINT_CHANGED = "say `on_change: ignore` to load appended rows only, or load it anew with `conduit run --full-refresh`"
_HINT_HISTORY = "`conduit state reset RESOURCE` loads the table anew; `conduit state set` goes on from a snapshot"

_KINDS: tuple[tuple[type[ice.IceFrameError], type[ConduitError], str], ...] = (
    (ice.NonAppendSnapshotError, DataError, _HINT_CHANGED),
    (ice.SnapshotError, StateConflict, _HINT_HISTORY),
    (ice.MarkMovedError, Fenced, ""),
    (ice.ConflictError, Busy, ""),
    (ice.DuplicateKeysError, DataError, ""),
    (ice.SchemaError, DataError, ""),
    (ice.ValidationError, ConfigError, ""),
    (ice.TableNotFoundError, ConfigError, ""),
    (ice.TableExistsError, Busy, "another run made it at the same time; try again"),
    (ice.UnsupportedError, ConfigError, ""),
    (ice.IceFrameError, ConnectionFailed, ""),
)
"""What iceframe raises and what that is to conduit; the first that fits. A hint of ours stands for one of its API."""


class Place:
    """One catalog. Nothing is connected to before the first question."""

    def __init__(self, name: str, connection: IcebergConnection, folder: Path) -> None:
        self.name = name
        self._opening = connection.opening(folder)
        self._own = folder.resolve() / LOCAL_FOLDER
        self._catalog: Catalog | None = None

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Raise conduit's error for what iceframe raises inside."""
        try:
            yield
        except ice.IceFrameError as error:
            raise self._translated(error, doing) from error

    def exists(self) -> bool:
        """Whether the catalog is there; one in a SQLite file is made by the first write only."""
        file = self._file
        return file is None or file.exists()

    def catalog(self) -> Catalog:
        """The catalog, opened at the first call.

        Raises:
            ConnectionFailed: it cannot be opened.
        """
        if self._catalog is None:
            file = self._file
            if file is not None and file.parent == self._own:
                self._own.mkdir(exist_ok=True)
            with self.errors("open the catalog"):
                self._catalog = catalogs.open_catalog(self._opening)
        return self._catalog

    def find(self, table: str) -> Table | None:
        """The table as it is now; None when it is not there."""
        if not self.exists():
            return None
        catalog = self.catalog()
        with self.errors(f"look for table {table}"):
            try:
                with catalogs.mapped(f"table {table}"):
                    return catalog.load_table(catalogs.identifier(table))
            except ice.TableNotFoundError:
                return None

    def check(self, *, write: bool) -> str:
        """Reach the catalog; one line about it. A SQLite catalog that is not there yet must be possible to make.

        Raises:
            ConnectionFailed: it cannot be reached, or made.
        """
        file = self._file
        if file is not None and not file.exists():
            folder = file.parent.parent if file.parent == self._own else file.parent
            if not write or not os.access(folder, os.W_OK):
                raise ConnectionFailed(
                    f"{self.name}: there is no catalog {file}", hint="check `uri` of this connection"
                )
            return f"{file}: will be created"
        catalog = self.catalog()
        with self.errors("list the tables"), catalogs.mapped("the catalog"):
            spaces = catalog.list_namespaces()
            count = sum(len(catalog.list_tables(space)) for space in spaces)
        return f"{self._shown}: {count} tables"

    @property
    def _shown(self) -> str:
        if isinstance(self._opening, str):
            return f"catalog {self._opening}"
        return secrets.scrub(f"catalog {self._opening.get('uri') or self._opening.get('type')}")

    def close(self) -> None:
        """Give back the connections of the catalog."""
        if self._catalog is not None:
            self._catalog.close()
        self._catalog = None

    @property
    def _file(self) -> Path | None:
        opening: Mapping[str, str] = self._opening if isinstance(self._opening, dict) else {}
        return sqlite_file(opening.get("uri", ""))

    def _translated(self, error: ice.IceFrameError, doing: str) -> ConduitError:
        text = Exception.__str__(error)
        kind, hint = next((kind, hint) for raised, kind, hint in _KINDS if isinstance(error, raised))
        message = secrets.scrub(f"{self.name}: {doing}: {text}")
        translated = kind(message, hint=hint or error.hint)
        translated.retryable = isinstance(error, ice.ConflictError)
        return translated
