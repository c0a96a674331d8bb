"""A merge into PostgreSQL looks rows up by the index of their key where they are few."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.postgres import Database
from tests.support.project import Project, pipeline

ROWS = 300_000


@pytest.mark.parametrize(("setting", "reads_all"), [("4", False), ("3.9", True)])
def test_a_few_rows_do_not_read_the_whole_table_unless_the_server_was_told_to(
    database: Database, tmp_path: Path, setting: str, *, reads_all: bool
) -> None:
    project = Project(tmp_path)
    note = "repeat('x', 80)"
    database.execute(f"CREATE TABLE wide AS SELECT g AS id, {note} AS note FROM generate_series(1, {ROWS}) AS g")
    database.execute("ALTER TABLE wide ADD PRIMARY KEY (id)")
    database.execute(f"CREATE TABLE new AS SELECT g * 90 AS id, 'y' AS note FROM generate_series(1, {ROWS // 80}) AS g")
    database.execute("ANALYZE wide")
    database.execute(f'ALTER DATABASE "{database.name}" SET random_page_cost = {setting}')
    project.write(pipeline(database.keys, database.keys, table="new", into="wide", mode="merge", primary_key="id"))
    before = database.execute("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'wide'")[0][0]
    report = project.run()
    assert (report["updated"], report["inserted"]) == (ROWS // 90, ROWS // 80 - ROWS // 90)
    after = database.execute("SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'wide'")[0][0]
    assert (after - before >= ROWS) is reads_all
