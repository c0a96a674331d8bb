"""Files as a source: which are read, how far, and what makes a file of a session invalid."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conduit.connectors.files.config import (
    CsvSourceConnection,
    FileSourceConnection,
    JsonSourceConnection,
    ParquetSourceConnection,
)
from conduit.connectors.files.source import FileSource
from conduit.contract import Estimate, Read, SupportsEstimate
from conduit.errors import ConfigError, ConnectionFailed, StateConflict
from conduit.positions import cursor
from tests.support.files import ids, read

EVERY = ("csv", "json", "parquet")


def source(type_: str, path: str) -> FileSourceConnection:
    models: dict[str, type[FileSourceConnection]] = {
        "csv": CsvSourceConnection,
        "json": JsonSourceConnection,
        "parquet": ParquetSourceConnection,
    }
    return models[type_](path=path)


def put(type_: str, path: Path, batch: pa.RecordBatch, **settings: Any) -> None:
    """Write a file without conduit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if type_ == "parquet":
        pq.write_table(pa.Table.from_batches([batch]), path, **settings)
    elif type_ == "csv":
        rows = [",".join("" if v is None else str(v) for v in row.values()) for row in batch.to_pylist()]
        path.write_text("\n".join([",".join(batch.schema.names), *rows]) + "\n")
    else:
        lines = [
            "{" + ", ".join(f'"{k}": {_json(v)}' for k, v in row.items() if v is not None) + "}"
            for row in batch.to_pylist()
        ]
        path.write_text("\n".join(lines) + "\n")


