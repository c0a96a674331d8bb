"""Changes of a table's columns and properties; no row is written. Knows no snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count

from pyiceberg.exceptions import CommitStateUnknownException, ResolveError
from pyiceberg.exceptions import ValidationError as RefusedError
from pyiceberg.table import Table, Transaction
from pyiceberg.table.update.schema import UpdateSchema
from pyiceberg.types import PrimitiveType

from iceframe.asking import refreshed, unanswered
from iceframe.errors import ConflictError, OutcomeUnknownError, SchemaError, ValidationError
from iceframe.internals import OneCommit
from iceframe.types import iceberg_type

Column = str | tuple[str, ...]
"""A column, or with points a field of a struct (`address.city`); as a tuple where a name has points of its own."""

_ATTEMPTS = 10


def add_column(table: Table, name: Column, type: object, *, doc: str | None = None) -> None:  # noqa: A002
    """Add an optional column, last; rows that are there have NULL in it.

    Args:
        table: where.
        name: of the column.
        type: its type, as in a schema.
        doc: what it means.

    Raises:
        SchemaError: there is such a column, or no such type.
        ConflictError: other changes of the table came first too often.
    """
    made = iceberg_type(type, count(1), ".".join(_path(name)))
    _evolved(table, lambda update: update.add_column(_path(name), made, doc))


def drop_column(table: Table, name: Column) -> None:
    """Take a column away; its values are no longer read.

    Raises:
        SchemaError: there is no such column, or rows are partitioned or sorted by it.
        ConflictError: other changes of the table came first too often.
    """

    def drop(update: UpdateSchema) -> None:
        _refuse_used(table, name)
        update.delete_column(_path(name))

    _evolved(table, drop)


def rename_column(table: Table, name: Column, to: str) -> None:
    """Give a column another name; its values stay.

    Args:
        table: where.
        name: of the column, with those of its structs.
        to: its own new name.

    Raises:
        SchemaError: there is no such column, or there is one of the new name.
        ConflictError: other changes of the table came first too often.
    """
    if not to:
        raise SchemaError(f"column {'.'.join(_path(name))} cannot be without a name")
    _evolved(table, lambda update: update.rename_column(_path(name), to))


def widen_column(table: Table, name: Column, type: object) -> None:  # noqa: A002
    """Give a column a wider type: int to long, float to double, a decimal more digits.

    Raises:
        SchemaError: there is no such column, or values of its type do not all fit.
        ConflictError: other changes of the table came first too often.
    """
    column = ".".join(_path(name))
    made = iceberg_type(type, count(1), column)
    if not isinstance(made, PrimitiveType):
        raise SchemaError(f"column {column}: only plain types can be widened, and {made} is none")
    _evolved(table, lambda update: update.update_column(_path(name), field_type=made))


def make_optional(table: Table, name: Column) -> None:
    """Let a column be NULL.

    Raises:
        SchemaError: there is no such column.
        ConflictError: other changes of the table came first too often.
    """
    _evolved(table, lambda update: update.make_column_optional(_path(name)))


def set_properties(table: Table, properties: Mapping[str, object]) -> None:
    """Set properties of the table.

    Raises:
        ValidationError: one has no value.
        ConflictError: other changes of the table came first too often.
    """
    missing = [key for key, value in properties.items() if value is None]
    if missing:
        raise ValidationError(f"property {missing[0]} has no value", hint="take it away with remove_properties")
    texts = {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in properties.items()}
    if texts:
        _changed(table, lambda transaction: transaction.set_properties(texts))


def remove_properties(table: Table, *names: str) -> None:
    """Take properties of the table away; one that is not there is no error.

    Raises:
        ConflictError: other changes of the table came first too often.
    """

    def remove(transaction: Transaction) -> None:
        there = [name for name in names if name in table.metadata.properties]
        if there:
            transaction.remove_properties(*there)

    _changed(table, remove)


def _evolved(table: Table, change: Callable[[UpdateSchema], object]) -> None:
    def evolve(transaction: Transaction) -> None:
        with transaction.update_schema() as update:
            change(update)

    _changed(table, evolve)


def _changed(table: Table, change: Callable[[Transaction], object]) -> None:
    """Make a change on the newest state of the table; it is made anew after a lost race, which is harmless here."""
    name = ".".join(table.name())
    for attempt in range(1, _ATTEMPTS + 1):
        refreshed(table)
        transaction = OneCommit(table)
        try:
            change(transaction)
            transaction.commit_transaction()
        except ConflictError:
            if attempt == _ATTEMPTS:
                raise
        except unanswered(CommitStateUnknownException) as error:
            raise OutcomeUnknownError(
                f"{name}: the catalog did not answer: {error}", hint="look whether the change is there"
            ) from error
        except (ValueError, RefusedError, ResolveError) as error:
            raise SchemaError(f"{name}: {' '.join(str(error).split())}") from error
        else:
            return


def _path(name: Column) -> tuple[str, ...]:
    return tuple(name.split(".")) if isinstance(name, str) else name


def _refuse_used(table: Table, name: Column) -> None:
    column = ".".join(_path(name))
    try:
        inner = table.schema().find_field(column).field_id
    except ValueError as error:
        hint = f"columns: {', '.join(table.schema().column_names)}"
        raise SchemaError(f"{'.'.join(table.name())} has no column {column}", hint=hint) from error
    ids = {inner, *(id_ for id_ in table.schema().field_ids if _within(table, id_, inner))}
    if any(one.source_id in ids for one in table.spec().fields):
        raise SchemaError(f"column {column} cannot be dropped: the table is partitioned by it")
    if any(one.source_id in ids for one in table.sort_order().fields):
        raise SchemaError(f"column {column} cannot be dropped: the table is sorted by it")


def _within(table: Table, field_id: int, outer: int) -> bool:
    """Whether a field is inside another one."""
    names = [table.schema().find_column_name(one) or "" for one in (field_id, outer)]
    return names[0].startswith(f"{names[1]}.")
