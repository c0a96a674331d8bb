"""Sources that spare, for those whom they know as readers, what these have not read yet: told after a run.

The rows do not depend on it: a source that cannot be told is a note.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from conduit.errors import ConduitError
from conduit.job import Job
from conduit.marks import Identity, Mark
from conduit.positions import Position


@runtime_checkable
class SupportsReaders(Protocol):
    """A source that keeps its history for its readers, if it is told to."""

    def register(self, identity: Identity, table: str, position: Position) -> None:
        """Write down in the source that a resource has read `table` up to `position`; done already: nothing.

        Raises:
            ConnectionFailed, Busy: it could not be written. What was read is not concerned.
        """
        ...


def register(job: Job, mark: Mark | None) -> list[str]:
    """Tell the source how far it was read; what to say when that failed."""
    if not isinstance(job.source, SupportsReaders) or mark is None or mark.position is None:
        return []
    try:
        job.source.register(job.identity, job.resource.table or "", mark.position)
    except ConduitError as error:
        return [f"warning: not registered as a reader: {error.message}"]
    return []
