"""A scenario from its first turn to its last: the participants take turns, each result is checked.

One that fails, is late or gives a wrong result stops nobody else.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import duckdb
import psycopg2
import pyarrow as pa
from pyiceberg.exceptions import NoSuchTableError

from benchmarks.environments import Cannot, Environments, last_line, require, surroundings, versions
from benchmarks.figures import Outcome, Taken
from benchmarks.rows import KINDS, expected_amount, fill, program_of_psql, write_files
from benchmarks.scenario import Found, Participant, Scenario, Turn
from tests.support.postgres import Database, Server

LAUNCH = Path(__file__).with_name("launch.py")
MEGABYTE = 1 << 20
LONG = 45.0
"""A peer whose turn took longer than this many seconds takes part once."""
OTHERS_END = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
"""A tool that was killed may have left a statement at work, and its locks."""
FAILURES = (
    Cannot, RuntimeError, OSError, ValueError, ArithmeticError, LookupError, subprocess.SubprocessError,
    psycopg2.Error, duckdb.Error, pa.ArrowException, NoSuchTableError,
)  # fmt: skip
"""What a participant can do wrong without ending the run of all."""


@dataclass
class Places:
    """The server, the rows of each size as tables and files, and the folders of a run of the runner."""

    server: Server
    folder: Path
    environments: Environments
    stack: ExitStack
    made: dict[int, Database] = field(default_factory=dict)

    def of(self, rows: int) -> Database:
        """A database with so many rows that all share; made once."""
        if rows not in self.made:
            database = self.stack.enter_context(self.server.database())
            fill(database, rows)
            self.made[rows] = database
        return self.made[rows]

    def files(self, rows: int) -> Path:
        """The folder with the same rows as files; made once."""
        folder = self.folder / f"files-{rows}"
        if not folder.exists():
            folder.mkdir()
            write_files(self.of(rows), folder)
        return folder

    @contextmanager
    def own(self, rows: int) -> Iterator[Database]:
        """A copy of that database that nobody else uses."""
        shared = self.of(rows)
        clear(shared)
        everything, name = Database(self.server, "postgres"), f"bench_{secrets.token_hex(6)}"
        everything.execute(f"CREATE DATABASE {name} TEMPLATE {shared.name}")
        try:
            yield Database(self.server, name)
        finally:
            # One that cannot be dropped goes with the server; the other scenarios go on.
            with suppress(psycopg2.Error):
                everything.execute(f"DROP DATABASE {name} WITH (FORCE)")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was asked for.

    Attributes:
        rows: the size of the run.
        rounds: turns of each participant.
        timeout: seconds that a turn of somebody else may take.
        peers: others take part.
        downloads: their environments may be made.
    """

    rows: int = 1_000_000
    rounds: int = 3
    timeout: float = 300
    peers: bool = True
    downloads: bool = True


def outcomes(scenario: Scenario, wanted: Wanted, places: Places, say: Callable[[str], None]) -> list[Outcome]:
    """Let all take turns, round by round."""
    rows = max(100, int(wanted.rows * scenario.times))
    with ExitStack() as stack:
        invited = [one for one in scenario.participants if wanted.peers or one.role != "peer"]
        seats = [Seat(scenario, one, rows, wanted, places, stack) for one in invited]
        for number in range(wanted.rounds):
            for seat in seats:
                seat.turn(number)
                say(f"{scenario.name} {number + 1}/{wanted.rounds} {progress(seat.outcome, number)}")
        return [seat.outcome for seat in seats]


def progress(outcome: Outcome, number: int) -> str:
    """One line for the person who waits."""
    taken = [one for one in outcome.taken if one.round == number]
    numbers = f"{taken[0].seconds:.2f} s, {taken[0].cpu:.2f} s CPU, {taken[0].largest_mb:.0f} MB" if taken else "-"
    remarks = [f"{word}: {text}" for word, text in (("wrong", outcome.wrong), ("cannot", outcome.cannot)) if text]
    return f"{outcome.name}: " + "; ".join([numbers, *remarks])


