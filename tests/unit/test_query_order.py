"""The ORDER BY of a whole query taken out, and nothing else."""

from __future__ import annotations

import pytest

from conduit.query import read_query

WITHOUT = {
    "SELECT id FROM t ORDER BY id": "SELECT id FROM t",
    "SELECT id FROM t WHERE id > :last_value ORDER BY id, n DESC NULLS LAST": "SELECT id FROM t WHERE id > :last_value",
    'SELECT name FROM t ORDER BY name COLLATE "C" -- the end': "SELECT name FROM t",
    "SELECT id, row_number() OVER (ORDER BY id) FROM t ORDER BY 1": "SELECT id, row_number() OVER (ORDER BY id) FROM t",
    "SELECT 'ORDER BY' AS id FROM (SELECT 1 ORDER BY 1) q /* ORDER BY x */": None,
    "SELECT id FROM t": None,
    "SELECT id FROM t ORDER BY id FOR SHARE": None,
}


@pytest.mark.parametrize("text", WITHOUT)
def test_the_order_of_the_whole_is_taken_out(text: str) -> None:
    query = read_query(text, "postgres", incremental=True)
    found = " ".join(query.without_order().text.split("--", maxsplit=1)[0].split())
    assert found == (WITHOUT[text] or " ".join(text.split("--", maxsplit=1)[0].split()))
