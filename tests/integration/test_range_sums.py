"""What databases add up themselves says the same as rows that are read: on PostgreSQL, on DuckDB and between them."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import conduit
from conduit.checking import comparison, pushdown, ranges, replacement
from conduit.checking.repair import repair
from conduit.checking.verify import Extent, ResourceCheck, verify
from conduit.config.load import load
from conduit.connectors import registry
from conduit.contract import Read, Source
from conduit.sums import Interval, RangeSum, SupportsSums, Wanted
from tests.support.postgres import Database
from tests.support.project import Project, pipeline

BY_ID = {"column": "id", "safety": "none"}
PAIRS = [("postgresql", "postgresql"), ("postgresql", "duckdb"), ("duckdb", "duckdb"), ("duckdb", "postgresql")]

VALUES: dict[str, tuple[str, ...]] = {
    "boolean": ("true", "false"),
    "smallint": ("0", "-1", "32767", "-32768"),
    "bigint": ("0", "-1", "9223372036854775807", "-9223372036854775808", "10", "1"),
    "numeric(12,2)": ("0", "1.5", "-0.50", "100", "0.05", "-0.05", "9999999999.99"),
    "numeric(38,10)": ("0.0000000001", "-1234567890123456789012345678.0123456789", "1.5", "15"),
    "numeric(2,2)": ("0.05", "0.5", "-0.5", "0"),
    "real": ("'0.1'", "'-0.1'", "'0'", "'-0.0'", "'NaN'", "'Infinity'", "'-Infinity'", "'1e-40'", "'16777217'"),
    "double precision": (
        "'0.1'", "'0.10000000000000002'", "'-0.1'", "'0'", "'-0.0'", "'NaN'", "'Infinity'", "'-Infinity'", "'5e-324'",
        "'1.7976931348623157e308'", "'-5e-324'", "'9007199254740993'",
    ),
    "text": (
        "''", "'a'", "'N'", "'1:a,'", "'é'", "'e\u0301'", "'A'", "'a '", "' a'", "'a,b'", "'NULL'", "'😀'", "'0'",
        "'x\ny'", "'back\\slash'",
    ),
    "varchar(20)": ("''", "'ab'", "'ab '"),
    "bytea": ("''", "'\\x00'", "'\\x00ff'", "'\\x6e'"),
    "uuid": ("'00000000-0000-0000-0000-000000000001'", "'ABCDEF00-0000-0000-0000-0000000000FF'"),
    "date": ("'0001-01-01'", "'9999-12-31'", "'1969-12-31'", "'2026-02-28'"),
    "timestamp": (
        "'0001-01-01 00:00:00'", "'9999-12-31 23:59:59.999999'", "'1969-12-31 23:59:59.999999'",
        "'2026-01-01 10:00:00.000001'", "'2026-01-01 10:00:00.1'", "'2026-01-01 10:00:00'",
    ),
    "timestamptz": (
        "'0001-01-01 00:00:00+00'", "'9999-12-31 23:59:59.999999+00'", "'2026-01-01 10:00:00.000001+00'",
        "'2026-01-01 12:00:00.000001+02'", "'1969-12-31 23:59:59.999999+00'",
    ),
    "json": ("""'{"a": 1}'""", """'{"a":1}'""", "'null'", "'[1.0]'"),
}  # fmt: skip
"""Values of each type, no two of them the same but for those that are told to be equal below."""

EQUAL = {("'0'", "'-0.0'"), ("'2026-01-01 10:00:00.000001+00'", "'2026-01-01 12:00:00.000001+02'")}


class Side:
    """A database at one end, and statements on it."""

    def __init__(self, name: str, role: str, project: Project, database: Database) -> None:
        self.name, self.database = name, database
        self.file = project.folder / f"{role}.duckdb"
        self.table = f"{role}_t"
        duck = {"type": "duckdb", "database": self.file.name}
        self.keys: dict[str, Any] = database.keys if name == "postgresql" else duck

    def execute(self, *statements: str) -> None:
        for statement in statements:
            if self.name == "postgresql":
                self.database.execute(statement)
            else:
                with closing(duckdb.connect(str(self.file))) as connection:
                    connection.execute(statement)

    def typed(self, type_: str) -> str:
        return type_ if self.name == "postgresql" else {"bytea": "BLOB", "json": "JSON"}.get(type_, type_)

    def value(self, text: str, type_: str) -> str:
        """A value as this database writes it."""
        if type_ == "bytea" and self.name == "duckdb" and text != "NULL":
            return "'" + "".join(f"\\x{pair}" for pair in _pairs(text.strip("'").removeprefix("\\x"))) + "'::BLOB"
        return f"CAST({text} AS {self.typed(type_)})"


def _pairs(digits: str) -> list[str]:
    return [digits[place : place + 2] for place in range(0, len(digits), 2)]


@pytest.fixture(params=PAIRS, ids="-".join)
def sides(request: pytest.FixtureRequest, project: Project, database: Database) -> tuple[Side, Side]:
    return tuple(Side(name, role, project, database) for name, role in zip(request.param, ("a", "b"), strict=True))  # type: ignore[return-value]


def connect(project: Project, sides: tuple[Side, Side], **resource: Any) -> None:
    source, target = sides
    keys = {"table": source.table, "into": target.table, "incremental": BY_ID, **resource}
    project.write(pipeline(source.keys, target.keys, **keys))


def run(project: Project) -> None:
    report = conduit.run(project.folder / "ingest.yml")
    assert report.exit_code == 0, report["r"].error


def both_ways(project: Project, monkeypatch: pytest.MonkeyPatch, **extent: Any) -> tuple[ResourceCheck, ResourceCheck]:
    """What verify finds by sums, and by reading."""
    file = project.folder / "ingest.yml"
    pushed = verify(file, extent=Extent(**extent))[0]
    with monkeypatch.context() as patch:
        patch.setattr(pushdown, "by_ranges", lambda *_, **__: "")
        read = verify(file, extent=Extent(**extent))[0]
    assert not read.pushed_down
    return pushed, read


def verdict(found: ResourceCheck) -> tuple[Any, ...]:
    rows = sorted((one.kind, one.row, one.rows) for one in found.differences)
    return found.status, found.missing, found.extra, found.changed, found.source_rows, found.target_rows, rows


def test_each_value_against_each_other_is_told_as_by_reading(
    project: Project, sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each row holds one value of one type; the other end holds another one, or the same."""
    target = sides[1]
    pairs = [(type_, one, other) for type_, v in VALUES.items() for one in (*v, "NULL") for other in (*v, "NULL")]
    for place, side in enumerate(sides):
        columns = ", ".join(f"c{i} {side.typed(type_)}" for i, type_ in enumerate(VALUES))
        side.execute(f"CREATE TABLE {side.table} (id bigint, {columns})")
        if place == 0:
            side.execute(f"INSERT INTO {side.table} VALUES {rows_of(side, [pair[:2] for pair in pairs])}")
    connect(project, sides, primary_key="id")
    run(project)
    target.execute(
        f"DELETE FROM {target.table}",
        f"INSERT INTO {target.table} VALUES {rows_of(target, [pair[::2] for pair in pairs])}",
    )
    pushed, read = both_ways(project, monkeypatch, limit=5000)
    assert pushed.pushed_down, pushed.notes or pushed.error
    assert verdict(pushed) == verdict(read)
    equal = [a == b or (a, b) in EQUAL or (b, a) in EQUAL for _, a, b in pairs]
    assert pushed.changed == equal.count(False)


