"""What every form of a destination of files promises: rows and mark together, once, and nobody sees a draft."""

from __future__ import annotations

import os
import pickle
import stat
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from conduit.errors import ConfigError, ConnectionFailed, DataError, Fenced
from conduit.marks import Mark, mark_of
from tests.support.commits import mark, write
from tests.support.files import FILES, FOLDERS, FORMS, commit, destination, found_ids, ids, records

every_form = pytest.mark.parametrize("form", FORMS)


def everything(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones too, with their content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@every_form
def test_rows_are_appended_and_the_mark_is_found_by_a_new_destination(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    assert to.marks("t") == ()
    assert to.describe("t") is None
    assert commit(to, ids(1, 10), None, mark(10)).inserted == 10
    assert commit(to, [ids(11, 12), ids(13, 13)], mark(10), mark(13)).inserted == 3
    assert found_ids(form, tmp_path) == list(range(1, 14))
    again = destination(form, tmp_path)
    assert mark_of(again.marks("t"), mark(0).identity) == mark(13)
    assert again.describe("t") == ids(1, 1).schema


@every_form
def test_without_rows_and_without_a_move_nothing_changes_at_all(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 3), None, mark(3))
    before = everything(tmp_path)
    assert commit(to, ids(1, 0), mark(3), mark(3)).written == 0
    assert everything(tmp_path) == before


@every_form
def test_two_loads_on_one_old_mark_commit_once(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 3), None, mark(3))
    loads: list[Any] = [destination(form, tmp_path).begin(write(ids(1, 1))) for _ in range(2)]
    staged = [load.stager().stage("part-0", iter([ids(4, 6)])) for load in loads]
    assert loads[0].commit([staged[0]], mark(3), mark(6)).inserted == 3
    with pytest.raises(Fenced, match="it was 3, now it is 6"):
        loads[1].commit([staged[1]], mark(3), mark(6))
    for load in loads:
        load.abort()
        load.abort()
    assert found_ids(form, tmp_path) == [1, 2, 3, 4, 5, 6]


@every_form
def test_a_replace_leaves_only_its_own_rows(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 10), None, mark(10))
    replaced = commit(to, ids(5, 6), mark(10), mark(11), mode="replace", allow_shrink=0.8)
    assert (replaced.inserted, replaced.deleted) == (2, 10)
    assert found_ids(form, tmp_path) == [5, 6]
    assert commit(to, ids(1, 0), mark(11), mark(12), mode="replace", allow_shrink=1.0).deleted == 2
    assert records(form, tmp_path) == []
    assert commit(to, ids(7, 7), mark(12), mark(13)).inserted == 1
    assert found_ids(form, tmp_path) == [7]


@every_form
def test_rows_that_are_there_are_left_out_and_of_one_key_the_newest_stays(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 5), None, mark(5))
    fresh = pa.record_batch({"id": pa.array([4, 5, 6, 6, 7], pa.int64()), "text": ["x", "x", "old", "new", "x"]})
    done = commit(to, [fresh, ids(7, 7)], mark(5), mark(7), leave_out_present=True, key=("id",), cursor="id")
    assert (done.inserted, done.already_present, done.superseded) == (2, 2, 2)
    assert found_ids(form, tmp_path) == [1, 2, 3, 4, 5, 6, 7]
    assert [row["text"] for row in records(form, tmp_path)][-2:] == ["new", "row 7"]
    before = everything(tmp_path)
    assert commit(to, ids(1, 7), mark(7), mark(7), leave_out_present=True, key=("id",)).already_present == 7
    assert everything(tmp_path) == before


@every_form
def test_keys_are_compared_by_value_whatever_their_type(form: str, tmp_path: Path) -> None:
    keys = {
        "d": pa.array(["0.0000000001", "12345678901234567890.5"]).cast(pa.decimal128(38, 10)),
        "z": pa.array([1_704_067_200_123_456, 0], pa.int64()).cast(pa.timestamp("us", "Asia/Kolkata")),
        "u": pa.uuid().wrap_array(pa.array([b"\0" * 15 + b"\x05", b"\xff" * 16], pa.binary(16))),
        "b": pa.array([b"\x00\xff", b""], pa.binary()),
        "t": pa.array(['a,"b"\nc', ""]),
    }
    batch = pa.record_batch({"id": pa.array([1, 2], pa.int64()), **keys})
    to = destination(form, tmp_path)
    commit(to, batch, None, mark(2))
    done = commit(to, batch, mark(2), mark(3), leave_out_present=True, key=("id", *keys))
    assert (done.inserted, done.already_present) == (0, 2)


@every_form
def test_a_bound_on_the_cursor_limits_which_rows_can_be_there(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 5), None, mark(5))
    done = commit(
        to, ids(3, 6), mark(5), mark(6),
        leave_out_present=True, key=("id",), cursor="id", present_from=mark(4).position,
    )  # fmt: skip
    assert (done.inserted, done.already_present) == (2, 2), "3 is below the bound, so it counts as not there"


