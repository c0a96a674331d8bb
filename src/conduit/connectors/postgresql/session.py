"""Reading PostgreSQL: one REPEATABLE READ snapshot for what is asked of the catalogue and for the rows.

psycopg2 describes and bounds (it is light), ADBC brings rows as Arrow. Of the user's query only `:last_value` changes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from conduit.arrow import pa
from conduit.bounds import ROWS, Ends, ends, require_columns, splits_of, until_of_table
from conduit.connectors.postgresql import catalogue
from conduit.connectors.postgresql.config import PostgresqlConnection
from conduit.connectors.postgresql.connection import conninfo
from conduit.connectors.postgresql.types import Column, quote, schema_of
from conduit.connectors.postgresql.window import WindowRead, refusal, window_read
from conduit.contract import Described, Estimate, Read, Split, Until
from conduit.errors import DataError
from conduit.late import late
from conduit.positions import CursorType, Position, cursor
from conduit.query import Bounds, Composed, Query, compose, read_query, without_bound
from conduit.splits import Range

if TYPE_CHECKING:
    import psycopg2.extensions

    from conduit import simple_query
    from conduit import sums as forms
    from conduit.connectors.postgresql import ranges, reader, sums, wire
    from conduit.connectors.postgresql.reader import Reader
    from conduit.sums import Summing
    from conduit.wires import Wire
else:
    reader = late("conduit.connectors.postgresql.reader")
    sums, forms = late("conduit.connectors.postgresql.sums"), late("conduit.sums")
    wire, simple_query = late("conduit.connectors.postgresql.wire"), late("conduit.simple_query")
    ranges = late("conduit.connectors.postgresql.ranges")

_CASTS: dict[str, str] = {"int": "bigint", "decimal": "numeric", "timestamp": "timestamp", "timestamptz": "timestamptz"}
_MINIMUM: dict[str, str] = {
    "int": "-9223372036854775808", "decimal": "-Infinity", "date": "-infinity", "timestamp": "-infinity",
    "timestamptz": "-infinity", "text": "", "uuid": "00000000-0000-0000-0000-000000000000",
}  # fmt: skip


class PostgresqlSession:
    """A snapshot of a PostgreSQL database."""

    def __init__(
        self, name: str, connection: PostgresqlConnection, opened: psycopg2.extensions.connection, read: Read
    ) -> None:
        self._name = name
        self._connection = connection
        self._opened = opened
        self._read = read
        self._query = self._read_query()
        self._table = catalogue.qualified(connection.schema, read.table or "")
        self._readers: list[Reader] = []

    def _read_query(self) -> Query | None:
        if self._read.query is None:
            return None
        text, incremental = self._read.query, self._read.cursor is not None
        simple = simple_query.simple_query(text, incremental=incremental)
        return simple or read_query(text, "postgres", incremental=incremental)

    # --- what is known without a row ---

    def describe(self) -> Described:
        """Schema, key and statement, from the catalogue."""
        type_, unit = self._cursor_type
        composed = self._composed
        lower = self._ends.lower
        window = self._window
        return Described(
            schema=schema_of(self._columns, self._read.columns),
            fingerprint=self._fingerprint,
            cursor_type=type_,
            cursor_unit=unit,
            key=self._proved(self._facts.key) if self._plain_table is not None else (),
            ordered=composed.ordered and self._read.partition is None,
            null_cursors=self._null_cursors,
            sql=composed.sql,
            bound=lower.value if lower else None,
            notes=(*composed.notes, *self._text_notes(), *(window.notes if window else ())),
            window=window.window if window else None,
            no_window=self._no_window,
            floor=window.lower if window else None,
        )

    @cached_property
    def _facts(self) -> catalogue.Facts:
        plain = self._plain_table
        with self._opened.cursor() as cur:
            described = catalogue.output_of(cur, self._looks())
            return catalogue.facts(cur, described, plain, trust_not_null=plain is not None)

    @cached_property
    def _columns(self) -> list[Column]:
        require_columns(self._read, [column.name for column in self._facts.columns])
        if self._read.partition is not None:
            ranges.require_splittable(self._read, self._facts.columns)
        return self._facts.columns

    def _proved(self, key: tuple[str, ...]) -> tuple[str, ...]:
        """The key, unless the query computes on its columns or makes several rows of one."""
        kept = key if self._query is None else self._query.passed_through(key)
        return key if set(kept) == set(key) else ()

    def _looks(self) -> list[str]:
        """Statements for no row, one of which describes the output: a placeholder may need a type to be understood."""
        if self._query is None:
            return [f"SELECT * FROM {self._table} AS q LIMIT 0"]
        literals = ["NULL"]
        if self._query.placeholders and self._query.first_run("NULL")[1]:
            literals += [f"NULL::{self._cast(type_)}" for type_ in _MINIMUM]
        return [f"SELECT * FROM (\n{without_bound(self._query, literal)}\n) AS q LIMIT 0" for literal in literals]

    @cached_property
    def _plain_table(self) -> str | None:
        """The quoted name of the table that is read, when nothing but it is read."""
        if self._query is None:
            return self._table
        table = self._query.plain_table()
        return catalogue.qualified(self._connection.schema, table) if table else None

    @cached_property
    def _cursor_column(self) -> Column | None:
        return next((column for column in self._columns if column.name == self._read.cursor), None)

    @cached_property
    def _cursor_type(self) -> tuple[CursorType | None, str]:
        column = self._cursor_column
        return column.cursor_type() if column is not None else (None, "")

    @cached_property
    def _fingerprint(self) -> str:
        system, database = self._facts.system
        relation = self._plain_table or "(query)"
        return f"postgresql:{system}:{database}:{relation}:{self._read.cursor or '-'}"

    @cached_property
    def _null_cursors(self) -> int:
        column = self._cursor_column
        if column is None or not column.nullable:
            return 0
        with self._opened.cursor() as cur:
            cur.execute(f"SELECT count(*) FROM {self._relation()} WHERE q.{quote(column.name)} IS NULL")
            found = cur.fetchone()
        return int(found[0]) if found else 0

    def _text_notes(self) -> list[str]:
        carried = [c for c in self._columns if c.is_carried_as_text]
        return [f"column {c.name}: {c.formatted} travels as text" for c in carried if c.name not in self._read.columns]

    # --- bounds and statements ---

    @cached_property
    def _ends(self) -> Ends:
        found = ends(self._read, *self._cursor_type)
        return Ends(self._window.lower, found.upper) if self._window else found

    @cached_property
    def _no_window(self) -> str:
        """Why the rows are not read by the transactions that wrote them; empty: they are, or that was not asked for."""
        if self._read.safe is None:
            return ""
        if self._read.safe.needs_distance and self._cursor_type[0] in ("text", "uuid"):
            return f"a cursor of type {self._cursor_type[0]} needs a primary_key"
        if self._plain_table is None:
            return "the query is more than a SELECT from one table"
        if self._query is not None and not self._query.passed_through([self._read.cursor or ""]):
            return f"{self._read.cursor} is not a column of the table as it stands"
        if self._query is not None and self._query.narrowed("xmin IS NOT NULL") is None:
            return "`:last_value` stands where no other condition can take its place"
        return refusal(self._facts, self._plain_table)

    @cached_property
    def _window(self) -> WindowRead | None:
        """The transactions to read; None: the read goes by the cursor."""
        snapshot = self._facts.snapshot
        if self._read.safe is None or self._no_window or snapshot is None:
            return None
        with self._opened.cursor() as cur:
            return window_read(cur, snapshot, self._read.safe, self._read.since)

    def _literal(self, value: str) -> str:
        """A value of the cursor's type, quoted by the driver; text compares by its bytes."""
        type_ = self._cursor_type[0] or "text"
        collation = ' COLLATE "C"' if type_ == "text" else ""
        return f"{catalogue.quoted(self._opened, value)}::{self._cast(type_)}{collation}"

    @staticmethod
    def _cast(type_: str) -> str:
        return _CASTS.get(type_, type_)

    def _ordering(self, name: str) -> str:
        return f'q.{quote(name)} COLLATE "C"' if self._cursor_type[0] == "text" else f"q.{quote(name)}"

    @cached_property
    def _composed(self) -> Composed:
        select = () if all(column.is_plain for column in self._columns) else [c.select() for c in self._columns]
        return self._compose(self._query, select)

    def _compose(self, query: Query | None, select: Sequence[str]) -> Composed:
        lower, upper = self._ends.lower, self._ends.upper
        if self._window and query is not None:
            return self._composed_in_window(self._window, query, select)
        bounds = Bounds(
            lower=self._literal(lower.value) if lower else None,
            upper=self._literal(upper.value) if upper else None,
            minimum=self._literal(_MINIMUM[self._cursor_type[0] or "text"]),
            also=self._window.condition if self._window else None,
        )
        return compose(
            self._read,
            query,
            table=self._table,
            bounds=bounds,
            column=self._ordering,
            select=select,
            collation="C" if self._cursor_type[0] == "text" else "",
        )

    def _composed_in_window(self, window: WindowRead, query: Query, select: Sequence[str]) -> Composed:
        """The query with the window where `:last_value` was compared: only inside it the transactions are seen."""
        name = quote(self._read.cursor or "")
        column = f'{name} COLLATE "C"' if self._cursor_type[0] == "text" else name
        above = f" AND {column} > {self._literal(window.lower.value)}" if window.lower else ""
        narrowed = query.narrowed(f"{window.condition}{above}") or query.text
        return compose(
            self._read,
            query.with_text(narrowed),
            table=self._table,
            bounds=Bounds(),
            column=self._ordering,
            select=select,
            collation="C" if self._cursor_type[0] == "text" else "",
        )

    def _relation(self) -> str:
        """The relation without a lower bound, as `q`."""
        if self._query is None:
            return f"{self._table} AS q"
        minimum = self._literal(_MINIMUM[self._cursor_type[0] or "text"])
        return f"(\n{without_bound(self._query, minimum)}\n) AS q"

    # --- the read ---

    def until(self) -> Until:
        """For a table its highest cursor; for a query whether it gives a row at all above a known bound."""
        if self._read.cursor is None or self._read.through is not None:
            return Until()
        return self._until_of_table() if self._query is None else self._until_of_query()

    def _until_of_table(self) -> Until:
        name = quote(self._read.cursor or "")
        last = (
            f"SELECT q.{name}::text FROM {self._table} AS q WHERE q.{name} IS NOT NULL "
            f"ORDER BY {self._ordering(self._read.cursor or '')} DESC LIMIT 1"
        )
        any_row = self._any_row() if self._window else "true"
        with self._opened.cursor() as cur:
            cur.execute(f"SELECT ({last}), {any_row}")
            found, has_rows = cur.fetchone() or (None, False)
        highest = self._position(found) if found is not None else None
        until = until_of_table(self._read, self._ends.lower, highest, self._null_cursors)
        return Until(nothing_new=until.nothing_new or not has_rows, position=highest)

    def _until_of_query(self) -> Until:
        if (self._ends.lower is None and self._window is None) or self._read.on_null == "include":
            return Until()
        return Until(nothing_new=not self._has_rows())

    def _has_rows(self) -> bool:
        with self._opened.cursor() as cur:
            cur.execute(f"SELECT {self._any_row()}")
            found = cur.fetchone()
        return bool(found and found[0])

    def _any_row(self) -> str:
        """Whether the read gives a row, as an expression; a window without a transaction needs no look at the table."""
        if self._window is not None and self._window.is_empty:
            return "false"
        rows = f"(\n{self._composed.sql}\n) AS q"
        if self._query is not None or self._composed.ordered:
            return f"EXISTS (SELECT 1 FROM {rows})"
        # EXISTS would begin at the lower end, and pass all that the window only looks back at before it meets a new row
        return f"(SELECT true FROM {rows} ORDER BY {self._ordering(self._read.cursor or '')} DESC LIMIT 1) IS NOT NULL"

    def _position(self, text: str) -> Position:
        type_, unit = self._cursor_type
        if ("infinity" in text and type_ != "text") or text.endswith(" BC"):
            raise DataError(
                f"{self._read.cursor} is {text} in some row, which is no watermark to go on from",
                hint="filter those rows out in a query",
            )
        if type_ == "timestamptz":
            text = text.replace(" ", "T") + ":00"
        return cursor(text, type_ or "text", unit)

    def splits(self) -> list[Split]:
        """The rows; and those without a cursor, when they are wanted. In ranges of a column when that was asked for."""
        usual = splits_of(self._read, self._null_cursors)
        if self._read.partition is None:
            return usual
        nulls = self._null_rows() if len(usual) > 1 else ""
        with self._opened.cursor() as cur:
            return ranges.splits_of(cur, self._ranged(self._read.partition.column), self._read.partition, nulls=nulls)

    def _ranged(self, name: str) -> ranges.Ranged:
        by = self._ordering(self._read.cursor or "")
        ends = ((">", self._ends.lower), ("<=", self._ends.upper))
        conditions = [f"{by} {sign} {self._literal(end.value)}" for sign, end in ends if end is not None]
        return ranges.Ranged(
            sql=self._compose(self._query, ()).sql,
            columns=tuple(self._columns),
            column=next(column for column in self._columns if column.name == name),
            cursor=self._read.cursor,
            table=self._plain_table or "" if ranges.is_whole(self._query, name) else "",
            condition=" AND ".join([self._window.condition, *conditions] if self._window else conditions),
        )

    def read(self, split: Split) -> Iterator[pa.RecordBatch]:
        """The rows of a split, through ADBC, from this session's snapshot."""
        statement = self._composed.sql if split.name == ROWS else self._null_rows()
        yield from self._batches(split.detail.sql if isinstance(split.detail, Range) else statement)

    def _batches(self, statement: str) -> Iterator[pa.RecordBatch]:
        snapshot = reader.exported(self._name, self._read.resource, self._opened)
        self._readers.append(reader.Reader(self._name, conninfo(self._connection), schema=self._connection.schema))
        yield from self._readers[-1].batches(snapshot, statement, self.describe().schema)

    # --- the read, added up ---

    def summing(self, schema: pa.Schema, cursor: str | None) -> Summing | str:
        """The read as something that adds itself up in this snapshot."""
        column = self._cursor_column
        return sums.summing(
            self._name,
            self._opened,
            self._columns,
            forms.forms_of(schema, sums.forms(self._columns, tuple(self._read.columns))),
            cursor,
            rows=self._compose(self._query, ()).sql,
            nulls=self._all_null_rows() if self._read.on_null == "include" and column and column.nullable else None,
            read=self._batches,
        )

    # --- the read, as it is ---

    def wire(self, columns: Sequence[str], key: Sequence[str]) -> Wire | None:
        """Binary COPY of a table, or of a plain SELECT from one: of others the highest cursor costs a second run."""
        elsewhere = self._read.cursor is not None and self._plain_table is None
        looked_at = self._read.columns or self._null_cursors or elsewhere
        sent = None if looked_at else wire.chosen(self._columns, columns, key)
        if sent is None:
            return None
        statement = self._compose(self._query, sent.select).sql
        return wire.offered(self._name, self._opened, sent, statement, reached=self._reached)

    def _reached(self) -> Position | None:
        """The highest cursor of the rows of this read."""
        if self._read.cursor is None:
            return None
        name, query = self._read.cursor, self._query and self._query.without_order()
        with self._opened.cursor() as cur:
            cur.execute(
                f"SELECT q.{quote(name)}::text FROM (\n{self._compose(query, ()).sql}\n) AS q "
                f"WHERE q.{quote(name)} IS NOT NULL ORDER BY {self._ordering(name)} DESC LIMIT 1"
            )
            found = cur.fetchone()
        return self._position(found[0]) if found is not None else None

    def cancel(self) -> None:
        """Break off the read."""
        for opened in self._readers:
            opened.cancel()

    def _null_rows(self) -> str:
        select = ", ".join(column.select() for column in self._columns)
        return self._all_null_rows(select)

    def _all_null_rows(self, select: str = "*") -> str:
        return f"SELECT {select} FROM {self._relation()} WHERE q.{quote(self._read.cursor or '')} IS NULL"

    def estimate(self) -> Estimate | None:
        """The planner's guess; where it is small, a count."""
        with self._opened.cursor() as cur:
            return catalogue.estimate(cur, self._composed.sql)
