"""docs/benchmarks.md between its markers, made of the saved results and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.environments import ROOT
from benchmarks.figures import Outcome, paired
from benchmarks.results import Result
from benchmarks.scenarios import MEMORY, MemoryGoal

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- what make bench writes -->"
END = "<!-- end of what make bench writes -->"


def write(results: dict[str, Result], page: Path = PAGE) -> None:
    """Put the tables between the markers of the page."""
    page.write_text(placed(page.read_text(encoding="utf-8"), results), encoding="utf-8")


def placed(text: str, results: dict[str, Result]) -> str:
    """The text of a page with new tables."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{rendered(results)}\n{END}{after}"


def rendered(results: dict[str, Result]) -> str:
    """All that the runner writes: the goals, memory, and each scenario."""
    if not results:
        return "\nNothing was measured yet.\n"
    parts = [*overview(results), "", *memory(results, MEMORY), *where(results)]
    for one in results.values():
        parts += ["", *scenario(one)]
    return "\n".join(["", *parts, ""])


def overview(results: dict[str, Result]) -> Iterator[str]:
    """One line a scenario: what was wanted, what came."""
    yield from head("scenario", "limit", "conduit", "times the limit", "goal", "", "best peer")
    for one in results.values():
        limit, ours = one.first("limit"), one.first("ours")
        yield row(one.title, seconds(limit), value(ours), ratio(ours, limit), goal(one), verdict(one), peer(one))


def scenario(one: Result) -> Iterator[str]:
    """Everybody who took part in a scenario."""
    yield f"### {one.title}"
    yield ""
    yield f"{one.rows:,} rows. {one.note}".rstrip() if one.rows else one.note
    yield ""
    if any(outcome.size_mb is not None for outcome in one.outcomes):
        yield from head("", "MB", "")
        for outcome in one.outcomes:
            yield row(name(outcome), number(outcome.size_mb, 0), remarks(outcome))
        return
    yield from head("", "rounds", "wall s", "CPU s", "largest process MB", "all processes MB", "times the limit", "")
    limit = one.first("limit")
    for outcome in one.outcomes:
        times = "1" if outcome is limit else ratio(outcome, limit)
        yield row(
            name(outcome), str(len(outcome.taken)), seconds(outcome), number(outcome.cpu, 2),
            number(outcome.largest_mb, 0), number(outcome.sum_mb, 0), times, remarks(outcome),
        )  # fmt: skip


def memory(results: dict[str, Result], wanted: MemoryGoal) -> Iterator[str]:
    """The largest process at each size, and how it grew from the first to the last that was measured."""
    sizes = [results[one] for one in wanted.scenarios if one in results]
    if not sizes:
        return
    yield "### Peak memory by rows, PostgreSQL → PostgreSQL"
    yield ""
    yield f"Goal: {wanted.at_most_mb:g} MB, and less than {wanted.growth:.0%} more with more rows."
    yield ""
    yield from head("", *[f"{one.rows:,} rows, MB" for one in sizes], "growth", "")
    for who in dict.fromkeys(outcome.name for one in sizes for outcome in one.outcomes):
        peaks = [peak(one, who) for one in sizes]
        known = [one for one in peaks if one is not None]
        growth = known[-1] / known[0] - 1 if len(known) > 1 else None
        mine = any(outcome.name == who and outcome.role == "ours" for outcome in sizes[0].outcomes)
        met = word(max(known) <= wanted.at_most_mb and growth < wanted.growth) if mine and growth is not None else ""
        yield row(who, *[number(one, 0) for one in peaks], "" if growth is None else f"{growth:+.0%}", met)


def where(results: dict[str, Result]) -> Iterator[str]:
    """The machines, and which scenarios ran there."""
    yield ""
    yield "### What it ran on"
    yield ""
    groups: dict[tuple[str, ...], list[str]] = {}
    for one in results.values():
        groups.setdefault(tuple(facts(one)), []).append(one.name)
    for said, names in groups.items():
        names_said = "all scenarios" if len(groups) == 1 else ", ".join(f"`{each}`" for each in names)
        yield f"- {names_said}: {'; '.join(said)}"


