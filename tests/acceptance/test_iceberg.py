"""Iceberg at both ends: snapshots as positions, marks in the table, and the daily summary as one resource.

The tables are made, changed and read by pyiceberg itself, as another engine would.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

import conduit
from conduit.faults import CRASH_POINTS
from conduit.report import ResourceReport
from iceframe import errors as ice
from iceframe.maintenance import expire_snapshots, registered
from tests.support.processes import Ran
from tests.support.project import Project, pipeline
from tests.support.rest_catalog import rest_catalog
from tests.support.zygote import Zygote

FIELDS: list[pa.Field[Any]] = [
    pa.field("event_date", pa.date32()),
    pa.field("category", pa.string()),
    pa.field("amount", pa.float64()),
]
EVENTS = pa.schema(FIELDS)
DAILY = "SELECT event_date, category, count(*) AS event_count, sum(amount) AS total_amount FROM batch GROUP BY ALL"
ADDING = {
    "event_count": "target.event_count + source.event_count",
    "total_amount": "target.total_amount + source.total_amount",
}
RECIPE: dict[str, Any] = {
    "table": "raw_events",
    "into": "daily_summary",
    "transform": DAILY,
    "mode": "merge",
    "primary_key": ["event_date", "category"],
    "update": ADDING,
}


class Lake:
    """A catalog in a folder, seen by pyiceberg."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {"type": "iceberg", "uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"{folder}/warehouse"}
        self.catalog = SqlCatalog("iceframe", uri=self.keys["uri"], warehouse=f"file://{folder}/warehouse")
        self.catalog.create_namespace_if_not_exists("default")

    def table(self, name: str) -> Table:
        return self.catalog.load_table(f"default.{name}")

    def append(self, name: str, rows: pa.Table) -> int:
        """Append rows, to a new table if need be; the id of the snapshot."""
        table = self.catalog.create_table_if_not_exists(f"default.{name}", rows.schema)
        table.append(rows)
        head = table.current_snapshot()
        assert head is not None
        return head.snapshot_id

    def rows(self, name: str) -> Counter[tuple[Any, ...]]:
        if not self.catalog.table_exists(f"default.{name}"):
            return Counter()
        return Counter(tuple(row.values()) for row in self.table(name).scan().to_arrow().to_pylist())

    def write(self, **resource: Any) -> Path:
        """An ingest.yml from this catalog into it."""
        end = dict(self.keys)
        Project(self.folder).write(pipeline(end, end, **resource))
        return self.folder / "ingest.yml"

    def run(self, **how: Any) -> ResourceReport:
        return conduit.run(self.folder / "ingest.yml", **how)["r"]

    @property
    def state(self) -> Any:
        return json.loads((self.folder / ".conduit_state.json").read_text())


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    found = Lake(tmp_path)
    yield found
    found.catalog.close()


def events(*rows: tuple[int, str, float]) -> pa.Table:
    days = [dt.date(2024, 1, day) for day, _, _ in rows]
    return pa.table([days, [row[1] for row in rows], [row[2] for row in rows]], schema=EVENTS)


def numbered(*ids: int) -> pa.Table:
    return pa.table({"id": pa.array(ids, pa.int64()), "name": pa.array([f"n{i}" for i in ids], pa.string())})


def oracle(lake: Lake) -> Counter[tuple[Any, ...]]:
    """The summary of all events, by plain Python."""
    counts: Counter[tuple[Any, ...]] = Counter()
    totals: Counter[tuple[Any, ...]] = Counter()
    for (day, category, amount), times in lake.rows("raw_events").items():
        counts[day, category] += times
        totals[day, category] += amount * times
    return Counter((*key, counts[key], totals[key]) for key in counts)


BATCHES = (
    events((1, "a", 1.0), (1, "a", 2.0), (1, "b", 3.0)),
    events((1, "a", 10.0), (2, "c", 20.0)),
    events((2, "c", 5.0), (3, "a", 7.0)),
)


# --- the recipe -----------------------------------------------------------------------------------------


