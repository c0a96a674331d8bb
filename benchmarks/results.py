"""`results.json`: the last result of each scenario, with the day, the commit and the machine of each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Outcome, Taken
from benchmarks.scenario import Goal, Scenario

FILE = Path(__file__).with_name("results.json")


@dataclass(kw_only=True)
class Result:
    """A scenario as it was when it ran.

    Attributes:
        goal: of that time; None: it is only looked at.
        rows: that were there, or in the first run.
        machine: what it ran on.
        commit: of this project.
        outcomes: of all who took part.
    """

    name: str
    title: str
    note: str
    goal: Goal | None
    rows: int
    date: str
    commit: str
    machine: dict[str, Any]
    outcomes: list[Outcome] = field(default_factory=list)

    def first(self, role: str) -> Outcome | None:
        """The first outcome of a role."""
        return next((one for one in self.outcomes if one.role == role), None)


def result(scenario: Scenario, rows: int, machine: dict[str, Any], commit: str, outcomes: list[Outcome]) -> Result:
    """What a scenario gave just now."""
    return Result(
        name=scenario.name, title=scenario.title, note=scenario.note, goal=scenario.goal, rows=rows,
        date=machine["date"], commit=commit, machine=machine, outcomes=outcomes,
    )  # fmt: skip


def read(file: Path = FILE) -> dict[str, Result]:
    """The saved results by name."""
    if not file.is_file():
        return {}
    return {name: _result(one) for name, one in json.loads(file.read_text())["scenarios"].items()}


def save(results: dict[str, Result], file: Path = FILE) -> None:
    """Write all of them, in one step."""
    content = {"scenarios": {name: rounded(asdict(one)) for name, one in results.items()}}
    beside = file.with_suffix(".tmp")
    beside.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    beside.replace(file)


def rounded(value: Any) -> Any:
    """All floats with three digits after the point."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return round(value, 3) if isinstance(value, float) else value


def _result(saved: dict[str, Any]) -> Result:
    outcomes = [
        Outcome(**{**one, "taken": [Taken(**taken) for taken in one["taken"]]}) for one in saved.pop("outcomes")
    ]
    goal = saved.pop("goal")
    return Result(**saved, goal=Goal(**goal) if goal else None, outcomes=outcomes)
