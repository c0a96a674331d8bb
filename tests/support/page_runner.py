"""Runs the blocks of a page in order, in one folder, as a reader would: files are saved, commands run, output compared.

What differs from run to run (durations, run ids, times, the folder) is evened out before the comparison; `…` in a
page stands for anything.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.pages import Block, blocks
from tests.support.processes import Ran
from tests.support.zygote import Zygote

HOME = "/home/ada/shop"
"""The folder as pages show it."""

_EVENED = (
    (re.compile(r"\(\d+\.\d\d s(?:, [\d,]+ rows/s)?\)"), "(…)"),
    (re.compile(r"\d{8}T\d{6}-[0-9a-f]{8}|state-[0-9a-f]{16}"), "RUN"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00"), "TIME"),
    (re.compile(r'("(?:seconds|rows_per_second)": )[\d.]+'), r"\1N"),
    (re.compile(r"corrupt-\d{8}T\d{6}-[0-9a-f]{4}"), "corrupt-TIME"),
    (re.compile(r"pid \d+ on [\w.-]+"), "pid N on HOST"),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
)
_PLAIN_COMMAND = re.compile(r"conduit [^|&;<>$`*]*")


@dataclass
class PageRun:
    """One pass over a page.

    Attributes:
        page: the page.
        folder: where its files are, empty at first.
        zygote: runs `conduit` quickly.
        environment: what commands see on top of the process's own.
        exchanged: text of the page -> what stands for it here (a host, a database).
        execute: runs the SQL of a block in a database; None: no block of this page is run so.
    """

    page: Path
    folder: Path
    zygote: Zygote
    environment: dict[str, str] = field(default_factory=dict)
    exchanged: Mapping[str, str] = field(default_factory=dict)
    execute: Callable[[str, str], object] | None = None
    _names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})
    _printed: str = ""

    def run(self) -> None:
        """Run all blocks."""
        for block in blocks(self.page):
            if block.remark("not run") is None:
                self._run(block)

    def _run(self, block: Block) -> None:
        text = self._here(block.text)
        name = block.remark("file")
        if name is not None:
            place = self.folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
        elif block.remark("output") is not None:
            require_same(block, text, self._printed)
        elif block.language == "python":
            self._python(block, text)
        elif block.language == "console":
            self._console(block, text)
        elif self.execute is not None and block.language == "sql":
            self.execute(block.remark("database") or "", text)

    def _here(self, text: str) -> str:
        for written, meant in self.exchanged.items():
            text = text.replace(written, meant)
        return text

    def _python(self, block: Block, text: str) -> None:
        printed = io.StringIO()
        with chdir(self.folder), redirect_stdout(printed):
            exec(compile(text, str(block), "exec"), self._names)
        self._printed = printed.getvalue()

    def _console(self, block: Block, text: str) -> None:
        commands = list(_commands(text))
        last = int(block.remark("exit") or 0)
        for place, (command, expected) in enumerate(commands, start=1):
            ran = self._command(command)
            wanted = last if place == len(commands) else 0
            assert ran.code == wanted, f"{block}: $ {command}: exit {ran.code}\n{ran.out}{ran.err}"
            if expected:
                require_same(block, expected, ran.err + ran.out, str(self.folder))

    def _command(self, command: str) -> Ran:
        if _PLAIN_COMMAND.fullmatch(command):
            environment: Any = self.environment
            return self.zygote.conduit(self.folder, *shlex.split(command)[1:], **environment)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**os.environ, **self.environment, "PATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)


def _commands(text: str) -> Iterator[tuple[str, str]]:
    """Each line after `$ `, with what it is said to print."""
    command, output = "", ""
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, output
            command, output = line[2:], ""
        else:
            output += f"{line}\n"
    yield command, output


def require_same(block: Block, expected: str, printed: str, folder: str = "") -> None:
    """The page shows what was printed."""
    shown, real = evened(expected), evened(printed.replace(folder, HOME) if folder else printed)
    pattern = ".*?".join(re.escape(part) for part in shown.strip("\n").split("…"))
    assert re.fullmatch(pattern, real.strip("\n"), re.DOTALL), f"{block} shows:\n{shown}\nbut this was printed:\n{real}"


def evened(text: str) -> str:
    """The text without what differs from run to run."""
    for pattern, instead in _EVENED:
        text = pattern.sub(instead, text)
    return text