def test_the_daily_summary_is_one_resource(lake: Lake) -> None:
    lake.write(**RECIPE)
    for rows in BATCHES:
        snapshot = lake.append("raw_events", rows)
        report = lake.run()
        assert (report.error, report.read, report.transformed) == ("", rows.num_rows, rows.num_rows)
        assert lake.rows("daily_summary") == oracle(lake)
        assert lake.state == {"r": snapshot}
    before = lake.table("daily_summary").metadata_location
    assert (lake.run().status, lake.table("daily_summary").metadata_location) == ("nothing new", before)


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_the_daily_summary_is_exact_wherever_a_run_is_killed(lake: Lake, zygote: Zygote, point: str) -> None:
    lake.write(**RECIPE)

    def run(**how: Any) -> Ran:
        return zygote.conduit(lake.folder, "run", "ingest.yml", **how)

    for rows in BATCHES:
        lake.append("raw_events", rows)
        assert run(crash_at=point).code == -9
        run().ok()
        assert lake.rows("daily_summary") == oracle(lake)


# --- a source by snapshots ------------------------------------------------------------------------------


def test_a_table_is_read_by_its_snapshots(lake: Lake) -> None:
    lake.write(table="events", into="copy", mode="append")
    lake.append("events", numbered(1, 2))
    assert (lake.run().inserted, lake.run().status) == (2, "nothing new")
    lake.append("events", numbered(3))
    last = lake.append("events", numbered(4, 1))
    report = lake.run()
    assert (report.error, report.inserted, report.until) == ("", 3, last)
    assert lake.rows("copy") == lake.rows("events")


def test_rows_that_were_changed_stop_the_run_unless_they_are_to_be_ignored(lake: Lake) -> None:
    lake.write(table="events", into="copy", mode="append")
    lake.append("events", numbered(1, 2, 3))
    lake.run()
    lake.table("events").delete("id = 2")
    lake.append("events", numbered(4))
    report = lake.run()
    assert (report.exit_code, report.until) == (5, None)
    assert "on_change: ignore" in report.error
    lake.write(table="events", into="copy", mode="append", on_change="ignore")
    assert (lake.run().inserted, lake.rows("copy")) == (1, Counter((i, f"n{i}") for i in (1, 2, 3, 4)))


def test_a_source_that_lost_the_snapshot_stops_the_run(lake: Lake) -> None:
    lake.write(table="events", into="copy", mode="append")
    first = lake.append("events", numbered(1))
    lake.append("events", numbered(2))
    lake.run()
    with lake.table("events").manage_snapshots() as change:
        change.rollback_to_snapshot(first)
    report = lake.run()
    assert (report.exit_code, lake.rows("copy").total()) == (4, 2), report.error
    lake.catalog.drop_table("default.events")
    lake.append("events", numbered(1))
    report = lake.run()
    assert (report.exit_code, "another source" in report.error) == (4, True)


def test_an_expired_snapshot_stops_the_run(lake: Lake) -> None:
    lake.write(table="events", into="copy", mode="append")
    first = lake.append("events", numbered(1))
    lake.run()
    middle = lake.append("events", numbered(2))
    lake.append("events", numbered(3))
    lake.table("events").maintenance.expire_snapshots().by_ids([first, middle]).commit()
    for file in (lake.folder / "warehouse").glob("default/events/metadata/*.metadata.json"):
        if str(file) not in lake.table("events").metadata_location:
            file.unlink()  # what iceframe could still learn the history from
    report = lake.run()
    assert (report.exit_code, lake.rows("copy").total()) == (4, 1), report.error


def test_a_compaction_moves_the_mark_without_rows_so_that_it_does_not_expire(lake: Lake) -> None:
    from iceframe import IceFrame  # noqa: PLC0415

    lake.write(table="events", into="copy", mode="append")
    for i in range(4):
        lake.append("events", numbered(i))
    lake.run()
    IceFrame(lake.catalog).compact_data_files("events")
    head = lake.table("events").current_snapshot()
    report = lake.run()
    assert (report.error, report.read, head and head.snapshot_id) == ("", 0, report.until)
    assert lake.rows("copy") == lake.rows("events")


