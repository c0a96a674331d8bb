"""A query that is read by its form alone means what the parser says it means; what has another form is left to it."""

from __future__ import annotations

from itertools import product

import pytest

from conduit.errors import ConfigError
from conduit.query import read_query
from conduit.simple_query import simple_query

SIMPLE = [
    f"{before}{columns}{table}{where}{order}{end}"
    for before, columns, table, where, order, end in product(
        ("SELECT ", "\n  select\n"),
        ("*", "id", "id , at, name"),
        (" FROM users", "\nfrom shop.users"),
        ("", " WHERE id > :last_value", "\nWHERE at>:last_value"),
        ("", " ORDER BY id", "\n order  by at ASC"),
        ("", " ;\n"),
    )
]
OTHER = [
    "SELECT id AS n FROM users",
    'SELECT "id" FROM users',
    "SELECT ID FROM users",
    "SELECT id FROM users u",
    "SELECT id FROM users -- all of them",
    "SELECT id FROM users WHERE id >= :last_value",
    "SELECT id FROM users WHERE id > :last_value AND ok",
    "SELECT id FROM users WHERE id > 3",
    "SELECT id FROM users ORDER BY id DESC",
    "SELECT id FROM users ORDER BY id, at",
    "SELECT id FROM users LIMIT 3",
    "SELECT id FROM a, b",
    "SELECT id FROM users; SELECT id FROM users",
    "SELECT current_user FROM users",
    "SELECT distinct FROM users",
    "SELECT id FROM only",
    "SELECT null FROM users",
    "SELECT id, FROM users",
    "SELECT id FROM f()",
    "SELECT id FROM users WHERE id > :last_values",
    "SELECTid FROM users",
    "SELECT id FROM usersWHERE",
    "",
]
ONE_MORE = "(age(xmin) >= age('735'::xid)) AND id > '7'::bigint"


@pytest.mark.parametrize("text", SIMPLE)
def test_a_simple_query_means_what_the_parser_reads(text: str) -> None:
    simple, parsed = simple_query(text, incremental=True), read_query(text, "postgres", incremental=True)
    assert simple is not None
    assert (simple.text, simple.placeholders) == (parsed.text, parsed.placeholders)
    assert simple.first_run("NULL") == parsed.first_run("NULL")
    assert simple.bounded("'7'::bigint") == parsed.bounded("'7'::bigint")
    assert simple.plain_table() == parsed.plain_table()
    names = ["id", "at", "name", "other"]
    assert simple.passed_through(names) == parsed.passed_through(names)
    for column, collation in product(names, ("", "C")):
        assert simple.ordered_by(column, collation=collation) == parsed.ordered_by(column, collation=collation)


@pytest.mark.parametrize("text", SIMPLE)
def test_it_takes_another_condition_as_the_parser_would_put_it(text: str) -> None:
    simple, parsed = simple_query(text, incremental=True), read_query(text, "postgres", incremental=True)
    assert simple is not None
    narrowed = simple.narrowed(ONE_MORE)
    assert narrowed == parsed.narrowed(ONE_MORE)
    left, right = simple.with_text(narrowed), parsed.with_text(narrowed)
    assert (left.text, left.placeholders) == (right.text, right.placeholders)
    assert left.ordered_by("id") == right.ordered_by("id")


@pytest.mark.parametrize("text", SIMPLE)
def test_it_leaves_its_order_out(text: str) -> None:
    simple, parsed = simple_query(text, incremental=True), read_query(text, "postgres", incremental=True)
    assert simple is not None
    left, right = simple.without_order(), parsed.without_order()
    assert (left.text, left.placeholders) == (right.text, right.placeholders)
    assert left.bounded("7") == right.bounded("7")
    assert left.first_run("NULL") == right.first_run("NULL")
    assert not left.ordered_by("id")


@pytest.mark.parametrize("text", OTHER)
def test_another_form_is_left_to_the_parser(text: str) -> None:
    assert simple_query(text, incremental=True) is None


def test_a_bound_needs_a_cursor() -> None:
    with pytest.raises(ConfigError, match="has no incremental_column"):
        simple_query("SELECT id FROM users WHERE id > :last_value", incremental=False)
