"""One malformed input: what is laid into the folder, how conduit is called, and what must come of it.

The folder of an attempt holds a pipeline that has run once and has new rows to load, so that whatever is let through
shows: as a change of the destination, of the source, of the state file, or as a file that was not there before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

GOOD = """\
pipeline: p
sources:
  - name: shop
    type: sqlite
    database: shop.db
destinations:
  - name: lake
    type: sqlite
    database: lake.db
resources:
  - name: r
    source: shop
    destination: lake
    into: orders
    table: orders
    incremental_column: id
"""

RUN = ("run", "ingest.yml")


@dataclass(frozen=True)
class Case:
    """A malformed input.

    Attributes:
        name: of the input, unique within its kind.
        file: the ingest.yml.
        files: other files of the folder; None: the file is not there.
        arguments: of the command.
        environment: variables that are set.
        codes: exit codes that are documented for it.
        says: patterns that the output must match, each of them.
        never: text that must not be in the output.
        harmless: it may succeed, as long as the tables of others and the source stay as they are.
    """

    name: str
    file: str | bytes = GOOD
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    arguments: tuple[str, ...] = RUN
    environment: Mapping[str, str] = field(default_factory=dict)
    codes: tuple[int, ...] = (2,)
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    harmless: bool = False


def line_of(text: str, part: str) -> int:
    """The number of the line in which `part` begins."""
    return text[: text.index(part)].count("\n") + 1


NEW = GOOD.replace("into: orders", "into: made")
"""The good file with a target that is not there yet; nothing is remembered of it."""

FORGOTTEN: Mapping[str, bytes | None] = {".conduit_state.json": None}
"""Without the state file, which would stop a target that has no mark."""
