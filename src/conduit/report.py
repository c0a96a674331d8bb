"""What a run did: the equation of its rows, as numbers, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from conduit.contract import Committed
from conduit.errors import ConduitError, exit_code

Status = Literal["loaded", "nothing new", "failed"]


class ResourceReport(msgspec.Struct, kw_only=True):
    """One resource of a run.

    `read = written + already_present + superseded + filtered + quarantined`, where written is inserted + updated. With
    a `transform:` it is `read = transformed + filtered + quarantined` and `made = written + already_present +
    superseded`.

    Attributes:
        resource: its name.
        status: loaded, nothing new, or failed.
        read: rows that the source gave.
        inserted: rows that the table gained.
        updated: rows that a merge changed.
        already_present: rows whose key (append) or content (merge) the table held already.
        superseded: rows of one key in one commit that a newer one replaced.
        filtered: rows left out by a rule (NULL cursors with `on_null: exclude`).
        quarantined: rows that failed a check.
        transformed: rows that `transform:` took in.
        made: rows that it gave in their place.
        commits: how many commits the run made.
        since: the watermark before; until: the watermark after. None: nothing remembered.
        seconds: wall time.
        notes: what a person should know.
        error: the message of a failure; empty otherwise.
        exit_code: 0, or the error's.
    """

    resource: str
    status: Status = "nothing new"
    read: int = 0
    inserted: int = 0
    updated: int = 0
    already_present: int = 0
    superseded: int = 0
    filtered: int = 0
    quarantined: int = 0
    transformed: int = 0
    made: int = 0
    commits: int = 0
    since: int | str | None = None
    until: int | str | None = None
    seconds: float = 0.0
    notes: list[str] = []
    error: str = ""
    exit_code: int = 0

    def count(self, taken: int, committed: Committed, *, moved: bool) -> None:
        """Add the rows of one commit; when nothing `moved`, none was made."""
        self.read += taken
        self.inserted += committed.inserted
        self.updated += committed.updated
        self.already_present += committed.already_present
        self.superseded += committed.superseded
        if moved:
            self.status = "loaded"
            self.commits += 1

    def fail(self, error: ConduitError) -> None:
        """Say what ended the run."""
        self.status = "failed"
        self.error = str(error)
        self.exit_code = error.exit_code

    @property
    def written(self) -> int:
        """Rows that the table gained or changed."""
        return self.inserted + self.updated

    @property
    def balanced(self) -> bool:
        """Whether every row that was read is accounted for, once: no part makes up for another."""
        if self.below_zero:
            return False
        apart = self.filtered + self.quarantined
        landed = self.written + self.already_present + self.superseded
        if self.transformed:
            return self.read == self.transformed + apart and self.made == landed
        return self.read == landed + apart

    @property
    def below_zero(self) -> list[str]:
        """The parts that are less than nothing, which only a bug makes them."""
        parts = {
            "read": self.read,
            "inserted": self.inserted,
            "updated": self.updated,
            "already present": self.already_present,
            "superseded": self.superseded,
            "filtered": self.filtered,
            "quarantined": self.quarantined,
            "transformed": self.transformed,
            "made": self.made,
        }
        return [f"{name} {count:,}" for name, count in parts.items() if count < 0]

    def equation(self) -> str:
        """`read 13 = written 3 + already present 10`; parts that are 0 are left out.

        With a transform: `read 13 = transformed 13, into 4 = written 4`.
        """
        landed = {"written": self.written, "already present": self.already_present, "superseded": self.superseded}
        apart = {"filtered": self.filtered, "quarantined": self.quarantined}
        if not self.transformed:
            return f"read {self.read:,} = {_sum(landed | apart, 'written')}"
        taken = _sum({"transformed": self.transformed} | apart, "transformed")
        return f"read {self.read:,} = {taken}, into {self.made:,} = {_sum(landed, 'written')}"

    def as_dict(self) -> dict[str, object]:
        """For JSON: all fields, and the rows written per second."""
        rate = round(self.written / self.seconds) if self.seconds and self.written else 0
        return msgspec.structs.asdict(self) | {"written": self.written, "rows_per_second": rate}


def _sum(parts: dict[str, int], always: str) -> str:
    return " + ".join(f"{name} {count:,}" for name, count in parts.items() if count or name == always)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a project.

    Attributes:
        run_id: names the run in marks, history and metadata columns.
        pipeline: the project's pipeline.
        resources: one report each, in the order they ran.
        notes: what a person should know about the project's files.
    """

    run_id: str
    pipeline: str
    resources: Sequence[ResourceReport]
    notes: Sequence[str] = ()

    @property
    def exit_code(self) -> int:
        """0 when all is well; else the code of the failure that matters most."""
        return exit_code([resource.exit_code for resource in self.resources])

    def __getitem__(self, resource: str) -> ResourceReport:
        """The report of one resource.

        Raises:
            KeyError: it did not run.
        """
        for report in self.resources:
            if report.resource == resource:
                return report
        raise KeyError(resource)

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "run_id": self.run_id,
            "pipeline": self.pipeline,
            "exit_code": self.exit_code,
            "notes": list(self.notes),
            "resources": [resource.as_dict() for resource in self.resources],
        }