def test_a_table_is_read_by_a_cursor_too(lake: Lake) -> None:
    cursor = {"incremental": {"column": "id", "safety": "none"}}
    lake.write(table="events", into="copy", **cursor)
    lake.append("events", numbered(1, 5))
    lake.run()
    lake.append("events", numbered(3, 7))
    report = lake.run()
    assert (report.error, report.inserted, report.until) == ("", 1, 7)
    assert lake.run().status == "nothing new"


# --- a destination --------------------------------------------------------------------------------------


def test_a_destination_that_was_rolled_back_stops_the_run_until_somebody_decides(lake: Lake, zygote: Zygote) -> None:
    lake.write(table="events", into="copy", incremental={"column": "id", "safety": "none"})
    for i in (1, 2):
        lake.append("events", numbered(i))
        lake.run()
    copy = lake.table("copy")
    parent = copy.metadata.snapshots[0]
    with copy.manage_snapshots() as change:
        change.rollback_to_snapshot(parent.snapshot_id)
    report = lake.run()
    assert (report.exit_code, "rolled back" in report.error) == (4, True), report.error
    zygote.conduit(lake.folder, "state", "set", "r", "1", "--yes").ok()
    assert (lake.run().inserted, lake.rows("copy")) == (1, lake.rows("events"))


@pytest.mark.parametrize("forget_the_file", [True, False])
def test_a_mark_that_was_removed_by_hand_stops_the_run(lake: Lake, zygote: Zygote, forget_the_file: bool) -> None:
    lake.write(table="events", into="copy", incremental={"column": "id", "safety": "none"})
    lake.append("events", numbered(1, 2))
    lake.run()
    with lake.table("copy").transaction() as change:
        change.remove_properties("conduit.mark.default.r")
    if forget_the_file:
        (lake.folder / ".conduit_state.json").unlink()
    assert lake.run().exit_code == 4
    assert lake.rows("copy").total() == 2
    zygote.conduit(lake.folder, "state", "reset", "r", "--yes").ok()
    assert (lake.run().error, lake.rows("copy").total()) == ("", 4)


def test_every_move_of_a_mark_is_a_snapshot_that_says_so(lake: Lake) -> None:
    lake.write(table="events", into="copy", incremental={"column": "id", "safety": "none"})
    lake.append("events", numbered(1, 2))
    report = conduit.run(lake.folder / "ingest.yml")
    table = lake.table("copy")
    head = table.current_snapshot()
    assert head is not None
    assert head.summary is not None
    kept = json.loads(table.properties["conduit.mark.default.r"])
    assert (kept["snapshot_id"], kept["mark"]["position"]["value"]) == (head.snapshot_id, "2")
    told = {name: head.summary[name] for name in ("conduit.pipeline", "conduit.resource", "conduit.run")}
    assert told == {"conduit.pipeline": "default", "conduit.resource": "r", "conduit.run": report.run_id}


def test_replace_is_one_snapshot(lake: Lake) -> None:
    lake.write(table="events", into="copy", mode="replace")
    lake.append("events", numbered(1, 2))
    lake.run()
    lake.append("events", numbered(3))
    before = len(lake.table("copy").metadata.snapshots)
    assert lake.run().inserted == 3
    assert len(lake.table("copy").metadata.snapshots) == before + 1
    assert lake.rows("copy") == lake.rows("events")


def reading(lake: Lake, **keys: Any) -> None:
    """A resource that appends what is new in `events` to a SQLite file."""
    lite = {"type": "sqlite", "database": "out.db"}
    Project(lake.folder).write(pipeline(lake.keys | keys, lite, table="events", into="copy", mode="append"))


