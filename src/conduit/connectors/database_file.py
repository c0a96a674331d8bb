"""The keys of a database that is one file: where the file is. Opens nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import unquote, urlsplit

from msgspec import Meta

from conduit.config.models import Connection
from conduit.errors import ConfigError


class DatabaseFile(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A database in one file.

    Attributes:
        scheme: what `url:` begins with.
    """

    scheme: ClassVar[str] = ""

    database: Annotated[str | None, Meta(description="The database file, relative to ingest.yml.")] = None
    url: Annotated[str | None, Meta(description="The same as a URL: scheme:///file, or scheme:////absolute/file.")] = (
        None
    )

    def __post_init__(self) -> None:
        """Refuse keys that do not name one file."""
        self._file()

    def path(self, folder: Path) -> Path:
        """The file; a relative one belongs to `folder`."""
        return (folder / self._file()).resolve()

    def _file(self) -> str:
        if (self.database is None) == (self.url is None):
            raise ConfigError("set `database: FILE`" + (", or `url:`, not both" if self.url else " (or `url:`)"))
        file = self.database if self.url is None else self._from_url(self.url)
        if not file or "\0" in file:
            raise ConfigError("`database` names no file")
        if file.startswith(":memory:"):
            raise ConfigError("a database in memory is gone after the run", hint="name a file")
        return file

    def _from_url(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme != self.scheme or parts.netloc or parts.query or parts.fragment:
            raise ConfigError(f"`url` must be {self.scheme}:///FILE (three slashes, or four before an absolute file)")
        return unquote(parts.path.removeprefix("/"))
