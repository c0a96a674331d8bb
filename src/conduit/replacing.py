"""What a replace would take away, as far as it can be told before a row is read: for `plan`.

A run counts in its commit.
"""

from __future__ import annotations

from conduit import shrink
from conduit.connectors import registry
from conduit.contract import Estimate, Read, SupportsEstimate
from conduit.errors import ConduitError, StateConflict
from conduit.job import Job


def rows_there(job: Job) -> Estimate | None:
    """How many rows the destination's table has, as a source of its type tells; None: it does not."""
    job.destination.close()  # some databases give a file to one connection at a time
    config = job.project.destinations[job.resource.destination]
    back = config.connection.read_back(job.resource.into)
    try:
        source = registry.read_back(config, back, job.project.folder)
        with source.open(Read(resource=job.resource.name, table=back.table)) as session:
            return session.estimate() if isinstance(session, SupportsEstimate) else None
    except ConduitError:  # a role that may write and not read, a connector without a source: a run does without
        return None


def told(table: str, there: Estimate | None, coming: Estimate | None) -> str:
    """One line about the rows of a table that is replaced."""
    line = f"all rows of {table} are replaced"
    if there is None or coming is None:
        return line if there is None else f"{line}: {_count(there)} there"
    return f"{line}: {_count(there)} there, {_count(coming)} then"


def _count(rows: Estimate) -> str:
    return f"{rows.rows:,}" if rows.exact else f"about {rows.rows:,}"


def refuse(job: Job, there: Estimate | None, coming: Estimate | None) -> list[str]:
    """What to say when a run may be refused because the table would lose too many rows.

    Raises:
        StateConflict: both sides were counted, and it would be refused.
    """
    if there is None or coming is None or not shrink.is_too_much(there.rows, coming.rows, job.may_shrink):
        return []
    error: StateConflict = shrink.too_much(
        job.resource.name, job.resource.into, before=there.rows, after=coming.rows, allowed=job.may_shrink
    )
    if there.exact and coming.exact:
        raise error
    share = shrink.enough(there.rows, coming.rows)
    return [f"more than {shrink.shown(job.may_shrink)} of the rows would go: a run may need `--allow-shrink {share}`"]