def test_a_registered_reader_keeps_what_it_has_not_read_yet(lake: Lake) -> None:
    reading(lake, register_reader=True)
    first = lake.append("events", numbered(1))
    assert lake.run().notes == []
    table = lake.table("events")
    assert [(one.job, one.since, one.target) for one in registered(table)] == [("conduit/default/r", first, None)]
    assert table.current_snapshot() == table.snapshot_by_id(first)
    for number in (2, 3, 4):
        lake.append("events", numbered(number))
    expire_snapshots(lake.table("events"), older_than=dt.datetime.now(dt.UTC))
    assert lake.run().written == 3
    before = lake.table("events").metadata_location
    assert lake.run().status == "nothing new"
    assert lake.table("events").metadata_location == before
    expire_snapshots(lake.table("events"), older_than=dt.datetime.now(dt.UTC))
    assert len(lake.table("events").metadata.snapshots) == 1
    lake.append("events", numbered(5))
    assert lake.run().written == 1


def test_without_the_key_a_source_is_only_read_and_expiry_does_not_know_of_it(lake: Lake) -> None:
    reading(lake)
    lake.append("events", numbered(1))
    before = lake.table("events").metadata_location
    assert lake.run().written == 1
    assert lake.table("events").metadata_location == before
    for number in (2, 3):
        lake.append("events", numbered(number))
    expire_snapshots(lake.table("events"), older_than=dt.datetime.now(dt.UTC))
    assert lake.run().exit_code == 4


def test_a_reader_by_a_cursor_needs_no_history_and_registers_nothing(lake: Lake) -> None:
    lite = {"type": "sqlite", "database": "out.db"}
    source = lake.keys | {"register_reader": True}
    Project(lake.folder).write(pipeline(source, lite, table="events", incremental={"column": "id", "safety": "none"}))
    lake.append("events", numbered(1))
    assert lake.run().written == 1
    assert registered(lake.table("events")) == []


def test_a_catalog_that_lets_nobody_register_is_a_note_and_the_rows_are_there(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading(lake, register_reader=True)
    lake.append("events", numbered(1, 2))

    def refused(*_arguments: object) -> None:
        raise ice.CatalogError("table events: the catalog refuses: 403")

    monkeypatch.setattr("conduit.connectors.iceberg.source.register", refused)
    report = lake.run()
    assert (report.exit_code, report.written) == (0, 2)
    assert any("not registered as a reader: src: register as a reader of events: " in note for note in report.notes)
    assert lake.run().status == "nothing new"


def test_a_new_table_is_laid_out_as_the_connection_says_even_when_its_mark_came_first(
    lake: Lake, zygote: Zygote
) -> None:
    layout = {"partition_spec": ["bucket(4, id)"], "sort_order": ["name desc"], "properties": {"owner": "ada"}}
    content = pipeline(
        dict(lake.keys), lake.keys | layout, table="events", incremental={"column": "id", "safety": "none"}
    )
    content["resources"] += [content["resources"][0] | {"name": "later"}]
    Project(lake.folder).write(content)
    lake.append("events", numbered(1, 2, 3))
    zygote.conduit(lake.folder, "state", "set", "later", "2", "--yes").ok()
    report = conduit.run(lake.folder / "ingest.yml")
    assert [(one.error, one.inserted) for one in report.resources] == [("", 3), ("", 1)]
    for name in ("r", "later"):
        table = lake.table(name)
        assert [str(field.transform) for field in table.spec().fields] == ["bucket[4]"]
        assert str(table.sort_order()) == "[\n  2 DESC NULLS LAST\n]"
        assert table.properties["owner"] == "ada"


def test_a_new_column_is_added_before_the_rows(lake: Lake) -> None:
    lake.write(table="events", into="copy", mode="append")
    lake.append("events", numbered(1))
    lake.run()
    with lake.table("events").update_schema() as change:
        change.union_by_name(pa.schema([("price", pa.decimal128(12, 2))]))
    wider = numbered(2).append_column("price", pa.array([Decimal("1.10")], pa.decimal128(12, 2)))
    lake.append("events", wider)
    assert lake.run().error == ""
    assert lake.rows("copy") == Counter([(1, "n1", None), (2, "n2", Decimal("1.10"))])


def test_a_row_that_is_read_again_is_left_out_by_its_key(lake: Lake) -> None:
    lake.write(table="events", into="copy", primary_key="id", incremental={"column": "id", "lag": "10"})
    lake.append("events", numbered(1, 2, 7))
    lake.run()
    lake.append("events", numbered(5, 8))
    report = lake.run()
    assert (report.error, report.inserted, report.already_present) == ("", 2, 3)
    assert lake.rows("copy") == lake.rows("events")


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ({"name": "target.nope"}, "nope"),
        ({"name": "name"}, "a column of neither side"),
        ({"name": "sum(source.id)"}, "cannot aggregate"),
        ({"name": "target.name ||"}, "cannot be read"),
        ({"name": "source.name, source.id"}, "is not one expression"),
        ({"nope": "source.name"}, "nope"),
    ],
)
def test_an_update_that_cannot_be_computed_is_refused(lake: Lake, update: dict[str, str], said: str) -> None:
    lake.write(table="events", into="copy", mode="merge", primary_key="id", update=update)
    lake.append("events", numbered(1))
    report = lake.run()
    assert (report.exit_code, said in report.error) == (2, True), report.error
    assert lake.rows("copy") == Counter()