def _json(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


# --- the ledger -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", EVERY)
def test_only_files_that_are_not_in_the_ledger_are_read(type_: str, tmp_path: Path) -> None:
    of = source(type_, f"in/*.{type_}")
    put(type_, tmp_path / f"in/a.{type_}", ids(1, 2))
    put(type_, tmp_path / f"in/b.{type_}", ids(3, 4))
    first = read(of, tmp_path)
    assert first.column("id") == [1, 2, 3, 4]
    assert first.until.position is not None
    assert [entry.path for entry in first.until.position.files] == [f"a.{type_}", f"b.{type_}"]
    assert read(of, tmp_path, since=first.until.position).until.nothing_new
    put(type_, tmp_path / f"in/c.{type_}", ids(5, 6))
    (tmp_path / f"in/a.{type_}").unlink()
    second = read(of, tmp_path, since=first.until.position)
    assert second.column("id") == [5, 6]
    assert second.until.position is not None
    assert len(second.until.position.files) == 3, "a file that disappeared stays in the ledger"
    assert first.described.fingerprint == f"files:{type_}:in/*.{type_}:-"


def test_the_ledger_does_not_depend_on_where_the_project_is(tmp_path: Path) -> None:
    seen = []
    for place in ("one", "two"):
        put("csv", tmp_path / place / "in/a.csv", ids(1, 2))
        os.utime(tmp_path / place / "in/a.csv", ns=(0, 5))
        seen.append(read(source("csv", "in/"), tmp_path / place).until.position)
    assert seen[0] == seen[1]


def test_a_loaded_file_that_changed_is_a_conflict_or_read_again(tmp_path: Path) -> None:
    of = source("csv", "in/")
    put("csv", tmp_path / "in/a.csv", ids(1, 2))
    put("csv", tmp_path / "in/b.csv", ids(3, 3))
    first = read(of, tmp_path).until.position
    os.utime(tmp_path / "in/a.csv", ns=(0, 0))
    assert read(of, tmp_path, since=first).until.nothing_new, "touched, but the content is the same"
    put("csv", tmp_path / "in/a.csv", ids(8, 9))
    os.utime(tmp_path / "in/a.csv", ns=(0, 7))
    with pytest.raises(StateConflict, match=r"a\.csv was loaded and has changed"):
        read(of, tmp_path, since=first)
    again = read(of, tmp_path, since=first, reload_changed_files=True)
    assert again.column("id") == [8, 9]
    assert again.until.position is not None
    assert read(of, tmp_path, since=again.until.position).until.nothing_new


def test_a_file_that_changes_or_vanishes_while_it_is_read_is_an_error_to_try_again(tmp_path: Path) -> None:
    changes: tuple[Callable[[Path], object], ...] = (lambda path: path.write_text("id\n1\n2\n"), Path.unlink)
    for change in changes:
        put("csv", tmp_path / "a.csv", ids(1, 2))
        with FileSource("files", source("csv", "a.csv"), tmp_path).open(Read(resource="r")) as session:
            session.describe()
            change(tmp_path / "a.csv")
            with pytest.raises(ConnectionFailed, match=r"a\.csv .*(changed|vanished|gone)") as caught:
                list(session.read(session.splits()[0]))
            assert caught.value.retryable


def test_a_mark_of_another_kind_is_a_conflict(tmp_path: Path) -> None:
    put("csv", tmp_path / "a.csv", ids(1, 2))
    with pytest.raises(StateConflict, match="the mark is a cursor position"):
        read(source("csv", "a.csv"), tmp_path, since=cursor("1", "int"))


# --- which files ----------------------------------------------------------------------------------------


def test_a_folder_gives_its_files_of_this_type_below_it(tmp_path: Path) -> None:
    put("csv", tmp_path / "in/a.csv", ids(1, 1))
    put("csv", tmp_path / "in/deep/er/b.CSV", ids(2, 2))
    put("csv", tmp_path / "in/notes.txt", ids(3, 3))
    put("csv", tmp_path / "in/.hidden.csv", ids(4, 4))
    put("csv", tmp_path / "in/_draft/c.csv", ids(5, 5))
    assert read(source("csv", "in/"), tmp_path).column("id") == [1, 2]
    assert read(source("csv", "in/**/*.csv"), tmp_path).column("id") == [1]
    assert read(source("csv", "in/_draft/*.csv"), tmp_path).column("id") == [5]


def test_a_file_is_taken_once_whatever_links_lead_to_it(tmp_path: Path) -> None:
    put("csv", tmp_path / "in/a.csv", ids(1, 2))
    first = read(source("csv", "in/**/*.csv"), tmp_path)
    (tmp_path / "in/0.csv").symlink_to(tmp_path / "in/a.csv")
    (tmp_path / "in/0loop").symlink_to(tmp_path / "in")
    assert read(source("csv", "in/**/*.csv"), tmp_path).column("id") == [1, 2]
    assert read(source("csv", "in/**/*.csv"), tmp_path, since=first.until.position).until.nothing_new
    put("csv", tmp_path / "elsewhere/c.csv", ids(3, 4))
    (tmp_path / "in/c.csv").symlink_to(tmp_path / "elsewhere/c.csv")
    assert read(source("csv", "in/"), tmp_path, since=first.until.position).column("id") == [3, 4]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    for name, number in (("a[1].csv", 1), ("a1.csv", 2), ("b*.csv", 3), ("bb.csv", 4), ("it's.csv", 5)):
        put("csv", tmp_path / name, ids(number, number))
    for name, number in (("a[1].csv", 1), ("b*.csv", 3), ("it's.csv", 5)):
        assert read(source("csv", name), tmp_path).column("id") == [number]


def test_no_file_at_all_is_an_error_at_first_and_nothing_new_later(tmp_path: Path) -> None:
    of = source("csv", "in/*.csv")
    with pytest.raises(ConnectionFailed, match=r"no file at in/\*\.csv"):
        read(of, tmp_path)
    put("csv", tmp_path / "in/a.csv", ids(1, 2))
    since = read(of, tmp_path).until.position
    (tmp_path / "in/a.csv").unlink()
    assert read(of, tmp_path, since=since).until.nothing_new
    seen = read(of, tmp_path, since=cursor("1", "int"), cursor="id")
    assert seen.until.nothing_new
    assert seen.described.cursor_type == "int"


def test_check_says_what_is_there(tmp_path: Path) -> None:
    put("csv", tmp_path / "in/a.csv", ids(1, 2))
    assert FileSource("files", source("csv", "in/"), tmp_path).check() == "1 file at in/, 24 bytes, readable"
    with pytest.raises(ConnectionFailed, match="no file at nowhere/"):
        FileSource("files", source("csv", "nowhere/"), tmp_path).check()


# --- a cursor -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", EVERY)
def test_with_a_cursor_the_rows_above_it_are_read_from_all_files(type_: str, tmp_path: Path) -> None:
    of = source(type_, "in/")
    put(type_, tmp_path / f"in/a.{type_}", ids(1, 5))
    put(type_, tmp_path / f"in/b.{type_}", ids(4, 8))
    seen = read(of, tmp_path, cursor="id", since=cursor("4", "int"))
    assert seen.column("id") == [5, 5, 6, 7, 8]
    assert (seen.described.cursor_type, seen.described.bound, seen.until.position) == ("int", "4", None)
    assert read(of, tmp_path, cursor="id", initial_value="6", through="7").column("id") == [7]
    assert read(of, tmp_path, cursor="id", since=cursor("8", "int")).rows == []
    assert seen.described.fingerprint == f"files:{type_}:in/:id"


@pytest.mark.parametrize("type_", EVERY)
def test_rows_without_a_cursor_are_counted_and_come_in_a_split_of_their_own(type_: str, tmp_path: Path) -> None:
    batch = pa.record_batch({"id": pa.array([1, None, 3, None], pa.int64()), "text": ["a", "b", "c", "d"]})
    put(type_, tmp_path / f"a.{type_}", batch)
    of = source(type_, f"a.{type_}")
    assert read(of, tmp_path, cursor="id").described.null_cursors == 2
    with FileSource("files", of, tmp_path).open(
        Read(resource="r", cursor="id", since=cursor("1", "int"), on_null="include")
    ) as session:
        found = {s.name: [row["text"] for b in session.read(s) for row in b.to_pylist()] for s in session.splits()}
    assert found == {"rows": ["c"], "null cursors": ["b", "d"]}


@pytest.mark.parametrize(
    ("values", "since", "kept"),
    [
        (["2024-01-01T00:00:00Z", "2024-01-01 00:00:00.000002Z"], ("2024-01-01T00:00:00.000001Z", "timestamptz"), 1),
        (["2024-01-01 00:00:00", "2024-01-02 00:00:00"], ("2024-01-01 12:00:00", "timestamp"), 1),
        (["2024-01-01", "2024-01-02"], ("2024-01-01", "date"), 1),
        (["9", "10x", "Z", "a"], ("Z", "text"), 1),
        (["10.50", "10.49"], ("10.49", "decimal"), 1),
        (["-5", "0", "7"], ("-99999999999999999999", "int"), 3),
        (["-5", "0", "7"], ("99999999999999999999", "int"), 0),
    ],
)  # fmt: skip
def test_bounds_are_exact_for_every_type_of_cursor(
    values: list[str], since: tuple[str, Any], kept: int, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("c\n" + "\n".join(values) + "\n")
    seen = read(source("csv", "a.csv"), tmp_path, cursor="c", since=cursor(since[0], since[1], "us"))
    assert len(seen.rows) == kept
    assert seen.described.cursor_type == since[1]


def test_uuid_cursors_compare_by_their_bytes(tmp_path: Path) -> None:
    low, high = "00000000-0000-0000-0000-0000000000ff", "ff000000-0000-0000-0000-000000000000"
    (tmp_path / "a.csv").write_text(f"c\n{low}\n{high}\n")
    seen = read(source("csv", "a.csv"), tmp_path, cursor="c", columns={"c": "uuid"}, since=cursor(low, "uuid"))
    assert [str(value) for value in seen.column("c")] == [high]


def test_parquet_says_how_many_rows_there_are(tmp_path: Path) -> None:
    put("parquet", tmp_path / "a.parquet", ids(1, 1000))
    put("csv", tmp_path / "a.csv", ids(1, 10))
    for type_, expected in (("parquet", Estimate(1000, exact=True)), ("csv", None)):
        with FileSource("files", source(type_, f"a.{type_}"), tmp_path).open(Read(resource="r")) as session:
            assert isinstance(session, SupportsEstimate)
            assert session.estimate() == expected


def test_row_groups_below_the_bound_are_not_read(tmp_path: Path) -> None:
    put("parquet", tmp_path / "a.parquet", ids(1, 1000), row_group_size=100)
    content = bytearray((tmp_path / "a.parquet").read_bytes())
    content[4:40] = bytes(36)  # the first row group cannot be decoded any more
    (tmp_path / "a.parquet").write_bytes(content)
    seen = read(source("parquet", "a.parquet"), tmp_path, cursor="id", since=cursor("950", "int"))
    assert seen.column("id") == list(range(951, 1001))


def test_a_cursor_that_no_file_has_is_named_with_the_columns(tmp_path: Path) -> None:
    put("csv", tmp_path / "a.csv", ids(1, 2))
    with pytest.raises(ConfigError, match="incremental_column nope is not among the columns id, text"):
        read(source("csv", "a.csv"), tmp_path, cursor="nope")
    with pytest.raises(StateConflict, match="the mark is of type date, id is of type int"):
        read(source("csv", "a.csv"), tmp_path, cursor="id", since=cursor("2024-01-01", "date"))
