"""The history of a mark: every position that was committed, what lies between two, and the way back to one."""

from __future__ import annotations

import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from pyiceberg.catalog.sql import SqlCatalog

import conduit
from conduit import remember, rewind
from conduit.config.load import load
from conduit.connectors import sql_log
from conduit.errors import ConfigError, ConnectionFailed, Fenced, StateConflict
from conduit.history import History
from conduit.positions import Position, Window
from conduit.report import ResourceReport
from conduit.state_log import Entry, ahead
from tests.support.ends import End, end
from tests.support.postgres import Database
from tests.support.project import Project, pipeline
from tests.support.zygote import Zygote

SQL = ["sqlite", "duckdb", "postgresql"]
ALL = [*SQL, "parquet", "csv-file", "iceberg"]


@dataclass
class Copy:
    """A project that loads the table `t` by its `id`."""

    folder: Path
    end: End

    def write(self, **resource: Any) -> None:
        wanted = {"table": "t", "into": "t", "incremental_column": "id"} | resource
        Project(self.folder).write(pipeline({"type": "sqlite", "database": "in.sqlite"}, self.end.keys, **wanted))

    def load(self, *ids: int) -> ResourceReport:
        """Add rows to the source and run."""
        with closing(sqlite3.connect(self.folder / "in.sqlite")) as origin, origin:
            origin.execute("CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, key INT, amount INT, text TEXT)")
            origin.executemany("INSERT INTO t VALUES (?, 1, 1, 'x')", [(number,) for number in ids])
        report = conduit.run(self.folder / "ingest.yml")["r"]
        assert report.exit_code == 0, report.error
        return report

    def three_runs(self, **resource: Any) -> None:
        self.write(**resource)
        for ids in ((1, 2), (3,), (4, 5)):
            self.load(*ids)

    def log(self) -> tuple[Entry, ...]:
        project = load(self.folder / "ingest.yml")
        return rewind.log(project, project.resources[0]).entries

    def decide(self, to: str | int, *, with_data: bool = False, keep_data: bool = False) -> rewind.Rewind:
        project = load(self.folder / "ingest.yml")
        return rewind.decide(project, project.resources[0], str(to), with_data=with_data, keep_data=keep_data)

    def carry_out(self, decided: rewind.Rewind) -> remember.Remembered:
        project = load(self.folder / "ingest.yml")
        return rewind.carry_out(project, project.resources[0], decided)

    def rewind(self, to: str | int, **how: bool) -> remember.Remembered:
        return self.carry_out(self.decide(to, **how))

    def ids(self) -> Counter[int]:
        found: Counter[int] = Counter()
        for row, times in self.end.read().items():
            found[row[0]] += times
        return found


def copy_to(name: str, folder: Path, request: pytest.FixtureRequest) -> Copy:
    database = request.getfixturevalue("database") if name == "postgresql" else None
    return Copy(folder, end(name, folder, database))


@pytest.fixture(params=ALL)
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Copy:
    """A project for each destination."""
    return copy_to(request.param, tmp_path, request)


@pytest.fixture(params=SQL)
def sql_copy(request: pytest.FixtureRequest, tmp_path: Path) -> Copy:
    """A project for each destination that speaks SQL."""
    return copy_to(request.param, tmp_path, request)


@pytest.fixture
def lite(request: pytest.FixtureRequest, tmp_path: Path) -> Copy:
    """A project with a SQLite destination."""
    return copy_to("sqlite", tmp_path, request)


def once(*ids: int) -> Counter[int]:
    return Counter(ids)


# --- the log --------------------------------------------------------------------------------------------


def test_the_destination_itself_knows_every_position(copy: Copy) -> None:
    copy.three_runs()
    (copy.folder / ".conduit" / "history.db").unlink()
    entries = copy.log()
    assert [(one.value, one.rows, one.complete, one.origin) for one in entries] == [
        (2, 2, True, "destination"), (3, 1, True, "destination"), (5, 2, True, "destination"),
    ]  # fmt: skip
    assert len({one.run_id for one in entries}) == 3
    assert [one.committed_at for one in entries] == sorted(one.committed_at for one in entries)


def test_a_run_with_nothing_new_adds_nothing(copy: Copy) -> None:
    copy.three_runs()
    copy.load()
    assert [one.value for one in copy.log()] == [2, 3, 5]


