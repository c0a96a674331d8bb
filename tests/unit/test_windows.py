"""Windows of transactions: where their condition goes in a query, and what a mark keeps of them."""

from __future__ import annotations

import pytest

from conduit.positions import Window
from conduit.query import read_query

CONDITION = "age(xmin) <= age('123'::xid) AND \"id\" > '5'::bigint"


def narrowed(query: str) -> str | None:
    return read_query(query, "postgres", incremental=True).narrowed(CONDITION)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("SELECT id FROM t WHERE id > :last_value ORDER BY id", "SELECT id FROM t WHERE (C) ORDER BY id"),
        ("SELECT id FROM t WHERE (id > :last_value) AND a", "SELECT id FROM t WHERE (C) AND a"),
        ("SELECT id FROM t WHERE id > :last_value AND id <> :last_value", "SELECT id FROM t WHERE (C) AND TRUE"),
        ("SELECT * FROM t", "SELECT * FROM t\nWHERE (C)\n"),
        ("SELECT * FROM t -- all of it", "SELECT * FROM t -- all of it\nWHERE (C)\n"),
        ("SELECT * FROM t ORDER BY id", "SELECT * FROM t \nWHERE (C)\nORDER BY id"),
        ("SELECT * FROM t WHERE a OR b ORDER BY id", "SELECT * FROM t WHERE (a OR b) AND (C) ORDER BY id"),
        ("SELECT * FROM t WHERE v = ':last_value'", "SELECT * FROM t WHERE (v = ':last_value') AND (C)"),
    ],
)
def test_the_condition_takes_the_place_of_the_watermark_or_stands_beside(query: str, wanted: str) -> None:
    assert narrowed(query) == wanted.replace("(C)", f"({CONDITION})")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM t WHERE id > :last_value OR a",
        "SELECT id, :last_value AS before FROM t",
        "SELECT id FROM t WHERE NOT (a AND id > :last_value) OR id > :last_value",
        "SELECT id FROM t UNION ALL SELECT id FROM u",
    ],
)
def test_a_query_in_which_no_condition_can_take_its_place_has_no_window(query: str) -> None:
    assert narrowed(query) is None


def test_a_window_that_was_read_is_the_anchor_of_later_ones() -> None:
    window = Window(start="10", end="20", next="20").covered("500")
    assert window.anchors == (("20", "500"),)


def test_anchors_that_are_not_over_yet_are_kept_beside_the_newest_that_is() -> None:
    anchors = (("12", "100"), ("18", "200"), ("25", "300"))
    window = Window(start="10", end="20", next="30", anchors=anchors).covered("400")
    assert window.anchors == (("18", "200"), ("25", "300"), ("30", "400"))


def test_a_transaction_that_stays_open_for_ever_does_not_pile_up_anchors() -> None:
    window = Window(start="10", end="20", next="20")
    for number in range(1000):
        window = Window(start="10", end="20", next=str(21 + number), anchors=window.anchors).covered(str(number))
    assert len(window.anchors) <= 33
    assert window.anchors[-1] == ("1020", "999")
    assert [int(one) for one, _ in window.anchors] == sorted(int(one) for one, _ in window.anchors)


def test_a_checkpoint_is_forgotten_once_the_window_was_read() -> None:
    assert Window(start="10", end="20", next="20", at="7").covered("9").at == ""