def rows_of(side: Side, values: list[tuple[str, ...]]) -> str:
    """Rows with a number and one value each, in the column of its type."""
    places = {type_: place for place, type_ in enumerate(VALUES)}
    rows = []
    for number, (type_, value) in enumerate(values):
        cells = ["NULL"] * len(VALUES)
        cells[places[type_]] = side.value(value, type_)
        rows.append(f"({number}, {', '.join(cells)})")
    return ", ".join(rows)


def test_ranges_that_seem_to_differ_are_those_that_do(
    project: Project, sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what differs is read: not one range of equal values for the way in which a database writes them."""
    source, target = sides
    types = {type_: v for type_, v in VALUES.items() if type_ != "json"}  # jsonb writes its text anew
    columns = ", ".join(f"c{i} {source.typed(type_)}" for i, type_ in enumerate(types))
    source.execute(f"CREATE TABLE {source.table} (id bigint, {columns})")
    for row in range(20):
        values = [source.value((*v, "NULL")[row % (len(v) + 1)], type_) for type_, v in types.items()]
        source.execute(f"INSERT INTO {source.table} VALUES ({row}, {', '.join(values)})")
    connect(project, sides)
    run(project)
    pushed, read = both_ways(project, monkeypatch)
    assert (pushed.pushed_down, pushed.ranges_different, pushed.status) == (True, 0, "same"), pushed
    assert read.status == "same"
    target.execute(f"UPDATE {target.table} SET c8 = 'N' WHERE id = 7", f"DELETE FROM {target.table} WHERE id = 9")
    pushed, read = both_ways(project, monkeypatch)
    assert (pushed.ranges_different, pushed.status) == (2, "different")
    assert verdict(pushed) == verdict(read)


ROW = st.tuples(
    st.integers(-(2**31), 2**31 - 1),
    st.one_of(st.none(), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5)),
    st.one_of(st.none(), st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-999, max_value=999)),
    st.one_of(st.none(), st.floats()),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.lists(ROW, max_size=12, unique_by=lambda row: row[0]), other=ROW)
def test_any_rows_have_the_same_sums_wherever_they_are(
    rows: list[Any], other: Any, database: Database, project: Project
) -> None:
    """PostgreSQL and DuckDB add up the same rows to the same numbers, and one more row to others."""
    project.write(
        pipeline(database.keys, {"type": "duckdb", "database": "h.duckdb"}, table="h", into="h", mode="replace")
    )
    loaded = load(project.folder / "ingest.yml")
    out = loaded.destinations["dst"]
    ends = (
        registry.source(loaded.sources["src"], project.folder),
        registry.read_back(out, out.connection.read_back("h"), project.folder),
    )
    columns = "(id bigint, t text, n numeric(20,3), f double precision)"
    found = []
    for kept in (rows, [*rows, other]):
        database.execute("DROP TABLE IF EXISTS h")
        database.execute(f"CREATE TABLE h {columns}")
        with closing(duckdb.connect(str(project.folder / "h.duckdb"))) as duck:
            duck.execute(f"CREATE OR REPLACE TABLE h {columns}")
            for row in kept:
                database.execute("INSERT INTO h VALUES (%s, %s, %s, %s)", *row)
                duck.execute("INSERT INTO h VALUES (?, ?, ?, ?)", row)
        found.append([summed(end) for end in ends])
    for left, right in found:
        assert left == right
    assert found[0][0] != found[1][0]


def summed(source: Source) -> tuple[Interval | None, list[RangeSum]]:
    read = Read(resource="r", table="h", cursor="id", through="9223372036854775807", on_null="include")
    with source.open(read) as session:
        schema = session.describe().schema
    assert isinstance(source, SupportsSums)
    with source.summing(read, schema, "id") as side:
        assert not isinstance(side, str), side
        return side.extent(), sorted(side.sums(Wanted(hash="md5", shift=8)), key=lambda one: one.range or 0)


# --- how much is read -----------------------------------------------------------------------------------


def test_few_rows_are_read_where_few_differ(
    project: Project, sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushdown, "FEW", 10)
    monkeypatch.setattr(ranges, "RANGES", 16)
    source, target = sides
    source.execute(
        f"CREATE TABLE {source.table} (id bigint, v text)",
        f"INSERT INTO {source.table} SELECT i, 'row ' || i FROM generate_series(-5000, 5000) AS t(i)",
        f"INSERT INTO {source.table} VALUES ({2**62}, 'far away')",
    )
    connect(project, sides, primary_key="id")
    run(project)
    target.execute(
        f"UPDATE {target.table} SET v = 'other' WHERE id IN (-4000, 17)", f"DELETE FROM {target.table} WHERE id = 18"
    )
    read: list[int] = []
    real = comparison.frame

    def counted(scope: Any, batch: Any) -> Any:
        read.append(batch.num_rows)
        return real(scope, batch)

    monkeypatch.setattr(comparison, "frame", counted)
    monkeypatch.setattr(replacement, "frame", counted)
    found = verify(project.folder / "ingest.yml")[0]
    assert (found.pushed_down, found.changed, found.missing) == (True, 2, 1)
    assert sum(read) < 200
    done = repair(project.folder / "ingest.yml", "r")
    assert (done.status, done.removed, done.inserted) == ("repaired", 2, 3), done.error
    assert sum(read) < 600
    assert verify(project.folder / "ingest.yml")[0].status == "same"


def test_both_ends_can_be_one_file(project: Project) -> None:
    file = {"type": "duckdb", "database": "one.duckdb"}
    with closing(duckdb.connect(str(project.folder / "one.duckdb"))) as connection:
        connection.execute("CREATE TABLE a AS SELECT i AS id, 'row ' || i AS v FROM range(1000) t(i)")
    project.write(pipeline(file, file, table="a", into="b", incremental=BY_ID))
    run(project)
    found = verify(project.folder / "ingest.yml")[0]
    assert (found.status, found.pushed_down, found.target_rows) == ("same", True, 1000), found.error


def test_a_sample_is_drawn_before_a_row_is_read(project: Project, sides: tuple[Side, Side]) -> None:
    source, target = sides
    source.execute(
        f"CREATE TABLE {source.table} (id bigint, v text)",
        f"INSERT INTO {source.table} SELECT i, 'row ' || i FROM generate_series(1, 10000) AS t(i)",
    )
    connect(project, sides, primary_key="id")
    run(project)
    target.execute(f"UPDATE {target.table} SET v = 'other' WHERE id % 10 = 0")
    file = project.folder / "ingest.yml"
    some, again, others = (verify(file, extent=Extent(sample=0.1, seed=seed, limit=5000))[0] for seed in (0, 0, 1))
    assert some.pushed_down
    assert 500 < some.source_rows < 1500
    assert 50 < some.changed < 150
    assert some.differences == again.differences != others.differences
    upper = verify(file, extent=Extent(since="9000"))[0]
    assert (upper.pushed_down, upper.source_rows, upper.changed) == (True, 1000, 100)
    whole = verify(file, extent=Extent(sample=1.0))[0]
    assert (whole.source_rows, whole.changed) == (10_000, 1000)


@pytest.mark.parametrize("sides", [("postgresql", "duckdb")], ids="-".join, indirect=True)
@pytest.mark.parametrize("cursor", ["date", "timestamp", "timestamptz", "text", "uuid", "numeric(10,2)"])
def test_ranges_of_any_cursor(
    project: Project, sides: tuple[Side, Side], cursor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = sides
    number = "lpad(CAST(i AS text), 12, '0')"
    values = {
        "text": number,
        "uuid": f"CAST('00000000-0000-0000-0000-' || {number} AS uuid)",
        "numeric(10,2)": "CAST(i AS numeric(10,2))",
    }
    value = values.get(cursor, f"CAST(CAST(DATE '1969-12-01' + CAST(i AS integer) AS timestamp) AS {cursor})")
    source.execute(
        f"CREATE TABLE {source.table} (c {cursor}, v integer)",
        f"INSERT INTO {source.table} SELECT {value}, i FROM generate_series(1, 500) AS t(i)",
        f"INSERT INTO {source.table} VALUES (NULL, 0), (NULL, -1)",
    )
    connect(
        project,
        sides,
        incremental={"column": "c", "safety": "none", "on_null": "include"},
        mode="merge",
        primary_key="v",
    )
    run(project)
    assert both_ways(project, monkeypatch)[0].pushed_down
    source.execute(f"UPDATE {source.table} SET v = 2000 WHERE v = 100")
    target.execute(f"DELETE FROM {target.table} WHERE v IN (200, -1)")
    pushed, read = both_ways(project, monkeypatch)
    assert verdict(pushed) == verdict(read)
    assert (pushed.missing, pushed.extra, pushed.next_run) == (2, 1, 1)


# --- when rows are read all the same --------------------------------------------------------------------


def test_a_column_that_no_sum_can_be_trusted_for_is_named(project: Project, database: Database) -> None:
    database.execute("CREATE TABLE a (id bigint, span interval)")
    database.execute("INSERT INTO a VALUES (1, '1 day')")
    project.write(pipeline(database.keys, database.keys, table="a", into="b", incremental=BY_ID))
    run(project)
    found = verify(project.folder / "ingest.yml")[0]
    assert (found.status, found.pushed_down) == ("same", False)
    assert "column span" in found.notes[0]


def test_values_without_a_place_in_the_calendar_are_left_to_reading(
    project: Project, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.execute("CREATE TABLE a (id bigint, at timestamp)")
    database.execute("INSERT INTO a VALUES (1, '2026-01-01')")
    project.write(pipeline(database.keys, database.keys, table="a", into="b", incremental=BY_ID))
    run(project)
    database.execute("UPDATE a SET at = 'infinity'")
    database.execute("UPDATE b SET at = 'infinity'")
    pushed, read = both_ways(project, monkeypatch)
    assert (pushed.exit_code, pushed.error) == (read.exit_code, read.error) != (0, "")
