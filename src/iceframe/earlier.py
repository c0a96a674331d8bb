"""The history of a table, with what its earlier metadata files still tell. A file that is gone tells nothing."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from functools import partial

from pyiceberg.exceptions import ValidationError
from pyiceberg.io import FileIO
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata

from iceframe.snapshots import History

_log = logging.getLogger(__name__)


def history_of(table: Table) -> History:
    """The history of a table as it is now."""
    metadata = table.metadata
    return History(".".join(table.name()), metadata, partial(earlier_metadata, metadata, table.io))


def earlier_metadata(metadata: TableMetadata, io: FileIO) -> Iterator[TableMetadata]:
    """The metadata files that the table's log names and that are still there, newest first."""
    for entry in reversed(metadata.metadata_log):
        try:
            yield FromInputFile.table_metadata(io.new_input(entry.metadata_file))
        except (OSError, EOFError, ValueError, zlib.error, ValidationError) as error:
            _log.info("an earlier metadata file tells nothing: %s: %s", entry.metadata_file, error)
