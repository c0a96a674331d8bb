"""One commit to a data set in a folder: the record of the load, and the one rename that makes it visible.

The name `load-<seq>` can be taken once only: that is the compare-and-swap. The short lock around it spares appends the
retry; they do not rely on it. A replace exchanges the whole folder with a new one, and does rely on it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from conduit.arrow import pa
from conduit.connectors.files import dataset, disk
from conduit.connectors.files.dataset import MARK_FILE, LoadRecord, PartRecord, load_name
from conduit.connectors.files.failures import reading
from conduit.connectors.files.marks import swapped
from conduit.connectors.files.parts import Part, PartFormat
from conduit.connectors.files.staging import Stage
from conduit.contract import Committed, OutcomeUnknown
from conduit.errors import Busy, StateConflict
from conduit.faults import crash_point
from conduit.locks import short_lock
from conduit.marks import Mark

ATTEMPTS = 10
"""How often the next free number is looked for; once is enough where locks work."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table's data set and its stages are.

    Attributes:
        destination: name of the connection.
        table: as the user named it.
        folder: the data set.
        beside: locks and stages; next to the root, not in it.
        format: of the parts.
    """

    destination: str
    table: str
    folder: Path
    beside: Path
    format: PartFormat

    @property
    def lock(self) -> Path:
        """Held for moments: while a stage is made, and while a mark is compared and the rename done."""
        return self.beside / "lock"

    def newest(self) -> LoadRecord | None:
        """The newest load.

        Raises:
            StateConflict: it cannot be trusted.
        """
        with reading(self.destination, str(self.folder)):
            record = dataset.newest(self.folder)
        if record is not None and record.type != self.format:
            raise StateConflict(
                f"{self.destination}: {self.folder} holds {record.type} files, and {self.format} is to be written",
                hint="give the connection another path",
            )
        return record

    def refuse_strangers(self) -> None:
        """Nothing stands in the folder that a replace would remove and that is not conduit's.

        Raises:
            StateConflict: something does.
        """
        found = dataset.strangers(self.folder)
        if found:
            raise StateConflict(
                f"{self.destination}: {self.folder} holds {found[0]}, which conduit did not write; a replace would "
                "remove it",
                hint="move it away, or write to another folder",
            )


class Publication:
    """A load on its way from the stage into the data set.

    Attributes:
        load: the folder that becomes `load-<seq>`; its parts are put there first.
    """

    def __init__(self, place: Place, stage: Stage, *, replaces: bool) -> None:
        self._place = place
        self._stage = stage
        self._replaces = replaces
        self.load = stage.new_folder("load")

    def publish(
        self,
        parts: Sequence[Part],
        schema: pa.Schema | None,
        old: Mark | None,
        new: Mark | None,
        *,
        expect: Callable[[LoadRecord | None], None] = lambda _: None,
    ) -> int:
        """Make the load visible, if the mark still is `old`.

        Args:
            parts: the files in `load`.
            schema: columns of the table after it; None: as before.
            old: the mark that the rows follow.
            new: the mark to set; None: leave the marks alone.
            expect: refuses a table that is not what the rows were made for.

        Returns:
            How many rows a replace took away.

        Raises:
            Fenced: the mark is another.
            Busy: others commit to the table all the time.
        """
        with short_lock(self._place.lock):
            for _ in range(ATTEMPTS):
                before = self._place.newest()
                if self._replaces:
                    self._place.refuse_strangers()
                record = self._record(before, parts, schema, old, new)
                expect(before)
                self._write(record)
                crash_point("load.marked")
                if self._renamed(record.seq):
                    crash_point("load.committed")
                    return before.rows if before and self._replaces else 0
        raise Busy(f"{self._place.destination}: others commit to {self._place.table} all the time")

    def make_durable(self, committed: Committed) -> None:
        """Have the new names on disk.

        Raises:
            OutcomeUnknown: the system cannot promise that they are.
        """
        try:
            disk.sync_folder(self._place.folder)
            disk.sync_folder(self._place.folder.parent)
        except OSError as error:
            raise OutcomeUnknown(
                f"{self._place.destination}: {self._place.folder}: {error.strerror}", committed=committed
            ) from error

    def _record(
        self,
        before: LoadRecord | None,
        parts: Sequence[Part],
        schema: pa.Schema | None,
        old: Mark | None,
        new: Mark | None,
    ) -> LoadRecord:
        kept = before.rows if before and not self._replaces else 0
        known = before.schema if before else ""
        seq = before.seq + 1 if before else 1
        return LoadRecord(
            seq=seq,
            first=seq if self._replaces or before is None else before.first,
            type=self._place.format,
            marks=swapped(before.marks if before else (), old, new, self._place.table),
            schema=dataset.schema_text(schema) if schema is not None else known,
            parts=tuple(PartRecord(part.path.name, part.rows, part.bytes) for part in parts),
            rows=kept + sum(part.rows for part in parts),
        )

    def _write(self, record: LoadRecord) -> None:
        path = self.load / MARK_FILE
        path.unlink(missing_ok=True)
        with disk.new_file(path) as stream:
            stream.write(msgspec.json.encode(record))
            disk.sync(stream)
        disk.sync_folder(self.load)

    def _renamed(self, seq: int) -> bool:
        """The commit itself: one system call. False: the number was taken meanwhile."""
        folder = self._place.folder
        try:
            if not folder.exists():
                self._put_whole(seq, lambda whole: whole.rename(folder))
            elif self._replaces:
                self._put_whole(seq, lambda whole: disk.exchange(whole, folder))
            else:
                self.load.rename(folder / load_name(seq))
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            return False
        return True

    def _put_whole(self, seq: int, put: Callable[[Path], object]) -> None:
        """A data set with this one load takes the folder's place, or its name where there is none yet."""
        whole = self._stage.new_folder(f"whole-{seq}")
        inside = whole / load_name(seq)
        self.load.rename(inside)
        disk.sync_folder(whole)
        try:
            put(whole)
        except OSError:
            inside.rename(self.load)
            raise
