"""How one database spells what the strategies need. Apart from their statements, because every run quotes names."""

from __future__ import annotations

import msgspec


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one database spells the few things that differ.

    Attributes:
        name: for messages and native types.
        row_id: the hidden column that orders the rows of a stage table by arrival.
        differs: operator that compares two values and sees NULLs: `IS DISTINCT FROM`, `IS NOT`.
        target_alias: whether `UPDATE t AS target` is understood by this dialect.
    """

    name: str
    row_id: str
    differs: str = "IS DISTINCT FROM"

    @staticmethod
    def quote(identifier: str) -> str:
        """The identifier in double quotes, as the standard writes it."""
        return '"' + identifier.replace('"', '""') + '"'
