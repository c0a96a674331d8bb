"""The keys of a database that is one file: where the file is, and whether it is there. Opens nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import unquote, urlsplit

from msgspec import Meta

from conduit.config.models import Connection
from conduit.config.names import path_problem
from conduit.errors import ConfigError, ConnectionFailed


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
        return Path(os.path.realpath(folder / self._file()))  # unlike Path.resolve it takes links that go in circles

    def _file(self) -> str:
        if (self.database is None) == (self.url is None):
            raise ConfigError("set `database: FILE`" + (", or `url:`, not both" if self.url else " (or `url:`)"))
        file = self._from_url(self.url) if self.url is not None else self.database or ""
        if problem := path_problem(file):
            raise ConfigError(f"`database` {problem}")
        if file.startswith(":memory:"):
            raise ConfigError("a database in memory is gone after the run", hint="name a file")
        return file

    def _from_url(self, url: str) -> str:
        parts = urlsplit(url)
        if not url.startswith(f"{self.scheme}:///") or parts.netloc or parts.query or parts.fragment:
            raise ConfigError(f"`url` must be {self.scheme}:///FILE (three slashes, or four before an absolute file)")
        return unquote(parts.path.removeprefix("/"))


def is_there(name: str, path: Path) -> bool:
    """Whether there is something at `path`.

    Raises:
        ConnectionFailed: the system does not let us look, or knows no such name; with the connection's name.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise ConnectionFailed(f"{name}: cannot look at {path}: {error.strerror}") from error
    return True
