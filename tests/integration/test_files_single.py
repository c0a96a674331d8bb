"""A single file: the old bytes stay, the mark is that of the content, and a file of others is taken with care."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from conduit.errors import ConfigError, ConnectionFailed, DataError, StateConflict
from tests.support.commits import mark, write
from tests.support.files import FILES, commit, destination, found_ids, ids

every_file = pytest.mark.parametrize("form", FILES)


def test_csv_has_one_header_and_keeps_the_bytes_of_old_rows(tmp_path: Path) -> None:
    to = destination("t.csv", tmp_path)
    commit(to, ids(1, 10), None, mark(10))
    first = (tmp_path / "t.csv").read_bytes()
    commit(to, ids(11, 13), mark(10), mark(13))
    whole = (tmp_path / "t.csv").read_bytes()
    assert whole.startswith(first)
    assert whole.decode().splitlines() == ["id,text", *(f"{n},row {n}" for n in range(1, 14))]


def test_a_json_file_is_one_array_after_every_commit(tmp_path: Path) -> None:
    to = destination("t.json", tmp_path)
    for last in range(1, 4):
        commit(to, ids(last, last), mark(last - 1) if last > 1 else None, mark(last))
        assert [row["id"] for row in json.loads((tmp_path / "t.json").read_text())] == list(range(1, last + 1))


@every_file
def test_a_file_that_somebody_changed_is_a_conflict_that_names_both(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 2), None, mark(2))
    (tmp_path / form).write_bytes((tmp_path / form).read_bytes() + b" ")
    with pytest.raises(StateConflict, match=rf"{form} was changed .* \.{form}\.conduit\.jsonl"):
        to.marks("t")
    with pytest.raises(StateConflict):
        commit(to, ids(3, 4), mark(2), mark(4))


@every_file
def test_a_file_that_somebody_removed_is_a_conflict(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 2), None, mark(2))
    (tmp_path / form).unlink()
    with pytest.raises(StateConflict, match="is gone"):
        to.marks("t")


@every_file
def test_a_file_restored_from_a_backup_has_the_mark_that_it_had(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 2), None, mark(2))
    backup = (tmp_path / form).read_bytes()
    commit(to, ids(3, 4), mark(2), mark(4))
    (tmp_path / form).write_bytes(backup)
    assert to.marks("t") == (mark(2),)
    commit(to, ids(3, 5), mark(2), mark(5))
    assert found_ids(form, tmp_path) == [1, 2, 3, 4, 5]


@every_file
def test_the_log_keeps_a_few_entries_only(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    for last in range(1, 13):
        commit(to, ids(last, last), mark(last - 1) if last > 1 else None, mark(last))
    assert len((tmp_path / f".{form}.conduit.jsonl").read_text().splitlines()) <= 8
    assert found_ids(form, tmp_path) == list(range(1, 13))


def test_a_damaged_log_is_a_conflict(tmp_path: Path) -> None:
    to = destination("t.csv", tmp_path)
    commit(to, ids(1, 2), None, mark(2))
    log = tmp_path / ".t.csv.conduit.jsonl"
    whole = log.read_bytes()
    for length in range(1, len(whole) - 1, 7):
        log.write_bytes(whole[:length])
        with pytest.raises(StateConflict, match=r"conduit\.jsonl cannot be read"):
            to.marks("t")


@pytest.mark.parametrize(
    ("form", "old", "expected"),
    [
        ("t.csv", b"id,text\n1,a\n", b"id,text\n1,a\n2,row 2\n"),
        ("t.csv", b"id,text\n1,a", b"id,text\n1,a\n2,row 2\n"),
        ("t.csv", b'text,id\r\n"a\nb",1\r\n', b'text,id\r\n"a\nb",1\r\nrow 2,2\r\n'),
        ("t.csv", b"\xef\xbb\xbfid,text\n1,a\n", b"\xef\xbb\xbfid,text\n1,a\n2,row 2\n"),
        ("t.csv", b"", b"id,text\n2,row 2\n"),
        ("t.json", b'[ {"id": 1, "text": "a"} ]', b'[ {"id": 1, "text": "a"},\n{"id":2,"text":"row 2"}\n]\n'),
        ("t.json", b" [ ] \n", b' [\n{"id":2,"text":"row 2"}\n]\n'),
        ("t.ndjson", b'{"text": "a", "id": 1}', b'{"text": "a", "id": 1}\n{"text":"row 2","id":2}\n'),
    ],
)
def test_a_file_of_others_with_these_columns_is_appended_to(
    form: str, old: bytes, expected: bytes, tmp_path: Path
) -> None:
    (tmp_path / form).write_bytes(old)
    to = destination(form, tmp_path)
    assert to.marks("t") == ()
    commit(to, ids(2, 2), None, mark(2))
    assert (tmp_path / form).read_bytes() == expected


@pytest.mark.parametrize(
    ("form", "old"),
    [
        ("t.csv", b"id,other\n1,a\n"),
        ("t.csv", b"id;text\n1;a\n"),
        ("t.csv", b'id,text\n1,"a\n'),
        ("t.csv", b"id,text\n1,a,b\n"),
        ("t.json", b'{"id": 1, "text": "a"}'),
        ("t.json", b'[{"id": 1, "other": "a"}]'),
        ("t.json", b'[{"id": 1, "text": "a"}'),
        ("t.ndjson", b'{"id": 1, "text": "a"}\n{"id"'),
        ("t.ndjson", b'[{"id": 1, "text": "a"}]'),
    ],
)
def test_a_file_of_others_that_does_not_fit_is_refused_and_stays(form: str, old: bytes, tmp_path: Path) -> None:
    (tmp_path / form).write_bytes(old)
    with pytest.raises(DataError, match=form):
        commit(destination(form, tmp_path), ids(2, 2), None, mark(2))
    assert (tmp_path / form).read_bytes() == old


@pytest.mark.parametrize(
    ("form", "old"),
    [
        ("t.csv", b'id,text\r\n1,a\r\n2,"b\nb"\r\n3,c\r\n'),
        ("t.json", b'[{"id": 1}, {"id": 2},\n {"id": 3}]'),
        ("t.ndjson", b'{"id": 1}\n{"id": 2}\n{"id": 3}'),
    ],
)
def test_the_rows_of_a_file_of_others_are_counted_before_it_is_replaced(form: str, old: bytes, tmp_path: Path) -> None:
    (tmp_path / form).write_bytes(old)
    to = destination(form, tmp_path)
    with pytest.raises(StateConflict, match="has 3 rows and would have 1;"):
        commit(to, ids(9, 9), None, mark(9), mode="replace")
    assert (tmp_path / form).read_bytes() == old
    assert commit(to, ids(7, 9), None, mark(9), mode="replace").deleted == 3


def test_rows_that_were_appended_to_a_file_of_others_are_not_the_only_ones(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,text\n1,a\n2,b\n3,c\n")
    to = destination("t.csv", tmp_path)
    commit(to, ids(4, 4), None, mark(4))
    with pytest.raises(StateConflict, match="has 4 rows and would have 1;"):
        commit(to, ids(9, 9), mark(4), mark(9), mode="replace")


def test_a_file_of_others_that_cannot_be_counted_is_replaced_only_when_any_number_may_go(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b'id,text\n1,"a\n')
    to = destination("t.csv", tmp_path)
    with pytest.raises(DataError, match=r"t\.csv"):
        commit(to, ids(9, 9), None, mark(9), mode="replace")
    assert commit(to, ids(9, 9), None, mark(9), mode="replace", allow_shrink=1.0).inserted == 1


@every_file
def test_a_file_holds_one_table_with_one_set_of_columns(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 2), None, mark(2))
    with pytest.raises(ConfigError, match="is the table t; a file holds one table"):
        to.begin(write(ids(1, 1), "u"))
    with pytest.raises(ConfigError, match="has no column more"):
        to.begin(write(pa.record_batch({"more": [1]})))


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(ConnectionFailed, match="end the path with /"):
        destination("t.csv", tmp_path).check()


def test_an_array_larger_than_one_buffer_stays_whole(tmp_path: Path) -> None:
    to = destination("t.json", tmp_path)
    commit(to, ids(1, 60_000), None, mark(60_000))
    commit(to, ids(60_001, 120_000), mark(60_000), mark(120_000))
    assert found_ids("t.json", tmp_path) == list(range(1, 120_001))
