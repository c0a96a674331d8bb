"""What every source promises. Rows are put in by the subclass's own writer, never by the connector."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from conduit.arrow import pa
from conduit.contract import CURSOR_TEXT, Read, Session, Source
from conduit.errors import ConfigError, ConnectionFailed
from conduit.positions import Position, cursor


class SourcePromises:
    """Subclass it, and implement the methods that raise NotImplementedError.

    The table `promised` has the columns id (integer, unique, not NULL), seen (integer, may be NULL) and name (text).
    """

    takes_tables = True
    """A resource names a table or a query; False where the connection itself names the rows (files)."""

    # --- what a subclass brings ---

    def make(self, place: Path) -> Source:
        """A new object for the source at `place`."""
        raise NotImplementedError

    def unreachable(self, place: Path) -> Source:
        """A source whose system cannot be reached."""
        raise NotImplementedError

    def insert(self, place: Path, rows: list[tuple[int, int | None, str]]) -> None:
        """Create `promised` if need be, and add rows (id, seen, name) by a plain writer."""
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        """Where the source is."""
        return tmp_path

    # --- promises ---

    def test_describing_reads_no_row_and_says_the_same_twice(self, place: Path) -> None:
        self.insert(place, [(1, 1, "a")])
        with self.make(place).open(self.read()) as session:
            described = session.describe()
            assert described.schema.names == ["id", "seen", "name"]
            assert described.cursor_type == "int"
            assert session.describe() == described

    def test_every_row_comes_once(self, place: Path) -> None:
        self.insert(place, [(n, n, f"n{n}") for n in range(1, 2001)])
        assert sorted(self._ids(place)) == list(range(1, 2001))

    def test_it_resumes_above_its_position(self, place: Path) -> None:
        self.insert(place, [(n, n, "a") for n in range(1, 11)])
        assert sorted(self._ids(place, since=cursor("7", "int"))) == [8, 9, 10]

    def test_nothing_above_its_position_is_no_row(self, place: Path) -> None:
        self.insert(place, [(1, 1, "a")])
        with self.make(place).open(self.read(since=cursor("1", "int"))) as session:
            rows = [] if session.until().nothing_new else self._rows(session)
        assert rows == []

    def test_an_end_is_included(self, place: Path) -> None:
        self.insert(place, [(n, n, "a") for n in range(1, 11)])
        assert sorted(self._ids(place, initial_value="3", through="5")) == [4, 5]

    def test_ordered_rows_come_in_order_or_it_says_that_they_do_not(self, place: Path) -> None:
        self.insert(place, [(n, n, "a") for n in (5, 9, 2, 7, 1)])
        with self.make(place).open(self.read(ordered=True)) as session:
            promised, rows = session.describe().ordered, [row["id"] for row in self._rows(session)]
        assert rows == [1, 2, 5, 7, 9] if promised else sorted(rows) == [1, 2, 5, 7, 9]

    def test_rows_that_come_after_the_snapshot_are_not_seen(self, place: Path) -> None:
        self.insert(place, [(1, 1, "a")])
        with self.make(place).open(self.read()) as session:
            session.describe()
            session.until()
            self.insert(place, [(2, 2, "b")])
            assert [row["id"] for row in self._rows(session)] == [1]
        assert sorted(self._ids(place)) == [1, 2]

    def test_rows_without_a_cursor_are_counted_and_come_apart_when_wanted(self, place: Path) -> None:
        self.insert(place, [(1, 1, "a"), (2, None, "b"), (3, None, "c"), (4, 4, "d")])
        with self.make(place).open(self.read(cursor="seen", on_null="include", since=cursor("1", "int"))) as session:
            assert session.describe().null_cursors == 2
            assert not session.until().nothing_new
            names = {split.name: [row["id"] for row in self._rows(session, split.name)] for split in session.splits()}
        assert sorted(names["null cursors"]) == [2, 3]
        assert names["rows"] == [4]

    def test_splits_can_be_sent_to_a_worker(self, place: Path) -> None:
        self.insert(place, [(1, 1, "a")])
        with self.make(place).open(self.read()) as session:
            splits = list(session.splits())
            assert pickle.loads(pickle.dumps(splits)) == splits  # noqa: S301 - our own objects

    def test_batches_have_the_described_types(self, place: Path) -> None:
        self.insert(place, [(1, 1, "a"), (2, None, "")])
        with self.make(place).open(self.read(on_null="exclude")) as session:
            schema = session.describe().schema
            for split in session.splits():
                for batch in session.read(split):
                    given = [field for field in batch.schema if field.name != CURSOR_TEXT]
                    assert [(field.name, field.type) for field in given] == [(f.name, f.type) for f in schema]

    def test_a_missing_cursor_column_is_named_before_a_row_is_read(self, place: Path) -> None:
        self.insert(place, [(1, 1, "a")])
        with pytest.raises(ConfigError, match="nope"), self.make(place).open(self.read(cursor="nope")) as session:
            session.describe()

    def test_an_unreachable_system_is_a_typed_error_that_names_it(self, place: Path) -> None:
        with pytest.raises((ConnectionFailed, ConfigError), match="conformance"):
            self.unreachable(place).check()

    def test_a_check_says_what_was_found(self, place: Path) -> None:
        self.insert(place, [(1, 1, "a")])
        assert self.make(place).check()

    # --- below: glue ---

    def read(self, **more: Any) -> Read:
        """A request for the table."""
        wanted: dict[str, Any] = {"resource": "r", "cursor": "id", "table": "promised" if self.takes_tables else None}
        return Read(**(wanted | more))

    def _ids(self, place: Path, *, since: Position | None = None, **more: Any) -> list[int]:
        with self.make(place).open(self.read(since=since, **more)) as session:
            return [row["id"] for row in self._rows(session)]

    def _rows(self, session: Session, only: str = "") -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for split in session.splits():
            if not only or split.name == only:
                for batch in session.read(split):
                    rows += pa.Table.from_batches([batch]).to_pylist()
        return rows
