"""The equation of a run: every row is accounted for, and no part of it can hide another."""

from __future__ import annotations

import pytest

from conduit.contract import Committed
from conduit.errors import InternalError
from conduit.report import ResourceReport
from conduit.rows import Stream
from conduit.run import settle_counts
from tests.support.commits import rows


def settled(*, read: int, transformed: int = 0, made: int = 0, **committed: int) -> ResourceReport:
    """The report of a run that read so many rows, in one commit that says this of them."""
    batch = rows(id=list(range(read)))
    stream = Stream(batch.schema, cursor_column=None)
    stream.pass_on(batch)
    report = ResourceReport(resource="r", transformed=transformed, made=made)
    report.count(read, Committed(**committed), moved=True)
    settle_counts(report, stream, read)
    return report


def test_every_row_is_accounted_for() -> None:
    assert settled(read=7, inserted=1, updated=2, already_present=3, superseded=1).equation() == (
        "read 7 = written 3 + already present 3 + superseded 1"
    )
    assert settled(read=7, transformed=7, made=2, inserted=2).equation() == "read 7 = transformed 7, into 2 = written 2"
    assert settled(read=0).equation() == "read 0 = written 0"


@pytest.mark.parametrize("committed", [{"inserted": 6}, {"inserted": 8}, {"already_present": 6}, {}])
def test_a_row_that_is_missing_or_counted_twice_is_a_bug(committed: dict[str, int]) -> None:
    with pytest.raises(InternalError, match="r: 7 rows were read"):
        settled(read=7, **committed)


@pytest.mark.parametrize(
    "committed",
    [
        {"inserted": 9, "already_present": -2}, {"updated": -1, "inserted": 8}, {"superseded": -7, "inserted": 14},
        {"inserted": -1, "updated": 8},
    ],
)  # fmt: skip
def test_a_part_below_nothing_is_a_bug_even_when_the_sum_is_right(committed: dict[str, int]) -> None:
    with pytest.raises(InternalError, match=r"(inserted|updated|already present|superseded) -\d"):
        settled(read=7, **committed)
    with pytest.raises(InternalError):
        settled(read=7, transformed=7, made=7, **committed)
