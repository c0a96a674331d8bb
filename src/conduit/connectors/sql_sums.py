"""The statements by which a SQL database adds up rows: one hash a row, over a text that says all of its values.

The text of a row is unambiguous: each value ends in a comma, texts say their length first, NULL is `N`. Knows no
connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from conduit.positions import from_epoch
from conduit.sums import ORDINAL, Form, RangeSum, Wanted

_DAY_US = 86_400_000_000
_HALF = 2**64


@dataclass(frozen=True, slots=True)
class RowHash:
    """How a row becomes two integers of 64 bits.

    Attributes:
        inner: what is computed once for a row, with `{row}` for its text.
        halves: two expressions over that, which is called `h`.
    """

    inner: str
    halves: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SumDialect:
    """How a database writes values.

    Attributes:
        quote: a name.
        text: a value that is not NULL, in a form.
        odd: a condition: the value has no exact form. None: every value of the form has one.
        place: the cursor's value as a number.
        hashes: what rows can be hashed by; the cheapest first.
        apart: what keeps the hash of a row from being computed once for each time that it is used.
    """

    quote: Callable[[str], str]
    text: Callable[[Form, str], str]
    odd: Callable[[Form, str], str | None]
    place: Callable[[Form, str], str]
    hashes: Mapping[str, RowHash]
    apart: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SumStatements:
    """Statements over one read.

    Attributes:
        dialect: of the database.
        columns: what a row is, as name and form.
        cursor: name and form of the incremental column; None: all rows are one range.
        rows: SELECT of the rows that have a cursor, with the columns as they stand.
        nulls: SELECT of those that have none; None: they do not count.
    """

    dialect: SumDialect
    columns: Sequence[tuple[str, Form]]
    cursor: tuple[str, Form] | None
    rows: str
    nulls: str | None

    def extent(self) -> str | None:
        """The lowest and the highest cursor as places; None: it has none."""
        if self.cursor is None or self.cursor[1] not in ORDINAL:
            return None
        name, form = self.cursor
        low, high = (f"{which}(q.{self.dialect.quote(name)})" for which in ("min", "max"))
        ends = (
            f"CASE WHEN {self._even(form, end)} THEN {self.dialect.place(form, end)} END" for end in ("low", "high")
        )
        return f"SELECT {', '.join(ends)} FROM (SELECT {low} AS low, {high} AS high FROM (\n{self.rows}\n) AS q) AS e"

    def sums(self, wanted: Wanted) -> list[str]:
        """Range, rows, two sums of hashes, lowest and highest place, odd rows."""
        found = [self._summed(f"(\n{self.rows}\n) AS q{self._where(wanted)}", self._place, wanted)]
        if wanted.nulls and self.nulls is not None:
            found.append(self._summed(f"(\n{self.nulls}\n) AS q", "CAST(NULL AS bigint)", wanted))
        return found

    def within(self, wanted: Wanted, select: Sequence[str]) -> list[str]:
        """The rows themselves; `select` are expressions over `q`."""
        chosen = ", ".join(select)
        found = [f"SELECT {chosen} FROM (\n{self.rows}\n) AS q{self._where(wanted)}"]
        if wanted.nulls and self.nulls is not None:
            found.append(f"SELECT {chosen} FROM (\n{self.nulls}\n) AS q")
        return found

    def _summed(self, relation: str, place: str, wanted: Wanted) -> str:
        odd = " OR ".join(self._odd(name, form) for name, form in self.columns if self._is_odd(form)) or "false"
        row = self.dialect.hashes[wanted.hash]
        hashed = row.inner.replace("{row}", self._row())
        a, b = row.halves
        return (
            f"SELECT place >> {wanted.shift}, count(*), sum({a}), sum({b}), min(place), max(place), "
            f"count(*) FILTER (WHERE odd) FROM (SELECT {place} AS place, {hashed} AS h, {odd} AS odd "
            f"FROM {relation}{self.dialect.apart}) AS r GROUP BY 1"
        )

    def _row(self) -> str:
        return " || ".join(self._value(name, form) for name, form in self.columns)

    def _value(self, name: str, form: Form) -> str:
        column = f"q.{self.dialect.quote(name)}"
        text = f"{self.dialect.text(form, column)} || ','"
        if self._is_odd(form):
            text = f"CASE WHEN {self._even(form, column)} THEN {text} END"
        return f"coalesce({text}, 'N,')"

    def _is_odd(self, form: Form) -> bool:
        return self.dialect.odd(form, "") is not None

    def _even(self, form: Form, column: str) -> str:
        odd = self.dialect.odd(form, column)
        return f"NOT ({odd})" if odd else "true"

    def _odd(self, name: str, form: Form) -> str:
        column = f"q.{self.dialect.quote(name)}"
        return f"({column} IS NOT NULL AND {self.dialect.odd(form, column)})"

    @property
    def _place(self) -> str:
        if self.cursor is None or self.cursor[1] not in ORDINAL:
            return "CAST(0 AS bigint)"
        name, form = self.cursor
        column = f"q.{self.dialect.quote(name)}"
        return f"CASE WHEN {self._even(form, column)} THEN {self.dialect.place(form, column)} END"

    def _where(self, wanted: Wanted) -> str:
        if self.cursor is None:
            return ""
        name, form = self.cursor
        column = f"q.{self.dialect.quote(name)}"
        conditions = [f"{column} IS NOT NULL"]
        if wanted.within is not None:
            inside = (
                f"{column} BETWEEN {_literal(one.low, form)} AND {_literal(one.high, form)}" for one in wanted.within
            )
            conditions.append(f"({' OR '.join(inside) or 'false'})")
        if wanted.cells is not None:
            numbers = ", ".join(map(str, wanted.cells.numbers))
            conditions.append(f"({self._place}) >> {wanted.cells.shift} IN ({numbers})" if numbers else "false")
        return f" WHERE {' AND '.join(conditions)}"


def _literal(place: int, form: Form) -> str:
    """The cursor's value at a place."""
    if form == "int":
        return f"({place})"
    aware = form == "timestamptz"
    text = from_epoch(place * (_DAY_US if form == "date" else 1), "us", aware=aware).value
    types = {"date": "DATE", "timestamp": "TIMESTAMP", "timestamptz": "TIMESTAMP WITH TIME ZONE"}
    return f"CAST('{text[:10] if form == 'date' else text}' AS {types[form]})"


def range_sums(rows: Sequence[Sequence[object]]) -> Iterator[RangeSum]:
    """What such a statement gave."""
    for place, count, a, b, low, high, odd in rows:
        ends = (None if one is None else _number(one) for one in (place, low, high))
        first, lowest, highest = ends
        yield RangeSum(first, _number(count), _number(a) % _HALF, _number(b) % _HALF, lowest, highest, _number(odd))


def _number(value: object) -> int:
    return int(str(value))