def facts(one: Result) -> Iterator[str]:
    """Day, commit, machine and versions of a result."""
    made = one.machine
    yield f"{one.date}, commit {one.commit}"
    yield f"{made['cores']} cores of {made['processor']}, {made['memory_gb']} GB, {made['system']}"
    yield f"Python {made['python']}, " + ", ".join(f"{key} {got}" for key, got in made["packages"].items())


# --- cells ----------------------------------------------------------------------------------------------


def head(*titles: str) -> Iterator[str]:
    """The first two lines of a table: all columns but the first and the last are numbers."""
    yield row(*titles)
    yield "|---" + "|---:" * (len(titles) - 2) + "|---|"


def row(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def name(one: Outcome) -> str:
    """A participant with its version."""
    said = f"{one.name} {one.version}".strip()
    return f"**{said}**" if one.role == "ours" else said


def number(value: float | None, digits: int) -> str:
    """A number; empty for None."""
    return "" if value is None else f"{value:,.{digits}f}"


def seconds(one: Outcome | None) -> str:
    """Median seconds."""
    return "" if one is None else number(one.seconds, 2)


def ratio(one: Outcome | None, limit: Outcome | None) -> str:
    """The paired ratio."""
    found = paired(one, limit) if one and limit else None
    return "" if found is None else f"{found:.2f}"


def value(ours: Outcome | None) -> str:
    """What is compared with the goal, or why there is nothing."""
    if ours is None or ours.cannot:
        return "cannot"
    return f"{ours.size_mb:,.0f} MB" if ours.size_mb is not None else seconds(ours)


def goal(one: Result) -> str:
    """The goal in words."""
    return "" if one.goal is None else f"{one.goal.at_most:g}{'x' if one.goal.unit == 'x' else ' ' + one.goal.unit}"


def reached(one: Result) -> float | None:
    """Ours in the unit of the goal; None: it did not do the job, or not rightly."""
    limit, ours = one.first("limit"), one.first("ours")
    if one.goal is None or ours is None or ours.cannot or ours.wrong:
        return None
    if one.goal.unit == "MB":
        return ours.size_mb
    return ours.seconds if one.goal.unit == "s" else paired(ours, limit) if limit else None


def verdict(one: Result) -> str:
    """Whether the goal was met."""
    if one.goal is None:
        return ""
    found = reached(one)
    return "missed: no result" if found is None else word(found <= one.goal.at_most)


def word(met: bool) -> str:
    """Met or missed."""
    return "met" if met else "missed"


def peer(one: Result) -> str:
    """The fastest peer whose result is right."""
    limit = one.first("limit")
    right = [outcome for outcome in one.outcomes if outcome.role == "peer" and not (outcome.wrong or outcome.cannot)]
    if any(outcome.size_mb for outcome in right):
        least = min(right, key=lambda outcome: outcome.size_mb or 0)
        return f"{least.name} {number(least.size_mb, 0)} MB"
    ran = [(outcome.seconds, outcome) for outcome in right if outcome.seconds is not None]
    if not ran:
        return ""
    best = min(ran, key=lambda pair: pair[0])[1]
    times = ratio(best, limit)
    return f"{best.name} {times}x" if times and one.goal and one.goal.unit == "x" else f"{best.name} {seconds(best)} s"


def peak(one: Result, who: str) -> float | None:
    """The largest process of a participant."""
    return next((outcome.largest_mb for outcome in one.outcomes if outcome.name == who), None)


def remarks(one: Outcome) -> str:
    """Wrong, cannot."""
    said: Sequence[tuple[str, str]] = (("wrong", one.wrong), ("cannot", one.cannot))
    return "; ".join(f"{word}: {text}" for word, text in said if text).replace("<", "‹").replace("`", "'")
