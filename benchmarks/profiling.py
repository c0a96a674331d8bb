"""`make bench-profile`: where the time of ours goes, by scenario and thread: `profile.json` and docs/benchmarks.md.

python -m benchmarks.profiling [SCENARIO …] [--rows 1000000]
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.environments import DEFAULT, Environments
from benchmarks.limits import script
from benchmarks.machine import commit, machine
from benchmarks.report import PAGE, head, row
from benchmarks.running import Places, Wanted, outcomes
from benchmarks.scenario import Participant, Scenario, Turn
from benchmarks.scenarios import SCENARIOS
from tests.support.postgres import server

FILE = Path(__file__).with_name("profile.json")
BEGIN = "<!-- what make bench-profile writes -->"
END = "<!-- end of what make bench-profile writes -->"
USUAL = ("pg-to-pg", "pg-to-iceberg", "nothing-new")
TOP = 12
PHASES = (
    ("waiting for the other thread", ("threading.py:wait", "queue.py:get", "queue.py:put")),
    ("primary key", ("keys.py",)),
    ("commit", (":commit", ":_commit", "marks.py", "commit.py", "marklog.py")),
    ("connect", ("connection.py", ":connect")),
    ("catalogue", ("catalogue.py", "relation.py", ":describe", "tables.py", "catalog")),
    ("read", ("reader.py", "source.py", "read_ahead.py", "rows.py", "csv_", "window.py", "wire.py:send", "session.py")),
    ("write", ("wire.py", "writer.py", "load.py", "staging.py", "files.py", "encode.py", "destination.py")),
    ("configuration", ("/config/",)),
)
"""A look belongs to the first phase one of whose words is in a frame of this project, or in the innermost one."""
BEFORE = re.compile(r".*/(src|site-packages|lib/python3\.\d+)/")
WATCHER = "profiled.py"
IDLE = ("interrupts.py:_listen", "thread.py:_worker")
"""Threads that have nothing to do are not told."""
Seen = list[tuple[str, list[str], int]]


def main() -> None:
    """Look at each scenario, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", default=list(USUAL))
    parser.add_argument("--rows", type=int, default=Wanted.rows)
    asked = parser.parse_args()
    known = {one.name: one for one in SCENARIOS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="conduit-profile-")))
        places = Places(stack.enter_context(server(measured=True)), folder, Environments(DEFAULT), stack)
        for name in asked.scenarios:
            found = profiled(known[name], Wanted(rows=asked.rows, rounds=1, peers=False), places)
            save(name, found)
            print("\n".join(section(name, found)))
    PAGE.write_text(placed(PAGE.read_text(encoding="utf-8"), read()), encoding="utf-8")


def profiled(scenario: Scenario, wanted: Wanted, places: Places) -> dict[str, Any]:
    """Ours alone, once, watched.

    Raises:
        RuntimeError: it did not do its work.
    """
    result = places.folder / f"{scenario.name}.json"
    ours = next(one for one in scenario.participants if one.role == "ours")
    alone = replace(scenario, participants=(watched(ours, result),))
    [outcome] = outcomes(alone, wanted, places, print)
    if outcome.cannot or outcome.wrong:
        raise RuntimeError(f"{scenario.name}: {outcome.cannot}{outcome.wrong}")
    made = machine()
    return {
        "title": scenario.title, "rows": int(wanted.rows * scenario.times), "date": made["date"], "commit": commit(),
        "processor": made["processor"], "seconds": round(outcome.seconds or 0, 3),
        "threads": summed(json.loads(result.read_text())),
    }  # fmt: skip


def watched(ours: Participant, result: Path) -> Participant:
    """The same command under the script that looks."""

    def command(turn: Turn) -> list[str]:
        words = ours.command(turn)
        return script(turn, "profiled.py", result, *words[words.index("conduit") + 1 :])

    return replace(ours, command=command)


