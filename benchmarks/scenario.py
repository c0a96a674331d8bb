"""What is compared: a scenario, those who take part in it, and what one turn of one of them is given.

Knows no tool, no database, and not how a process is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal

from tests.support.postgres import Database

Role = Literal["limit", "ours", "peer"]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one participant gets to work with.

    Attributes:
        folder: its own; empty at the beginning of a turn, or kept over the turns of a scenario that goes on.
        files: the rows as files, made once for all: see `rows.Files`.
        database: holds the rows as the table `events`; the copy is called `copied`.
        rows: how many.
        number: of the turn, from 0.
        python: of the environment of its tool.
    """

    folder: Path
    files: Path
    database: Database
    rows: int
    number: int
    python: Path


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a destination holds after a turn.

    Attributes:
        rows: all of them.
        distinct: different ids.
        amount: sum of the column `amount`.
        changed: rows that carry the remark of the last change.
        types: the kind of each column: integer, decimal, text, double, boolean, timestamptz, timestamp, or its name.
    """

    rows: int
    distinct: int
    amount: Decimal
    changed: int
    types: Mapping[str, str]


def nothing(_: Turn) -> None:
    """No preparation."""


@dataclass(frozen=True, kw_only=True)
class Participant:
    """One of those who take turns.

    Attributes:
        name: as the table says it.
        role: the limit, this project, or somebody else.
        command: what is measured.
        tool: whose environment it runs in.
        package: whose version is told; empty: the tool's.
        begin: before its first turn, not measured.
        before: before every turn, not measured.
        found: what the destination holds; None: there is none.
    """

    name: str
    role: Role
    command: Callable[[Turn], list[str]]
    tool: str = "conduit"
    package: str = ""
    begin: Callable[[Turn], None] = nothing
    before: Callable[[Turn], None] = nothing
    found: Callable[[Turn], Found] | None = None


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is wanted: so many times the limit, or so many of a unit.

    Attributes:
        at_most: the number.
        unit: `x` (times the limit of the same round), `s`, `MB`.
    """

    at_most: float
    unit: Literal["x", "s", "MB"] = "x"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One row of the table.

    Attributes:
        name: for `ONLY=`.
        title: for people.
        participants: in the order of their turns; the limit and ours come first. A second limit is only told.
        goal: for ours; None: it is only looked at.
        note: what a reader has to know about the limit or the settings.
        times: its rows, in sizes of the run (1 M rows unless something else was asked for).
        between: before each turn, with the place of the participant; not measured.
        keeps: the participants keep their folder and a database of their own from turn to turn.
        expected: what a destination must hold after the turn with this number, of so many rows.
        changes: rows that the last change touched, by the number of rows; None: nothing changes.
        files: the rows are needed as files too.
        huge: runs with `--huge` only.
        sizes: what is measured is the size of an installation, once.
    """

    name: str
    title: str
    participants: tuple[Participant, ...]
    goal: Goal | None = None
    note: str = ""
    times: float = 1.0
    between: Callable[[Turn], None] = nothing
    keeps: bool = False
    expected: Callable[[int, int], int] = field(default=lambda rows, _: rows)
    changes: Callable[[int], int] | None = None
    files: bool = False
    huge: bool = False
    sizes: bool = False
