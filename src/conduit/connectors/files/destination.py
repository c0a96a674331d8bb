"""CSV, JSON and Parquet files as a destination: a folder of data sets, or one file, by the form of the path."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from conduit.arrow import pa
from conduit.connectors.files.config import FileDestinationConnection
from conduit.connectors.files.directory import Directory
from conduit.connectors.files.failures import writing
from conduit.connectors.files.single import SingleFile
from conduit.connectors.files.target import Target
from conduit.contract import Load, Write
from conduit.errors import ConfigError
from conduit.marks import Identity, Mark
from conduit.state_log import Entry


class FileDestination:
    """Files that are written. What the methods promise stands in `contract.Destination`.

    Attributes:
        takes_wires: whole files can be passed on.
    """

    def __init__(self, name: str, connection: FileDestinationConnection, folder: Path) -> None:
        form = Directory if connection.is_folder else SingleFile
        self._name = name
        self.takes_wires = connection.is_folder
        self._cannot = connection.cannot()
        self._target: Target = form(name, connection, folder)

    def check(self) -> str:
        """See the permissions; leave no trace."""
        return self._target.check()

    def marks(self, table: str, *, settle: bool = False) -> Sequence[Mark]:
        """All marks of the table."""
        return self._target.marks(table, settle=settle)

    def describe(self, table: str) -> pa.Schema | None:
        """Columns of the table; None when there is none, or when its files do not say their types."""
        return self._target.describe(table)

    def begin(self, write: Write) -> Load:
        """Start one commit: a private folder for its files, beside the target.

        Raises:
            ConfigError: these files cannot be written in this mode.
            ConnectionFailed: the disk refuses.
        """
        if write.mode in self._cannot:
            raise ConfigError(f"{self._name} cannot {write.mode}: {self._cannot[write.mode]}")
        with writing(self._name, write.table):
            return self._target.begin(write)

    def set_mark(self, table: str, old: Mark | None, new: Mark) -> None:
        """Move a mark without rows."""
        self._target.set_mark(table, old, new)

    def log(self, identity: Identity) -> Sequence[Entry]:
        """The marks that came with the loads of a folder, or the entries of the log beside a file."""
        return self._target.log(identity)

    def close(self) -> None:
        """Nothing is held between the calls: a load gives its lock back itself."""