@every_form
def test_a_mark_moves_without_rows_by_compare_and_swap(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    to.set_mark("t", None, mark(5))
    commit(to, ids(6, 7), mark(5), mark(7))
    to.set_mark("t", mark(7), mark(None))
    assert to.marks("t", settle=True) == (mark(None),)
    with pytest.raises(Fenced):
        to.set_mark("t", mark(7), mark(9))
    assert found_ids(form, tmp_path) == [6, 7]


@every_form
def test_marks_can_be_read_while_others_commit(form: str, tmp_path: Path) -> None:
    to, stop = destination(form, tmp_path), threading.Event()
    seen: list[Mark] = []

    def look() -> None:
        while not stop.is_set():
            seen.extend(destination(form, tmp_path).marks("t"))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for turn in range(1, 9):
            commit(to, ids(turn, turn), mark(turn - 1) if turn > 1 else None, mark(turn), mode="replace")
    finally:
        stop.set()
        reader.join()
    values = [int(found.position.value) for found in seen if found.position]
    assert values == sorted(values)


@every_form
def test_a_load_without_a_new_mark_leaves_the_marks_alone(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 2), None, mark(2))
    assert commit(to, ids(8, 9), mark(2), None).inserted == 2
    assert to.marks("t") == (mark(2),)


@every_form
def test_two_resources_share_a_table_and_keep_their_own_marks(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 2), None, mark(2))
    commit(to, ids(3, 4), None, mark(4, resource="other"), resource="other")
    commit(to, ids(5, 6), mark(2), mark(6))
    assert {m.identity.resource: m.position.value for m in to.marks("t") if m.position} == {"r": "6", "other": "4"}
    assert found_ids(form, tmp_path) == [1, 2, 3, 4, 5, 6]


@every_form
def test_what_is_staged_is_never_in_the_target(form: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    to = destination(form, target)
    commit(to, ids(1, 2), None, mark(2))

    def visible() -> set[Path]:
        return set((target / form).rglob("*")) if form in FOLDERS else {*target.rglob("*.csv"), *target.rglob("*json")}

    seen = visible()
    load: Any = to.begin(write(ids(1, 1)))
    load.stager().stage("part-0", iter([ids(3, 4)]))
    assert visible() == seen
    load.abort()
    assert found_ids(form, target) == [1, 2]


@every_form
def test_staging_a_part_again_replaces_what_the_first_try_left(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    load: Any = to.begin(write(ids(1, 1)))
    stager = load.stager()
    stager.stage("part-0", iter([ids(1, 9)]))
    staged = pickle.loads(pickle.dumps(stager)).stage("part-0", iter([ids(1, 2)]))
    other = stager.stage("part-1", iter([ids(3, 4)]))
    assert load.commit([staged, other], None, mark(4)).inserted == 4
    load.abort()
    assert found_ids(form, tmp_path) == [1, 2, 3, 4]


@every_form
def test_a_folder_that_cannot_be_written_is_refused_by_check_and_left_alone(form: str, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        blocked = tmp_path / "file"
        blocked.write_text("")
        with pytest.raises(ConnectionFailed):
            destination(f"file/{form}", tmp_path).check()
        return
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(ConnectionFailed, match="permission"):
            destination(form, tmp_path).check()
    finally:
        tmp_path.chmod(0o700)


@every_form
def test_check_leaves_no_trace(form: str, tmp_path: Path) -> None:
    assert "can be written" in destination(form, tmp_path).check()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", [form for form in FORMS if form != "lake/"])
def test_a_type_without_a_form_in_the_file_is_refused_before_a_row_comes(form: str, tmp_path: Path) -> None:
    batch = pa.record_batch({"pause": pa.array([1], pa.duration("s"))})
    with pytest.raises(DataError, match="column pause is of type duration"):
        destination(form, tmp_path).begin(write(batch))


@every_form
def test_a_merge_is_refused(form: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot merge"):
        destination(form, tmp_path).begin(write(ids(1, 1), mode="merge", key=("id",)))


@pytest.mark.parametrize("table", ["../t", "a/b", "", ".hidden", "a\0b"])
def test_a_table_name_cannot_leave_the_root(table: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        destination("lake/", tmp_path).begin(write(ids(1, 1), table))


@pytest.mark.parametrize("form", FILES)
def test_a_planted_link_is_refused_and_its_target_stays_untouched(form: str, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / form).symlink_to(victim)
    with pytest.raises(ConnectionFailed, match="symbolic link"):
        commit(destination(form, tmp_path), ids(1, 2), None, mark(2))
    (tmp_path / form).unlink()
    (tmp_path / f".{form}.conduit").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConnectionFailed):
        commit(destination(form, tmp_path), ids(1, 2), None, mark(2))
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("form", FILES)
def test_the_permissions_of_a_file_stay_as_they_were(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, 2), None, mark(2))
    (tmp_path / form).chmod(0o640)
    commit(to, ids(3, 4), mark(2), mark(4))
    assert stat.S_IMODE((tmp_path / form).stat().st_mode) == 0o640
