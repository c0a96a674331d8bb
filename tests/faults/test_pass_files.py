"""Parquet files that pass from folder to folder as they are, killed at every point that has to do with them."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.proof import tally
from tests.support.project import Project
from tests.support.zygote import Zygote

NAME = "parquet, passed through"
POINTS = ("run.bounded", "run.batch", "load.begun", "load.staged", "load.marked", "load.committed", "run.committed")
ROWS = 40_000
"""Enough for files that are worth it to pass."""


def put(project: Project, place: int) -> None:
    ids = range(place * ROWS, (place + 1) * ROWS)
    texts = [hashlib.sha256(str(number).encode()).hexdigest() for number in ids]
    pq.write_table(pa.table({"id": list(ids), "text": texts}), str(project.folder / f"in/{place}.parquet"))


def ids(folder: Path) -> Counter[Any]:
    return Counter(pq.read_table(folder, columns=["id"])["id"].to_pylist())


def digests(folder: Path) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.parquet")}


@pytest.mark.parametrize("mode", ["append", "replace"])
@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_at_any_point_is_completed_by_the_next(
    zygote: Zygote, project: Project, mode: str, point: str
) -> None:
    (project.folder / "in").mkdir()
    project.write(
        {
            "sources": [{"name": "here", "type": "parquet", "path": "in/"}],
            "destinations": [{"name": "there", "type": "parquet", "path": "lake/"}],
            "resources": [{"name": "r", "source": "here", "destination": "there", "into": "t", "mode": mode}],
        }
    )
    for turn in range(2):
        put(project, 2 * turn)
        put(project, 2 * turn + 1)
        ran = zygote.conduit(project.folder, "run", "ingest.yml", crash_at=point)
        tally.killed(NAME, point, ran.code)
        assert ran.code == -9
        zygote.conduit(project.folder, "run", "ingest.yml").ok()
        wanted, found = ids(project.folder / "in"), ids(project.folder / "lake/t")
        lost, doubled = (wanted - found).total(), (found - wanted).total()
        tally.compared(NAME, wanted.total(), lost, doubled)
        assert (lost, doubled) == (0, 0)
    given, copies = (digests(project.folder / name) for name in ("in", "lake/t"))
    assert given == copies, "the files passed as they are"
    assert not list(project.folder.rglob("part-0-*")), "what the killed runs had staged is gone"
