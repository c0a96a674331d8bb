"""What the keys of one resource, the file's defaults and its two ends mean together: one rule a function.

A rule adds the problems that it finds and goes on, so that all of them are found. This module reads no file; it asks
a destination's keys what it cannot do, and knows no connector by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from conduit.config.connections import Entry, types_with_partitions
from conduit.config.convert import WRONG, Draft
from conduit.config.document import ResourceKeys
from conduit.config.models import Incremental, reads_target
from conduit.config.names import name_problem, table_problem
from conduit.config.nodes import MappingNode, ScalarNode
from conduit.config.problems import Problems, shown
from conduit.config.scalars import said
from conduit.contract import Mode
from conduit.late import late

if TYPE_CHECKING:
    from conduit import schemas
else:
    schemas = late("conduit.schemas")

_ALSO_OF_A_DESTINATION = ("mode", "metadata_columns", "schema_changes")
_WHAT_IS_READ = {
    "path": "the source's own keys say which files are read",
    "object": "what is read is the Python object that was given to conduit.run",
}


class Line(msgspec.Struct, frozen=True):
    """One resource of the file with all that decides what it means.

    Attributes:
        keys: its own keys; a required one that is wrong is empty.
        draft: which of them are set, and which are wrong.
        defaults: the file's defaults; None when they cannot be read.
        source: its source; None when there is none of that name.
        destination: its destination; None when there is none of that name.
        problems: where problems go.
    """

    keys: ResourceKeys
    draft: Draft
    defaults: Draft | None
    source: Entry | None
    destination: Entry | None
    problems: Problems

    @property
    def relation(self) -> str | None:
        """What a resource names in its source; None when the source is unknown."""
        return self.source.model.relation if self.source and self.source.model else None

    @property
    def has_snapshots(self) -> bool:
        """The source keeps a history: without a cursor, what was appended since the last run is read."""
        return bool(self.source and self.source.model and self.source.model.snapshots)

    @property
    def has_no_windows(self) -> bool:
        """The source is known, and nothing in it can be read by the transactions that wrote it."""
        return bool(self.source and self.source.model and not self.source.model.windows)

    @property
    def has_cursor(self) -> bool:
        """The resource says, rightly or not, how to find what is new."""
        return self.draft.said("incremental_column") or self.draft.said("incremental")

    def setting(self, key: str) -> object:
        """The key of the resource, else of its destination, else of the defaults; WRONG when that is not known."""
        of_destination = self.destination.draft if self.destination else None
        middle = [of_destination] if key in _ALSO_OF_A_DESTINATION else []
        for level in (self.draft, *middle, self.defaults):
            if level is None or key in level.wrong:
                return WRONG
            if key in level.values:
                return level.values[key]
        return None

    def refuse(self, text: str, key: str = "") -> None:
        """Add a problem about `key`; when another level said it, the problem stands at the resource and says so."""
        own = key if key in self.draft.node.keys else ""
        path = self.draft.path_of(own) if own else self.draft.path
        self.problems.add(text if own else text + self._origin(key), self.draft.place(own), path)

    def _origin(self, key: str) -> str:
        if key in _ALSO_OF_A_DESTINATION and self.destination and key in self.destination.draft.values:
            return f" ({key} comes from destination {self.destination.name})"
        return f" ({key} comes from the defaults)" if self.defaults and key in self.defaults.values else ""


# --- reading --------------------------------------------------------------------------------------------


def check_read(line: Line) -> None:
    """A source of SQL is read by query or table; files and objects are read as they are."""
    given = [key for key in ("query", "table") if line.draft.said(key)]
    if line.source is not None and line.relation in _WHAT_IS_READ:
        for key in given:
            why = _WHAT_IS_READ[line.relation]
            line.refuse(f"a source of type {line.source.type} takes no {key}: {why}", key)
    elif len(given) == 2:
        line.refuse("give query or table, not both", "table")
    elif line.source is not None and line.relation == "sql" and not given:
        line.refuse(f"say what to read from {line.source.name}: `query:` or `table:`")


def check_columns(line: Line) -> None:
    """The declared types exist."""
    node = line.draft.node.values.get("columns")
    for column, type_name in line.keys.columns.items():
        if schemas.is_declarable(type_name) or not isinstance(node, MappingNode):
            continue
        value = node.values[column]
        name = said(value) if isinstance(value, ScalarNode) else ""
        hint = "; quote it, a comma ends a value inside { }" if type_name.count("(") > type_name.count(")") else ""
        path = line.draft.path_of(f"columns.{shown(column)}")
        line.problems.add(
            f"unknown type {name}{hint or f'; use one of: {schemas.DECLARABLE}'}", node.keys[column], path
        )


def incremental(line: Line) -> Incremental | None:
    """The cursor, from the short key or the long one."""
    keys = line.keys
    if line.draft.said("incremental_column") and line.draft.said("incremental"):
        line.refuse("give incremental_column or incremental, not both", "incremental_column")
    if keys.incremental is None:
        return Incremental(column=keys.incremental_column) if keys.incremental_column else None
    if keys.incremental.safety == "none" and keys.incremental.lag is not None:
        line.refuse(
            "lag says how far to look back, and safety: none does not look back: take one of them out", "incremental"
        )
    if keys.incremental.safety == "xid_window" and line.has_no_windows:
        node = line.draft.node.values["incremental"]
        place = node.keys["safety"] if isinstance(node, MappingNode) else node
        line.problems.add(
            f"a source of type {line.source.type if line.source else ''} does not tell which transaction wrote a row: "
            "use auto, lag or none",
            place,
            line.draft.path_of("incremental.safety"),
        )
    return keys.incremental


# --- writing --------------------------------------------------------------------------------------------


def mode(line: Line) -> Mode | None:
    """append, merge or replace; None when it is wrong, missing, or not known."""
    value = line.setting("mode")
    if value is WRONG:
        return None
    if value is None and line.has_cursor:
        return "append"
    if value is None:
        append = "`mode: append` (each file is loaded once), " if line.relation == "path" else ""
        append = "`mode: append` (what was appended since), " if line.has_snapshots else append
        line.refuse(
            f"the mode is missing: without incremental_column say {append}`mode: replace`, or `mode: merge` with a "
            "primary_key"
        )
        return None
    return "replace" if value == "full_refresh" else cast("Mode", value)


def primary_key(line: Line) -> tuple[str, ...]:
    """The columns that identify a row; none when they are not said, or wrong."""
    value = line.setting("primary_key")
    if value is WRONG or value is None:
        return ()
    columns = (value,) if isinstance(value, str) else tuple(cast("list[str]", value))
    if len(set(columns)) < len(columns):
        line.refuse("a column is there twice", "primary_key")
    return columns


def check_mode(line: Line, chosen: Mode) -> None:
    """The mode fits the cursor, the key and the source."""
    finds_new = line.has_cursor or line.has_snapshots
    if chosen == "append" and not finds_new and line.relation in ("sql", "object"):
        line.refuse(
            "mode append without a cursor: nothing tells a retry from a second run; set incremental_column, or "
            "`mode: replace`, or `mode: merge` with a primary_key",
            "mode",
        )
    if chosen == "replace" and line.has_cursor:
        line.refuse(
            "mode replace loads everything anew, a cursor loads only what is new, and the rest would be deleted: "
            "take one of them out",
            "mode",
        )
    if chosen == "merge" and line.setting("primary_key") is None:
        line.refuse("mode merge needs a primary_key: the columns by which a row is found again", "mode")
    if chosen == "merge" and line.relation == "sql" and not finds_new and reads_target(line.keys.update):
        line.refuse("update adds to the target, and without a cursor every run would add all rows again", "update")
    if chosen != "merge" and line.draft.said("update"):
        line.refuse(f"update says what a merge does to rows that are already there; the mode is {chosen}", "update")


def check_changed_files(line: Line, chosen: Mode) -> None:
    """Files that changed can be loaded again only over the rows that they left."""
    if line.relation is not None and line.relation != "path" and line.draft.said("on_changed_file"):
        line.refuse("only a source of files has files that change", "on_changed_file")
    elif line.relation == "path" and line.setting("on_changed_file") == "reload" and chosen != "merge":
        line.refuse(
            f"on_changed_file: reload needs `mode: merge`; the mode is {chosen}, and rows would be there twice",
            "on_changed_file",
        )


def check_on_change(line: Line) -> None:
    """Only where a history tells what is new can it tell that rows were changed."""
    if not line.draft.said("on_change") or line.source is None or line.source.model is None:
        return
    if not line.has_snapshots:
        line.refuse(f"a source of type {line.source.type} keeps no history of its rows", "on_change")
    elif line.has_cursor:
        line.refuse("rows are read by their cursor, which sees no change: take one of them out", "on_change")


def check_partition(line: Line) -> None:
    """Only some sources give one snapshot to several readers."""
    if not line.draft.said("partition") or line.source is None or line.source.model is None:
        return
    if not line.source.model.partitions:
        able = ", ".join(types_with_partitions())
        line.refuse(f"a source of type {line.source.type} is read by one reader; several: {able}", "partition")


def check_abilities(line: Line, chosen: Mode) -> None:
    """The destination can do what is asked of it."""
    if line.destination is None or line.destination.connection is None:
        return
    cannot = line.destination.connection.cannot()
    name = f"destination {line.destination.name} ({line.destination.type})"
    if chosen in cannot:
        line.refuse(f"{name} cannot {chosen}: {cannot[chosen]}", "mode")
    if isinstance(line.setting("checkpoint_interval"), int) and "checkpoints" in cannot:
        line.refuse(f"{name} cannot commit at checkpoints: {cannot['checkpoints']}", "checkpoint_interval")


def target(line: Line) -> str | None:
    """The table that is written; None when it is wrong or not known."""
    if "into" in line.draft.wrong or line.destination is None:
        return None
    if line.keys.into is not None:
        problem = table_problem(line.keys.into)
        if problem:
            line.refuse(problem, "into")
        return None if problem else line.keys.into
    if "table" in line.destination.draft.wrong:
        return None
    table = line.destination.draft.values.get("table")
    return table if isinstance(table, str) else _named_after(line)


def _named_after(line: Line) -> str | None:
    """The resource's name as the name of its table."""
    name = line.keys.name
    if not name or name_problem(name):
        return None
    problem = table_problem(name)
    if problem:
        line.refuse(f"the name is also the target table's; set `into`: {problem}", "name")
    return None if problem else name
