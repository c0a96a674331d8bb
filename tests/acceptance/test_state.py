"""The state file: flat, whole, a cache; and the commands that change what is remembered."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import conduit
from conduit.history import History
from conduit.state import StateFile
from tests.support.processes import Ran
from tests.support.project import Project, pipeline

SOURCE = {"type": "sqlite", "database": "in.sqlite"}
DESTINATION = {"type": "sqlite", "database": "out.sqlite"}


def insert(folder: Path, *ids: int, table: str = "events") -> None:
    """Rows for the source, by a plain driver."""
    with closing(sqlite3.connect(folder / "in.sqlite")) as connection, connection:
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, v TEXT)")
        connection.executemany(f"INSERT INTO {table} VALUES (?, 'v')", [(i,) for i in ids])


def loaded(folder: Path, table: str = "copy") -> list[int]:
    """The ids in the destination, by a plain driver."""
    with closing(sqlite3.connect(folder / "out.sqlite")) as connection:
        return [row[0] for row in connection.execute(f"SELECT id FROM {table} ORDER BY id")]


@pytest.fixture
def simple(project: Project) -> Project:
    """Five rows, one resource."""
    insert(project.folder, 1, 2, 3, 4, 5)
    project.write(pipeline(SOURCE, DESTINATION, table="events", into="copy", incremental_column="id"))
    return project


def run(project: Project) -> Any:
    return conduit.run(project.folder / "ingest.yml")["r"]


BROKEN = {
    "empty": "",
    "torn": '{"r": 5',
    "a list": "[1, 2]",
    "not JSON": "hello",
    "two documents": '{"r": 5} {"r": 6}',
    "a key twice": '{"r": 5, "r": 6}',
    "NaN": '{"r": NaN}',
    "out of range": '{"r": 1e999}',
    "deep": "[" * 100_000,
    "many digits": '{"r": ' + "9" * 5000 + "}",
    "binary": "\x00\xff",
    "a float": '{"r": 5.5}',
    "a boolean": '{"r": true}',
    "an object": '{"r": {"a": 1}}',
    "too large": '{"r": 5, "x": "' + "x" * 1_100_000 + '"}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_kept_aside_and_the_mark_is_taken(simple: Project, content: str) -> None:
    run(simple)
    path = simple.folder / ".conduit_state.json"
    path.write_bytes(content.encode("latin-1"))
    insert(simple.folder, 6)
    report = run(simple)
    assert (report.exit_code, report.written) == (0, 1)
    assert ".conduit_state.json" in " ".join(report.notes)
    assert simple.state == {"r": 6}
    [aside] = simple.folder.glob(".conduit_state.json.corrupt-*")
    assert aside.read_bytes() == content.encode("latin-1")


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_without_a_mark_stops_the_run_and_stays(simple: Project, content: str) -> None:
    path = simple.folder / ".conduit_state.json"
    path.write_bytes(content.encode("latin-1"))
    report = run(simple)
    assert report.exit_code == 4
    assert "conduit state reset r" in report.error
    assert path.read_bytes() == content.encode("latin-1")
    assert not (simple.folder / "out.sqlite").exists()


def test_every_truncation_of_a_good_file_ends_in_the_mark(simple: Project) -> None:
    run(simple)
    path = simple.folder / ".conduit_state.json"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert run(simple).exit_code == 0
        assert simple.state == {"r": 5}
    assert loaded(simple.folder) == [1, 2, 3, 4, 5]


def test_a_value_without_a_mark_stops_the_run_until_someone_decides(simple: Project) -> None:
    (simple.folder / ".conduit_state.json").write_text('{"r": 3}')
    report = run(simple)
    assert report.exit_code == 4
    assert "conduit state adopt r" in report.error
    simple.conduit("state", "adopt", "r", "--yes").ok()
    assert (run(simple).written, loaded(simple.folder)) == (2, [4, 5])


def test_a_destination_that_was_lost_is_not_loaded_from_the_middle(simple: Project) -> None:
    run(simple)
    (simple.folder / "out.sqlite").unlink()
    for leftover in simple.folder.glob("out.sqlite-*"):
        leftover.unlink()
    assert run(simple).exit_code == 4
    simple.conduit("state", "reset", "r", "--yes").ok()
    assert (run(simple).written, loaded(simple.folder)) == (5, [1, 2, 3, 4, 5])


def test_a_missing_file_is_written_again_from_the_mark(simple: Project) -> None:
    run(simple)
    (simple.folder / ".conduit_state.json").unlink()
    report = run(simple)
    assert (report.status, simple.state) == ("nothing new", {"r": 5})
    assert "took the mark" in " ".join(report.notes)


def test_a_value_that_was_lowered_by_hand_loads_nothing_again(simple: Project) -> None:
    run(simple)
    (simple.folder / ".conduit_state.json").write_text('{"r": 1}')
    report = run(simple)
    assert report.written == 0
    assert "`conduit state reset r`" in " ".join(report.notes)


@pytest.mark.parametrize(
    "value", ["0'; COMMIT; DROP TABLE events; --", "1 OR 1=1", "x", "5.5", "99999999999999999999x"]
)
def test_a_value_that_is_no_integer_never_reaches_the_database(simple: Project, value: str) -> None:
    (simple.folder / ".conduit_state.json").write_text(json.dumps({"r": value}))
    ran = simple.conduit("state", "adopt", "r", "--yes")
    assert ran.code == 4
    assert "is not an integer" in ran.err
    assert conduit.run(simple.folder / "ingest.yml")["r"].exit_code == 4
    with closing(sqlite3.connect(simple.folder / "in.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (5,)


def test_a_text_value_is_only_ever_text(project: Project) -> None:
    payload = "a'; DROP TABLE events; --"
    with closing(sqlite3.connect(project.folder / "in.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE events (id TEXT PRIMARY KEY)")
        connection.executemany("INSERT INTO events VALUES (?)", [("a",), (payload,), ("b",)])
    query = "SELECT id FROM events WHERE id > :last_value ORDER BY id"
    project.write(pipeline(SOURCE, DESTINATION, query=query, into="copy", incremental_column="id"))
    (project.folder / ".conduit_state.json").write_text(json.dumps({"r": payload}))
    project.conduit("state", "adopt", "r", "--yes").ok()
    assert run(project).written == 1
    with closing(sqlite3.connect(project.folder / "in.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (3,)


def test_set_moves_the_mark_and_shows_both_records(simple: Project) -> None:
    run(simple)
    simple.conduit("state", "set", "r", "2", "--yes").ok()
    assert simple.state == {"r": 2}
    shown = simple.conduit("state", "show", "--output", "json").ok().json
    assert (shown[0]["file"], shown[0]["mark"]["position"]["value"]) == ("2", "2")
    assert run(simple).written == 3


def test_a_change_by_hand_must_be_confirmed(simple: Project) -> None:
    run(simple)
    ran = simple.conduit("state", "reset", "r")
    assert ran.code == 2
    assert "--yes" in ran.err
    assert run(simple).written == 0


def test_every_change_by_hand_is_recorded(simple: Project) -> None:
    run(simple)
    simple.conduit("state", "set", "r", "2", "--yes").ok()
    simple.conduit("state", "reset", "r", "--yes").ok()
    changes = History(simple.folder / ".conduit").state_changes()
    assert [(one.verb, one.resource, bool(one.who)) for one in changes] == [("set", "r", True), ("reset", "r", True)]
    assert json.loads(changes[0].old or "")["value"] == "5"
    assert json.loads(changes[0].new or "")["value"] == "2"
    assert changes[1].new is None


def test_the_file_keeps_its_mode_and_the_entries_of_others(simple: Project) -> None:
    path = simple.folder / ".conduit_state.json"
    path.write_text('{"theirs": 7, "note": "kept", "rate": 0.5}')
    path.chmod(0o640)
    assert run(simple).exit_code == 0
    assert simple.state == {"theirs": 7, "note": "kept", "rate": 0.5, "r": 5}
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_files_that_we_make_are_private(simple: Project) -> None:
    run(simple)
    assert stat.S_IMODE((simple.folder / ".conduit_state.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((simple.folder / ".conduit").stat().st_mode) == 0o700


def test_a_link_in_the_place_of_the_file_is_replaced_not_followed(simple: Project, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("{}")
    (simple.folder / ".conduit_state.json").symlink_to(victim)
    assert run(simple).exit_code == 0
    assert victim.read_text() == "{}"
    assert not (simple.folder / ".conduit_state.json").is_symlink()


def test_six_resources_finishing_at_once_all_keep_their_value(project: Project) -> None:
    names = [f"r{number}" for number in range(6)]
    destinations = [{"name": f"d{n}", "type": "sqlite", "database": f"out{n}.sqlite"} for n in range(6)]
    resources = [
        {
            "name": name,
            "source": "src",
            "destination": f"d{n}",
            "table": "events",
            "into": "copy",
            "incremental_column": "id",
        }
        for n, name in enumerate(names)
    ]
    project.write({"sources": [{"name": "src", **SOURCE}], "destinations": destinations, "resources": resources})
    for number in range(1, 4):
        insert(project.folder, number)
        with ThreadPoolExecutor(6) as pool:
            runs = list(pool.map(lambda name: project.conduit("run", "ingest.yml", name), names))
        assert [ran.code for ran in runs] == [0] * 6, [ran.out for ran in runs]
        assert project.state == dict.fromkeys(names, number)
    assert len(History(project.folder / ".conduit").runs()) == 18


def test_the_same_resource_twice_at_once_is_one_run(simple: Project) -> None:
    insert(simple.folder, *range(6, 50_000))
    with ThreadPoolExecutor(2) as pool:
        runs: list[Ran] = list(pool.map(lambda _: simple.conduit("run", "ingest.yml"), range(2)))
    assert sorted(ran.code for ran in runs) in ([0, 0], [0, 75])
    for ran in runs:
        if ran.code == 75:
            assert "already running (pid" in ran.out
    assert len(loaded(simple.folder)) == 49_999


def test_two_projects_with_the_same_names_share_nothing(simple: Project) -> None:
    other = Project(simple.folder / "other")
    other.folder.mkdir()
    insert(other.folder, 1, 2)
    other.write((simple.folder / "ingest.yml").read_text())
    run(simple)
    assert conduit.run(other.folder / "ingest.yml")["r"].written == 2
    assert (simple.state, other.state) == ({"r": 5}, {"r": 2})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system: a full disk was not tested")
def test_a_full_disk_leaves_the_old_file_and_is_told(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=64k tmpfs {small}") != 0:
        pytest.skip("this machine cannot mount a small file system: a full disk was not tested")
    try:
        state = StateFile(small / ".conduit_state.json", small / ".conduit")
        state.put("r", 5)
        (small / "filler").write_bytes(b"x" * 48 * 1024)
        with pytest.raises(conduit.ConduitError, match="No space left"):
            state.put("big", "x" * 16_000)
        assert json.loads((small / ".conduit_state.json").read_text()) == {"r": 5}
        assert not list(small.glob("*.tmp"))
    finally:
        os.system(f"umount {small}")
