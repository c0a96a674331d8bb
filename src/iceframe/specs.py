"""Partition specs and sort orders from short texts: `day(event_time)`, `bucket(16, id)`, `id desc nulls last`.

Knows a schema, and no table.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

from pyiceberg.exceptions import ValidationError as SpecError
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER, NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    YearTransform,
)
from pyiceberg.types import NestedField

from iceframe.errors import SchemaError

Part = str | tuple[str, str | Transform[Any, Any]]
"""`day(event_time)`, or `("event_time", "day")`."""

_FIRST_ID = 1000
_PLAIN: dict[str, Transform[Any, Any]] = {
    "identity": IdentityTransform(),
    "year": YearTransform(),
    "month": MonthTransform(),
    "day": DayTransform(),
    "hour": HourTransform(),
}
_WITH_NUMBER: dict[str, Any] = {
    "bucket": BucketTransform,
    "truncate": TruncateTransform,
}
_SUFFIX = {"bucket": "bucket", "truncate": "trunc"}
_CALL = re.compile(r"(?P<name>\w+)\s*\(\s*(?:(?P<number>\d+)\s*,\s*)?(?P<column>.+?)\s*\)")
_SORTED = re.compile(
    r"(?P<what>.+?)(?:\s+(?P<direction>asc|desc))?(?:\s+nulls\s+(?P<nulls>first|last))?", re.IGNORECASE
)
_NUMBERED = re.compile(r"(?P<name>\w+)\s*[\[(]\s*(?P<number>\d+)\s*[\])]")


def spec_of(given: Sequence[Part] | PartitionSpec | None, schema: Schema) -> PartitionSpec:
    """How rows are partitioned.

    Args:
        given: `day(event_time)`, `category`, `bucket(16, id)`, `truncate(4, name)`, or a column with its transform.
        schema: of the table.

    Raises:
        SchemaError: a column or a transform is unknown, a transform does not fit its column, a part comes twice.
    """
    if not given:
        return UNPARTITIONED_PARTITION_SPEC
    spec = given if isinstance(given, PartitionSpec) else PartitionSpec(*_partition_fields(_listed(given), schema))
    try:
        spec.check_compatible(schema)
    except SpecError as error:
        raise SchemaError(f"the table cannot be partitioned like this: {error}") from error
    return spec


def order_of(given: Sequence[str] | SortOrder | None, schema: Schema) -> SortOrder:
    """In which order rows are written.

    Args:
        given: `id`, `id desc`, `id desc nulls last`, `day(event_time)`. NULLs are first in ascending order and last in
            descending order unless said.
        schema: of the table.

    Raises:
        SchemaError: a column or a transform is unknown, or a transform does not fit its column.
    """
    if not given:
        return UNSORTED_SORT_ORDER
    return given if isinstance(given, SortOrder) else SortOrder(*(_sort_field(one, schema) for one in _listed(given)))


def described(spec: PartitionSpec, schema: Schema) -> list[str]:
    """The parts of a spec as text, to compare and to show."""
    return [f"{one.transform}({schema.find_column_name(one.source_id)})" for one in spec.fields]


def _listed(given: Any) -> list[Any]:
    return [given] if isinstance(given, str) else list(given)


def _partition_fields(parts: list[Part], schema: Schema) -> list[PartitionField]:
    fields: list[PartitionField] = []
    for number, part in enumerate(parts):
        column, transform = _part(part, schema)
        name = column.name if isinstance(transform, IdentityTransform) else f"{column.name}_{_suffix(transform)}"
        if any(one.name == name for one in fields):
            raise SchemaError(f"the partition {part!r} comes twice")
        fields.append(PartitionField(column.field_id, _FIRST_ID + number, transform, name))
    return fields


def _suffix(transform: Transform[Any, Any]) -> str:
    name = str(transform).partition("[")[0]
    return _SUFFIX.get(name, name)


def _sort_field(text: str, schema: Schema) -> SortField:
    found = _SORTED.fullmatch(text.strip())
    if found is None:
        raise SchemaError(f"{text!r} is no sort order", hint="`column`, `column desc`, `column desc nulls last`")
    column, transform = _part(found["what"], schema)
    down = (found["direction"] or "asc").lower() == "desc"
    nulls = (found["nulls"] or ("last" if down else "first")).lower()
    return SortField(
        source_id=column.field_id,
        transform=transform,
        direction=SortDirection.DESC if down else SortDirection.ASC,
        null_order=NullOrder.NULLS_FIRST if nulls == "first" else NullOrder.NULLS_LAST,
    )


def _part(part: Part, schema: Schema) -> tuple[NestedField, Transform[Any, Any]]:
    """The column and its transform, proved to fit."""
    if isinstance(part, tuple):
        name, how = part
        transform = how if isinstance(how, Transform) else _named(how)
    elif part in schema.column_names:
        name, transform = part, _PLAIN["identity"]
    elif call := _CALL.fullmatch(part.strip()):
        name, transform = call["column"], _transform(call["name"], call["number"])
    else:
        name, transform = part.strip(), _PLAIN["identity"]
    column = _column(name, schema)
    if not transform.can_transform(column.field_type):
        raise SchemaError(f"{transform} does not fit column {name}, which is {column.field_type}")
    return column, transform


def _named(text: str) -> Transform[Any, Any]:
    """The transform of a pair: `day`, `bucket[16]`, `bucket(16)`."""
    found = _NUMBERED.fullmatch(text.strip())
    return _transform(found["name"], found["number"]) if found else _transform(text.strip(), None)


def _transform(name: str, number: str | None) -> Transform[Any, Any]:
    known = name.lower()
    if known in _PLAIN and number is None:
        return _PLAIN[known]
    if known in _WITH_NUMBER and number is not None and int(number) > 0:
        made: Transform[Any, Any] = _WITH_NUMBER[known](int(number))
        return made
    written = [*(f"{one}(column)" for one in _PLAIN), *(f"{one}(number, column)" for one in _WITH_NUMBER)]
    if known in {*_PLAIN, *_WITH_NUMBER}:
        raise SchemaError(f"{name} is not written like this", hint=f"transforms: {', '.join(written)}")
    near = difflib.get_close_matches(known, [*_PLAIN, *_WITH_NUMBER], n=1)
    guess = f"did you mean {near[0]}? " if near else ""
    raise SchemaError(f"unknown transform {name}", hint=f"{guess}transforms: {', '.join(written)}")


def _column(name: str, schema: Schema) -> NestedField:
    try:
        return schema.find_field(name)
    except ValueError as error:
        near = difflib.get_close_matches(name, schema.column_names, n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise SchemaError(f"unknown column {name}", hint=f"{guess}columns: {', '.join(schema.column_names)}") from error
