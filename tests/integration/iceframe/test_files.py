from __future__ import annotations

import datetime as dt
import decimal
import math
import random
import subprocess
import sys
import textwrap
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.table import Table
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TruncateTransform,
    VoidTransform,
    YearTransform,
    parse_transform,
)
from pyiceberg.types import LongType

from iceframe import files
from iceframe.change import Change
from iceframe.commit import Plan, commit
from iceframe.errors import SchemaError, StorageError, UnsupportedError
from iceframe.files import write_data_files, written
from iceframe.scan import pinned
from iceframe.schemas import Rows, arrow_schema, fitted, to_iceberg

D = decimal.Decimal
MOMENT = dt.datetime(2024, 2, 29, 23, 59, 59, 999999)


def table(
    catalog: Catalog,
    schema: dict[str, Any],
    *,
    partitions: tuple[tuple[str, Any], ...] = (),
    order: SortOrder | None = None,
    properties: dict[str, str] | None = None,
) -> Table:
    made = to_iceberg(schema)
    fields = [
        PartitionField(made.find_field(name).field_id, 1000 + number, transform, f"{name.replace('.', '_')}_{number}")
        for number, (name, transform) in enumerate(partitions)
    ]
    return catalog.create_table(
        ("default", f"t{uuid.uuid4().hex}"),
        made,
        partition_spec=PartitionSpec(*fields),
        sort_order=order or SortOrder(),
        properties=properties or {},
    )


def append(target: Table, rows: Rows) -> tuple[DataFile, ...]:
    added = written(target.metadata, target.io, fitted(rows, target.schema()))
    commit(target, lambda _: Plan(change=Change(operation="append", added=added)))
    return added


def local(file: DataFile) -> Path:
    return Path(file.file_path.removeprefix("file://"))


def data_files(target: Table) -> list[Path]:
    return sorted((Path(target.location().removeprefix("file://")) / "data").rglob("*.parquet"))


