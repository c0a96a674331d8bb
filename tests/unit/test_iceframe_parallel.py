"""Streams that are read ahead: in order, no further than they may, ended when nobody reads on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from iceframe.parallel import in_order


def numbers(made: list[int], most: int = 20) -> Iterator[int]:
    """Numbers, each written down when it is made."""
    for number in range(most):
        made.append(number)
        yield number


def settled(made: list[int]) -> int:
    """How many were made once no more are."""
    seen = -1
    while len(made) > seen:
        seen = len(made)
        time.sleep(0.3)
    return seen


def test_streams_come_one_after_the_other() -> None:
    made: list[int] = []
    assert list(in_order([partial(numbers, made, 5), partial(numbers, made, 3)])) == [0, 1, 2, 3, 4, 0, 1, 2]


@pytest.mark.parametrize(("weight", "most"), [(1, 10), (5, 2), (4, 3), (100, 1)])
def test_items_wait_up_to_their_weight_and_one_always_does(weight: int, most: int) -> None:
    made: list[int] = []
    stream = in_order([partial(numbers, made)], depth=10, weigh=lambda _: weight)
    assert next(stream) == 0
    assert settled(made) == 1 + most + 1  # one was taken, one is in the hand of the thread
    assert list(stream) == list(range(1, 20))


def test_an_error_comes_after_what_was_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("here")

    stream = in_order([broken], depth=1000, weigh=lambda _: 1000)
    assert next(stream) == 1
    with pytest.raises(ValueError, match="here"):
        next(stream)


def test_a_stream_that_nobody_reads_on_ends() -> None:
    before, made = threading.active_count(), list[int]()
    stream = in_order([partial(numbers, made, 1000)], depth=2)
    assert next(stream) == 0
    stream.close()
    assert threading.active_count() == before
    assert len(made) < 10
