"""The catalog in a SQLite file without SQLAlchemy: the same file as pyiceberg's own, the same answers."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
)
from pyiceberg.table.update import AssertRefSnapshotId, SetPropertiesUpdate

from iceframe.catalog import open_catalog
from iceframe.errors import CatalogError
from iceframe.sqlite import SqliteCatalog

ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64())})


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    return {"uri": f"sqlite:///{tmp_path / 'c.db'}", "warehouse": tmp_path.as_uri()}


@pytest.fixture
def ours(place: dict[str, str]) -> Iterator[Catalog]:
    with closing(open_catalog(place)) as found:
        assert isinstance(found, SqliteCatalog)
        yield found


@pytest.fixture
def theirs(place: dict[str, str]) -> Iterator[Catalog]:
    with closing(SqlCatalog("iceframe", **place)) as found:
        yield found


@pytest.fixture(params=["ours first", "theirs first"])
def both(request: pytest.FixtureRequest) -> tuple[Catalog, Catalog]:
    """One that makes everything, and one that comes to it."""
    names = ("ours", "theirs") if request.param == "ours first" else ("theirs", "ours")
    first, second = (request.getfixturevalue(name) for name in names)
    return first, second


def test_each_sees_and_changes_what_the_other_made(both: tuple[Catalog, Catalog]) -> None:
    first, second = both
    first.create_namespace(("a", "b"), {"owner": "me"})
    made = first.create_table(("a", "b", "t"), ROWS.schema, properties={"p": "1"})
    made.append(ROWS)
    found = second.load_table("a.b.t")
    assert found.metadata == made.metadata
    assert found.metadata_location == made.metadata_location
    assert found.name() == made.name() == ("a", "b", "t")
    found.append(ROWS)
    assert first.load_table("a.b.t").scan().to_arrow().num_rows == 6
    assert second.load_namespace_properties("a.b") == {"owner": "me"}
    for one in both:
        assert [one.namespace_exists(name) for name in ("a", "a.b", "b", "a%", "a_b", "a.b.t")] == [
            True, True, False, False, False, False,
        ]  # fmt: skip
        assert one.list_namespaces() == [("a",)]
        assert one.list_tables("a.b") == [("a", "b", "t")]


def test_the_rows_of_the_catalog_are_those_of_pyiceberg(tmp_path: Path) -> None:
    told = []
    for name, make in (("ours", open_catalog), ("theirs", lambda given: SqlCatalog("iceframe", **given))):
        folder = tmp_path / name
        folder.mkdir()
        with closing(make({"uri": f"sqlite:///{folder / 'c.db'}", "warehouse": "memory"})) as made:
            made.create_namespace("n")
            made.create_table("n.t", ROWS.schema, location=folder.as_uri()).append(ROWS)
        with closing(sqlite3.connect(folder / "c.db")) as file:
            columns = file.execute(
                "SELECT m.name, c.* FROM sqlite_master m, pragma_table_info(m.name) c"
                " WHERE m.type = 'table' ORDER BY m.name, cid"
            ).fetchall()
            spaces = file.execute("SELECT * FROM iceberg_namespace_properties").fetchall()
            [(*names, now, before, kind)] = file.execute("SELECT * FROM iceberg_tables").fetchall()
        numbers = [location.rpartition("/")[2].partition("-")[0] for location in (now, before)]
        told.append((columns, spaces, names, numbers, kind))
    ours, theirs = told
    assert ours == theirs


def test_errors_are_those_of_pyiceberg(both: tuple[Catalog, Catalog]) -> None:
    both[0].create_namespace("n")
    both[0].create_table("n.t", ROWS.schema)
    for one in both:
        with pytest.raises(TableAlreadyExistsError):
            one.create_table("n.t", ROWS.schema)
        with pytest.raises(NoSuchNamespaceError):
            one.create_table("m.t", ROWS.schema)
        with pytest.raises(NoSuchTableError):
            one.load_table("n.u")
        with pytest.raises(NamespaceAlreadyExistsError):
            one.create_namespace("n")
        with pytest.raises(NoSuchNamespaceError):
            one.load_namespace_properties("m")


def test_of_two_commits_on_one_head_the_second_is_refused(
    ours: Catalog, theirs: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requirement is checked against the table as it is, and the swap against what was checked."""
    ours.create_namespace("n")
    table = ours.create_table("n.t", ROWS.schema)
    theirs.load_table("n.t").append(ROWS)
    with pytest.raises(CommitFailedException):
        ours.commit_table(table, (AssertRefSnapshotId.model_validate({"ref": "main", "snapshot-id": None}),), ())
    changed = (SetPropertiesUpdate(updates={"p": "1"}),)
    written = SqliteCatalog._write_metadata

    def overtaken(*given: object, **named: object) -> None:
        theirs.load_table("n.t").append(ROWS)
        monkeypatch.setattr(SqliteCatalog, "_write_metadata", staticmethod(written))
        written(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(SqliteCatalog, "_write_metadata", staticmethod(overtaken))
    with pytest.raises(CommitFailedException, match=r"updated by another process: n\.t"):
        ours.commit_table(table, (), changed)
    found = ours.load_table("n.t")
    assert (found.scan().to_arrow().num_rows, "p" in found.properties) == (6, False)
    ours.commit_table(table, (), changed)
    assert ours.load_table("n.t").properties["p"] == "1"


def test_what_is_rare_is_done_by_pyicebergs_own(ours: Catalog) -> None:
    ours.create_namespace("n")
    table = ours.create_table("n.t", ROWS.schema)
    table.append(ROWS)
    renamed = ours.rename_table("n.t", "n.u")
    assert (renamed.name(), renamed.catalog) == (("n", "u"), ours)
    ours.drop_table("n.u")
    assert not ours.table_exists("n.u")
    registered = ours.register_table("n.v", renamed.metadata_location)
    assert (registered.scan().to_arrow().num_rows, registered.catalog) == (3, ours)
    ours.update_namespace_properties("n", updates={"owner": "me"})
    assert ours.load_namespace_properties("n")["owner"] == "me"
    ours.purge_table("n.v")
    ours.drop_namespace("n")
    assert not ours.namespace_exists("n")
    with ours.create_table_transaction("n.w", ROWS.schema, location=str(table.location())) as begun:
        begun.set_properties(p="1")
    assert ours.load_table("n.w").properties == {"p": "1"}


def test_a_view_of_another_engine_is_no_table(ours: Catalog, tmp_path: Path) -> None:
    ours.create_namespace("n")
    with closing(sqlite3.connect(tmp_path / "c.db")) as file, file:
        file.execute("INSERT INTO iceberg_tables VALUES ('iceframe', 'n', 'v', 'somewhere', NULL, 'VIEW')")
    assert not ours.table_exists("n.v")


@pytest.mark.parametrize(
    "keys",
    [
        {"echo": "true"}, {"init_catalog_tables": "true"}, {"uri": "sqlite:///:memory:"}, {"uri": "sqlite://"},
        {"uri": "sqlite:///:memory:?timeout=3"},
    ],
)  # fmt: skip
def test_what_only_sqlalchemy_can_do_is_left_to_it(place: dict[str, str], keys: dict[str, str]) -> None:
    with closing(open_catalog({"type": "sql"} | place | keys)) as found:
        assert isinstance(found, SqlCatalog)


def test_a_catalog_of_an_older_version_is_left_to_pyiceberg(place: dict[str, str], tmp_path: Path) -> None:
    open_catalog(place).close()
    with closing(sqlite3.connect(tmp_path / "c.db")) as file:
        file.execute("ALTER TABLE iceberg_tables DROP COLUMN iceberg_type")
    with closing(open_catalog(place)) as found:
        assert isinstance(found, SqlCatalog)


def test_the_settings_of_pyiceberg_for_the_name_count(place: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "pyiceberg.catalog._ENV_CONFIG.config", {"catalog": {"mine": {"warehouse": "elsewhere"}}}, raising=True
    )
    monkeypatch.setenv("PYICEBERG_CATALOG__MINE__WAREHOUSE", "elsewhere")
    found = open_catalog({"name": "mine", "uri": place["uri"]})
    assert (type(found), found.properties["warehouse"]) == (SqlCatalog, "elsewhere")
    found.close()


def test_a_file_that_is_no_database_is_a_clear_error(place: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "c.db").write_text("not a database, " * 100)
    with pytest.raises(CatalogError, match="file is not a database"):
        open_catalog(place)
    with pytest.raises(CatalogError, match="unable to open database file"):
        open_catalog({"uri": f"sqlite:///{tmp_path}/nowhere/c.db"})


def test_a_file_that_another_process_writes_to_is_waited_for_and_then_a_clear_error(
    place: dict[str, str], ours: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("iceframe.sqlite._WAIT", 0.05)
    with closing(sqlite3.connect(tmp_path / "c.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(CatalogError, match="database is locked"):
            open_catalog(place)
    open_catalog(place).close()


def test_a_run_imports_no_sqlalchemy(place: dict[str, str]) -> None:
    script = (
        "import sys, pyarrow as pa\n"
        "from iceframe.catalog import open_catalog\n"
        "from iceframe.tables import append, create_table\n"
        f"catalog = open_catalog({place!r})\n"
        "rows = pa.table({'id': [1, 2]})\n"
        "append(create_table(catalog, 't', rows.schema), rows)\n"
        "print(catalog.load_table('default.t').scan().to_arrow().num_rows, 'sqlalchemy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 False"
