"""Everything that iceframe can raise, and nothing else leaves it.

    IceFrameError
    ├── ValidationError          an argument makes no sense; nothing was read or written
    │   └── DuplicateKeysError   two source rows of a merge have one key
    ├── SchemaError              names or types do not fit the table
    ├── CatalogError             the catalog cannot be reached, or refuses
    ├── StorageError             a file is missing, corrupt, or cannot be written
    ├── TableNotFoundError       no such table (or namespace)
    ├── TableExistsError         the name is taken
    ├── UnsupportedError         the table has something that cannot be read or written rightly here
    ├── SnapshotError            where a read should start or end
    │   ├── SnapshotExpiredError     the snapshot was expired: what came after it can no longer be told apart
    │   ├── ForeignSnapshotError     the snapshot belongs to another table, or to none
    │   ├── RolledBackSnapshotError  the snapshot is no ancestor of the head: the table was rolled back
    │   └── NonAppendSnapshotError   rows were changed or deleted in the window
    └── CommitError              a commit that did not happen
        ├── ConflictError        other writers came first, or changed what the rows were written for
        ├── MarkMovedError       another run has moved the mark; nothing was written
        └── OutcomeUnknownError  the catalog did not answer; the next run finds out from the mark

A message says what failed, on which object and why; `hint` says what to do.
"""

from __future__ import annotations


class IceFrameError(Exception):
    """The base of all errors of iceframe.

    Attributes:
        hint: what to do; may be empty.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.hint})" if self.hint else message


class ValidationError(IceFrameError, ValueError):
    """An argument makes no sense; nothing was read or written."""


class DuplicateKeysError(ValidationError):
    """Two source rows of a merge have one key, so that it is not clear which of them a matched row takes."""


class SchemaError(IceFrameError):
    """Names or types do not fit the table."""


class CatalogError(IceFrameError):
    """The catalog cannot be reached, or refuses."""


class StorageError(IceFrameError):
    """A file is missing, corrupt, or cannot be written."""


class TableNotFoundError(IceFrameError):
    """There is no such table, or no such namespace."""


class TableExistsError(IceFrameError):
    """The name is taken."""


class UnsupportedError(IceFrameError):
    """The table has something that cannot be read or written rightly here."""


class SnapshotError(IceFrameError):
    """Where a read should start or end does not fit the table's history."""


class SnapshotExpiredError(SnapshotError):
    """The snapshot was expired, so that what came after it can no longer be told apart."""


class ForeignSnapshotError(SnapshotError):
    """The snapshot belongs to another table, or to none."""


class RolledBackSnapshotError(SnapshotError):
    """The snapshot is no ancestor of the head: the table was rolled back."""


class NonAppendSnapshotError(SnapshotError):
    """Rows were changed or deleted in the window, so that it is more than appended rows.

    Attributes:
        snapshot_id: the first snapshot that is no append.
        operation: what it did.
    """

    def __init__(self, message: str, *, snapshot_id: int, operation: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.snapshot_id = snapshot_id
        self.operation = operation


class CommitError(IceFrameError):
    """A commit that did not happen."""


class ConflictError(CommitError):
    """Other writers came first, or changed what the rows were written for. Nothing was written."""


class MarkMovedError(CommitError):
    """Another run has moved the mark. Nothing was written."""


class OutcomeUnknownError(CommitError):
    """The catalog did not answer, and cannot be asked; the next run finds out from the mark."""
