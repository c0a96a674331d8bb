"""A read in ranges: what a source is asked for, and what it says of each range. Knows no source and no destination.

Without a partition a read is one split, and a second for the rows without a cursor. With one it is as many as the
source makes of it: disjoint, complete together, from one snapshot, and read by several threads at once.
"""

from __future__ import annotations

import msgspec


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """Asks a session for ranges, so that they can be read at once; for none where there is no row.

    Attributes:
        column: the splits are ranges of it.
        number: splits that are read at once; None: by the number of rows and of processors.
        group_rows: rows of a group of splits, about; None: one group. The column is the cursor then, and the groups
            are in its order.
    """

    column: str
    number: int | None = None
    group_rows: int | None = None


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """The detail of a split of such a read.

    Attributes:
        sql: what is sent to the source.
        condition: the range, as SQL; empty: all rows.
        group: splits of one group are committed together. No cursor of a group lies at or below one of an earlier
            group, so that a checkpoint can stand between them (I7).
    """

    sql: str
    condition: str = ""
    group: int = 0
