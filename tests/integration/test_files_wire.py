"""Parquet files that pass as they are: which do, which are written anew, and what a failure on one side does."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

import conduit
from conduit.arrow import AnyField
from conduit.connectors.files import wire
from conduit.connectors.files.config import ParquetSourceConnection
from conduit.connectors.files.source import FileSource
from conduit.contract import Read
from conduit.errors import ConnectionFailed, DataError
from conduit.report import ResourceReport
from conduit.wires import SupportsWire
from tests.support.project import Project

NASTY = """
SELECT i AS id, CASE WHEN i = 1 THEN NULL ELSE (i - 2)::DECIMAL(38,10) * 1234567890123456789 END AS amount,
    CASE i WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE '-0.0' END::DOUBLE AS ratio,
    CASE i WHEN 0 THEN 'infinity' WHEN 1 THEN '0044-03-15 (BC)' ELSE '2024-02-29' END::DATE AS day,
    TIMESTAMP_NS '2024-02-29 23:59:59.123456789' AS at, ['a', NULL, ''] AS tags, '\\x00\\xFF'::BLOB AS bytes,
    {'x': i, 'y': [{'z': 'deep'}]} AS nested, MAP {'k': i} AS pairs, 'sad'::ENUM('sad', 'ok') AS mood,
    '00000000-0000-0000-0000-00000000000a'::UUID AS name, 'é and 🦆' AS text
FROM range(3) AS r(i)
"""


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The format of every wire that was taken."""
    kinds: list[str] = []

    def counted(given: Any, *rest: Any) -> Any:
        kinds.append(given.kind)
        return wire.copied(given, *rest)

    monkeypatch.setattr("conduit.connectors.files.directory.copied", counted)
    return kinds


def run(project: Project, *, to: str = "lake/", **resource: Any) -> ResourceReport:
    project.write(
        {
            "sources": [{"name": "here", "type": "parquet", "path": "in/"}],
            "destinations": [{"name": "there", "type": "parquet", "path": to}],
            "resources": [{"name": "r", "source": "here", "destination": "there", "into": "t"} | resource],
        }
    )
    return conduit.run(project.folder / "ingest.yml")["r"]


def put(project: Project, name: str, table: pa.Table, **options: Any) -> Path:
    path = project.folder / "in" / name
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, str(path), **options)
    return path


def digests(folder: Path) -> list[str]:
    return sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.parquet"))


def both(project: Project) -> tuple[list[str], list[str]]:
    return digests(project.folder / "in"), digests(project.folder / "lake/t")


def numbers(first: int, last: int, **more: Any) -> pa.Table:
    ids = list(range(first, last + 1))
    return pa.table({"id": ids} | {name: [value] * len(ids) for name, value in more.items()})


# --- which pass -----------------------------------------------------------------------------------------


def test_every_value_passes_as_it_is(project: Project, passed: list[str]) -> None:
    (project.folder / "in").mkdir()
    duckdb.execute(f"COPY ({NASTY}) TO '{project.folder}/in/a.parquet'")
    report = run(project, mode="append")
    assert (report.error, report.read, report.written) == ("", 3, 3)
    assert len(passed) == 1
    given, found = both(project)
    assert given == found
    assert run(project, mode="append").status == "nothing new"


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_files_pass_load_after_load(project: Project, passed: list[str], mode: str) -> None:
    put(project, "a.parquet", numbers(1, 3))
    assert run(project, mode=mode).written == 3
    (project.folder / "in/a.parquet").rename(project.folder / "in/b.parquet")
    if mode == "append":
        put(project, "b.parquet", numbers(4, 5), compression="gzip")
    report = run(project, mode=mode)
    assert (report.error, report.written) == ("", 2 if mode == "append" else 3)
    assert len(passed) == 2
    ids = pq.read_table(project.folder / "lake/t").sort_by("id")["id"].to_pylist()
    assert ids == ([1, 2, 3, 4, 5] if mode == "append" else [1, 2, 3])


def test_a_new_column_passes_and_is_null_in_what_was_there(project: Project, passed: list[str]) -> None:
    put(project, "a.parquet", numbers(1, 2))
    run(project, mode="append")
    put(project, "b.parquet", numbers(3, 3, more="x"))
    report = run(project, mode="append")
    assert (report.error, report.written, len(passed)) == ("", 1, 2)
    found = duckdb.execute(
        f"SELECT id, more FROM read_parquet('{project.folder}/lake/t/**/*.parquet', union_by_name=true) ORDER BY id"
    )
    assert found.fetchall() == [(1, None), (2, None), (3, "x")]


def test_a_file_without_rows_is_in_the_ledger_and_nowhere_else(project: Project, passed: list[str]) -> None:
    put(project, "a.parquet", numbers(1, 3, v="x").slice(3))
    run(project, mode="append")
    assert len(passed) == 1
    assert list((project.folder / "lake").rglob("*.parquet")) == []
    assert run(project, mode="append").status == "nothing new"


# --- which are written anew -----------------------------------------------------------------------------

ANEW: dict[str, dict[str, Any]] = {
    "a declared type": {"columns": {"id": "text"}},
    "an incremental column": {"incremental_column": "id"},
    "metadata columns": {"metadata_columns": True},
    "a transform": {"transform": "SELECT id + 1 AS id FROM batch"},
}


