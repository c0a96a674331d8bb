"""The mark: what a destination has committed, and who it belongs to. Its codec, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from conduit.errors import Fenced
from conduit.positions import Position


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who a mark belongs to. Never a path or a host: a fresh container finds its mark again."""

    pipeline: str
    resource: str
    table: str


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a destination has committed, kept by the destination in the same commit as the rows.

    Attributes:
        identity: pipeline, resource and target table.
        position: where the source was read to; None after `state reset`: the next run starts again.
        since: the position before this commit.
        run_id: the run that wrote it; after a commit with unknown outcome it tells ours from another's.
        complete: False at a checkpoint in the middle of a run.
        rows: rows that this commit wrote.
        source: fingerprint of the source: system, database, relation, cursor column. Not the query's text.
        committed_at: UTC, ISO-8601; for people, never compared.
        format: version of this structure.
    """

    identity: Identity
    position: Position | None
    since: Position | None
    run_id: str
    complete: bool
    rows: int
    source: str
    committed_at: str
    format: int = 1

    def token(self) -> str:
        """What the compare-and-swap compares: the position, or `-` after a reset."""
        return self.position.token() if self.position else "-"

    def to_json(self) -> str:
        """One line of JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str | bytes) -> Mark:
        """The mark that `to_json` wrote; msgspec.DecodeError when it is none."""
        return msgspec.json.decode(text, type=cls)


def mark_of(marks: Sequence[Mark], identity: Identity) -> Mark | None:
    """The mark of `identity` among the marks of a table."""
    return next((mark for mark in marks if mark.identity == identity), None)


def fenced(identity: Identity) -> Fenced:
    """The error of a compare-and-swap that found another mark."""
    return Fenced(
        f"{identity.resource}: another run moved the mark of table {identity.table} in the meantime; "
        "nothing of this commit was written",
        hint="run it again: it goes on from the mark of the other run",
    )