def test_every_checkpoint_is_in_the_log(sql_copy: Copy) -> None:
    sql_copy.write(checkpoint_interval=2)
    sql_copy.load(1, 2, 3, 4, 5)
    assert [(one.value, one.complete) for one in sql_copy.log()] == [(2, False), (4, False), (5, True)]


@pytest.mark.parametrize("name", ["sqlite", "duckdb", "postgresql", "parquet", "iceberg"])
def test_a_run_that_was_killed_after_its_commit_is_in_the_log(
    name: str, tmp_path: Path, request: pytest.FixtureRequest, zygote: Zygote
) -> None:
    copy = copy_to(name, tmp_path, request)
    copy.write()
    copy.load(1, 2)
    with closing(sqlite3.connect(tmp_path / "in.sqlite")) as origin, origin:
        origin.execute("INSERT INTO t VALUES (3, 1, 1, 'x')")
    killed = zygote.conduit(tmp_path, "run", "ingest.yml", crash_at="load.committed")
    assert killed.code == -9
    assert [one.value for one in copy.log()] == [2, 3]
    assert len(History(tmp_path / ".conduit").runs()) == 1


def test_a_commit_that_was_refused_is_not_in_the_log(sql_copy: Copy) -> None:
    sql_copy.three_runs()
    decided = sql_copy.decide(3, keep_data=True)
    sql_copy.load(6)
    with pytest.raises(Fenced):
        sql_copy.carry_out(decided)
    assert [one.value for one in sql_copy.log()] == [2, 3, 5, 6]


def test_changes_by_hand_are_in_the_log(copy: Copy) -> None:
    copy.three_runs()
    project = load(copy.folder / "ingest.yml")
    remember.set_value(project, project.resources[0], "4")
    assert [(one.value, one.by_hand) for one in copy.log()][-2:] == [(5, False), (4, True)]


def test_no_more_than_the_last_entries_are_kept(sql_copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_log, "KEPT", 2)
    sql_copy.three_runs()
    assert [one.value for one in sql_copy.log() if one.origin == "destination"] == [3, 5]
    assert (sql_copy.log()[0].value, sql_copy.log()[0].origin) == (2, "history")


def test_a_destination_that_was_loaded_before_there_was_a_log_gets_one(lite: Copy) -> None:
    lite.three_runs()
    with closing(sqlite3.connect(lite.folder / "out.sqlite")) as database, database:
        database.execute("DROP TABLE _conduit_state_log")
    assert [(one.value, one.origin) for one in lite.log()] == [(2, "history"), (3, "history"), (5, "history")]
    with pytest.raises(StateConflict, match="only the value 3 is known"):
        lite.decide(3, keep_data=True)
    lite.load(6)
    assert [(one.value, one.origin) for one in lite.log()][-2:] == [(5, "history"), (6, "destination")]


def test_a_role_that_may_not_make_a_log_loads_without_one_until_it_is_given_one(
    database: Database, tmp_path: Path
) -> None:
    copy = Copy(tmp_path, end("postgresql", tmp_path, database))
    copy.three_runs()
    name = f"u{database.name}"
    for statement in (
        "DROP TABLE _conduit_state_log", f"CREATE ROLE {name} LOGIN", f"GRANT USAGE ON SCHEMA public TO {name}",
        f"GRANT SELECT, INSERT ON t TO {name}", f"GRANT SELECT, INSERT, UPDATE ON _conduit_state TO {name}",
        "REVOKE CREATE ON SCHEMA public FROM public",
    ):  # fmt: skip
        database.execute(statement)
    try:
        project = {**copy.end.keys, "user": name}
        copy = Copy(tmp_path, End("postgresql", project, copy.end.read))
        copy.write()
        copy.load(6)
        assert [(one.value, one.origin) for one in copy.log()][-1] == (6, "history")
        database.execute(sql_log.create_log("_conduit_state_log"))
        database.execute(f"GRANT SELECT, INSERT, DELETE ON _conduit_state_log TO {name}")
        copy.load(7)
        assert [(one.value, one.origin) for one in copy.log()][-1] == (7, "destination")
    finally:
        database.execute(f"DROP OWNED BY {name}")
        database.execute(f"DROP ROLE {name}")


