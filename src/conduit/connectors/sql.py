"""What destinations that speak SQL share: the table of marks, its compare-and-swap, the statements of one write.

Everything here is SQL text and plain values; how a parameter is spelled and how a statement is run is the
connector's. This module imports no driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from conduit.arrow import SchemaOnce
from conduit.contract import Write
from conduit.errors import ConduitError, ConfigError, DataError, StateConflict
from conduit.late import late
from conduit.marks import Identity, Mark, fenced

if TYPE_CHECKING:
    from conduit import rows, tokens
    from conduit.strategies import append, merge, replace
    from conduit.strategies import statements as shared
    from conduit.strategies.dialects import Dialect
    from conduit.strategies.statements import Statement, Tables
else:  # a run that only reads a mark has no use for any of them
    rows, tokens = late("conduit.rows"), late("conduit.tokens")
    append, merge = late("conduit.strategies.append"), late("conduit.strategies.merge")
    replace, shared = late("conduit.strategies.replace"), late("conduit.strategies.statements")

STATE_TABLE = "_conduit_state"
"""The table of marks, beside the tables that they belong to: one database, one commit."""

Parameter = Callable[[int], str]
"""How the n-th parameter of a statement is spelled, from 1 on: `?1`, `$1`, `%s`."""

# --- the table of marks ---------------------------------------------------------------------------------


def create_marks(table: str) -> str:
    """The DDL of the table of marks; `table` is its quoted name."""
    return (
        f"CREATE TABLE IF NOT EXISTS {table} (pipeline TEXT NOT NULL, resource TEXT NOT NULL, target TEXT NOT NULL, "
        "position TEXT NOT NULL, mark TEXT NOT NULL, PRIMARY KEY (pipeline, resource, target))"
    )


def read_marks(table: str, parameter: Parameter) -> str:
    """The query for all marks of one target, which is its only parameter."""
    return f"SELECT mark FROM {table} WHERE target = {parameter(1)} ORDER BY pipeline, resource"


def marks(texts: Iterable[str], target: str) -> list[Mark]:
    """The marks that were read.

    Raises:
        StateConflict: one is not a mark that this version of conduit knows.
    """
    try:
        return [Mark.from_json(text) for text in texts]
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise StateConflict(
            f"table {target}: its mark in {STATE_TABLE} cannot be read: {error}",
            hint="was it written by a newer conduit, or changed by hand?",
        ) from error


def swap(table: str, old: Mark | None, new: Mark, parameter: Parameter) -> tuple[str, tuple[str, ...]]:
    """The statement that moves a mark from `old` to `new`, and its parameters (I3).

    It affects one row; when it affects none, the mark is not `old` any more. A mark that gets another identity
    (`conduit state move`) is renamed in the same statement.
    """
    values = {"position": new.token(), "mark": new.to_json()}
    if old is None or old.identity != new.identity:
        values |= _named(new.identity)
    if old is None:
        spelled = ", ".join(parameter(place) for place in range(1, len(values) + 1))
        insert = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({spelled}) ON CONFLICT DO NOTHING"
        return insert, tuple(values.values())
    found = _named(old.identity) | {"position": old.token()}
    assigned = ", ".join(f"{name} = {parameter(place)}" for place, name in enumerate(values, start=1))
    matched = " AND ".join(f"{name} = {parameter(place)}" for place, name in enumerate(found, start=len(values) + 1))
    return f"UPDATE {table} SET {assigned} WHERE {matched}", (*values.values(), *found.values())


def _named(identity: Identity) -> dict[str, str]:
    return {"pipeline": identity.pipeline, "resource": identity.resource, "target": identity.table}


def taken(old: Mark | None, new: Mark) -> ConduitError:
    """The error of a mark whose place another mark holds: it came in the meantime, or a rename would cover it."""
    if old is None or old.identity == new.identity:
        return fenced(new.identity)
    return StateConflict(f"{new.identity.resource} has a mark of its own for table {new.identity.table}")


# --- one write ------------------------------------------------------------------------------------------


def needs_stage(write: Write) -> bool:
    """Whether rows must be compared with the target before they go into it."""
    return write.mode == "merge" or write.leave_out_present


def require_key(write: Write) -> None:
    """A write that compares rows knows by which columns.

    Raises:
        ConfigError: it does not; or `update:` names a column that is not there, or holds more than one expression.
    """
    if needs_stage(write) and not write.key:
        raise ConfigError(f"table {write.table}: {write.mode} needs a primary_key", hint="name it: `primary_key: id`")
    names = SchemaOnce.names(write)
    unknown = [name for name in write.update if name not in names]
    if unknown:
        raise ConfigError(
            f"table {write.table}: `update:` names {', '.join(unknown)}, which is not among the columns "
            f"{', '.join(names)}"
        )
    for column, expression in write.update.items():
        what = f"table {write.table}: `update: {{{column}: …}}`"
        tokens.refuse_open_ends(tokens.tokens_of(expression, "postgres", what), what)


def tables(
    write: Write,
    *,
    dialect: Dialect,
    target: str,
    stage: str,
    casts: Mapping[str, str] | None = None,
    comparable: Mapping[str, str] | None = None,
    present_from: str = "",
    whole_rows: bool = False,
) -> Tables:
    """The two tables of a write; `target` and `stage` are quoted names."""
    return shared.Tables(
        dialect=dialect,
        target=target,
        stage=stage,
        columns=tuple(SchemaOnce.names(write)),
        key=write.key,
        cursor=write.cursor,
        casts=casts or {},
        comparable=comparable or {},
        update=write.update,
        unwatched=rows.METADATA_COLUMNS,
        present_from=present_from,
        whole_rows=whole_rows,
    )


def statements(write: Write, both: Tables) -> list[Statement]:
    """What brings the staged rows into the target, in order, in one transaction."""
    if write.mode == "merge":
        return merge.statements(
            both, key_is_unique=write.key_is_unique, refuse_duplicate_keys=write.refuse_duplicate_keys
        )
    if write.mode == "replace":
        return [replace.emptied(both.target), *append.everything(both)]
    if write.leave_out_present:
        return append.leaving_out_present(both, key_is_unique=write.key_is_unique)
    return append.everything(both)


def run(
    steps: Sequence[Statement],
    write: Write,
    *,
    change: Callable[[str], int],
    look: Callable[[str], Sequence[object] | None],
) -> dict[str, int]:
    """Run the statements of a write and add up what they did.

    Args:
        steps: the statements.
        write: what they are for, for messages.
        change: runs a statement and returns the number of rows that it affected.
        look: runs a query and returns its first row, or None.

    Raises:
        DataError: two rows of the commit have one key, and that is not allowed.
    """
    counts: dict[str, int] = {}
    for step in steps:
        if step.count == "duplicate_key":
            found = look(step.sql)
            if found is not None:
                raise _twin(write, found)
        else:
            counts[step.count] = counts.get(step.count, 0) + change(step.sql)
    return counts


def _twin(write: Write, key: Sequence[object]) -> DataError:
    told = ", ".join(f"{name} = {value!r}" for name, value in zip(write.key, key, strict=False))
    return DataError(
        f"table {write.table}: two new rows have the key {told}, and `update:` would count only one of them",
        hint="let the query add them up first, with GROUP BY the key",
    )
