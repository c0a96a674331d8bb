"""`transform:` - SQL over the rows of one commit, between any source and any destination."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import conduit
from conduit.connectors.memory.store import store
from conduit.errors import ConfigError
from conduit.plan import preview
from tests.support.project import Project, pipeline

DAILY = "SELECT day, count(*) AS events, sum(amount) AS total FROM batch GROUP BY ALL"
ADDING = {"events": "target.events + source.events", "total": "target.total + source.total"}


def events(first: int, last: int) -> pa.Table:
    """Rows with these ids."""
    ids = list(range(first, last + 1))
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "day": pa.array([f"d{i % 7}" for i in ids], pa.string()),
            "amount": pa.array([float(i % 100) for i in ids], pa.float64()),
        }
    )


def set_up(folder: Path, **resource: Any) -> Path:
    """A project from memory into DuckDB."""
    wanted: dict[str, Any] = {"table": "events", "into": "t", "incremental_column": "id"} | resource
    source = {"type": "memory", "store": str(folder)}
    Project(folder).write(pipeline(source, {"type": "duckdb", "database": "out.duckdb"}, **wanted))
    return folder / "ingest.yml"


def add(folder: Path, rows: pa.Table) -> None:
    tables = store(str(folder)).tables
    tables["events"] = pa.concat_tables([tables["events"], rows]) if "events" in tables else rows


def written(folder: Path, query: str = "SELECT * FROM t") -> Counter[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "out.duckdb"), read_only=True) as connection:
        return Counter(connection.execute(query).fetchall())


def oracle(rows: pa.Table) -> Counter[tuple[Any, ...]]:
    """The sums over all rows, by plain Python."""
    count: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row in rows.to_pylist():
        count[row["day"]] += 1
        total[row["day"]] += row["amount"]
    return Counter((day, count[day], total[day]) for day in count)


def test_sums_that_are_merged_run_by_run_equal_the_sums_over_everything(tmp_path: Path) -> None:
    file = set_up(tmp_path, mode="merge", primary_key="day", update=ADDING, transform=DAILY)
    everything = events(1, 0)
    for first, last in ((1, 100), (101, 101), (102, 350)):
        add(tmp_path, events(first, last))
        everything = pa.concat_tables([everything, events(first, last)])
        report = conduit.run(file)["r"]
        assert (report.error, report.read, report.transformed) == ("", last - first + 1, last - first + 1)
        assert written(tmp_path) == oracle(everything)
    again = conduit.run(file)["r"]
    assert (again.status, again.read) == ("nothing new", 0)
    assert written(tmp_path) == oracle(everything)


def test_the_report_tells_what_went_in_and_what_came_out(tmp_path: Path) -> None:
    file = set_up(tmp_path, mode="merge", primary_key="day", transform=DAILY)
    add(tmp_path, events(1, 100))
    report = conduit.run(file)["r"]
    assert report.equation() == "read 100 = transformed 100, into 7 = written 7"
    assert (report.transformed, report.made, report.written) == (100, 7, 7)


def test_the_watermark_is_that_of_all_rows_even_of_those_that_the_query_leaves_out(tmp_path: Path) -> None:
    file = set_up(tmp_path, transform="SELECT id FROM batch WHERE id < 10 LIMIT 3")
    add(tmp_path, events(1, 1000))
    report = conduit.run(file)["r"]
    assert (report.error, report.until, report.read, report.made) == ("", 1000, 1000, 3)
    add(tmp_path, events(1001, 1200))
    report = conduit.run(file)["r"]
    assert (report.error, report.until, report.read, report.made) == ("", 1200, 200, 0)
    assert written(tmp_path, "SELECT count(*) FROM t") == Counter({(3,): 1})


def test_a_query_that_reads_the_rows_twice_sees_all_of_them_twice(tmp_path: Path) -> None:
    twice = "SELECT id FROM batch WHERE amount = (SELECT max(amount) FROM batch)"
    file = set_up(tmp_path, transform=twice)
    add(tmp_path, events(1, 250))
    assert conduit.run(file)["r"].error == ""
    assert written(tmp_path) == Counter({(99,): 1, (199,): 1})


def test_an_aggregate_is_over_all_rows_of_the_run_whatever_the_checkpoint_interval(tmp_path: Path) -> None:
    file = set_up(tmp_path, transform=DAILY, checkpoint_interval=10)
    add(tmp_path, events(1, 100))
    report = conduit.run(file)["r"]
    assert (report.error, report.commits) == ("", 1)
    assert "checkpoint_interval has no effect: `transform:` needs all rows of the run" in report.notes
    assert written(tmp_path) == oracle(events(1, 100))


def test_a_transform_row_by_row_is_committed_in_pieces(tmp_path: Path) -> None:
    file = set_up(tmp_path, transform="SELECT id, upper(day) AS day FROM batch WHERE id > 0", checkpoint_interval=10)
    add(tmp_path, events(1, 100))
    report = conduit.run(file)["r"]
    assert (report.error, report.commits, report.made) == ("", 10, 100)
    assert written(tmp_path) == Counter((i, f"D{i % 7}") for i in range(1, 101))


def test_without_rows_nothing_runs(tmp_path: Path) -> None:
    file = set_up(tmp_path, transform="SELECT count(*) AS n FROM batch")
    add(tmp_path, events(1, 0))
    report = conduit.run(file)["r"]
    assert (report.error, report.status) == ("", "nothing new")


def test_types_that_duckdb_knows_by_other_names_arrive_as_they_are(tmp_path: Path) -> None:
    sql = (
        "SELECT sum(id) AS big, uuid '0e37df36-f698-11e6-8dd4-cb9ced3df976' AS u, '{\"a\": 1}'::JSON AS j, "
        "'x'::ENUM('x', 'y') AS e, TIMESTAMPTZ '2024-01-01 00:00:00+00' AS m FROM batch"
    )
    file = set_up(tmp_path, transform=sql)
    add(tmp_path, events(1, 3))
    assert conduit.run(file)["r"].error == ""
    types = written(tmp_path, "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 't'")
    assert types == Counter(
        [("big", "DECIMAL(38,0)"), ("u", "UUID"), ("j", "JSON"), ("e", "VARCHAR"), ("m", "TIMESTAMP WITH TIME ZONE")]
    )
    assert written(tmp_path, "SELECT big::INT, u::VARCHAR, j::VARCHAR, e FROM t") == Counter(
        [(6, "0e37df36-f698-11e6-8dd4-cb9ced3df976", '{"a": 1}', "x")]
    )


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT nope FROM batch", "nope"),
        ("SELECT * FROM events", "events"),
        ("SELECT FROM FROM", "Parser Error"),
        ("DELETE FROM batch", "SELECT"),
        ("SELECT 1; SELECT 2", "several statements"),
        ("SELECT * FROM batch WHERE id > :last_value", "last_value"),
        ("SELECT INTERVAL 1 DAY AS d FROM batch", "INTERVAL"),
        ("SELECT * FROM read_csv('/etc/passwd')", "Permission Error"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT id AS a, day AS A FROM batch", "two columns are named"),
    ],
)
def test_sql_that_does_not_fit_is_refused_before_a_row_is_read(tmp_path: Path, sql: str, said: str) -> None:
    file = set_up(tmp_path, transform=sql)
    add(tmp_path, events(1, 3))
    [plan] = conduit.plan(file)
    report = conduit.run(file)["r"]
    assert (plan.exit_code, report.exit_code) == (2, 2), report.error
    assert said in report.error
    assert not (tmp_path / "out.duckdb").exists()


def test_a_value_that_cannot_be_computed_stops_the_run_and_keeps_the_mark(tmp_path: Path) -> None:
    file = set_up(tmp_path, transform="SELECT id, day::INTEGER AS day FROM batch")
    add(tmp_path, events(1, 3))
    report = conduit.run(file)["r"]
    assert (report.exit_code, report.until) == (5, None)
    assert "resource r: `transform:`" in report.error


def test_rows_that_are_read_twice_are_refused_where_their_key_is_lost(tmp_path: Path) -> None:
    lagging = {"column": "id", "lag": "10"}
    keyed: dict[str, Any] = {"incremental_column": None, "incremental": lagging, "primary_key": "day"}
    file = set_up(tmp_path, transform=DAILY, **keyed)
    add(tmp_path, events(1, 30))
    report = conduit.run(file)["r"]
    assert report.exit_code == 2
    assert "some rows are read twice" in report.error
    kept = set_up(tmp_path, transform="SELECT id, day FROM batch", **keyed | {"primary_key": "id"})
    assert conduit.run(kept)["r"].error == ""
    add(tmp_path, events(31, 40))
    report = conduit.run(kept)["r"]
    assert (report.error, report.inserted, report.already_present) == ("", 10, 10)
    assert written(tmp_path, "SELECT count(*), count(DISTINCT id) FROM t") == Counter({(40, 40): 1})


def test_a_preview_shows_the_rows_as_they_would_be_written(tmp_path: Path) -> None:
    file = set_up(tmp_path, transform=DAILY)
    add(tmp_path, events(1, 100))
    assert Counter(preview(file, "r", limit=100).to_pydict()["day"]).total() == 7


def test_an_empty_transform_is_refused_when_the_file_is_read(tmp_path: Path) -> None:
    file = set_up(tmp_path, transform="")
    with pytest.raises(ConfigError, match="transform"):
        conduit.run(file)
