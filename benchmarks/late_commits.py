"""Rows lost and doubled, beside other tools: writers that commit out of order, and `kill -9` between rows and state.

    python benchmarks/late_commits.py [--runs 5] [--kills 20] [--only conduit,dlt] [--environments FOLDER]

A PostgreSQL server of its own; every tool copies `public.events` to `lake.events` in the same database, by the cursor
`id`, with the settings that its documentation gives for that, in an environment of its own that is made in a temporary
folder. A tool that cannot run is listed with its error. A plain driver counts: every committed row of the source has to
be in the copy once. Prints a table and writes `benchmarks/late_commits.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.environments import PACKAGES, Cannot, Environments, last_line
from benchmarks.machine import machine
from benchmarks.peers import SETTINGS, Setting
from tests.support.postgres import Database, Server, server

WRITERS = 8
FIRST_ROWS, MORE_ROWS = 5_000, 500
PATIENCE = 120
TABLE = "CREATE TABLE events (id bigserial PRIMARY KEY, v text NOT NULL); CREATE SCHEMA lake"
INSERT = "INSERT INTO events (v) SELECT 'row ' || g FROM generate_series(1, {rows}) g"


@dataclass
class Outcome:
    """What one setting lost and doubled in one experiment; `error` when it could not run.

    `failed_runs` are runs that nobody killed, `failure` is what the last of them said.
    """

    tool: str
    version: str
    setting: str
    experiment: str
    rows: int = 0
    lost: int = 0
    doubled: int = 0
    runs: int = 0
    kills: int = 0
    failed_runs: int = 0
    failure: str = ""
    error: str = ""


# --- one setting at work --------------------------------------------------------------------------------


@dataclass
class Bench:
    """A database, a setting, and its runs."""

    database: Database
    folder: Path
    command: list[str]
    outcome: Outcome

    def start(self) -> subprocess.Popen[bytes]:
        """A run in a process group of its own."""
        environment = {**os.environ, "HOME": str(self.folder), "SLING_HOME_DIR": str(self.folder),
                       "RUNTIME__DLTHUB_TELEMETRY": "false", "DISABLE_TELEMETRY": "true"}  # fmt: skip
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(
                self.command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def run(self, *, required: bool = False) -> float:
        """A whole run; how long it took.

        Raises:
            Cannot: it fails, and must not.
        """
        began = time.perf_counter()
        process = self.start()
        try:
            code = process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            kill(process)
            code = -9
        self.outcome.runs += 1
        if code:
            self.outcome.failed_runs += 1
            self.outcome.failure = last_line((self.folder / "log").read_text(errors="replace"))
            if required:
                raise Cannot(self.outcome.failure)
        return time.perf_counter() - began

    def copied(self) -> Counter[int]:
        """The ids of the copy."""
        if not self.database.execute("SELECT to_regclass('lake.events') IS NOT NULL")[0][0]:
            return Counter()
        return Counter(row[0] for row in self.database.execute("SELECT id FROM lake.events"))

    def count(self) -> None:
        """Compare source and copy."""
        source = Counter(row[0] for row in self.database.execute("SELECT id FROM public.events"))
        found = self.copied()
        self.outcome.rows = source.total()
        self.outcome.lost = (source - found).total()
        self.outcome.doubled = (found - source).total()


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the whole group, the tool's workers included."""
    with suppress(ProcessLookupError):  # all of it had ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def bench(running: Server, environments: Environments, setting: Setting, experiment: str) -> Iterator[Bench]:
    """A fresh database and folder for one setting."""
    outcome = Outcome(setting.tool, "", setting.label, experiment)
    python, outcome.version = environments.of(setting.tool)
    with running.database() as database, tempfile.TemporaryDirectory(prefix="late-") as folder:
        database.execute(TABLE)
        yield Bench(database, Path(folder), setting.prepare(Path(folder), python, database), outcome)


