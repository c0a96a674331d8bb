"""The rows of a read added up by PostgreSQL, and read range by range."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from psycopg2 import errors, extensions

from conduit.arrow import pa
from conduit.connectors.postgresql.connection import mapped
from conduit.connectors.postgresql.types import Column, quote
from conduit.connectors.sql_sums import RowHash, SumDialect, SumStatements, range_sums
from conduit.sums import Form, Interval, RangeSum, Wanted

_FORMS: dict[str, tuple[Form, ...]] = {
    "bool": ("bool",), "int2": ("int", "decimal"), "int4": ("int", "decimal"), "int8": ("int", "decimal"),
    "numeric": ("decimal",), "float4": ("real", "double"), "float8": ("double",), "text": ("text",),
    "varchar": ("text",), "json": ("json",), "jsonb": ("json",), "bytea": ("binary",), "uuid": ("uuid",),
    "date": ("date",), "timestamp": ("timestamp",), "timestamptz": ("timestamptz",),
}  # fmt: skip
"""Internal name of a type -> the forms that its values can be written in. `char(n)` is not there: casts trim it."""

_EPOCH_US = 946_684_800_000_000
"""Where PostgreSQL counts times from, in microseconds since 1970."""
_OLDEST = 130_000
"""The first version with `trim_scale`."""


def _text(form: Form, column: str) -> str:
    if form == "decimal":
        return f"trim_scale({column}::numeric)::text"
    if form in ("real", "double"):
        bits = f"encode(float8send(abs({column}::float8)), 'hex')"
        return f"CASE WHEN {column} = 'NaN' THEN 'nan' WHEN {column} < 0 THEN '-' || {bits} ELSE {bits} END"
    if form in ("text", "json"):
        return f"octet_length({column}::text) || ':' || {column}::text"
    return f"encode({column}, 'hex')" if form == "binary" else f"{column}::text"


def _odd(form: Form, column: str) -> str | None:
    """Infinite times, years outside of 1 to 9999, numbers that are none."""
    if form == "decimal":
        return f"{column} = 'NaN'::numeric"
    ends = {
        "date": "DATE '0001-01-01' AND DATE '9999-12-31'",
        "timestamp": "TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999'",
        "timestamptz": "TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'",
    }
    return f"{column} NOT BETWEEN {ends[form]}" if form in ends else None


def _place(form: Form, column: str) -> str:
    if form in ("timestamp", "timestamptz"):
        return f"('x' || encode({form}_send({column}), 'hex'))::bit(64)::bigint + {_EPOCH_US}"
    return f"({column} - DATE '1970-01-01')::bigint" if form == "date" else f"{column}::bigint"


DIALECT = SumDialect(
    quote=quote,
    text=_text,
    odd=_odd,
    place=_place,
    hashes={
        "hashtextextended": RowHash(
            "{row}", ('hashtextextended(h COLLATE "C", 0)', 'hashtextextended(h COLLATE "C", 1)')
        ),
        "md5": RowHash(
            "md5({row})", ("('x' || substr(h, 1, 16))::bit(64)::bigint", "('x' || substr(h, 17))::bit(64)::bigint")
        ),
    },
    apart=" OFFSET 0",
)


def refusal(opened: extensions.connection) -> str:
    """Why this server cannot add up rows; empty: it can."""
    if opened.server_version < _OLDEST:
        return "PostgreSQL adds up rows from version 13 on, so all rows were read"
    with opened.cursor() as cur:
        cur.execute("SAVEPOINT conduit_sums")
        try:
            cur.execute("SELECT current_setting('server_encoding'), md5('')")
            encoding = (cur.fetchone() or ("",))[0]
        except errors.Error as error:
            cur.execute("ROLLBACK TO SAVEPOINT conduit_sums")
            return f"the server has no md5 ({str(error).splitlines()[0]}), so all rows were read"
        cur.execute("RELEASE SAVEPOINT conduit_sums")
    return "" if encoding == "UTF8" else f"texts are stored as {encoding}, so all rows were read"


def forms(columns: Sequence[Column], declared: Sequence[str]) -> Callable[[str], Sequence[Form]]:
    """The forms of each column; none for those that `columns:` gives a type."""
    known = {column.name: _FORMS.get(column.type_name, ()) for column in columns if column.name not in declared}
    return lambda name: known.get(name, ())


@dataclass(frozen=True, slots=True)
class PostgresqlSums:
    """One read.

    Attributes:
        name: of the connection, for messages.
        opened: the session's connection, in its snapshot.
        statements: over the rows of the read.
        select: the columns, as expressions that bring them to Arrow.
        read: runs a SELECT of these columns in the same snapshot.
    """

    name: str
    opened: extensions.connection
    statements: SumStatements
    select: Sequence[str]
    read: Callable[[str], Iterator[pa.RecordBatch]]
    hashes: Sequence[str] = tuple(DIALECT.hashes)

    def extent(self) -> Interval | None:
        """The lowest and the highest place."""
        statement = self.statements.extent()
        found = self._rows(statement)[0] if statement else (None, None)
        return None if found[0] is None or found[1] is None else Interval(int(found[0]), int(found[1]))

    def sums(self, wanted: Wanted) -> Sequence[RangeSum]:
        """The rows that are wanted, range by range."""
        return [one for text in self.statements.sums(wanted) for one in range_sums(self._rows(text))]

    def rows(self, wanted: Wanted) -> Iterator[pa.RecordBatch]:
        """The same rows themselves."""
        for text in self.statements.within(wanted, self.select):
            yield from self.read(text)

    def _rows(self, statement: str) -> list[tuple[str | None, ...]]:
        with mapped(self.name, "add up rows"), self.opened.cursor() as cur:
            cur.execute(statement)
            return list(cur.fetchall())


def summing(
    name: str,
    opened: extensions.connection,
    columns: Sequence[Column],
    known: list[tuple[str, Form]] | str,
    cursor: str | None,
    *,
    rows: str,
    nulls: str | None,
    read: Callable[[str], Iterator[pa.RecordBatch]],
) -> PostgresqlSums | str:
    """A read as something that adds itself up, or why it cannot be.

    Args:
        name: of the connection, for messages.
        opened: the session's connection, in its snapshot.
        columns: of the read.
        known: the forms of those that count, or why one has none.
        cursor: the incremental column.
        rows: SELECT of the rows that have a cursor.
        nulls: SELECT of those that have none; None: they do not count.
        read: runs a SELECT of the columns in the same snapshot.
    """
    if isinstance(known, str) or (why := refusal(opened)):
        return known if isinstance(known, str) else why
    by = next((one for one in known if one[0] == cursor), None)
    statements = SumStatements(dialect=DIALECT, columns=known, cursor=by, rows=rows, nulls=nulls)
    return PostgresqlSums(name, opened, statements, [column.select() for column in columns], read)