def summed(seen: Seen) -> dict[str, Any]:
    """Milliseconds by thread: of each phase, and of the functions of this project in which most was spent."""
    threads: dict[str, Any] = {}
    for thread in sorted({one for one, _, _ in seen}):
        phases: Counter[str] = Counter()
        entries: Counter[str] = Counter()
        for _, frames, spent in (one for one in seen if one[0] == thread and not one[1][0].endswith(IDLE)):
            phases[phase(frames)] += spent
            entries[entry(frames)] += spent
        if phases:
            threads[thread] = {"phases": milliseconds(phases), "entries": milliseconds(entries, TOP)}
    return threads


def milliseconds(counted: Counter[str], most: int | None = None) -> dict[str, float]:
    """The largest first."""
    return {key: round(spent / 1000, 1) for key, spent in counted.most_common(most)}


def own(frames: list[str]) -> list[str]:
    """The frames of this project."""
    return [frame for frame in frames if short(frame).startswith(("conduit/", "iceframe/"))]


def phase(frames: list[str]) -> str:
    """What the thread was doing."""
    innermost, *_ = frames
    if innermost.endswith(PHASES[0][1]):
        return PHASES[0][0]
    if importing(frames):
        return "import"
    found = (name for frame in own(frames) for name, words in PHASES[1:] if any(one in short(frame) for one in words))
    return next(found, "other")


def entry(frames: list[str]) -> str:
    """The innermost function of this project and the one of a library that it is in, or what is imported."""
    if importing(frames):
        modules = [frame for frame in reversed(frames) if frame.endswith(":<module>") and WATCHER not in frame]
        foreign = [frame for frame in modules if not own([frame])]
        [imported, *_] = [*foreign, *modules[::-1], frames[0]]
        return f"import of {short(imported).partition('/')[0].removesuffix('.py:<module>')}"
    mine = own(frames)
    if not mine:
        return short(frames[0])
    return short(mine[0]) if mine[0] == frames[0] else f"{short(mine[0])} → {short(frames[0])}"


def importing(frames: list[str]) -> bool:
    """Whether a module is being loaded."""
    return any(frame.startswith("<frozen importlib") for frame in frames)


def short(frame: str) -> str:
    """A frame without the folders before its package."""
    file, _, function = frame.rpartition(":")
    return f"{BEFORE.sub('', file)}:{function}"


# --- the page -------------------------------------------------------------------------------------------


def save(name: str, found: dict[str, Any]) -> None:
    """Keep it with the others."""
    FILE.write_text(json.dumps(read() | {name: found}, indent=1, ensure_ascii=False) + "\n")


def read() -> dict[str, Any]:
    """What was seen by scenario."""
    found: dict[str, Any] = json.loads(FILE.read_text()) if FILE.is_file() else {}
    return found


def placed(text: str, profiles: dict[str, Any]) -> str:
    """The text of a page with new profiles."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    parts = [line for name, found in profiles.items() for line in ["", *section(name, found)]]
    return "\n".join([f"{before}{BEGIN}", *(parts or ["", "Nothing was looked at yet."]), "", f"{END}{after}"])


def section(name: str, found: dict[str, Any]) -> Iterator[str]:
    """The tables of one scenario."""
    yield f"### Profile of `{name}`: {found['title']}"
    yield ""
    yield (
        f"{found['rows']:,} rows, {found['seconds']:.2f} s with the looks; {found['date']}, commit {found['commit']}, "
        f"{found['processor']}."
    )
    for thread, seen in found["threads"].items():
        total = sum(seen["phases"].values()) or 1
        for title, spent in (("phase", seen["phases"]), ("where", seen["entries"])):
            yield ""
            yield from head(f"{thread} thread, {title}", "ms", "%", "")
            for key, ms in spent.items():
                yield row(f"`{key}`" if title == "where" else key, f"{ms:,.0f}", f"{ms / total:.0%}", "")


if __name__ == "__main__":
    main()