@pytest.mark.parametrize("how", ANEW)
def test_what_has_to_be_looked_at_is_looked_at(project: Project, passed: list[str], how: str) -> None:
    put(project, "a.parquet", numbers(1, 3))
    report = run(project, mode="append", **ANEW[how])
    assert (report.error, report.written, passed) == ("", 3, [])


_FIELDS: list[AnyField] = [pa.field("id", pa.int64(), nullable=False), pa.field("v", pa.string())]
NOT_NULL = pa.schema(_FIELDS)


@pytest.mark.parametrize(
    "other",
    [
        pa.table({"id": pa.array([4], pa.int32()), "v": ["d"]}),
        pa.table({"id": [4], "v": ["d"]}, schema=NOT_NULL),
        pa.table({"id": [4], "v": ["d"]}).replace_schema_metadata({"made": "elsewhere"}),
        pa.table({"v": ["d"]}),
        pa.table({"v": ["d"], "id": [4]}),
    ],
    ids=["another type", "not null", "other metadata", "a column less", "another order"],
)
def test_a_file_that_differs_from_the_table_is_written_anew(
    project: Project, passed: list[str], other: pa.Table
) -> None:
    put(project, "a.parquet", numbers(1, 3, v="x"))
    run(project, mode="append")
    put(project, "b.parquet", other)
    report = run(project, mode="append")
    assert (report.error, report.written, len(passed)) == ("", 1, 1)
    assert both(project)[0] != both(project)[1]


def test_small_files_are_written_together(project: Project, passed: list[str]) -> None:
    for place in range(3):
        put(project, f"{place}.parquet", numbers(place, place))
    assert run(project, mode="append").written == 3
    assert passed == []
    assert len(list((project.folder / "lake").rglob("*.parquet"))) == 1


def test_files_of_one_read_that_differ_are_written_anew(
    project: Project, passed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SMALL", 100)
    put(project, "a.parquet", numbers(1, 1))
    put(project, "b.parquet", numbers(2, 2, more="x"))
    assert run(project, mode="append").written == 2
    assert passed == []
    found = pq.read_table(project.folder / "lake/t").sort_by("id")
    assert found.to_pydict() == {"id": [1, 2], "more": [None, "x"]}


def test_large_files_stay_apart_in_their_order(
    project: Project, passed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SMALL", 100)
    for place in range(3):
        put(project, f"{place}.parquet", numbers(place, place))
    assert run(project, mode="append").written == 3
    assert len(passed) == 1
    parts = sorted((project.folder / "lake/t/load-000001").glob("*.parquet"))
    assert [pq.read_table(part)["id"].to_pylist() for part in parts] == [[0], [1], [2]]


# --- failures -------------------------------------------------------------------------------------------


def test_a_damaged_page_is_an_error_before_there_is_a_mark(project: Project, passed: list[str]) -> None:
    path = put(project, "a.parquet", numbers(1, 5000), write_page_checksum=True, compression="none")
    content = bytearray(path.read_bytes())
    content[2000] ^= 0xFF
    path.write_bytes(content)
    report = run(project, mode="append")
    assert (report.exit_code, len(passed)) == (5, 1)
    assert "a.parquet" in report.error
    assert not (project.folder / "lake/t").exists()
    put(project, "a.parquet", numbers(1, 5000))
    assert run(project, mode="append").written == 5000


def out_of_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_nothing(project: Project, passed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    put(project, "a.parquet", numbers(1, 3))
    with monkeypatch.context() as patched:
        patched.setattr("conduit.connectors.files.disk.sync", out_of_space)
        report = run(project, mode="append")
    assert (report.exit_code, len(passed)) == (3, 1)
    assert "no space left" in report.error
    assert not (project.folder / "lake/t").exists()
    assert not list(project.folder.rglob("part-0-*"))
    assert run(project, mode="append").written == 3


def test_a_file_that_is_not_the_one_of_the_ledger_is_no_success(project: Project, tmp_path: Path) -> None:
    path = put(project, "a.parquet", numbers(1, 3), compression="none")
    other = put(project, "b.parquet", numbers(2, 4), compression="none")
    content = other.read_bytes()
    other.unlink()
    source = FileSource("here", ParquetSourceConnection(path="in/"), project.folder)
    with source.open(Read(resource="r")) as session:
        assert isinstance(session, SupportsWire)
        session.until()
        stat = path.stat()
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert path.stat().st_size == stat.st_size
        offered = session.wire(["id"], ())
        assert offered is not None
        with pytest.raises(ConnectionFailed, match="changed while it was read"):
            wire.copied(offered, "there", tmp_path)


def test_rows_that_were_sent_and_did_not_arrive_are_no_success(project: Project, tmp_path: Path) -> None:
    put(project, "a.parquet", numbers(1, 3))
    source = FileSource("here", ParquetSourceConnection(path="in/"), project.folder)
    with source.open(Read(resource="r")) as session:
        assert isinstance(session, SupportsWire)
        offered = session.wire(["id"], ())
        assert offered is not None
        more = replace(offered, send=lambda take: offered.send(take) + 1)
        with pytest.raises(DataError, match="4 rows were sent, the files that arrived hold 3"):
            wire.copied(more, "there", tmp_path)