def test_update_is_sql_over_both_sides(lake: Lake) -> None:
    update = {"name": "CASE WHEN source.name > target.name THEN coalesce(source.name, 'x') ELSE target.name END"}
    lake.write(table="events", into="copy", mode="merge", primary_key="id", update=update)
    lake.append("events", numbered(1, 2))
    lake.run()
    lake.append("events", pa.table({"id": pa.array([1, 2], pa.int64()), "name": ["a", "z"]}))
    assert lake.run().error == ""
    assert lake.rows("copy") == Counter([(1, "n1"), (2, "z")])


def test_two_new_rows_of_one_key_are_an_error_where_both_would_count(lake: Lake) -> None:
    lake.write(**RECIPE | {"transform": None, "update": {"amount": "target.amount + source.amount"}})
    lake.append("raw_events", events((1, "a", 1.0), (1, "a", 2.0)))
    report = lake.run()
    assert (report.exit_code, lake.rows("daily_summary")) == (5, Counter()), report.error


def test_secrets_of_a_catalog_are_never_printed(lake: Lake, zygote: Zygote) -> None:
    catalog = {
        "uri": "http://ada:canary-one@127.0.0.1:9/",
        "type": "rest",
        "token": "canary-two",
        "s3.secret-access-key": "canary-three",
    }
    Project(lake.folder).write(
        pipeline(dict(lake.keys), {"type": "iceberg", "catalog": catalog}, table="events", mode="append")
    )
    lake.append("events", numbered(1))
    for command in ("run", "check", "plan"):
        ran = zygote.conduit(lake.folder, command, "ingest.yml")
        assert ran.code == 3, ran.err
        assert "canary" not in ran.out + ran.err


# --- a catalog behind a network -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["append", "merge"])
@pytest.mark.parametrize("fault", ["lose_answers", "refuse"])
def test_a_catalog_that_does_not_answer_a_commit_is_asked_what_became_of_it(lake: Lake, mode: str, fault: str) -> None:
    lake.append("events", numbered(1, 2))
    with rest_catalog(lake.catalog) as server:
        end = {"type": "iceberg", "catalog": {"type": "rest", "uri": server.url}}
        how = {"mode": mode, "into": "copy"} | ({"primary_key": "id"} if mode == "merge" else {})
        Project(lake.folder).write(pipeline(end, end, table="events", **how))
        assert lake.run().error == ""
        lake.append("events", numbered(3))
        setattr(server, fault, 1)
        report = lake.run()
        assert (report.error, getattr(server, fault)) == ("", 0)
        assert lake.run().status == "nothing new"
    assert lake.rows("copy") == lake.rows("events")
