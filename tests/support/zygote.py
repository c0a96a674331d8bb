"""A process that has imported conduit and forks a child per command: a run costs milliseconds, and can be killed.

Started as `python -m tests.support.zygote`; reads one JSON request per line, answers with one JSON line. The child is
a real process with its own memory; SIGKILL ends it as it would end `conduit run`. Nothing here starts a thread or
opens a connection before the fork.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support import mutants
from tests.support.project import Ran

_PRELOADED = (
    "conduit.cli.run", "conduit.cli.state", "conduit.rows", "conduit.checkpoints", "pyarrow", "pyarrow.compute",
    "pyarrow.parquet", "sqlglot", "duckdb", "psycopg2", "pgpq", "adbc_driver_postgresql.dbapi",
    "adbc_driver_sqlite.dbapi",
    "conduit.connectors.postgresql.source", "conduit.connectors.postgresql.destination",
    "conduit.connectors.postgresql.reader", "conduit.connectors.sqlite.source", "conduit.connectors.sqlite.destination",
    "conduit.connectors.duckdb.source", "conduit.connectors.duckdb.destination", "conduit.connectors.files.source",
    "conduit.connectors.files.destination", "conduit.connectors.iceberg.source",
    "conduit.connectors.iceberg.destination", "pyiceberg.catalog.sql",
)  # fmt: skip


@dataclass
class Zygote:
    """The test's side: asks for runs."""

    process: subprocess.Popen[str]

    @classmethod
    def started(cls) -> Self:
        """A zygote that has imported everything."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "CONDUIT_TESTING": "1"},
            cwd=Path(__file__).parents[2],
        )
        zygote = cls(process)
        assert zygote._ask({"ping": True}) == {"pong": True}
        return zygote

    def conduit(
        self,
        folder: Path,
        *arguments: str,
        crash_at: str = "",
        kill_after: float | None = None,
        mutant: str = "",
        **env: str,
    ) -> Ran:
        """Run `conduit ARGUMENTS` in `folder`; die at a named point, or be killed after some seconds.

        A killed run has the code -9. `mutant` says how tests.support.mutants breaks conduit first.
        """
        request = _request(folder, arguments, crash_at, mutant, env)
        return self._ran(request | {"kill_after": kill_after})

    def start(self, folder: Path, *arguments: str, crash_at: str = "", mutant: str = "", **env: str) -> int:
        """Run it without waiting; the id of its process, for signals and for `finish`."""
        process: int = self._ask(_request(folder, arguments, crash_at, mutant, env) | {"start": True})["pid"]
        return process

    def finish(self, folder: Path, process: int) -> Ran:
        """Wait for a run that was started in `folder`."""
        return self._ran({"folder": str(folder), "finish": process})

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _ran(self, request: dict[str, Any]) -> Ran:
        answer = self._ask(request)
        return Ran(answer["code"], answer["out"], answer["err"])

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def _request(
    folder: Path, arguments: tuple[str, ...], crash_at: str, mutant: str, environment: dict[str, str]
) -> dict[str, Any]:
    environment = environment | ({"CONDUIT_CRASH_AT": crash_at} if crash_at else {})
    return {"folder": str(folder), "arguments": arguments, "environment": environment, "mutant": mutant}


def serve() -> None:
    """Answer requests until stdin ends."""
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or each child's collector touches, and so copies, all that was imported
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"pong": True} if "ping" in request else _answer(request)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    folder = Path(request["folder"])
    out, err = folder / ".out", folder / ".err"
    child = request["finish"] if "finish" in request else _forked(folder, request, out, err)
    if "start" in request:
        return {"pid": child}
    if request.get("kill_after") is not None:
        _kill_later(child, request["kill_after"])
    _, status = os.waitpid(child, 0)
    return {"code": os.waitstatus_to_exitcode(status), "out": out.read_text(), "err": err.read_text()}


def _forked(folder: Path, request: dict[str, Any], out: Path, err: Path) -> int:
    child = os.fork()
    if child == 0:
        _be_conduit(folder, request, out, err)
    return child


def _be_conduit(folder: Path, request: dict[str, Any], out: Path, err: Path) -> None:
    os.chdir(folder)
    os.environ.update(request["environment"])
    for number, path in ((1, out), (2, err)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if request["mutant"]:
        mutants.apply(request["mutant"])
    sys.argv = ["conduit", *request["arguments"]]
    code = 1
    try:
        importlib.import_module("conduit.cli").main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _kill_later(child: int, seconds: float) -> None:
    """Kill the child when it has run for that long; sooner if it ends by itself."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    serve()
