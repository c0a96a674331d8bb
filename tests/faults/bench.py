"""One pipeline under attack: an origin that grows, a destination, and the oracle that compares the two.

The oracle: every row of the source stands exactly once in the destination (multiset difference, by a reader that
shares no code with conduit), then one more clean run moves no row.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from tests.proof import tally
from tests.support.ends import End, end
from tests.support.origin import Origin, ServerOrigin
from tests.support.postgres import Database
from tests.support.processes import Ran, has_ended, is_stopped
from tests.support.project import Project, pipeline
from tests.support.zygote import Zygote

CHECKPOINT = 100
PATIENCE = 1.0
"""Seconds that a run gets beside a frozen one, before that one is woken."""


@dataclass
class Bench:
    """A project with a source, a destination and a process that runs it."""

    zygote: Zygote
    folder: Path
    origin: Origin
    end: End

    @classmethod
    def set_up(
        cls,
        zygote: Zygote,
        folder: Path,
        name: str,
        database: Database | None,
        source: Database | None = None,
        **resource: Any,
    ) -> Self:
        """A project that copies the table `t` incrementally by `id`.

        Args:
            zygote: forks the runs.
            folder: of the project.
            name: of the destination.
            database: the destination, for PostgreSQL.
            source: the source, if it is PostgreSQL; SQLite otherwise.
            resource: more keys of the resource.
        """
        destination = end(name, folder, database)
        wanted: dict[str, Any] = {"table": "t", "into": "t", "incremental_column": "id"} | resource
        if destination.checkpoints and "checkpoint_interval" not in wanted:
            wanted["checkpoint_interval"] = CHECKPOINT
        keys = source.keys if source else {"type": "sqlite", "database": "in.sqlite"}
        Project(folder).write(pipeline(keys, destination.keys, **wanted))
        path = folder / "in.sqlite"
        origin = ServerOrigin(path, seed=1, database=source) if source else Origin(path, seed=1)
        return cls(zygote, folder, origin, destination)

    @property
    def name(self) -> str:
        """The destination, as a tally calls it."""
        return self.end.name

    def run(self, **how: Any) -> Ran:
        """`conduit run`, perhaps to its death. A kill is counted, unless conduit was broken first."""
        ran = self.zygote.conduit(self.folder, "run", "ingest.yml", "--output", "json", **how)
        assert ran.code != 1, ran.err  # a bug, and of a mutant: it crashes and so shows nothing
        if not how.get("mutant") and ("crash_at" in how or "kill_after" in how):
            tally.killed(self.name, how.get("crash_at", tally.RANDOM), ran.code)
        return ran

    def nothing_doubled(self) -> None:
        """At any moment: no row stands twice, and none that the source never had."""
        extra = self.end.read() - self.origin.rows()
        assert not extra, f"doubled or invented: {list(extra.items())[:5]}"

    def lost_and_doubled(self) -> tuple[int, int]:
        """How many rows are missing, and how many stand too often."""
        source, found = self.origin.rows(), self.end.read()
        return (source - found).total(), (found - source).total()

    def exact(self) -> None:
        """After a clean run: nothing lost, nothing doubled, and a second clean run moves nothing."""
        self.run().ok()
        lost, doubled = self.lost_and_doubled()
        tally.compared(self.name, self.origin.rows().total(), lost, doubled)
        assert (lost, doubled) == (0, 0), "(lost, doubled)"
        again = self.run().ok().json["resources"][0]
        assert (again["status"], again["written"]) == ("nothing new", 0)
        assert self.lost_and_doubled() == (0, 0), "(lost, doubled) after a run with nothing new"

    def frozen(self, point: str) -> bool:
        """A run is stopped at a named point, another one from elsewhere does the work, the first wakes up.

        Where the other one waits for what the frozen run holds, the first is woken before the other has ended. False:
        the run never came to the point.
        """
        zombie = self.zygote.start(self.folder, "run", "ingest.yml", crash_at=f"{point}:1:STOP")
        hit = is_stopped(zombie)
        there = self.folder / "twin0"
        other = there if there.exists() else self.twin(0)
        second = self.zygote.start(other, "run", "ingest.yml")
        has_ended(second, PATIENCE)
        if hit:
            os.kill(zombie, signal.SIGCONT)
        woken, done = self.zygote.finish(zombie), self.zygote.finish(second)
        tally.note("freeze" if hit else "freeze that hit nothing", point=point, destination=self.name)
        tally.note("fenced", count=[woken.code, done.code].count(75))
        assert {0} <= {woken.code, done.code} <= {0, 75}, (point, woken, done)
        self.nothing_doubled()
        return hit

    def twin(self, number: int = 0) -> Path:
        """Another project folder for the same two ends: no lock, no state file and no history in common."""
        folder = self.folder / f"twin{number}"
        folder.mkdir()
        content: dict[str, Any] = yaml.safe_load((self.folder / "ingest.yml").read_text())
        for side in (*content["sources"], *content["destinations"]):
            for key in {"database", "path"} & set(side):
                if side["type"] != "postgresql":
                    side[key] = str(self.folder / side[key]) + ("/" if side[key].endswith("/") else "")
        Project(folder).write(content)
        return folder

    def change_port(self, port: int, side: str = "destinations") -> None:
        """Let one side be reached at another port."""
        content = yaml.safe_load((self.folder / "ingest.yml").read_text())
        content[side][0]["port"] = port
        Project(self.folder).write(content)
