"""A process that has imported conduit and forks a child per command: a run costs milliseconds, and can be killed.

Started as `python -m tests.support.zygote`; reads one JSON request per line, answers with one JSON line. The child is
a real process with its own memory; SIGKILL ends it as it would end `conduit run`, and it ends as Python ends. Nothing
here starts a thread or opens a connection before the fork. What a fork cannot show, a module that nobody imported, is
looked at by processes that start from nothing (`tests/acceptance/test_cold_starts.py`).
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

from tests.support import mutants
from tests.support.processes import Ran

_PRELOADED = (
    "conduit.cli.run", "conduit.cli.state", "conduit.cli.plan", "conduit.cli.check", "conduit.cli.verify",
    "conduit.cli.repair", "conduit.rows", "conduit.checkpoints", "conduit.commits", "conduit.transform",
    "conduit.executors.threads", "encodings.utf_8_sig", "importlib.resources.readers", "pyarrow", "pyarrow.compute",
    "pyarrow.parquet", "sqlglot", "duckdb", "psycopg2", "pgpq", "adbc_driver_postgresql.dbapi",
    "adbc_driver_sqlite.dbapi",
    "conduit.connectors.postgresql.source", "conduit.connectors.postgresql.destination",
    "conduit.connectors.postgresql.reader", "conduit.connectors.sqlite.source", "conduit.connectors.sqlite.destination",
    "conduit.connectors.duckdb.source", "conduit.connectors.duckdb.destination", "conduit.connectors.files.source",
    "conduit.connectors.files.destination", "conduit.connectors.iceberg.source",
    "conduit.connectors.iceberg.destination", "conduit.connectors.iceberg.tables", "iceframe.adding",
    "iceframe.removal", "pyiceberg.catalog.sql", "pyiceberg.avro.decoder_fast", "sqlalchemy.dialects.sqlite",
)  # fmt: skip


PATIENCE = 120.0
"""Seconds after which a run hangs."""


@dataclass
class Zygote:
    """The test's side: asks for runs, from any thread."""

    process: subprocess.Popen[str]
    _outputs: tempfile.TemporaryDirectory[str] = field(
        default_factory=lambda: tempfile.TemporaryDirectory(prefix="conduit-zygote-")
    )
    _one_asks: threading.Lock = field(default_factory=threading.Lock)

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
        process = self.start(folder, *arguments, crash_at=crash_at, mutant=mutant, **env)
        in_time = _ends_within(process, PATIENCE if kill_after is None else kill_after)
        if not in_time:
            os.kill(process, signal.SIGKILL)  # nobody has waited for it, so the number is still its own
        ran = self.finish(process)
        assert in_time or kill_after is not None, f"it hung: {ran}"
        return ran

    def start(self, folder: Path, *arguments: str, crash_at: str = "", mutant: str = "", **env: str) -> int:
        """Run it without waiting; the id of its process, for signals and for `finish`."""
        environment = {**os.environ, "CONDUIT_TESTING": "1", **env}
        request = {
            "folder": str(folder), "arguments": arguments, "mutant": mutant, "outputs": self._outputs.name,
            "environment": environment | ({"CONDUIT_CRASH_AT": crash_at} if crash_at else {}),
        }  # fmt: skip
        process: int = self._ask(request)["pid"]
        return process

    def finish(self, process: int) -> Ran:
        """Wait for a run that was started."""
        _ends_within(process, None)
        answer = self._ask({"finish": process})
        texts = []
        for path in _outputs(self._outputs.name, process):
            texts.append(path.read_text() if path.exists() else "")  # killed sooner than it could open them
            path.unlink(missing_ok=True)
        return Ran(answer["code"], *texts)

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._outputs.cleanup()

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self._one_asks:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())


@cache
def shared() -> Zygote:
    """The one of this process; the fixture `zygote` ends it."""
    return Zygote.started()


def close_shared() -> None:
    """End it, if there is one."""
    if shared.cache_info().currsize:
        shared().close()
        shared.cache_clear()


def _outputs(folder: str, process: int) -> tuple[Path, Path]:
    return Path(folder, f"{process}.out"), Path(folder, f"{process}.err")


def _ends_within(process: int, seconds: float | None) -> bool:
    """Wait until a run has ended, without keeping the zygote from others; False: it goes on."""
    if sys.platform != "linux":
        if seconds is not None and seconds < PATIENCE:
            time.sleep(seconds)
        return seconds is None or seconds >= PATIENCE
    descriptor = os.pidfd_open(process)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


# --- the zygote's own side ------------------------------------------------------------------------------


def serve() -> None:
    """Answer requests until stdin ends."""
    for name in _PRELOADED:
        importlib.import_module(name)
    sys.modules["__main__"].__package__ = ""  # or messages name this module as the command
    gc.collect()
    gc.freeze()  # or each child's collector touches, and so copies, all that was imported
    for line in sys.stdin:
        request = json.loads(line)
        sys.stdout.write(json.dumps(_answer(request)) + "\n")
        sys.stdout.flush()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    if "ping" in request:
        return {"pong": True}
    if "finish" in request:
        return {"code": os.waitstatus_to_exitcode(os.waitpid(request["finish"], 0)[1])}
    child = os.fork()
    if child == 0:
        _be_conduit(request)
    return {"pid": child}


def _be_conduit(request: dict[str, Any]) -> None:
    folder = request["folder"]
    os.chdir(folder)
    sys.path[0] = folder
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    for number, path in enumerate(_outputs(request["outputs"], os.getpid()), start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
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
        _end(code)


def _end(code: int) -> None:
    """As Python ends: wait for threads, then what was asked for at the exit; but modules are not taken apart."""
    vars(threading)["_shutdown"]()  # what the interpreter calls
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    serve()