# --- the difference -------------------------------------------------------------------------------------


def test_the_difference_of_two_entries_counts_what_came_between(lite: Copy) -> None:
    lite.three_runs()
    lite.load(6, 7, 8)
    project, entries = load(lite.folder / "ingest.yml"), lite.log()
    found = rewind.diff(project, project.resources[0], "2", entries[2].run_id)
    assert (found.commits, found.rows, found.runs) == (2, 3, (entries[1].run_id, entries[2].run_id))
    assert rewind.diff(project, project.resources[0], entries[2].run_id, None).rows == 3
    by_time = rewind.diff(project, project.resources[0], entries[1].committed_at, "2")
    assert (by_time.older.value, by_time.newer.value) == (2, 3)


@pytest.mark.parametrize("wrong", ["9", "x", "2020-01-01T00:00:00+00:00", "2026-01-01T00:00:00"])
def test_what_names_no_entry_is_refused(lite: Copy, wrong: str) -> None:
    lite.three_runs()
    with pytest.raises(ConfigError):
        lite.decide(wrong, keep_data=True)


# --- rewind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SQL, "iceberg"])
def test_a_rewound_merge_loads_exactly_the_later_rows_again(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    copy = copy_to(name, tmp_path, request)
    copy.three_runs(mode="merge", primary_key="id")
    with closing(sqlite3.connect(tmp_path / "in.sqlite")) as origin, origin:
        origin.execute("UPDATE t SET text = 'new'")
    copy.rewind(2)
    report = copy.load()
    assert (report.read, report.updated, report.inserted) == (3, 3, 0)
    assert Counter((row[0], row[3]) for row in copy.end.read()) == Counter(
        {(1, "x"): 1, (2, "x"): 1, (3, "new"): 1, (4, "new"): 1, (5, "new"): 1}
    )


def test_a_rewound_append_that_knows_its_key_leaves_out_what_is_there(copy: Copy) -> None:
    copy.three_runs(
        incremental_column=None, primary_key="id", incremental={"column": "id", "safety": "lag", "lag": "0"}
    )
    copy.rewind(2)
    report = copy.load(6)
    assert (report.inserted, report.already_present) == (1, 3)
    assert copy.ids() == once(1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("name", ["sqlite", "duckdb", "postgresql", "iceberg"])
def test_rows_are_taken_back_with_the_mark_and_loaded_again(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    copy = copy_to(name, tmp_path, request)
    copy.three_runs(metadata_columns=True)
    decided = copy.decide(2, with_data=True)
    assert decided.removed == 3
    assert "3 rows of the later runs are taken out" in decided.told
    assert copy.ids() == once(1, 2, 3, 4, 5)
    copy.carry_out(decided)
    assert copy.ids() == once(1, 2)
    assert copy.load(6).written == 4
    assert copy.ids() == once(1, 2, 3, 4, 5, 6)
    assert copy.load().status == "nothing new"


def test_a_merge_of_iceberg_is_undone_with_its_mark(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    copy = copy_to("iceberg", tmp_path, request)
    adding = {"amount": "target.amount + source.amount"}
    copy.three_runs(mode="merge", primary_key="key", update=adding, incremental={"column": "id", "safety": "none"},
                    incremental_column=None, transform="SELECT max(id) AS id, key, sum(amount) AS amount, "
                    "max(text) AS text FROM batch GROUP BY key")  # fmt: skip
    assert [row[2] for row in copy.end.read()] == [5]
    with pytest.raises(ConfigError, match="doubled"):
        copy.decide(2)
    copy.rewind(2, with_data=True)
    assert [row[2] for row in copy.end.read()] == [2]
    copy.load(6)
    assert [row[2] for row in copy.end.read()] == [6]


def test_an_append_that_would_double_rows_wants_to_be_told(copy: Copy) -> None:
    copy.three_runs()
    with pytest.raises(ConfigError, match="3 rows that were committed later would be loaded again") as refused:
        copy.decide(2)
    assert "--keep-data" in refused.value.hint
    copy.rewind(2, keep_data=True)
    assert copy.load().written == 3
    assert copy.ids() == once(1, 2, 3, 4, 5, 3, 4, 5)


def test_the_rewind_itself_is_recorded_and_the_way_forward_is_closed(copy: Copy) -> None:
    copy.three_runs()
    copy.rewind(3, keep_data=True)
    [change] = History(copy.folder / ".conduit").state_changes()
    assert (change.verb, change.old is not None, change.new is not None) == ("rewind", True, True)
    assert Project(copy.folder).state == {"r": 3}
    with pytest.raises(StateConflict, match="ahead of the mark"):
        copy.decide(5, keep_data=True)
    with pytest.raises(ConfigError, match="already"):
        copy.decide(3, keep_data=True)


def test_a_rewind_to_a_checkpoint_goes_on_from_there(sql_copy: Copy) -> None:
    sql_copy.write(checkpoint_interval=2, mode="merge", primary_key="id")
    sql_copy.load(1, 2, 3, 4, 5)
    sql_copy.rewind(4)
    assert not sql_copy.log()[-1].complete
    assert sql_copy.load().read == 1
    assert sql_copy.ids() == once(1, 2, 3, 4, 5)


@pytest.mark.parametrize("with_data", [False, True])
@pytest.mark.parametrize("name", ["sqlite", "duckdb", "postgresql", "iceberg"])
def test_of_two_rewinds_at_once_one_is_fenced(
    name: str, with_data: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    copy = copy_to(name, tmp_path, request)
    copy.three_runs(metadata_columns=True)
    how = {"with_data": with_data, "keep_data": not with_data}
    first, second = copy.decide(2, **how), copy.decide(3, **how)
    copy.carry_out(first)
    with pytest.raises((Fenced, StateConflict)):
        copy.carry_out(second)
    assert copy.log()[-1].value == 2
    assert copy.ids() == (once(1, 2) if with_data else once(1, 2, 3, 4, 5))


def test_two_rewinds_from_two_hosts_at_once_leave_one_mark(sql_copy: Copy, tmp_path: Path) -> None:
    sql_copy.three_runs(metadata_columns=True)
    decided = sql_copy.decide(2, with_data=True)

    def attempt(_: int) -> str:
        try:
            sql_copy.carry_out(decided)
        except conduit.ConduitError as error:
            return type(error).__name__
        return "done"

    with ThreadPoolExecutor(2) as pool:
        ended = sorted(pool.map(attempt, range(2)))
    assert ended.count("done") == 1, ended
    assert sql_copy.ids() == once(1, 2)


# --- what cannot be taken back --------------------------------------------------------------------------


def refused(copy: Copy, to: str | int = 2) -> str:
    with pytest.raises((ConfigError, StateConflict)) as error:
        copy.decide(to, with_data=True)
    return error.value.message


@pytest.mark.parametrize("name", ["parquet", "csv-file"])
def test_files_do_not_take_rows_back(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    copy = copy_to(name, tmp_path, request)
    copy.three_runs()
    assert "cannot take rows back" in refused(copy)


def test_rows_without_their_run_are_not_taken_back(lite: Copy) -> None:
    lite.three_runs()
    assert "metadata_columns: true" in refused(lite)


def test_a_run_that_went_on_after_the_checkpoint_is_not_taken_back(lite: Copy) -> None:
    lite.write(checkpoint_interval=2, metadata_columns=True)
    lite.load(1, 2, 3, 4, 5)
    assert "went on after this checkpoint" in refused(lite)


def test_a_full_refresh_is_not_taken_back(lite: Copy) -> None:
    lite.three_runs(metadata_columns=True)
    conduit.run(lite.folder / "ingest.yml", full_refresh=["r"])
    assert "loaded everything anew" in refused(lite)
    assert lite.ids() == once(1, 2, 3, 4, 5)


def test_rows_that_somebody_removed_are_noticed(lite: Copy) -> None:
    lite.three_runs(metadata_columns=True)
    with closing(sqlite3.connect(lite.folder / "out.sqlite")) as database, database:
        database.execute("DELETE FROM t WHERE id = 4")
    assert "2 rows of the later runs, 3 were committed" in refused(lite)


def test_rows_of_others_are_not_taken_back_with_a_snapshot(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    copy = copy_to("iceberg", tmp_path, request)
    copy.three_runs()
    catalog = SqlCatalog("iceframe", uri=copy.end.keys["uri"], warehouse=f"file://{copy.end.keys['warehouse']}")
    table = catalog.load_table(("default", "t"))
    table.append(table.scan(row_filter="id = 1").to_arrow())
    catalog.engine.dispose()
    assert "was not written by r" in refused(copy)


# --- windows --------------------------------------------------------------------------------------------


def test_a_rewound_window_loads_late_rows_of_its_own_time_again(database: Database, tmp_path: Path) -> None:
    database.execute("CREATE TABLE events (id bigserial PRIMARY KEY, v text)")
    wanted = {"table": "events", "into": "copy", "incremental_column": "id", "metadata_columns": True}
    Project(tmp_path).write(pipeline(database.keys, database.keys, **wanted))
    copy = Copy(tmp_path, end("postgresql", tmp_path, database))

    def run() -> ResourceReport:
        report = conduit.run(tmp_path / "ingest.yml")["r"]
        assert report.exit_code == 0, report.error
        return report

    database.execute("INSERT INTO events VALUES (10, 'first')")
    run()
    late = psycopg2.connect(host=database.server.host, port=database.server.port, user=database.server.user,
                            dbname=database.name)  # fmt: skip
    with closing(late), late.cursor() as cur:
        cur.execute("INSERT INTO events VALUES (5, 'late')")
        database.execute("INSERT INTO events VALUES (11, 'beside')")
        run()
        late.commit()
    run()
    assert sorted(database.execute("SELECT id FROM copy")) == [(5,), (10,), (11,)]
    entries = copy.log()
    assert copy.decide(entries[0].run_id, with_data=True).removed == 2
    copy.rewind(entries[0].run_id, with_data=True)
    now = copy.log()[-1].position
    assert now is not None
    assert now == entries[0].position
    assert now.window is not None
    run()
    assert sorted(database.execute("SELECT id FROM copy")) == [(5,), (10,), (11,)]
    assert run().status == "nothing new"


def test_the_rest_of_a_window_is_ahead_of_its_checkpoint() -> None:
    def at(place: str, end_: str = "9") -> Entry:
        window = Window(start="5", end=end_, next="12", at=place)
        position = Position(kind="cursor", value="40", type="int", window=window)
        return Entry(position=position, value=40, run_id=f"{end_}/{place}", complete=not place, rows=1, committed_at="")

    def is_ahead(wanted: Entry, now: Entry) -> bool:
        return ahead([wanted, now], 0)

    assert is_ahead(at(""), at("20"))
    assert is_ahead(at("30"), at("20"))
    assert is_ahead(at("", "10"), at(""))
    assert not is_ahead(at("10"), at("20"))
    assert not is_ahead(at("20"), at(""))
    assert not is_ahead(at(""), at("20", "10"))


# --- the command ----------------------------------------------------------------------------------------


def test_the_command_says_what_it_does_and_asks(lite: Copy, zygote: Zygote) -> None:
    lite.three_runs(metadata_columns=True)
    log = zygote.conduit(lite.folder, "state", "log", "r").ok().out.splitlines()
    assert [line.split()[1] for line in log[1:]] == ["5,", "3,", "2,"]
    shown = zygote.conduit(lite.folder, "state", "diff", "r", "2", "--output", "json").ok().json
    assert (shown["commits"], shown["rows"]) == (2, 3)
    assert zygote.conduit(lite.folder, "state", "diff", "r", "2").ok().out.startswith("r: 2 -> 5\n  2 commits, 3 rows")
    unasked = zygote.conduit(lite.folder, "state", "rewind", "r", "--to", "2")
    assert (unasked.code, "--with-data takes 3 rows back" in unasked.err) == (2, True)
    unconfirmed = zygote.conduit(lite.folder, "state", "rewind", "r", "--to", "2", "--with-data")
    assert (unconfirmed.code, "3 rows of the later runs" in unconfirmed.err) == (2, True)
    assert lite.ids() == once(1, 2, 3, 4, 5)
    done = zygote.conduit(lite.folder, "state", "rewind", "r", "--to", "2", "--with-data", "--yes").ok()
    assert done.out.startswith("r: mark 2, run state-")
    assert lite.ids() == once(1, 2)


def test_a_table_that_cannot_be_reached_is_one_error(lite: Copy) -> None:
    lite.three_runs()
    (lite.folder / "out.sqlite").write_text("this is no database" * 100)
    with pytest.raises(ConnectionFailed):
        lite.log()
