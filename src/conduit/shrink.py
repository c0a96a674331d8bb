"""How many of its rows a table may lose in one commit: a source that was emptied by mistake must not empty its copy.

A load that replaces a table asks inside its commit, where the rows that the table has cannot change any more.
"""

from __future__ import annotations

from conduit.contract import Write
from conduit.errors import StateConflict


def is_too_much(before: int, after: int, allowed: float) -> bool:
    """Whether a table that goes from `before` to `after` rows loses more than the share that is allowed."""
    return not before - after <= round(allowed * before, 6)  # this way round, a share that is no number allows nothing


def enough(before: int, after: int) -> str:
    """The least share, in hundredths, that would allow it."""
    return f"{-(-(before - after) * 100 // before) / 100:g}"


def shown(share: float) -> str:
    """A share in per cent."""
    return f"{share * 100:g} %"


def refuse(write: Write, *, before: int, after: int) -> None:
    """A replace takes no more rows away than it may.

    Args:
        write: what the commit is to do; only a replace is looked at.
        before: rows that the table has.
        after: rows that it would have.

    Raises:
        StateConflict: it would; the commit must not be made.
    """
    if write.mode == "replace" and is_too_much(before, after, write.allow_shrink):
        raise too_much(write.identity.resource, write.table, before=before, after=after, allowed=write.allow_shrink)


def too_much(resource: str, table: str, *, before: int, after: int, allowed: float) -> StateConflict:
    """The error of a replace that would take too many rows."""
    share = enough(before, after)
    return StateConflict(
        f"{resource}: table {table} has {before:,} rows and would have {after:,}; more than {shown(allowed)} of them "
        "would be gone, so nothing was changed",
        hint=f"look at the source; if it is right, run it with `--allow-shrink {share}`; a table that shrinks by "
        f"nature has `allow_shrink: {share}` in its resource",
    )
