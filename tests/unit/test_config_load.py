"""ingest.yml -> Project: what a file means, and how all its problems are told."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from conduit.config.load import load
from conduit.config.models import Incremental, Resource
from conduit.connectors.postgresql.config import PostgresqlConnection
from conduit.errors import ConfigError
from conduit.schemas import DECLARABLE, declared, is_declarable
from tests.unit.config_files import (
    DOCUMENTED,
    ENDS,
    FIRST,
    line,
    problems,
    project,
    resource,
    written,
)

# --- what a file means ----------------------------------------------------------------------------------


def test_the_documented_file_loads(tmp_path: Path) -> None:
    found = project(tmp_path, DOCUMENTED)
    connection = found.sources["production_db"].connection
    assert isinstance(connection, PostgresqlConnection)
    assert connection.host == "db.example.com"
    assert connection.schema == "public"
    assert found.resources == (
        Resource(
            name="sync_new_users",
            source="production_db",
            destination="data_warehouse",
            mode="append",
            into="raw_users",
            query="SELECT id, name, email, created_at FROM users WHERE id > :last_value ORDER BY id",
            incremental=Incremental(column="id"),
            where="ingest.yml:18",
        ),
    )
    assert found.pipeline == "default"
    assert found.folder == tmp_path


def test_every_key_of_a_resource_arrives(tmp_path: Path) -> None:
    text = ENDS + textwrap.indent(
        textwrap.dedent("""\
            - name: totals
              source: shop
              destination: lake
              table: public.totals
              incremental: {column: at, initial_value: 2024-01-01, lag: 100000, on_null: exclude, safety: lag}
              primary_key: [day, shop]
              mode: merge
              into: mart.totals
              update: {n: "target.n + source.n"}
              columns: {n: "decimal(12, 2)", at: timestamptz}
              metadata_columns: true
              schema_changes: fail
              checkpoint_interval: 1000
              batch_size: 500
            """),
        "  ",
    )
    assert project(tmp_path, text).resources == (
        Resource(
            name="totals",
            source="shop",
            destination="lake",
            mode="merge",
            into="mart.totals",
            table="public.totals",
            incremental=Incremental(
                column="at", initial_value="2024-01-01", lag="100000", on_null="exclude", safety="lag"
            ),
            primary_key=("day", "shop"),
            update={"n": "target.n + source.n"},
            columns={"n": "decimal(12, 2)", "at": "timestamptz"},
            metadata_columns=True,
            schema_changes="fail",
            checkpoint_interval=1000,
            batch_size=500,
            where=f"ingest.yml:{FIRST}",
        ),
    )


@pytest.mark.parametrize(
    ("written_value", "kept"),
    [("0", "0"), ("-5", "-5"), ("0123", "0123"), ("12:30:45", "12:30:45"), ("2024-01-01", "2024-01-01"),
     ("12345678901234567890.12", "12345678901234567890.12"), ("no", "no"), ("1e3", "1e3"), ("'null'", "null")],
)  # fmt: skip
def test_an_initial_value_and_a_lag_are_kept_as_they_were_written(
    tmp_path: Path, written_value: str, kept: str
) -> None:
    keys = f"table: t, incremental: {{column: id, initial_value: {written_value}, lag: {written_value}}}"
    found = resource(tmp_path, keys).incremental
    assert found == Incremental(column="id", initial_value=kept, lag=kept)


def test_a_name_that_looks_like_a_number_is_text(tmp_path: Path) -> None:
    text = DOCUMENTED.replace("production_db", "0123").replace("database: appdb", "database: no")
    connection = project(tmp_path, text).sources["0123"].connection
    assert isinstance(connection, PostgresqlConnection)
    assert connection.database == "no"


@pytest.mark.parametrize("nothing", ["", "~", "null"])
def test_an_empty_value_is_a_key_that_is_not_set(tmp_path: Path, nothing: str) -> None:
    found = resource(tmp_path, f"table: t, incremental_column: id, batch_size: {nothing}, into: {nothing}")
    assert (found.batch_size, found.into) == (None, "users")


def test_a_key_can_be_one_column(tmp_path: Path) -> None:
    assert resource(tmp_path, "table: t, mode: merge, primary_key: id").primary_key == ("id",)


def test_another_word_for_a_type_means_the_same(tmp_path: Path) -> None:
    found = project(tmp_path, DOCUMENTED.replace("type: postgresql", "type: postgres"))
    assert found.sources["production_db"].type == "postgresql"


def test_an_anchor_saves_writing_a_list_twice(tmp_path: Path) -> None:
    text = ENDS + line("table: t, mode: merge, primary_key: &key [a, b]")
    text += line("table: u, mode: merge, primary_key: *key", name="others")
    assert [found.primary_key for found in project(tmp_path, text).resources] == [("a", "b"), ("a", "b")]


# --- mode, target, defaults -----------------------------------------------------------------------------


def test_with_a_cursor_the_mode_is_append(tmp_path: Path) -> None:
    assert resource(tmp_path, "table: t, incremental_column: id").mode == "append"


def test_full_refresh_is_another_word_for_replace(tmp_path: Path) -> None:
    assert resource(tmp_path, "table: t, mode: full_refresh").mode == "replace"


@pytest.mark.parametrize(
    ("defaults", "destination", "own", "expected"),
    [("replace", "", "", "replace"), ("replace", "merge", "", "merge"), ("append", "append", "replace", "replace"),
     ("", "replace", "", "replace"), ("", "", "merge", "merge")],
)  # fmt: skip
def test_the_nearest_word_about_the_mode_counts(
    tmp_path: Path, defaults: str, destination: str, own: str, expected: str
) -> None:
    head = ENDS.replace("{name: lake, type: postgresql}", f"{{name: lake, type: postgresql, mode: {destination}}}")
    head = f"defaults: {{mode: {defaults}, primary_key: id}}\n" + head
    assert resource(tmp_path, f"table: t, mode: {own}", head).mode == expected


def test_settings_come_from_the_resource_then_the_destination_then_the_defaults(tmp_path: Path) -> None:
    head = "defaults: {metadata_columns: true, schema_changes: fail, batch_size: 10, checkpoint_interval: 20}\n" + ENDS
    shared = resource(tmp_path, "table: t, incremental_column: id", head)
    assert (shared.metadata_columns, shared.schema_changes) == (True, "fail")
    assert (shared.batch_size, shared.checkpoint_interval) == (10, 20)
    head = head.replace("lake, type: postgresql", "lake, type: postgresql, metadata_columns: false")
    nearer = resource(tmp_path, "table: t, incremental_column: id, schema_changes: ignore, batch_size: 5", head)
    assert (nearer.metadata_columns, nearer.schema_changes, nearer.batch_size) == (False, "ignore", 5)


def test_the_target_is_into_then_the_destinations_table_then_the_name(tmp_path: Path) -> None:
    keys = "table: t, incremental_column: id"
    head = ENDS.replace("{name: lake, type: postgresql}", "{name: lake, type: postgresql, table: raw.users}")
    assert resource(tmp_path, f"{keys}, into: x.y", head).into == "x.y"
    assert resource(tmp_path, keys, head).into == "raw.users"
    assert resource(tmp_path, keys).into == "users"


# --- the whole file -------------------------------------------------------------------------------------


def test_all_problems_of_a_file_are_told_together_in_file_order(tmp_path: Path) -> None:
    text = """\
    pipline: x
    defaults: {mode: banana}
    sources:
      - {name: a, type: postgresql, port: 0123, password: "${NOT_SET}"}
      - {name: a, type: postgrsql}
    destinations:
      - {name: d, type: postgresql, table: ../x}
    resources:
      - name: r1
        source: aa
        destination: d
        incremental_colum: id
        query: SELECT 1
        table: t
        mode: replace
      - r2
      - {name: r3, source: a, destination: d, table: t, into: x, mode: merge, batch_size: none}
    """
    found = problems(tmp_path, textwrap.dedent(text))
    starts = [
        "1: pipline: unknown key; did you mean pipeline?",
        "2: defaults.mode: unknown value 'banana'",
        "4: sources[0].port: ",
        "4: sources[0].password: the variable NOT_SET is not set",
        "5: sources[1].name: the name is there twice; first in line 4",
        "5: sources[1].type: unknown type 'postgrsql'; did you mean postgresql?",
        "7: destinations[0].table: ",
        "10: resources[0].source: there is no source 'aa'; did you mean a?",
        "12: resources[0].incremental_colum: unknown key; did you mean incremental_column?",
        "14: resources[0].table: give query or table, not both",
        "15: resources[0].mode: mode replace loads everything anew",
        "16: resources[1]: expected keys and values, found a single value",
        "17: resources[2].mode: mode merge needs a primary_key",
        "17: resources[2].batch_size: expected a whole number, found 'none'",
    ]
    assert len(found) == len(starts), found
    for problem, start in zip(found, starts, strict=True):
        assert problem.startswith(f"ingest.yml:{start}")


@pytest.mark.parametrize("section", ["sources", "destinations", "resources"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "the key is missing"),
        ("", "the section is empty"),
        ("[]", "the section is empty"),
        ("{name: x}", "expected a list"),
        ("x", "expected a list"),
    ],
)
def test_a_section_is_a_list_with_entries(tmp_path: Path, section: str, value: str | None, words: str) -> None:
    sections = {
        "sources": "[{name: s, type: postgresql}]",
        "destinations": "[{name: d, type: postgresql}]",
        "resources": "[{name: r, source: s, destination: d, table: t, mode: replace}]",
    }
    sections[section] = "" if value is None else value
    text = "".join(f"{key}: {text}\n" for key, text in sections.items() if key != section or value is not None)
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert f": {section}: {words}" in found[0]


def test_a_wrong_default_is_told_once_and_not_at_every_resource(tmp_path: Path) -> None:
    head = "defaults: {mode: banana, primary_key: {}}\n" + ENDS
    found = problems(tmp_path, head + line("table: t", name="a") + line("table: t, mode: merge", name="b"))
    assert [problem.split(": ")[1] for problem in found] == ["defaults.mode", "defaults.primary_key"]


def test_a_file_that_is_not_there_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*ingest\.yml\n  hint: `conduit init`"):
        load(tmp_path / "ingest.yml", environment={})


@pytest.mark.parametrize("path", [".", "a\0b"])
def test_a_path_that_is_no_file_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / path, environment={})


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, DOCUMENTED)
    file.chmod(0)
    with pytest.raises(ConfigError, match="Permission denied"):
        load(file, environment={})


def test_the_problems_carry_file_line_column_and_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        project(tmp_path, DOCUMENTED.replace("incremental_column", "incremental_colum"))
    first = caught.value.problems[0]
    assert (first.file, first.line, first.column, first.key) == ("ingest.yml", 21, 5, "resources[0].incremental_colum")


def test_a_thousand_resources_load_in_a_moment(tmp_path: Path) -> None:
    text = ENDS + "".join(line("table: t, mode: replace", name=f"r{n}") for n in range(1000))
    assert len(project(tmp_path, text).resources) == 1000


def test_the_types_that_load_takes_are_those_that_arrow_gets() -> None:
    names = DECLARABLE.replace("decimal(p,s)", "decimal(12)").split(", ")
    assert all(is_declarable(name) and declared(name) is not None for name in [*names, "Decimal( 38 , 10 )", "INT8"])
    for name in ("decimal(39)", "decimal(5,6)", "decimal(0)", "decimal", "decimal(" + "9" * 5000 + ")", "", "txet"):
        assert not is_declarable(name)
        with pytest.raises(ConfigError):
            declared(name)


def test_loading_imports_nothing_heavy(tmp_path: Path) -> None:
    file = written(tmp_path, DOCUMENTED)
    program = (
        "import sys, conduit.config, conduit.config.load as door\n"
        f"door.load({str(file)!r}, environment={{'PG_PASSWORD': 'x'}})\n"
        "print(*sorted({'pyarrow', 'duckdb', 'sqlglot', 'rich', 'psycopg2', 'polars', 'click'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("first", ["conduit.connectors.registry", "conduit.config.load", "conduit.config.models"])
def test_the_modules_can_be_imported_in_any_order(first: str) -> None:
    program = f"import {first}, conduit.config.load, conduit.connectors.registry"
    subprocess.run([sys.executable, "-c", program], check=True)
