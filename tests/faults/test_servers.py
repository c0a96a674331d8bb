"""PostgreSQL is restarted, ends sessions, is slow or silent under a run: an error or all of the work, then exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.bench import CHECKPOINT
from tests.proof import servers
from tests.proof.servers import POINTS, SIDES, Served
from tests.support import postgres
from tests.support.postgres import Restartable, Server
from tests.support.zygote import Zygote

MODES = ("fast", "immediate")
MakeServed = Callable[..., Served]


@pytest.fixture
def served(zygote: Zygote, postgres_server: Server, tmp_path: Path) -> Iterator[MakeServed]:
    """`served("source")`: a pipeline with PostgreSQL on that side, with rows to load."""
    with postgres_server.database() as source, postgres_server.database() as destination:

        def make(side: str) -> Served:
            bench = Served.between(zygote, tmp_path, side, source, destination)
            bench.origin.add(2 * CHECKPOINT)
            return bench

        yield make


@pytest.fixture(scope="module")
def own(postgres_server: Server) -> Iterator[Restartable]:  # where there is no server, its reason is told
    with postgres.restartable() as server:
        yield server


@pytest.mark.xdist_group("a server of its own")
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_restarts_under_a_run_loses_and_doubles_nothing(
    own: Restartable, zygote: Zygote, tmp_path: Path, mode: str, side: str
) -> None:
    with own.server.database() as source, own.server.database() as destination:
        bench = Served.between(zygote, tmp_path, side, source, destination)
        for point in POINTS[side][MODES.index(mode) :: 2]:  # a soak restarts at each by both
            bench.origin.add(2 * CHECKPOINT)
            servers.restarted(bench, own, mode, point)


@pytest.mark.parametrize("side", SIDES)
def test_sessions_that_are_terminated_lose_and_double_nothing(
    served: MakeServed, postgres_server: Server, side: str
) -> None:
    bench = served(side)
    for point in POINTS[side][:: 2 if side == "both" else 1]:
        bench.origin.add(2 * CHECKPOINT)
        servers.terminated(bench, postgres_server, point)


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("how", [{"latency": 0.01}, {"pieces": 1}], ids=["late", "byte by byte"])
def test_a_slow_line_is_waited_for(served: MakeServed, side: str, how: dict[str, float]) -> None:
    bench = served(side)
    with servers.through_proxy(bench) as between:
        for name, value in how.items():
            setattr(between, name, value)
        bench.run().ok()
    bench.exact()


@pytest.mark.parametrize("before", [True, False], ids=["before COMMIT", "after COMMIT"])
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
def test_a_line_that_breaks_at_commit_is_resolved_by_the_mark(served: MakeServed, before: bool, reset: bool) -> None:
    servers.cut(served("destination"), before=before, reset=reset)


@pytest.mark.parametrize(
    ("side", "point"), [("source", "run.recovered"), *(("destination", one) for one in servers.SILENT_AT[1:])]
)
def test_a_silent_line_ends_by_sigterm(served: MakeServed, side: str, point: str) -> None:
    servers.silent(served(side), point)
