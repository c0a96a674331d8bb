"""What a run with nothing new costs: the connections, the statements and the imports that it makes, and no more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import conduit
from tests.support.postgres import Database
from tests.support.project import Project, pipeline
from tests.support.proxy import proxy

SIMPLE = "SELECT id, v FROM events WHERE id > :last_value ORDER BY id"
READS: dict[str, dict[str, Any]] = {
    "table": {"table": "events", "incremental_column": "id"},
    "query": {"query": SIMPLE, "incremental_column": "id"},
    "table without a window": {"table": "events", "incremental": {"column": "id", "safety": "none"}},
}

NOT_NEEDED = (
    "pyarrow", "numpy", "pandas", "polars", "duckdb", "sqlglot", "pyiceberg", "pgpq", "adbc_driver_manager",
    "adbc_driver_postgresql", "rich", "filelock", "dotenv", "asyncio", "importlib.metadata", "iceframe", "conduit.plan",
    "conduit.rows", "conduit.commits", "conduit.wires", "conduit.schemas", "conduit.transform", "conduit.checkpoints",
    "conduit.read_ahead", "conduit.strategies.statements", "conduit.connectors.postgresql.load",
    "conduit.connectors.postgresql.reader", "conduit.connectors.postgresql.wire",
)  # fmt: skip


@pytest.fixture
def events(database: Database) -> Database:
    """A database with a table of ten events."""
    database.execute("CREATE TABLE events (id bigint PRIMARY KEY, v text)")
    database.execute("INSERT INTO events SELECT n, 'v' FROM generate_series(1, 10) n")
    return database


def loaded(project: Project, events: Database, keys: dict[str, Any], read: dict[str, Any]) -> Path:
    """The ingest.yml of a resource that has nothing new."""
    project.write(pipeline(keys, keys, into="copy", **read))
    file = project.folder / "ingest.yml"
    assert conduit.run(file)["r"].written == 10
    assert events.execute("SELECT count(*) FROM copy") == [(10,)]
    return file


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_nothing_new_is_one_connection_and_a_few_statements_for_each_end(
    events: Database, project: Project, read: dict[str, Any]
) -> None:
    with proxy(events.server.host, events.server.port) as tapped:
        file = loaded(project, events, events.keys | {"port": tapped.port}, read)
        tapped.heard.clear()
        assert conduit.run(file)["r"].status == "nothing new"
    destination, source = (heard.statements for heard in tapped.heard)
    setting_up, marks = destination
    assert setting_up.startswith("BEGIN; SET TimeZone = 'UTC'; ")
    assert setting_up.endswith("; COMMIT")
    assert marks.startswith("SELECT mark FROM")
    source = [text for text in source if "pg_stat_activity" not in text]  # asked when others have transactions open
    setting_up, described, facts, bound = source
    assert setting_up.endswith("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    assert described.endswith("LIMIT 0")
    assert "json_build_object" in facts
    assert bound.startswith("SELECT ")


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_nothing_new_imports_nothing_that_moves_rows(events: Database, project: Project, read: dict[str, Any]) -> None:
    file = loaded(project, events, events.keys, read)
    script = imported_by(file, NOT_NEEDED)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "nothing new" in done.stdout
    assert done.stdout.strip().endswith("IMPORTED []")


NOT_PASSED_WITH = (
    "pyarrow", "polars", "duckdb", "adbc_driver_manager", "conduit.read_ahead", "conduit.transform",
    "conduit.executors.threads", "conduit.connectors.postgresql.reader", "conduit.connectors.postgresql.removal",
)  # fmt: skip


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_new_rows_between_equal_tables_pass_without_arrow(
    events: Database, project: Project, read: dict[str, Any]
) -> None:
    file = loaded(project, events, events.keys, read)
    events.execute("INSERT INTO events VALUES (11, 'new')")
    script = imported_by(file, NOT_PASSED_WITH)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "1 rows written" in done.stdout
    assert done.stdout.strip().endswith("IMPORTED []")
    assert events.execute("SELECT v FROM copy WHERE id = 11") == [("new",)]


NOT_APPENDED_WITH = (
    "polars", "sqlglot", "duckdb", "iceframe.merge", "iceframe.frame", "iceframe.changes", "iceframe.jobs",
    "iceframe.maintenance", "conduit.connectors.iceberg.removal", "conduit.connectors.iceberg.expressions",
)  # fmt: skip


def test_an_append_to_iceberg_imports_nothing_that_compares_rows(events: Database, project: Project) -> None:
    """The first run makes the table and adds rows, the second adds to it by the mark that it finds."""
    project.write(pipeline(events.keys, {"type": "iceberg"}, into="copy", **READS["table without a window"]))
    script = imported_by(project.folder / "ingest.yml", NOT_APPENDED_WITH)
    for new, id_ in ((10, 11), (1, 12)):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert f"{new} rows written" in done.stdout
        assert done.stdout.strip().endswith("IMPORTED []")
        events.execute("INSERT INTO events VALUES (%s, 'v')", id_)


def test_a_first_run_into_iceberg_reads_while_it_imports_pyiceberg(events: Database, project: Project) -> None:
    """Everything up to the first row is asked without pyiceberg: that there is no catalog yet is the whole answer."""
    project.write(pipeline(events.keys, {"type": "iceberg"}, into="copy", **READS["table"]))
    script = (
        "import sys\n"
        "from conduit.connectors.iceberg.destination import IcebergDestination\n"
        "prepare, seen = IcebergDestination.prepare, []\n"
        "def watched(self, write):\n"
        "    seen.append([name for name in ('pyiceberg', 'iceframe.catalog') if name in sys.modules])\n"
        "    return prepare(self, write)\n"
        "IcebergDestination.prepare = watched\n"
    )
    script += imported_by(project.folder / "ingest.yml", ("sqlalchemy",)) + "print('PREPARED WITH', seen)\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "10 rows written" in done.stdout
    assert done.stdout.strip().endswith("IMPORTED []\nPREPARED WITH [[]]")


def test_a_run_ends_without_a_last_look_for_garbage_and_takes_no_huge_pages(events: Database, project: Project) -> None:
    project.write(pipeline(events.keys, events.keys, into="copy", **READS["table"]))
    script = imported_by(project.folder / "ingest.yml", ())
    script += "import gc, os\nprint('FROZEN', gc.get_freeze_count() > 10_000, os.environ['MIMALLOC_ALLOW_THP'])\n"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("FROZEN True 0")


def imported_by(file: Path, names: tuple[str, ...]) -> str:
    """A script that runs a file and prints which of these modules were imported."""
    return (
        "import sys\n"
        f"sys.argv = ['conduit', 'run', {str(file)!r}]\n"
        "from conduit.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print('IMPORTED', [name for name in {names!r} if name in sys.modules])\n"
    )


def test_a_transaction_that_only_others_wrote_in_is_looked_at(events: Database, project: Project) -> None:
    """A window that holds transactions is read, one that holds none is not; no row is missed by that."""
    file = loaded(project, events, events.keys, READS["table"])
    assert conduit.run(file)["r"].status == "nothing new"
    events.execute("CREATE TABLE other ()")
    assert conduit.run(file)["r"].status == "nothing new"
    events.execute("INSERT INTO events VALUES (11, 'v')")
    assert conduit.run(file)["r"].written == 1
    assert conduit.run(file)["r"].status == "nothing new"
