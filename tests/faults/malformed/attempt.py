"""Trying one malformed input against the command line, in this process or as a process of its own."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from conduit.cli import main as command_line
from tests.faults.malformed.case import GOOD, Case
from tests.support.processes import Ran
from tests.support.project import Project

KEPT = ("shop.db", "lake.db", ".conduit_state.json")
PRIVATE = (".conduit", "ingest.yml")


@dataclass(frozen=True)
class Ground:
    """The folder in which inputs are tried, and what it must look like after each."""

    folder: Path
    spare: Path

    @classmethod
    def laid_out(cls, folder: Path) -> Ground:
        """A pipeline that has run once and has three new rows to load."""
        ground = cls(folder / "project", folder / "spare")
        ground.folder.mkdir(parents=True)
        statements(
            ground.folder / "shop.db",
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, at TEXT)",
            "INSERT INTO orders VALUES (1, 'ada', '2026-01-01'), (2, 'bob', '2026-01-02')",
            "CREATE TABLE victim (word TEXT)",
            "INSERT INTO victim VALUES ('canary-of-the-source')",
        )
        statements(ground.folder / "lake.db", "CREATE TABLE victim (word TEXT)", "INSERT INTO victim VALUES ('alive')")
        (ground.folder / "ingest.yml").write_text(GOOD)
        assert in_process(ground.folder, ("run", "ingest.yml")).code == 0
        statements(ground.folder / "shop.db", "INSERT INTO orders VALUES (3, 'eve', 'x'), (4, NULL, 'y'), (5, '', 'z')")
        shutil.copytree(ground.folder, ground.spare)
        return ground

    def attempt(self, case: Case, run: Callable[[Path, Case], Ran]) -> list[str]:
        """Try a case; what is wrong with what came of it."""
        self._lay(case)
        try:
            ran = run(self.folder, case)
            return [*self._about_the_answer(case, ran), *self._about_the_folder(case, ran)]
        finally:
            self._restore(case)

    # --- judging ---

    def _about_the_answer(self, case: Case, ran: Ran) -> Iterator[str]:
        text = f"{ran.out}\n{ran.err}"
        allowed = (*case.codes, 0) if case.harmless else case.codes
        if ran.code not in allowed:
            yield f"exit code {ran.code}, not {allowed}: {text[:400]}"
        for sign in ("Traceback", "internal error", *case.never):
            if sign in text:
                yield f"{sign!r} in the output: {text[:400]}"
        if ran.code != 0 and not (ran.out.strip() or ran.err.strip()):
            yield "it says nothing"
        for pattern in case.says if ran.code != 0 else ():
            if not re.search(pattern, text):
                yield f"nothing like {pattern!r} in: {text[:400]}"

    def _about_the_folder(self, case: Case, ran: Ran) -> Iterator[str]:
        if _word(self.folder / "lake.db") != "alive":
            yield "the canary of the destination is dead"
        if _word(self.folder / "shop.db") != "canary-of-the-source":
            yield "the canary of the source is dead"
        if ran.code == 0:
            return
        changed = [name for name in KEPT if not self._as_laid(case, name)]
        if changed:
            yield f"{', '.join(changed)} changed"
        fresh = self._names() - {path.name for path in self.spare.iterdir()} - set(case.files) - set(PRIVATE)
        fresh = {name for name in fresh if name.split("/")[0] not in {laid.split("/")[0] for laid in case.files}}
        if fresh:
            yield f"left behind: {sorted(fresh)}"

    def _as_laid(self, case: Case, name: str) -> bool:
        laid = case.files.get(name, (self.spare / name).read_bytes())
        path = self.folder / name
        return (path.read_bytes() if path.exists() else None) == laid

    def _same(self, name: str) -> bool:
        return _digest(self.folder / name) == _digest(self.spare / name)

    def _names(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}

    # --- laying and restoring ---

    def _lay(self, case: Case) -> None:
        for name, content in {**case.files, "ingest.yml": case.file}.items():
            path = self.folder / name
            if content is None:
                path.unlink()
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)

    def _restore(self, case: Case) -> None:
        known = {path.name for path in self.spare.iterdir()}
        for name in self._names() - known:
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name in KEPT:
            if not self._same(name):
                shutil.copyfile(self.spare / name, self.folder / name)


def statements(database: Path, *texts: str) -> None:
    """Run statements in a SQLite database, by a plain driver."""
    with closing(sqlite3.connect(database)) as connection, connection:
        for text in texts:
            connection.execute(text)


def _word(database: Path) -> str:
    """The canary of a database; what went wrong when it cannot be read."""
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return str(connection.execute("SELECT word FROM victim").fetchone()[0])
    except (sqlite3.Error, TypeError) as error:
        return repr(error)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


# --- running --------------------------------------------------------------------------------------------


def quickly(folder: Path, case: Case) -> Ran:
    """The command line in this process."""
    return in_process(folder, case.arguments, **case.environment)


def really(folder: Path, case: Case) -> Ran:
    """The command line as a process of its own."""
    return Project(folder, dict(case.environment)).cold(*case.arguments)


def in_process(folder: Path, arguments: tuple[str, ...], **environment: str) -> Ran:
    """`conduit ARGUMENTS` in this process: what its entry point does, without taking over the signals of the tests."""
    out, err = io.StringIO(), io.StringIO()
    with (
        _inside(folder),
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", ["conduit", *arguments]),
        mock.patch("conduit.cli.main.watch_signals"),
        warnings.catch_warnings(),  # as a user has them: told, not raised
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        warnings.resetwarnings()
        try:
            command_line()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return Ran(code, out.getvalue(), err.getvalue())


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