def late_commits(opened: Bench, runs: int) -> None:
    """Writers whose transactions end out of order, during and between the runs; then they stop, and two runs more."""
    opened.database.execute(INSERT.format(rows=100))
    opened.run(required=True)
    stop = threading.Event()
    writers = [threading.Thread(target=write, args=(opened.database, number, stop)) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    for _ in range(runs):
        opened.run()
        time.sleep(0.3)
    stop.set()
    for writer in writers:
        writer.join()
    for _ in range(2):
        opened.run()
    opened.count()


def write(database: Database, seed: int, stop: threading.Event) -> None:
    """Transactions of a few statements, open for up to a second."""
    chance = random.Random(seed)
    with closing(database.connect()) as connection, connection.cursor() as cur:
        while not stop.is_set():
            cur.execute("BEGIN")
            for _ in range(chance.randrange(1, 4)):
                cur.execute("INSERT INTO events (v) VALUES ('written')")
                time.sleep(chance.choice((0.0, 0.01, 0.05, 0.3)))
            cur.execute("COMMIT")
            time.sleep(0.02)


def kills(opened: Bench, times: int) -> None:
    """Runs that are killed, by turns at a random moment and when the first new row can be seen; then two clean ones."""
    chance = random.Random(1)
    opened.database.execute(INSERT.format(rows=FIRST_ROWS))
    usual = opened.run(required=True)
    usual = min(usual, opened.run())
    for number in range(times):
        opened.database.execute(INSERT.format(rows=MORE_ROWS))
        seen = opened.copied().total()
        process = opened.start()
        opened.outcome.runs += 1
        if number % 2:
            wait_for_rows(opened, process, seen)
            time.sleep(chance.uniform(0, 0.01))
        else:
            time.sleep(chance.uniform(0.2, 1.0) * usual)
        if process.poll() is None:
            opened.outcome.kills += 1
        kill(process)
        settle(opened.database)
    for _ in range(2):
        opened.run()
    opened.count()


def wait_for_rows(opened: Bench, process: subprocess.Popen[bytes], seen: int) -> None:
    """Until the copy has grown, or the run is over."""
    with closing(opened.database.connect()) as connection, connection.cursor() as cur:
        while process.poll() is None:
            cur.execute("SELECT count(*) FROM lake.events")
            if (cur.fetchone() or (0,))[0] != seen:
                return
            time.sleep(0.0005)


def settle(database: Database) -> None:
    """Until the server has noticed that the killed client is gone."""
    for _ in range(100):
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        if database.execute(others) == [(0,)]:
            return
        time.sleep(0.05)


# --- all of it ------------------------------------------------------------------------------------------


def measured(
    running: Server, environments: Environments, setting: Setting, wanted: argparse.Namespace
) -> list[Outcome]:
    """Both experiments with one setting; one that cannot run has its error."""
    experiments: dict[str, Callable[[Bench], None]] = {
        "late commits": lambda opened: late_commits(opened, wanted.runs),
        "kill -9": lambda opened: kills(opened, wanted.kills),
    }
    found = []
    for name, experiment in experiments.items():
        outcome = Outcome(setting.tool, "", setting.label, name)
        try:
            with bench(running, environments, setting, name) as opened:
                outcome = opened.outcome
                experiment(opened)
        except Cannot as error:
            outcome.error = f"cannot: {error}"
        found.append(outcome)
        print(line(outcome), flush=True)
    return found


def line(one: Outcome) -> str:
    """One row of the table."""
    start = f"{one.tool + ' ' + one.version:24} {one.setting:18} {one.experiment:13}"
    if one.error:
        return f"{start} {one.error[:110]}"
    hit = f", {one.kills} kills" if one.kills else ""
    counts = f"{one.rows:7,} {one.lost:7,} {one.doubled:8,}"
    return f"{start} {counts}   {one.runs} runs, {one.failed_runs} failed{hit} {one.failure[:60]}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", default=",".join(PACKAGES))
    parser.add_argument("--environments", type=Path)
    wanted = parser.parse_args()
    print(f"{'tool':24} {'setting':18} {'experiment':13} {'rows':>7} {'lost':>7} {'doubled':>8}")
    found: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="peers-") as folder, server(measured=True) as running:
        environments = Environments(wanted.environments or Path(folder))
        for setting in SETTINGS:
            if setting.tool in wanted.only.split(","):
                found += measured(running, environments, setting, wanted)
    result = {"at": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine(), "writers": WRITERS}
    result |= {"measured": [asdict(one) for one in found]}
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