def multiset(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(repr(sorted(row.items())) for row in rows)


EVERY_TYPE = {
    "s": "string",
    "i": "int",
    "l": "long",
    "f": "float",
    "d": "double",
    "b": "boolean",
    "da": "date",
    "ti": "time",
    "ts": "timestamp",
    "tz": "timestamptz",
    "n9": "decimal(9,2)",
    "n18": "decimal(18,4)",
    "n38": "decimal(38,10)",
    "bin": "binary",
    "u": "uuid",
    "fx": "fixed[3]",
    "li": "list<string>",
    "ls": "list<struct<x: int, y: list<double>>>",
    "st": "struct<a: string, b: struct<c: timestamptz>>",
    "m": "map<string, struct<q: decimal(5,1)>>",
}
ONE_OF_EACH: dict[str, Any] = {
    "s": "ä😀",
    "i": -(2**31),
    "l": 2**63 - 1,
    "f": 1.5,
    "d": -0.1,
    "b": False,
    "da": dt.date(1969, 12, 31),
    "ti": dt.time(23, 59, 59, 999999),
    "ts": MOMENT,
    "tz": MOMENT.replace(tzinfo=dt.UTC),
    "n9": D("-9999999.99"),
    "n18": D("12345678901234.5678"),
    "n38": D("1234567890123456789012345678.0123456789"),
    "bin": b"\x00\xff",
    "u": uuid.UUID(int=7).bytes,
    "fx": b"abc",
    "li": ["a", None, ""],
    "ls": [{"x": 1, "y": [1.0, None]}, None, {"x": None, "y": None}],
    "st": {"a": None, "b": {"c": MOMENT.replace(tzinfo=dt.UTC)}},
    "m": [("k", {"q": D("1.5")}), ("l", None)],
}
EMPTY: dict[str, Any] = {
    **dict.fromkeys(EVERY_TYPE),
    "li": [],
    "ls": [],
    "m": [],
    "s": "",
    "bin": b"",
    "st": {"a": None, "b": None},
}


def all_types(rows: list[dict[str, Any]]) -> pa.Table:
    fields = [
        pa.field(one.name, pa.binary(16) if one.name == "u" else one.type)
        for one in arrow_schema(to_iceberg(EVERY_TYPE))
    ]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def test_every_type_comes_back_as_it_was_written_with_its_nulls(catalog: Catalog) -> None:
    target = table(catalog, EVERY_TYPE)
    given = all_types([ONE_OF_EACH, dict.fromkeys(EVERY_TYPE), EMPTY, ONE_OF_EACH])
    (file,) = append(target, given)
    expected = [{**row, "u": row["u"] and uuid.UUID(bytes=row["u"])} for row in given.to_pylist()]
    in_file = pq.read_table(local(file)).to_pylist()
    assert in_file == expected
    assert [row for batch in pinned(target).batches() for row in batch.to_pylist()] == expected


def test_the_file_has_the_field_ids_of_the_table(catalog: Catalog) -> None:
    target = table(catalog, EVERY_TYPE)
    (file,) = append(target, all_types([ONE_OF_EACH]))
    foreign = target.scan().to_arrow()
    assert foreign.num_rows == 1
    assert foreign["ls"].to_pylist() == [ONE_OF_EACH["ls"]]
    for field in target.schema().fields:
        metadata = pq.read_schema(local(file)).field(field.name).metadata or {}
        assert metadata[b"PARQUET:field_id"] == str(field.field_id).encode()


@pytest.mark.parametrize("column", [name for name in EVERY_TYPE if name not in {"li", "ls", "st", "m"}])
def test_bounds_and_counts_are_right_for_every_type(catalog: Catalog, column: str) -> None:
    target = table(catalog, EVERY_TYPE)
    (file,) = append(target, all_types([ONE_OF_EACH, dict.fromkeys(EVERY_TYPE), dict.fromkeys(EVERY_TYPE)]))
    field = target.schema().find_field(column)
    assert file.record_count == 3
    assert file.value_counts[field.field_id] == 3
    assert file.null_value_counts[field.field_id] == 2
    low, high = file.lower_bounds.get(field.field_id), file.upper_bounds.get(field.field_id)
    assert (low is None) == (high is None)
    if low is not None and high is not None:
        value = pq.read_table(local(file))[column][0]
        as_int = {"da": pa.int32(), "ti": pa.int64(), "ts": pa.int64(), "tz": pa.int64()}.get(column)
        wanted = value.cast(as_int).as_py() if as_int else value.as_py()
        kind: Any = field.field_type
        bounds = [from_bytes(kind, one) for one in (low, high)]
        assert bounds == [wanted, wanted] or column == "u"


def test_columns_may_have_any_name(catalog: Catalog) -> None:
    names = ["a.b", "1st", "mit Leerzeichen", "ä/ß?", "x-y", "ok", "null", '"quoted"']
    target = table(catalog, {**dict.fromkeys(names, "long"), "s t": "struct<a b: long>"})
    append(target, pl.DataFrame({**{name: [number] for number, name in enumerate(names)}, "s t": [{"a b": 7}]}))
    (row,) = [row for batch in pinned(target).batches() for row in batch.to_pylist()]
    assert row == {**{name: number for number, name in enumerate(names)}, "s t": {"a b": 7}}


US = dt.timedelta(microseconds=1)
VALUES: dict[str, list[Any]] = {
    "string": ["", "a", "a/b c%é", "..", None, "null", "x" * 400, "ä" * 90],
    "int": [0, -1, -7, 8, 2**31 - 1, None],
    "long": [0, -1, -7, 2**40, None],
    "boolean": [True, False, None],
    "date": [dt.date(1969, 12, 31), dt.date(1970, 1, 1), dt.date(2024, 2, 29), None],
    "time": [dt.time(0), dt.time(23, 59, 59, 999999), None],
    "timestamp": [dt.datetime(1969, 12, 31, 23, 59, 59, 999999), dt.datetime(1970, 1, 1), MOMENT, None],
    "timestamptz": [MOMENT.replace(tzinfo=dt.UTC), dt.datetime(1969, 1, 1, tzinfo=dt.UTC), None],
    "decimal(9,2)": [D("1.23"), D("-1.23"), D("0.00"), None],
    "decimal(38,2)": [D("1.23"), D("-1.23"), None],
    "binary": [b"", b"12345", b"12399", None],
    "fixed[3]": [b"abc", b"abd", None],
    "uuid": [uuid.UUID(int=5).bytes, uuid.UUID(int=2**127).bytes, None],
    "double": [0.5, -0.5, math.inf, None],
}
TRANSFORMS: dict[str, tuple[Any, set[str]]] = {
    "identity": (IdentityTransform(), set(VALUES)),
    "bucket": (BucketTransform(4), set(VALUES) - {"boolean", "double"}),
    "truncate": (TruncateTransform(3), {"string", "int", "long", "decimal(9,2)", "decimal(38,2)", "binary"}),
    "void": (VoidTransform(), {"string"}),
    "year": (YearTransform(), {"date", "timestamp", "timestamptz"}),
    "month": (MonthTransform(), {"date", "timestamp", "timestamptz"}),
    "day": (DayTransform(), {"date", "timestamp", "timestamptz"}),
    "hour": (HourTransform(), {"timestamp", "timestamptz"}),
}


def as_in_record(value: Any) -> Any:
    """A value as a manifest keeps it."""
    if isinstance(value, dt.datetime):
        return (value.replace(tzinfo=None) - dt.datetime(1970, 1, 1)) // US
    if isinstance(value, dt.date):
        return (value - dt.date(1970, 1, 1)).days
    if isinstance(value, dt.time):
        return (dt.datetime.combine(dt.date(1970, 1, 1), value) - dt.datetime(1970, 1, 1)) // US
    return value


@pytest.mark.parametrize(
    ("transform", "type_"), [(name, type_) for name, (_, types) in TRANSFORMS.items() for type_ in sorted(types)]
)
def test_each_file_holds_the_rows_of_one_partition_and_none_is_lost(
    catalog: Catalog, transform: str, type_: str
) -> None:
    how = TRANSFORMS[transform][0]
    target = table(catalog, {"id": "long", "x": type_}, partitions=(("x", how),))
    values = VALUES[type_] * 3
    shape = arrow_schema(target.schema()).field("x").type
    column = pa.array(values, pa.binary(16) if type_ == "uuid" else shape)
    added = append(target, pa.table({"id": pa.array(range(len(values))), "x": column}))

    expect = how.transform(target.schema().find_type("x"))
    wanted: dict[Any, set[int]] = {}
    for number, value in enumerate(values):
        inner = as_in_record(value)
        wanted.setdefault(None if inner is None else expect(inner), set()).add(number)
    found = {file.partition[0]: set(pq.read_table(local(file))["id"].to_pylist()) for file in added}
    assert found == wanted
    read = [row for batch in pinned(target).batches() for row in batch.to_pylist()]
    assert sorted(row["id"] for row in read) == list(range(len(values)))
    by_id = {row["id"]: row["x"].bytes if isinstance(row["x"], uuid.UUID) else row["x"] for row in read}
    assert [by_id[number] for number in range(len(values))] == values


def test_rows_with_nan_in_a_partition_column_are_kept(catalog: Catalog) -> None:
    target = table(catalog, {"id": "long", "x": "double"}, partitions=(("x", IdentityTransform()),))
    given = pl.DataFrame({"id": range(200_000), "x": [math.nan, 1.0] * 100_000})
    added = append(target, given)
    assert len(added) == 2
    assert sorted(pinned(target).frame()["id"]) == list(range(200_000))


def test_several_fields_may_have_one_source_and_a_source_may_be_nested(catalog: Catalog) -> None:
    target = table(
        catalog,
        {"id": "long", "s": "struct<at: timestamp, n: struct<k: string>>"},
        partitions=(
            ("s.at", DayTransform()),
            ("s.n.k", IdentityTransform()),
            ("id", BucketTransform(2)),
            ("s.at", YearTransform()),
        ),
    )
    rows = [
        {"id": number, "s": None if number % 7 == 0 else {"at": MOMENT, "n": {"k": "ab"[number % 2]}}}
        for number in range(100)
    ]
    added = append(target, pl.DataFrame(rows, schema_overrides={"id": pl.Int64}))
    assert len(added) == 6
    assert {file.partition[3] for file in added} == {None, 54}
    assert sorted(pinned(target).frame()["id"]) == list(range(100))


def test_partitions_prune_exactly(catalog: Catalog) -> None:
    target = table(catalog, {"id": "long", "c": "string"}, partitions=(("c", IdentityTransform()),))
    append(target, pl.DataFrame({"id": [1, 2, 3], "c": ["a", None, "null"]}))
    for where, expected in (("c = 'a'", [1]), ("c is null", [2]), ("c = 'null'", [3])):
        scan = pinned(target, where=where)
        assert len(scan.files()) == 1
        assert scan.frame()["id"].to_list() == expected


def order_of(target: Any, *fields: tuple[str, str, SortDirection, NullOrder]) -> SortOrder:
    made = to_iceberg(target)
    return SortOrder(
        *(
            SortField(made.find_field(name).field_id, parse_transform(how), direction, nulls)
            for name, how, direction, nulls in fields
        )
    )


UP, DOWN, FIRST, LAST = SortDirection.ASC, SortDirection.DESC, NullOrder.NULLS_FIRST, NullOrder.NULLS_LAST


@pytest.mark.parametrize("kind", [one for one in VALUES if one != "uuid"])
@pytest.mark.parametrize(("direction", "nulls"), [(UP, FIRST), (DOWN, FIRST), (DOWN, LAST)])
def test_a_sorted_table_has_sorted_files(
    catalog: Catalog, kind: str, direction: SortDirection, nulls: NullOrder
) -> None:
    schema = {"x": kind}
    target = table(catalog, schema, order=order_of(schema, ("x", "identity", direction, nulls)))
    values = VALUES[kind] * 3 + ([math.nan] if kind == "double" else [])
    random.Random(3).shuffle(values)
    (file,) = append(target, pa.table({"x": pa.array(values, arrow_schema(target.schema()).field("x").type)}))
    found: list[Any] = pq.read_table(local(file))["x"].to_pylist()
    found = [one.astimezone(dt.UTC) if kind == "timestamptz" and one else one for one in found]

    def key(value: Any) -> Any:
        text = value.encode() if isinstance(value, str) else value
        return (math.isnan(value), 0 if math.isnan(value) else value) if isinstance(value, float) else text

    rest = sorted((value for value in values if value is not None), key=key, reverse=direction == DOWN)
    gaps = [None] * values.count(None)
    assert repr(found) == repr([*gaps, *rest] if nulls == FIRST else [*rest, *gaps])
    assert file.sort_order_id == target.metadata.default_sort_order_id


def test_several_sort_fields_with_transforms_and_mixed_nulls(catalog: Catalog) -> None:
    schema = {"a": "string", "b": "long"}
    order = order_of(schema, ("a", "truncate[1]", DOWN, LAST), ("b", "identity", UP, FIRST))
    target = table(catalog, schema, order=order)
    rows = [(a, b) for a in ("ab", "aa", None, "ba") for b in (3, None, 1)]
    random.Random(5).shuffle(rows)
    (file,) = append(target, pl.DataFrame(rows, schema={"a": pl.String, "b": pl.Int64}, orient="row"))
    found = pl.read_parquet(local(file)).rows()
    assert [(a and a[0], b) for a, b in found] == [
        *[("b", b) for b in (None, 1, 3)],
        *[("a", b) for b in (None, None, 1, 1, 3, 3)],
        *[(None, b) for b in (None, 1, 3)],
    ]


def test_sorted_files_of_a_large_write_have_their_own_bounds(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SORTED_BYTES", 200_000)
    schema = {"x": "long"}
    target = table(catalog, schema, order=order_of(schema, ("x", "identity", UP, FIRST)))
    values = list(range(100_000))
    random.Random(1).shuffle(values)
    added = append(target, (pa.record_batch({"x": values[at : at + 1000]}) for at in range(0, 100_000, 1000)))
    assert len(added) == 4
    for file in added:
        found: list[Any] = pq.read_table(local(file))["x"].to_pylist()
        assert found == sorted(found)
        bounds = [from_bytes(LongType(), one[1]) for one in (file.lower_bounds, file.upper_bounds)]
        assert bounds == [found[0], found[-1]]
    assert sorted(pinned(target).frame()["x"]) == sorted(values)


def test_a_column_without_bounds_in_one_row_group_has_none_at_all(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "GROUP_BYTES", 1000)
    target = table(catalog, {"x": "string", "y": "string", "z": "long"})
    huge = "z" * 10_000
    batches = [
        pa.record_batch({"x": ["a"] * 200, "y": [None] * 200, "z": [1] * 200}, schema=SMALL),
        pa.record_batch({"x": [huge], "y": ["m"], "z": [2]}, schema=SMALL),
    ]
    (file,) = append(target, batches)
    assert pq.ParquetFile(local(file)).num_row_groups == 2
    assert 1 not in file.upper_bounds
    assert 2 in file.upper_bounds
    assert 3 in file.upper_bounds
    assert pinned(target, where=f"x = '{huge}'").frame().height == 1
    assert pinned(target, where="x > 'b'").frame().height == 1


SMALL_FIELDS: list[Any] = [("x", pa.string()), ("y", pa.string()), ("z", pa.int64())]
SMALL = pa.schema(SMALL_FIELDS)


FAR = 400_000_000_000_000_000


def test_moments_beyond_the_years_of_python_are_kept(catalog: Catalog) -> None:
    target = table(catalog, {"x": "timestamp", "d": "date"})
    moments = pa.array([FAR, -FAR, 0]).cast(pa.timestamp("us"))
    dates = pa.array([9_000_000, -9_000_000, 0], pa.int32()).cast(pa.date32())
    (file,) = append(target, pa.table({"x": moments, "d": dates}))
    assert 1 not in file.upper_bounds
    found = pa.Table.from_batches(list(pinned(target).batches()))
    assert found["x"].cast(pa.int64()).to_pylist() == [FAR, -FAR, 0]
    assert found["d"].cast(pa.int32()).to_pylist() == [9_000_000, -9_000_000, 0]


def test_a_moment_beyond_the_years_of_python_is_no_partition(catalog: Catalog) -> None:
    target = table(catalog, {"x": "timestamp"}, partitions=(("x", DayTransform()),))
    with pytest.raises(SchemaError, match="after 9999"):
        append(target, pa.table({"x": pa.array([0, FAR]).cast(pa.timestamp("us"))}))
    assert data_files(target) == []


def test_large_writes_become_several_files_of_about_the_wanted_size(catalog: Catalog) -> None:
    target = table(catalog, {"x": "long"}, properties={"write.target-file-size-bytes": "1000000"})
    added = append(target, pa.table({"x": pa.array(range(400_000), pa.int64())}))
    assert len(added) == 4
    assert sorted(pinned(target).frame()["x"]) == list(range(400_000))


def test_many_partitions_are_written_with_few_open_files(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "OPEN_FILES", 3)
    monkeypatch.setattr(files, "WAITING_BYTES", 20_000)
    target = table(catalog, {"p": "int", "x": "long"}, partitions=(("p", IdentityTransform()),))
    chance = random.Random(2)
    rows = [(chance.randrange(40), number) for number in range(5000)]
    frame = pl.DataFrame(rows, schema={"p": pl.Int32, "x": pl.Int64}, orient="row")
    most = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal most
        for part in frame.iter_slices(500):
            yield from part.to_arrow().to_batches()
            most = max(most, sum(".parquet" in str(one.readlink()) for one in opened()))

    added = append(target, batches())
    assert most <= 3
    assert len(added) > 40
    assert multiset(pinned(target).frame().rows(named=True)) == multiset(frame.rows(named=True))
    assert data_files(target) == sorted(local(file) for file in added)


def opened() -> list[Path]:
    return [one for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]


def test_an_error_in_the_rows_leaves_no_file(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "GROUP_BYTES", 1000)
    target = table(
        catalog,
        {"p": "int", "x": "long"},
        partitions=(("p", IdentityTransform()),),
        properties={"write.target-file-size-bytes": "5000"},
    )

    def failing() -> Iterator[pa.RecordBatch]:
        for number in range(20):
            yield pa.record_batch({"p": pa.array([number % 3] * 200, pa.int32()), "x": pa.array([number] * 200)})
        assert data_files(target)
        raise RuntimeError("the source died")

    with pytest.raises(RuntimeError, match="the source died"):
        written(target.metadata, target.io, failing())
    assert data_files(target) == []


def test_a_stream_of_files_that_is_given_up_leaves_no_file_that_is_not_whole(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "GROUP_BYTES", 1000)
    target = table(catalog, {"x": "long"}, properties={"write.target-file-size-bytes": "3000"})
    rows = (pa.record_batch({"x": pa.array([number] * 100)}) for number in range(50))
    stream = write_data_files(target.metadata, target.io, rows)
    first = next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert data_files(target) == [local(first)]


def test_rows_that_do_not_fit_are_refused_before_a_file_is_made(catalog: Catalog) -> None:
    target = table(catalog, {"x": "int"})
    with pytest.raises(SchemaError, match="column x"):
        written(target.metadata, target.io, iter(pa.table({"x": pa.array([1], pa.int64())}).to_batches()))
    assert data_files(target) == []


def test_a_place_that_cannot_be_written_is_a_storage_error(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("no folder")
    where = {"write.data.path": (tmp_path / "taken" / "data").as_uri()}
    target = table(catalog, {"x": "long"}, properties=where)
    with pytest.raises(StorageError, match="cannot be written"):
        written(target.metadata, target.io, iter([pa.record_batch({"x": [1]})]))


def test_another_format_than_parquet_is_refused(catalog: Catalog) -> None:
    target = table(catalog, {"x": "long"}, properties={"write.format.default": "orc"})
    with pytest.raises(UnsupportedError, match="orc"):
        written(target.metadata, target.io, iter([pa.record_batch({"x": [1]})]))


def test_no_rows_make_no_file(catalog: Catalog) -> None:
    target = table(catalog, {"x": "long"})
    assert written(target.metadata, target.io, iter(())) == ()
    assert written(target.metadata, target.io, iter([pa.record_batch({"x": pa.array([], pa.int64())})])) == ()
    assert data_files(target) == []


MEASURE = """
    import resource, sys
    import pyarrow as pa, pyarrow.compute as pc
    from iceframe.catalog import open_catalog
    from iceframe.files import write_data_files
    folder, name = sys.argv[1:]
    at = {"uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/warehouse"}
    catalog = open_catalog({"type": "sql", **at})
    table = catalog.load_table(("default", name))

    def batches(count):
        for number in range(count):
            ids = pa.array(range(number * 50_000, (number + 1) * 50_000), pa.int64())
            text = pc.binary_join_element_wise("the text of row ", ids.cast(pa.string()), " of this table", "")
            large = pc.multiply(ids, 7919)
            mixed = pc.subtract(large, pc.multiply(pc.divide(large, 100_003), 100_003))
            day = pc.subtract(ids, pc.multiply(pc.divide(ids, 30), 30)).cast(pa.int32())
            yield pa.record_batch({"id": ids, "text": text, "mixed": mixed, "day": day})

    list(write_data_files(table.metadata, table.io, batches(1)))
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = sum(file.record_count for file in write_data_files(table.metadata, table.io, batches(40)))
    assert rows == 2_000_000, rows
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base) // 1024)
"""


@pytest.mark.parametrize("kind", ["partitioned", "partitioned and sorted"])
def test_two_million_rows_are_written_in_bounded_memory(catalog: Catalog, tmp_path: Path, kind: str) -> None:
    schema = {"id": "long", "text": "string", "mixed": "long", "day": "int"}
    order = order_of(schema, ("mixed", "identity", UP, FIRST)) if "sorted" in kind else None
    target = table(catalog, schema, partitions=(("day", IdentityTransform()),), order=order)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), str(tmp_path), target.name()[-1]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 200
