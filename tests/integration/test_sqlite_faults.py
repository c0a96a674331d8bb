"""A SQLite destination that is killed or raced loses no row and doubles none; big loads need little memory."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from conduit.faults import crash_point
from conduit.marks import mark_of
from tests.integration.test_sqlite_destination import destination, raw
from tests.support.commits import begun, commit, mark, rows, write

KILLS = [("load.begun", "merge"), ("load.staged", "append"), ("load.marked", "append"), ("load.marked", "merge")]
KILLS += [("load.committed", "append"), ("load.committed", "merge")]

HERE = Path(__file__).parents[2]


def load(folder: Path, mode: str) -> None:
    """One run of a resource: read the mark, load ids 3 to 9 unless it says that they are there."""
    lake = destination(folder)
    old = mark_of(lake.marks("t"), mark(1).identity)
    if old == mark(9):
        return
    batch = rows(id=list(range(3, 10)), n=[1] * 7)
    merge: dict[str, Any] = {"mode": "merge", "key": ("id",), "update": {"n": "target.n + source.n"}}
    with begun(lake, write(batch, **(merge if mode == "merge" else {}))) as opened:
        crash_point("load.begun")
        opened.commit([opened.stream(iter([batch]))], old, mark(9))


def process(folder: Path, mode: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """`load` in a process of its own; it begins when it is told to, and exits as conduit does."""
    code = (
        "import sys; from pathlib import Path; from conduit.errors import ConduitError\n"
        "from tests.integration.test_sqlite_faults import load\n"
        "print(flush=True); sys.stdin.readline()\n"
        "try: load(Path(sys.argv[1]), sys.argv[2])\n"
        "except ConduitError as error: sys.exit(error.exit_code)\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code, str(folder), mode],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=HERE, env=os.environ | environment,
    )  # fmt: skip
    assert started.stdout is not None
    started.stdout.readline()
    return started


@pytest.mark.parametrize(("point", "mode"), KILLS)
def test_a_load_that_is_killed_and_done_again_counts_every_row_once(tmp_path: Path, point: str, mode: str) -> None:
    first = rows(id=[1, 2], n=[1, 1]) if mode == "append" else rows(id=[1, 2, 3], n=[1, 1, 1])
    settings: dict[str, Any] = {} if mode == "append" else {"mode": "merge", "key": ("id",)}
    commit(destination(tmp_path), first, None, mark(2), **settings)
    killed = process(tmp_path, mode, {"CONDUIT_TESTING": "1", "CONDUIT_CRASH_AT": point})
    killed.communicate(b"\n")
    assert killed.returncode == -signal.SIGKILL
    after_kill = mark_of(destination(tmp_path).marks("t"), mark(1).identity)
    assert after_kill == (mark(9) if point == "load.committed" else mark(2))
    load(tmp_path, mode)
    expected = [(i, 2 if mode == "merge" and i == 3 else 1) for i in range(1, 10)]
    assert raw(tmp_path, "SELECT id, n FROM t ORDER BY id") == expected
    assert raw(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_of_several_processes_on_one_mark_one_commits(tmp_path: Path) -> None:
    commit(destination(tmp_path), rows(id=[1, 2], n=[1, 1]), None, mark(2))
    workers = [process(tmp_path, "append", {}) for _ in range(3)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"\n")
        worker.stdin.flush()
    codes = [worker.wait() for worker in workers if worker.communicate() is not None]
    assert set(codes) <= {0, 75}
    assert raw(tmp_path, "SELECT count(*), count(DISTINCT id) FROM t") == [(9, 9)]


def test_a_reader_sees_all_of_a_commit_or_nothing(tmp_path: Path) -> None:
    lake = destination(tmp_path)
    commit(lake, rows(id=[1]), None, mark(1))
    look = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM t').fetchone()[0])"

    def seen() -> int:
        done = subprocess.run([sys.executable, "-c", look, str(tmp_path / "d.db")], capture_output=True, check=True)
        return int(done.stdout)

    with begun(lake, write(rows(id=[1]), mode="replace")) as load:
        staged = load.stream(iter([rows(id=list(range(50_000)))]))
        assert seen() == 1
        load.commit([staged], mark(1), mark(2))
    assert seen() == 50_000


BULK = """
import resource, sys
from pathlib import Path
import pyarrow as pa
from conduit.connectors.sqlite.config import SqliteConnection
from conduit.connectors.sqlite.source import SqliteSource
from conduit.contract import Read
from tests.integration.test_sqlite_destination import destination
from tests.support.commits import begun, mark, rows, write

folder, count = Path(sys.argv[1]), int(sys.argv[2])
def batches():
    for start in range(0, count, 8192):
        ids = pa.array(range(start, min(start + 8192, count)), pa.int64())
        yield rows(id=ids, at=ids.cast(pa.timestamp("us")), text=pa.array(["some text of the usual length"] * len(ids)))
with begun(destination(folder), write(next(batches()))) as load:
    load.commit([load.stream(batches())], None, mark(1))
read = 0
with SqliteSource("s", SqliteConnection(database="d.db"), folder).open(
    Read(resource="r", table="t", cursor="id", ordered=True)
) as session:
    for batch in session.read(session.splits()[0]):
        read += batch.num_rows
print(read, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = []
    for count in (100_000, 700_000):
        folder = tmp_path / str(count)
        folder.mkdir()
        done = subprocess.run(
            [sys.executable, "-c", BULK, str(folder), str(count)], capture_output=True, check=True,
            cwd=HERE,
        )  # fmt: skip
        read, peak = done.stdout.split()
        assert int(read) == count
        peaks.append(int(peak))
    assert peaks[1] < peaks[0] * 1.2
    opened = sqlite3.connect(tmp_path / "700000" / "d.db")
    assert opened.execute("SELECT count(*), max(id), max(at) FROM t").fetchone() == (
        700_000, 699_999, "1970-01-01 00:00:00.699999",
    )  # fmt: skip
    opened.close()