@dataclass
class Seat:
    """A participant over all rounds of a scenario."""

    scenario: Scenario
    participant: Participant
    rows: int
    wanted: Wanted
    places: Places
    stack: ExitStack
    place: Turn | None = None

    def __post_init__(self) -> None:
        self.outcome = Outcome(name=self.participant.name, role=self.participant.role)

    def turn(self, number: int) -> None:
        """Take part in a round, unless it showed already that it cannot, or is much too slow."""
        if self.outcome.cannot or (self.participant.role == "peer" and self.outcome.slower_than(LONG)):
            return
        try:
            self._turn(number)
        except FAILURES as error:
            self.outcome.cannot = self._without_places(why(error))

    def _turn(self, number: int) -> None:
        place = self._seated(number)
        self.participant.before(place)
        patience = self.wanted.timeout * (1 if self.participant.role == "peer" else 4)
        self.outcome.taken.append(measured(self.participant.command(place), place, patience))
        if self.participant.found is not None and not self.outcome.wrong:
            self.outcome.wrong = self._without_places(problems(self.scenario, self.participant.found, place))

    def _without_places(self, said: str) -> str:
        """The words of an error without the folder of this run, which would be another one the next time."""
        return said.replace(str(self.places.folder), "…")

    def _seated(self, number: int) -> Turn:
        """The place of a turn: a new one, or the one that goes on."""
        if self.place is None:
            self.place = self._first()
            self.participant.begin(self.place)
        if not self.scenario.keeps:
            shutil.rmtree(self.place.folder)
            self.place.folder.mkdir()
            clear(self.place.database)
        self.place = replace(self.place, number=number)
        self.scenario.between(self.place)
        return self.place

    def _first(self) -> Turn:
        tool, environments = self.participant.tool, self.places.environments
        if not self.wanted.downloads and not environments.installed(tool):
            raise Cannot("it is not installed, and this run installs nothing")
        python, version = environments.of(tool)
        self.outcome.version = version_of(self.participant.package, python) or version
        places, rows = self.places, self.rows
        database = self.stack.enter_context(places.own(rows)) if self.scenario.keeps else places.of(rows)
        files = places.files(rows) if self.scenario.files else places.folder
        folder = Path(tempfile.mkdtemp(prefix=f"{self.scenario.name}-", dir=self.places.folder))
        self.stack.callback(shutil.rmtree, folder, ignore_errors=True)
        return Turn(folder=folder, files=files, database=database, rows=self.rows, number=0, python=python)


def version_of(package: str, python: Path) -> str:
    """The version of a package, of psql or of Python."""
    if package in {"psql", "python"}:
        program = program_of_psql() if package == "psql" else str(python)
        found = re.search(r"\d+(\.\d+)+", require([program, "--version"]))
        return found[0] if found else ""
    return versions(python, (package,))[package] if package else ""


def clear(database: Database) -> None:
    """Take away what participants leave in the database that they share."""
    database.execute(OTHERS_END)
    database.execute("DROP TABLE IF EXISTS copied, _conduit_state, _conduit_state_log")
    database.execute("DROP SCHEMA IF EXISTS lake, lake_staging CASCADE")
    database.execute("CREATE SCHEMA lake")
    database.execute("CHECKPOINT")


def measured(command: list[str], place: Turn, timeout: float) -> Taken:
    """Run a command in the folder of the turn.

    Raises:
        Cannot: it failed, or took too long.
    """
    os.sync()  # else a turn waits for the disk to take what those before it have written
    result, log = place.folder / ".taken.json", place.folder / ".log"
    launch = [sys.executable, "-I", "-S", str(LAUNCH), str(result), str(log), str(timeout), *command]
    subprocess.run(launch, cwd=place.folder, env=surroundings(place.folder), check=True, capture_output=True)
    found = json.loads(result.read_text())
    if found["late"]:
        raise Cannot(f"it was not done after {timeout:g} seconds")
    if found["code"]:
        raise Cannot(telling(log.read_text(errors="replace")))
    return Taken(
        round=place.number,
        seconds=found["seconds"],
        cpu=found["cpu"],
        largest_mb=found["largest"] / MEGABYTE,
        sum_mb=found["sum"] / MEGABYTE,
    )


def telling(text: str) -> str:
    """What an output says went wrong: its last line with an error and the indented one below it, else its last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [place for place, line in enumerate(lines) if "error" in line.lower() or "exception" in line.lower()]
    if not errors:
        return last_line(text)
    below = lines[errors[-1] + 1 : errors[-1] + 2]
    return last_line(" ".join([lines[errors[-1]], *(line.strip() for line in below if line.startswith(" "))]))


def why(error: Exception) -> str:
    """One line of what stopped a participant."""
    said = getattr(error, "stderr", None) or getattr(error, "stdout", None) or str(error)
    return telling(said.decode(errors="replace") if isinstance(said, bytes) else said)


def problems(scenario: Scenario, look: Callable[[Turn], Found], place: Turn) -> str:
    """What a result should not have been; empty: it is right."""
    wanted = scenario.expected(place.rows, place.number)
    changes = None if scenario.changes is None else scenario.changes(place.rows)
    try:
        found = look(place)
    except FAILURES as error:
        return f"no result: {why(error)}"
    return compared(found, wanted, expected_amount(wanted), changes)


def compared(found: Found, rows: int, amount: Decimal, changes: int | None) -> str:
    """A result beside what it should be."""
    pairs = [
        ("rows", found.rows, rows),
        ("different ids", found.distinct, rows),
        ("sum of amount", found.amount, amount),
    ]
    pairs += [] if changes is None else [("changed rows", found.changed, changes)]
    said = [f"{what} {got:,}, not {right:,}" for what, got, right in pairs if got != right]
    kinds = {name: found.types.get(name, "missing") for name in KINDS}
    said += [f"{name} is {kind}, not {KINDS[name]}" for name, kind in kinds.items() if kind != KINDS[name]]
    return "; ".join(said)
