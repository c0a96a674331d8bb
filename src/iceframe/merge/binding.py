"""Clauses with their names resolved for one table and one source: everything that can be wrong is found here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, FloatType, NestedField

from iceframe.errors import SchemaError, ValidationError
from iceframe.merge.clauses import Action, Clause, Kind, Spec, condition_of
from iceframe.merge.expressions import Column, Expression, Scope, evaluated
from iceframe.merge.keys import comparable
from iceframe.merge.source import Source, fitted_column
from iceframe.schemas import arrow_schema


@dataclass(frozen=True, slots=True)
class Copied:
    """A value that is taken from a column of the source as it is."""

    name: str


Value = Copied | Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A clause for one table and one source.

    Attributes:
        word: what it is called, for messages.
        action: what it does.
        condition: None: it holds for all rows of its kind.
        values: what columns of the table become.
    """

    word: str
    action: Action
    condition: Expression | None = None
    values: Mapping[str, Value] = field(default_factory=dict)


class Binding:
    """The clauses of a merge for one table and one source.

    Raises:
        ValidationError: a column is unknown or ambiguous, an expression makes no sense, a key would change.
        SchemaError: a value cannot be held by its column.
    """

    def __init__(self, spec: Spec, schema: Schema, source: Source) -> None:
        self._source, self._on = source, spec.on
        self.fields: dict[str, NestedField] = {one.name: one for one in schema.fields}
        self.columns = {one.name: Schema(one) for one in schema.fields}
        """Each column as a schema of its own, to be read alone."""
        self.shape = arrow_schema(schema)
        """The types of the rows."""
        self.exact_keys = {
            name for name in spec.on if not isinstance(self.fields[name].field_type, FloatType | DoubleType)
        }
        """Keys of which equal ones have the same bytes."""
        self._target_types = _polars_types(schema)
        self._source_types = source.types()
        self._read: set[str] = set(spec.on)
        self.matched = self._bound(spec, "matched")
        self.not_matched = self._bound(spec, "not_matched")
        self.not_matched_by_source = self._bound(spec, "not_matched_by_source")
        if any(one.values is None and one.action != "delete" for one in spec.clauses):
            self._refuse_strange()

    def _bound(self, spec: Spec, kind: Kind) -> tuple[Bound, ...]:
        scope = Scope(
            target=None if kind == "not_matched" else self._target_types,
            source=None if kind == "not_matched_by_source" else self._source_types,
        )
        return tuple(self._clause(one, scope) for one in spec.of_kind(kind))

    def _clause(self, clause: Clause, scope: Scope) -> Bound:
        given = condition_of(clause.condition, clause.word)
        condition = None if given is None else self._condition(given, clause.word, scope)
        values: dict[str, Value] = {}
        if clause.action != "delete":
            values = self._by_name() if clause.values is None else self._values(clause, clause.values, scope)
            self._require_keys(clause, values)
        if clause.action == "insert":
            self._require_complete(clause.word, values)
        if clause.action == "update":
            values = {name: value for name, value in values.items() if name not in self._on}
        self._check_copied(values)
        return Bound(word=clause.word, action=clause.action, condition=condition, values=values)

    def _condition(self, given: pl.Expr, word: str, scope: Scope) -> Expression:
        found, gives = scope.expression(given, f"the condition of {word}")
        if gives not in {pl.Boolean, pl.Null}:
            raise ValidationError(f"the condition of {word} gives {gives}, not true or false")
        self._read |= found.columns("source")
        return found

    def _by_name(self) -> dict[str, Value]:
        return {name: Copied(name) for name in self.fields if name in self._source.names}

    def _values(self, clause: Clause, given: Mapping[str, object], scope: Scope) -> dict[str, Value]:
        unknown = [str(name) for name in given if name not in self.fields]
        if unknown:
            raise ValidationError(
                f"{clause.word}: the table has no column {', '.join(unknown)}",
                hint=f"its columns: {', '.join(self.fields)}",
            )
        if not given:
            raise ValidationError(f"{clause.word}: no column is given a value", hint="leave it out for all columns")
        return {name: self._value(value, name, f"{clause.word}, {name}", scope) for name, value in given.items()}

    def _value(self, given: object, column: str, what: str, scope: Scope) -> Value:
        found, gives = scope.expression(self._expr(given, what, scope), what)
        self._read |= found.columns("source")
        if found.expr.meta.undo_aliases().meta.is_column() and found.columns("source"):
            return Copied(next(iter(found.columns("source"))))
        fitted_column(pl.Series([], dtype=gives).to_arrow(), self.fields[column])
        return found

    def _expr(self, given: object, what: str, scope: Scope) -> pl.Expr:
        if isinstance(given, pl.Expr):
            return given
        if isinstance(given, str) and _names_a_column(given, scope):
            raise ValidationError(
                f"{what}: {given!r} is a text here, and also the name of a column",
                hint=f"say pl.col({given!r}) for the column, pl.lit({given!r}) for the text",
            )
        if isinstance(given, pl.Series | pl.DataFrame | pl.LazyFrame):
            raise ValidationError(f"{what}: a value is an expression or one constant, not {type(given).__name__}")
        with evaluated(what):
            return pl.lit(given)

    def _require_keys(self, clause: Clause, values: Mapping[str, Value]) -> None:
        """Keys are set to the key of the source or not at all: else a key could be in the table twice."""
        for name in self._on:
            given = values.get(name)
            if clause.action == "update" and (given is None or given == Copied(name)):
                continue
            if given != Copied(name):
                raise ValidationError(
                    f"{clause.word}: the key column {name} cannot become anything but the key of the source",
                    hint=f'"{name}": pl.col("source.{name}")' if clause.action == "insert" else f"leave {name} out",
                )

    def _require_complete(self, word: str, values: Mapping[str, Value]) -> None:
        missing = [one.name for one in self.fields.values() if one.required and one.name not in values]
        if missing:
            raise SchemaError(f"{word}: column {', '.join(missing)} is required and gets no value")

    def _check_copied(self, values: Mapping[str, Value]) -> None:
        for name, value in values.items():
            if isinstance(value, Copied):
                self._source.fitted(value.name, self.fields[name])

    def _refuse_strange(self) -> None:
        """A column that goes nowhere is a slip: rows are taken by name, and this name is not in the table."""
        strange = [name for name in self._source.names if name not in self.fields and name not in self._read]
        if strange:
            raise ValidationError(
                f"the table has no column {', '.join(strange)} of the source, and no clause reads it",
                hint=f"drop it from the source; columns of the table: {', '.join(self.fields)}",
            )


def _names_a_column(text: str, scope: Scope) -> bool:
    known: Sequence[Column] = [
        *(Column("target", name) for name in scope.target or ()),
        *(Column("source", name) for name in scope.source or ()),
    ]
    return any(text == f"{column.side}.{column.name}" for column in known)


def _polars_types(schema: Schema) -> dict[str, pl.DataType]:
    return {one.name: comparable(pa.array([], one.type)).dtype for one in arrow_schema(schema)}
