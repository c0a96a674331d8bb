"""Rows that pass from server to server as they are: killed at every point, with a source that dies while it sends.

A source that dies looks like the end of the rows to the server that takes them: what sees it are the error of the
sending side and the two counts. Without both, half a table passes for a whole one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conduit.faults import CRASH_POINTS
from tests.faults.test_mutants import Found, caught
from tests.proof import tally
from tests.support.postgres import Database, Server
from tests.support.project import Project, pipeline
from tests.support.proxy import proxy
from tests.support.zygote import Zygote

NAME = "postgresql, passed through"
ROWS = 20_000
FEW = 2_000
"""Enough to be killed between."""
COLUMNS = "id, v, amount"
CUT_AFTER = 1_000_000
"""Bytes of the rows, of about 4 million."""


@pytest.fixture
def other(postgres_server: Server) -> Iterator[Database]:
    with postgres_server.database() as target:
        yield target


@pytest.fixture
def passing(project: Project, database: Database, other: Database) -> Callable[..., None]:
    """Writes the project; the source grows."""
    database.execute("CREATE TABLE t (id bigserial PRIMARY KEY, v text, amount numeric(12,2))")

    def write(port: int | None = None, rows: int = ROWS, **resource: Any) -> None:
        source = database.keys | ({"port": port} if port else {})
        given: dict[str, Any] = {"table": "t", "into": "copy", "incremental_column": "id"} | resource
        project.write(pipeline(source, other.keys, **given))
        grow(database, rows)

    return write


def grow(database: Database, rows: int) -> None:
    database.execute(f"INSERT INTO t (v, amount) SELECT repeat('x', 200), i FROM generate_series(1, {rows}) AS i")


def difference(source: Database, target: Database, mutant: str = "") -> Found:
    """Rows that are missing in the target, and rows that stand there too often. Those of a mutant are not ours."""
    texts = [one.execute(f"SELECT (q.*)::text FROM (SELECT {COLUMNS} FROM {name}) AS q") for one, name in
             ((source, "t"), (target, "copy"))]  # fmt: skip
    wanted, found = (Counter(row[0] for row in rows) for rows in texts)
    lost, doubled = (wanted - found).total(), (found - wanted).total()
    if not mutant:
        tally.compared(NAME, wanted.total(), lost, doubled)
    return lost, doubled


MODES: dict[str, dict[str, Any]] = {
    "append": {},
    "merge": {"primary_key": "id"},
    "replace": {"incremental_column": None},
}
POINTS = [
    (mode, point) for mode in MODES for point in CRASH_POINTS
    if mode != "replace" or not point.startswith("state.")  # without a watermark there is no state file
]  # fmt: skip


@pytest.mark.parametrize(("mode", "point"), POINTS)
def test_a_run_killed_at_any_point_is_completed_by_the_next(
    zygote: Zygote,
    project: Project,
    database: Database,
    other: Database,
    passing: Callable[..., None],
    mode: str,
    point: str,
) -> None:
    passing(mode=mode, rows=FEW, **MODES[mode])
    for _ in range(2):
        ran = zygote.conduit(project.folder, "run", "ingest.yml", crash_at=point)
        tally.killed(NAME, point, ran.code)
        assert ran.code == -9
        zygote.conduit(project.folder, "run", "ingest.yml").ok()
        assert difference(database, other) == (0, 0)
        grow(database, FEW)


@pytest.fixture
def dying(
    zygote: Zygote, project: Project, database: Database, other: Database, passing: Callable[..., None]
) -> Callable[[str], Found]:
    """The source's connection is cut while it sends; then the next run. Lost and doubled rows."""

    def attack(mutant: str) -> Found:
        keys = database.keys
        with proxy(keys["host"], keys["port"]) as between:
            between.cut_after = CUT_AFTER
            passing(between.port)
            zygote.conduit(project.folder, "run", "ingest.yml", mutant=mutant)
        passing()
        zygote.conduit(project.folder, "run", "ingest.yml", mutant=mutant).ok()
        return difference(database, other, mutant)

    return attack


def test_a_source_that_dies_while_it_sends_loses_no_row(dying: Callable[[str], Found]) -> None:
    assert dying("") == (0, 0)


def test_a_dead_source_that_counts_as_success_is_caught(dying: Callable[[str], Found]) -> None:
    caught("dead_source_is_success", dying("dead_source_is_success"))


def test_the_counts_alone_see_a_dead_source(dying: Callable[[str], Found]) -> None:
    assert dying("dead_source_is_not_noticed") == (0, 0)
