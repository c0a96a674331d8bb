"""docs/benchmarks.svg: every scenario with a goal, on one logarithmic scale of times the limit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from pathlib import Path

from benchmarks.environments import ROOT
from benchmarks.figures import paired
from benchmarks.results import Result

FILE = ROOT / "docs" / "benchmarks.svg"
WIDTH, LEFT, RIGHT, TOP, STEP = 960, 400, 30, 70, 30
TICKS = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
FONT = 'font-family="sans-serif" font-size="13"'
OURS, OTHERS, GOAL, GREY = "#0b6e4f", "#b08968", "#c1121f", "#8d99ae"


def write(results: dict[str, Result], file: Path = FILE) -> None:
    """Draw, if there is anything to draw."""
    file.write_text(drawn(results), encoding="utf-8")


def drawn(results: dict[str, Result]) -> str:
    """The picture as text."""
    shown = [one for one in results.values() if one.goal and one.goal.unit == "x"]
    height = TOP + STEP * len(shown) + 50
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<text x="20" y="26" font-size="16">Wall time as a multiple of the limit of the same round</text>',
        *legend(),
        *scale(height - 40),
    ]
    for place, one in enumerate(shown):
        lines += line(one, TOP + STEP * place + STEP / 2)
    return "\n".join([*lines, "</svg>", ""])


def x_of(times: float) -> float:
    """Where a multiple stands."""
    low, high = math.log(TICKS[0]), math.log(TICKS[-1])
    part = (math.log(min(max(times, TICKS[0]), TICKS[-1])) - low) / (high - low)
    return round(LEFT + part * (WIDTH - LEFT - RIGHT), 1)


def legend() -> Iterator[str]:
    """What the marks mean."""
    x = LEFT + 6
    yield f'<circle cx="{x}" cy="46" r="6" fill="{OURS}"/><text x="{x + 12}" y="50">conduit</text>'
    yield f'<circle cx="{x + 100}" cy="46" r="4" fill="{OTHERS}"/>'
    yield f'<text x="{x + 112}" y="50">peers; hollow: wrong result</text>'
    yield f'<path d="M{x + 320} 38v16" stroke="{GOAL}" stroke-width="3"/><text x="{x + 330}" y="50">goal</text>'


def scale(bottom: float) -> Iterator[str]:
    """The vertical lines; the limit is the dark one."""
    for tick in TICKS:
        x, colour = x_of(tick), "#2b2d42" if tick == 1 else "#e3e6ec"
        yield f'<path d="M{x} {TOP}V{bottom}" stroke="{colour}"/>'
        yield f'<text x="{x}" y="{bottom + 18}" text-anchor="middle" fill="{GREY}">{tick:g}x</text>'


def line(one: Result, y: float) -> Iterator[str]:
    """One scenario."""
    limit = one.first("limit")
    yield f'<text x="{LEFT - 14}" y="{y + 4}" text-anchor="end">{escape(one.title)}</text>'
    if one.goal:
        x = x_of(one.goal.at_most)
        yield f'<path d="M{x} {y - 9}v18" stroke="{GOAL}" stroke-width="3"/>'
    for outcome in sorted(one.outcomes, key=lambda outcome: outcome.role == "ours"):
        times = paired(outcome, limit) if limit and outcome is not limit else None
        if times is None or outcome.role == "limit":
            continue
        ours = outcome.role == "ours"
        colour, radius = (OURS, 6) if ours else (OTHERS, 4)
        fill = "white" if outcome.wrong else colour
        said = escape(f"{outcome.name} {outcome.version}: {times:.2f} times the limit")
        yield (
            f'<circle cx="{x_of(times)}" cy="{y}" r="{radius}" fill="{fill}" stroke="{colour}" stroke-width="1.5">'
            f"<title>{said}</title></circle>"
        )
