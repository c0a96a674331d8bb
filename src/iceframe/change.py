"""What one snapshot does to the files of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pyiceberg.manifest import DataFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The files that one snapshot adds and takes away.

    Attributes:
        operation: what the snapshot is for its readers: `append` added rows, `replace` moved them without a change.
        added: data files.
        removed: data files that are in the head.
        deletes: position delete files.
        dangling: delete files of the head that no data file needs any more.
        counts: what it does in rows, for the caller.
    """

    operation: Literal["append", "overwrite", "delete", "replace"]
    added: tuple[DataFile, ...] = ()
    removed: tuple[DataFile, ...] = ()
    deletes: tuple[DataFile, ...] = ()
    dangling: tuple[DataFile, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
