"""Catalogs: the embedded one, one over HTTP, one in PostgreSQL; names of tables; errors in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from iceframe.asking import UNANSWERED
from iceframe.catalog import ensure_namespace, identifier, load_catalog_config_from_env, load_table, open_catalog
from iceframe.change import Change
from iceframe.commit import Plan, commit
from iceframe.errors import CatalogError, OutcomeUnknownError, TableNotFoundError, ValidationError
from iceframe.files import write_data_files
from iceframe.maintenance import register
from iceframe.scan import pinned
from iceframe.sqlite import SqliteCatalog
from tests.support import postgres, s3
from tests.support.rest_catalog import RestCatalog, rest_catalog

ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64())})


@pytest.fixture
def server(catalog: Catalog) -> Iterator[RestCatalog]:
    assert isinstance(catalog, SqliteCatalog)
    with rest_catalog(catalog) as server:
        yield server


@pytest.fixture
def remote(server: RestCatalog) -> Catalog:
    return open_catalog({"type": "rest", "uri": server.url})


def append(catalog: Catalog) -> None:
    table = load_table(catalog, "people")
    change = Change(operation="append", added=tuple(write_data_files(table.metadata, table.io, ROWS.to_batches())))
    commit(table, lambda _: Plan(change=change, properties={"mark": "1"}))


def ids(catalog: Catalog) -> list[int]:
    return sorted(pinned(load_table(catalog, "people")).frame()["id"])


def test_a_namespace_that_another_run_makes_at_the_same_moment_is_there(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_namespace(catalog, ("raw", "events"))
    monkeypatch.setattr(SqliteCatalog, "namespace_exists", lambda *_: False)
    ensure_namespace(catalog, ("raw", "events"))


def test_a_rest_catalog_takes_commits(remote: Catalog) -> None:
    remote.create_table("default.people", ROWS.schema)
    append(remote)
    assert ids(remote) == [1, 2, 3]
    assert load_table(remote, "people").properties["mark"] == "1"


def test_an_answer_of_a_rest_catalog_that_is_lost_doubles_nothing(remote: Catalog, server: RestCatalog) -> None:
    remote.create_table("default.people", ROWS.schema)
    server.lose_answers = 1
    append(remote)
    assert ids(remote) == [1, 2, 3]


def test_a_rest_catalog_that_is_busy_for_a_moment_is_asked_again(remote: Catalog, server: RestCatalog) -> None:
    remote.create_table("default.people", ROWS.schema)
    server.refuse = 2
    append(remote)
    assert ids(remote) == [1, 2, 3]


def test_a_rest_catalog_that_stays_busy_is_not_asked_for_ever(
    remote: Catalog, server: RestCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.create_table("default.people", ROWS.schema)
    monkeypatch.setattr("iceframe.asking.LONGEST_WAIT", 0.01)
    server.refuse = 1000
    with pytest.raises(OutcomeUnknownError, match="the catalog did not answer"):
        append(remote)
    with pytest.raises(OutcomeUnknownError, match="the catalog did not answer"):
        register(load_table(remote, "people"), "nightly", None, None)
    assert server.refuse == 1000 - 2 * UNANSWERED
    server.refuse = 0
    assert ids(remote) == []


def test_a_catalog_in_postgresql_takes_commits(database: postgres.Database, tmp_path: Path) -> None:
    keys = database.keys
    place = f"{keys['user']}:{keys.get('password', '')}@{keys['host']}:{keys['port']}/{keys['database']}"
    made = open_catalog({"type": "sql", "uri": f"postgresql+psycopg2://{place}", "warehouse": tmp_path.as_uri()})
    made.create_namespace("default")
    made.create_table("default.people", ROWS.schema)
    append(made)
    assert ids(made) == [1, 2, 3]
    assert isinstance(made, SqlCatalog)
    made.close()


def test_a_warehouse_in_s3_takes_commits(storage: s3.Storage, tmp_path: Path) -> None:
    config = {"type": "sql", "uri": f"sqlite:///{tmp_path}/c.db", "warehouse": f"s3://{s3.BUCKET}/lake"}
    made = open_catalog(config | storage.properties)
    made.create_namespace("default")
    made.create_table("default.people", ROWS.schema)
    append(made)
    append(made)
    assert ids(made) == [1, 1, 2, 2, 3, 3]
    files = pafs.FileSelector(f"{s3.BUCKET}/lake", recursive=True)
    assert sum(one.path.endswith(".parquet") for one in storage.filesystem().get_file_info(files)) == 2


def test_a_rest_catalog_that_does_not_listen_is_a_clear_error() -> None:
    with pytest.raises(CatalogError, match=r"the catalog: .*127\.0\.0\.1"):
        open_catalog({"type": "rest", "uri": "http://127.0.0.1:9"})


def test_a_name_without_a_namespace_is_in_the_default_one() -> None:
    assert identifier("people") == ("default", "people")
    assert identifier("raw.people") == ("raw", "people")


@pytest.mark.parametrize("name", ["", " ", "a.", ".a", "a..b"])
def test_a_name_with_an_empty_part_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no name of a table"):
        identifier(name)


def test_a_table_that_is_not_there_is_an_error_that_names_the_others(catalog: Catalog) -> None:
    catalog.create_table("default.people", ROWS.schema)
    with pytest.raises(TableNotFoundError, match=r"no table default\.nope.*tables there: default\.people"):
        load_table(catalog, "nope")
    with pytest.raises(TableNotFoundError, match=r"no table raw\.people.*no namespace raw"):
        load_table(catalog, "raw.people")


def test_the_embedded_catalog_is_made_where_one_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = open_catalog(None)
    assert isinstance(made, SqliteCatalog)
    made.close()
    assert (tmp_path / ".iceframe" / "catalog.db").exists()


def test_the_environment_gives_a_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICEBERG_CATALOG_URI", "http://lake")
    monkeypatch.setenv("ICEBERG_WAREHOUSE", "s3://bucket")
    monkeypatch.setenv("ICEBERG_S3__ACCESS_KEY_ID", "me")
    assert load_catalog_config_from_env() == {
        "uri": "http://lake",
        "warehouse": "s3://bucket",
        "s3.access-key-id": "me",
    }


def test_an_unknown_kind_of_config_is_refused() -> None:
    with pytest.raises(ValidationError, match="a dictionary, the name of a catalog, or None; this is int"):
        open_catalog(7)  # type: ignore[arg-type]


def test_frames_of_an_empty_table_have_types(catalog: Catalog) -> None:
    catalog.create_table("default.people", ROWS.schema)
    assert pinned(load_table(catalog, "people")).frame().schema == {"id": pl.Int64}


def test_a_catalog_that_many_open_first_at_once_opens_for_all(tmp_path: Path) -> None:
    for number in range(5):
        config = {"type": "sql", "uri": f"sqlite:///{tmp_path / f'{number}.db'}", "warehouse": tmp_path.as_uri()}
        with ThreadPoolExecutor(8) as at_once:
            opened = list(at_once.map(open_catalog, [config] * 8))
        for catalog in opened:
            assert catalog.list_namespaces() == []
            catalog.close()
