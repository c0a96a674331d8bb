"""The rows of a read added up by DuckDB, and read range by range."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from conduit.arrow import pa
from conduit.connectors.duckdb.connection import Database
from conduit.connectors.duckdb.types import Column, quote
from conduit.connectors.sql_sums import RowHash, SumDialect, SumStatements, range_sums
from conduit.sums import Form, Interval, RangeSum, Wanted

_FORMS: tuple[tuple[str, tuple[Form, ...]], ...] = (
    (r"BOOLEAN", ("bool",)),
    (r"U?(?:TINYINT|SMALLINT|INTEGER|BIGINT)", ("int", "decimal")),
    (r"DECIMAL\(\d+,\d+\)", ("decimal",)),
    (r"FLOAT", ("real", "double")),
    (r"DOUBLE", ("double",)),
    (r"VARCHAR", ("text",)),
    (r"JSON", ("json",)),
    (r"BLOB", ("binary",)),
    (r"UUID", ("uuid",)),
    (r"DATE", ("date",)),
    (r"TIMESTAMP", ("timestamp",)),
    (r"TIMESTAMP WITH TIME ZONE", ("timestamptz",)),
)
"""Types as DESCRIBE prints them -> the forms that their values can be written in."""

_SIGN_BIT = 2**63


def _text(form: Form, column: str) -> str:
    if form == "decimal":
        text = f"regexp_replace(CAST({column} AS VARCHAR), '^(-?)[.]', '\\10.')"  # DECIMAL(2,2) begins with its point
        return f"CASE WHEN contains({text}, '.') THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END"
    if form in ("real", "double"):
        return _float(f"CAST({column} AS DOUBLE)")
    if form in ("text", "json"):
        return f"strlen(CAST({column} AS VARCHAR)) || ':' || CAST({column} AS VARCHAR)"
    return f"lower(to_hex({column}))" if form == "binary" else f"CAST({column} AS VARCHAR)"


def _float(value: str) -> str:
    """Sign, and the bits of the absolute value, which the key for sorting has after its first byte, one bit changed.

    Were that key to change, ranges would seem to differ whose rows then turn out the same.
    """
    key = f"TRY_CAST('0x' || substr(hex(create_sort_key(abs({value}), 'ASC NULLS LAST')), 3) AS UBIGINT)"
    bits = f"lpad(lower(to_hex({key} - CAST({_SIGN_BIT} AS UBIGINT))), 16, '0')"
    return (
        f"CASE WHEN isnan({value}) THEN 'nan' ELSE CASE WHEN {value} < 0 THEN '-' ELSE '' END || "
        f"CASE WHEN isinf({value}) THEN '7ff0000000000000' ELSE {bits} END END"
    )


def _odd(form: Form, column: str) -> str | None:
    """Infinite times, and years outside of 1 to 9999."""
    ends = {
        "date": "DATE '0001-01-01' AND DATE '9999-12-31'",
        "timestamp": "TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999'",
        "timestamptz": "CAST('0001-01-01 00:00:00+00' AS TIMESTAMP WITH TIME ZONE) AND "
        "CAST('9999-12-31 23:59:59.999999+00' AS TIMESTAMP WITH TIME ZONE)",
    }
    return f"{column} NOT BETWEEN {ends[form]}" if form in ends else None


def _place(form: Form, column: str) -> str:
    if form in ("timestamp", "timestamptz"):
        return f"epoch_us({column})"
    return f"CAST({column} - DATE '1970-01-01' AS BIGINT)" if form == "date" else f"CAST({column} AS BIGINT)"


DIALECT = SumDialect(
    quote=quote,
    text=_text,
    odd=_odd,
    place=_place,
    hashes={
        "md5": RowHash(
            "md5({row})", ("CAST('0x' || substr(h, 1, 16) AS UBIGINT)", "CAST('0x' || substr(h, 17) AS UBIGINT)")
        )
    },
)


def forms(columns: Sequence[Column]) -> Callable[[str], Sequence[Form]]:
    """The forms of each column; none for those that `columns:` gives a type."""
    known = {column.name: _forms(column.declared) for column in columns if column.wanted is None}
    return lambda name: known.get(name, ())


def _forms(declared: str) -> tuple[Form, ...]:
    return next((found for pattern, found in _FORMS if re.fullmatch(pattern, declared)), ())


@dataclass(frozen=True, slots=True)
class DuckdbSums:
    """One read.

    Attributes:
        database: the session's connection, in its transaction.
        statements: over the rows of the read.
        select: the columns, as expressions that bring them to Arrow.
        values: parameters of the read's ends.
        read: runs a SELECT of these columns in the same transaction.
    """

    database: Database
    statements: SumStatements
    select: Sequence[str]
    values: Mapping[str, object]
    read: Callable[[str, Mapping[str, object]], Iterator[pa.RecordBatch]]
    hashes: Sequence[str] = tuple(DIALECT.hashes)

    def extent(self) -> Interval | None:
        """The lowest and the highest place."""
        statement = self.statements.extent()
        found = self.database.first(statement, self.values) if statement else None
        return None if found is None or found[0] is None or found[1] is None else Interval(int(found[0]), int(found[1]))

    def sums(self, wanted: Wanted) -> Sequence[RangeSum]:
        """The rows that are wanted, range by range."""
        return [one for text, values in self._both(self.statements.sums(wanted)) for one in self._summed(text, values)]

    def _summed(self, text: str, values: Mapping[str, object]) -> Iterator[RangeSum]:
        return range_sums(self.database.rows(text, values))

    def rows(self, wanted: Wanted) -> Iterator[pa.RecordBatch]:
        """The same rows themselves."""
        for text, values in self._both(self.statements.within(wanted, self.select)):
            yield from self.read(text, values)

    def _both(self, statements: Sequence[str]) -> Iterator[tuple[str, Mapping[str, object]]]:
        """Rows within the ends, and those without a cursor, which are within none."""
        yield from zip(statements, (self.values, {}), strict=False)
