"""How many rows may go: the share itself is still allowed, and what is no number allows nothing."""

from __future__ import annotations

import pytest

from conduit import shrink


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (0, 0, 0.0), (10, 9, 0.1), (10, 10, 0.0), (10, 11, 0.0), (100, 71, 0.29), (100, 93, 0.07), (30, 27, 0.1),
        (7, 0, 1.0), (10**12, 9 * 10**11, 0.1),
    ],
)  # fmt: skip
def test_up_to_the_share_rows_may_go(before: int, after: int, allowed: float) -> None:
    assert not shrink.is_too_much(before, after, allowed)


@pytest.mark.parametrize(
    ("before", "after", "allowed"),
    [
        (10, 8, 0.1), (9, 8, 0.1), (1, 0, 0.99), (100, 70, 0.29), (1, 0, float("nan")), (10**12, 9 * 10**11 - 1, 0.1),
        (10, 9, -1.0),
    ],
)  # fmt: skip
def test_one_row_more_is_too_much(before: int, after: int, allowed: float) -> None:
    assert shrink.is_too_much(before, after, allowed)


def test_the_share_that_a_message_names_is_enough_and_hardly_more() -> None:
    for before in (1, 3, 7, 99, 1000, 123_457):
        for after in {0, before // 3, before // 2, before - 1}:
            share = float(shrink.enough(before, after))
            assert not shrink.is_too_much(before, after, share)
            assert shrink.is_too_much(before, after, share - 0.01)
