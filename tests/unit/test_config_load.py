"""ingest.yml -> Project: what a file means, and every rule that refuses one, with line and key."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from conduit.config.load import load
from conduit.config.models import Incremental, Project, Resource
from conduit.connectors.postgresql.config import PostgresqlConnection
from conduit.errors import ConfigError
from conduit.schemas import DECLARABLE, declared, is_declarable

DOCUMENTED = """\
sources:
  - name: production_db
    type: postgresql
    database: appdb
    user: readonly
    password: ${PG_PASSWORD}
    host: db.example.com
    schema: public

destinations:
  - name: data_warehouse
    type: postgresql
    # ... the connection's keys ...
    table: raw_users
    mode: append # Important for incremental loads

resources:
  - name: sync_new_users
    source: production_db
    destination: data_warehouse
    incremental_column: id # Track the 'id' column
    query: "SELECT id, name, email, created_at FROM users WHERE id > :last_value ORDER BY id"
    # Mode is implicitly 'incremental' because incremental_column is set
"""

ENDS = """\
sources:
  - {name: shop, type: postgresql}
  - {name: files, type: csv, path: in/}
  - {name: given, type: python}
destinations:
  - {name: lake, type: postgresql}
  - {name: raw, type: parquet, path: out/}
  - {name: one, type: csv, path: out.csv}
resources:
"""
FIRST = ENDS.count("\n") + 1
"""The line of the first resource."""


def written(folder: Path, text: str) -> Path:
    file = folder / "ingest.yml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return file


def project(folder: Path, text: str) -> Project:
    return load(written(folder, text), environment={"PG_PASSWORD": "x"})


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        project(folder, text)
    error = caught.value
    assert error.exit_code == 2
    count = len(error.problems)
    assert error.message == f"ingest.yml has {count} problem{'s' if count > 1 else ''}"
    return [str(problem) for problem in error.problems]


def line(keys: str, name: str = "users", source: str = "shop", destination: str = "lake") -> str:
    return f"  - {{name: {name}, source: {source}, destination: {destination}, {keys}}}\n"


def resource(folder: Path, keys: str, head: str = ENDS, source: str = "shop", destination: str = "lake") -> Resource:
    return project(folder, head + line(keys, source=source, destination=destination)).resources[0]


def only_problem(folder: Path, keys: str, source: str = "shop", destination: str = "lake") -> str:
    found = problems(folder, ENDS + line(keys, source=source, destination=destination))
    assert len(found) == 1, found
    assert found[0].startswith(f"ingest.yml:{FIRST}: resources[0]")
    return found[0].removeprefix(f"ingest.yml:{FIRST}: resources[0]").lstrip(".")


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


# --- one rule a test ------------------------------------------------------------------------------------

RULES = {
    "unknown key": ("table: t, incremental_colum: id", ("incremental_colum: unknown key; did you mean "
                    "incremental_column?")),
    "quality_checks": ("table: t, mode: replace, quality_checks: []", "quality_checks: not available in this version"),
    "transform": ("table: t, mode: replace, transform: SELECT 1", "transform: not available in this version"),
    "partition": ("table: t, mode: replace, partition: day", "partition: not available in this version"),
    "bad mode": ("table: t, mode: banana", ("mode: unknown value 'banana'; use one of: append, merge, replace, "
                 "full_refresh")),
    "mode off by a letter": ("table: t, mode: apend", "mode: unknown value 'apend'; did you mean append?"),
    "query and table": ("query: SELECT 1, table: t, mode: replace", "table: give query or table, not both"),
    "neither": ("mode: replace", ": say what to read from shop: `query:` or `table:`"),
    "empty query": ("query: '', mode: replace", "query: the value is empty"),
    "two cursors": ("table: t, incremental_column: id, incremental: {column: id}", ("incremental_column: give "
                    "incremental_column or incremental, not both")),
    "cursor without column": ("table: t, incremental: {lag: 5}", "incremental.column: the key is missing"),
    "empty cursor": ("table: t, incremental: {column: ''}", "incremental.column: the value is empty"),
    "cursor as text": ("table: t, incremental: id", "incremental: expected keys and values, found a single value"),
    "xid_window": ("table: t, incremental: {column: id, safety: xid_window}", ("incremental: safety: xid_window comes "
                   "with a later version; use `lag`")),
    "no mode": ("table: t", ": the mode is missing: without incremental_column say `mode: replace`"),
    "append without cursor": ("table: t, mode: append", ("mode: mode append without a cursor: nothing tells a retry "
                              "from a second run")),
    "replace with cursor": ("table: t, mode: replace, incremental_column: id", ("mode: mode replace loads everything "
                            "anew")),
    "merge without key": ("table: t, mode: merge", "mode: mode merge needs a primary_key"),
    "update without merge": ("table: t, mode: replace, update: {a: 'target.a'}", "update: update says what a merge"),
    "empty key": ("table: t, mode: merge, primary_key: []", "primary_key: the value is empty"),
    "empty column in key": ("table: t, mode: merge, primary_key: [a, '']", "primary_key: the value is empty"),
    "column twice in key": ("table: t, mode: merge, primary_key: [a, a]", "primary_key: a column is there twice"),
    "key of keys": ("table: t, mode: merge, primary_key: {a: b}", "primary_key: expected text or a list, found keys"),
    "no rows per batch": ("table: t, mode: replace, batch_size: 0", "batch_size: expected a whole number >= 1"),
    "negative checkpoints": ("table: t, incremental_column: id, checkpoint_interval: -1", ("checkpoint_interval: "
                             "expected a whole number >= 1")),
    "unknown column type": ("table: t, mode: replace, columns: {a: txet}", ("columns.a: unknown type 'txet'; use one "
                            "of: boolean")),
    "decimal too wide": ("table: t, mode: replace, columns: {a: decimal(40)}", "columns.a: unknown type 'decimal(40)'"),
    "comma in braces": ("table: t, mode: replace, columns: {a: decimal(12,2)}", "columns.2): a comma ends a value"),
    "changed files of SQL": ("table: t, mode: replace, on_changed_file: reload", ("on_changed_file: only a source of "
                             "files has files that change")),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_rule_refuses_with_line_key_and_reason(tmp_path: Path, name: str) -> None:
    keys, words = RULES[name]
    assert only_problem(tmp_path, keys).startswith(words)


@pytest.mark.parametrize("key", ["query: SELECT 1", "table: t"])
def test_a_source_of_files_takes_neither_query_nor_table(tmp_path: Path, key: str) -> None:
    found = only_problem(tmp_path, f"mode: append, {key}", source="files")
    assert "a source of type csv takes no" in found
    assert "which files are read" in found


@pytest.mark.parametrize("key", ["query: SELECT 1", "table: t"])
def test_a_python_object_takes_neither_query_nor_table(tmp_path: Path, key: str) -> None:
    assert "given to conduit.run" in only_problem(tmp_path, f"mode: replace, {key}", source="given")


def test_files_can_be_appended_without_a_cursor(tmp_path: Path) -> None:
    assert resource(tmp_path, "mode: append", source="files").mode == "append"
    assert "`mode: append` (each file is loaded once)" in only_problem(tmp_path, "into: x", source="files")


def test_a_python_object_cannot_be_appended_without_a_cursor(tmp_path: Path) -> None:
    assert "nothing tells a retry" in only_problem(tmp_path, "mode: append", source="given")
    assert resource(tmp_path, "incremental_column: id", source="given").mode == "append"


def test_reloading_changed_files_needs_merge(tmp_path: Path) -> None:
    found = only_problem(tmp_path, "mode: append, on_changed_file: reload", source="files")
    assert found.startswith("on_changed_file: on_changed_file: reload needs `mode: merge`")
    keys = "mode: merge, primary_key: id, on_changed_file: reload"
    assert resource(tmp_path, keys, source="files").on_changed_file == "reload"


def test_a_default_for_changed_files_leaves_other_sources_alone(tmp_path: Path) -> None:
    head = "defaults: {on_changed_file: reload}\n" + ENDS
    assert resource(tmp_path, "table: t, mode: replace", head).mode == "replace"


def test_what_the_destination_cannot_do_is_refused_with_its_reason(tmp_path: Path) -> None:
    merge = only_problem(tmp_path, "table: t, mode: merge, primary_key: id", destination="raw")
    assert merge.startswith("mode: destination raw (parquet) cannot merge: ")
    keys = "table: t, incremental_column: id, checkpoint_interval: 5"
    checkpoint = only_problem(tmp_path, keys, destination="one")
    assert checkpoint.startswith("checkpoint_interval: destination one (csv) cannot commit at checkpoints: ")
    assert resource(tmp_path, "table: t, incremental_column: id", destination="one").mode == "append"


def test_a_mode_that_the_destination_says_is_checked_too(tmp_path: Path) -> None:
    text = ENDS.replace("path: out/", "path: out/, mode: merge") + line("table: t, primary_key: id", destination="raw")
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert "resources[0]: destination raw (parquet) cannot merge: " in found[0]
    assert found[0].endswith("(mode comes from destination raw)")


def test_a_setting_that_the_defaults_say_is_checked_too(tmp_path: Path) -> None:
    text = "defaults: {checkpoint_interval: 5}\n" + ENDS + line("table: t, incremental_column: id", destination="one")
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert found[0].endswith("(checkpoint_interval comes from the defaults)")


# --- names and targets ----------------------------------------------------------------------------------

EVIL_NAMES = [
    "../x", "a/b", "/etc/passwd", "a\\b", "a b", ".hidden", "..", ".", "''", "x" * 101, "ünï", "a:b", "'a\\0'", "a;b",
    "'a\n\n  b'", "a$b", "'*'", "a%b",
]  # fmt: skip


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_names_are_tame(tmp_path: Path, name: str) -> None:
    quoted = name if name.startswith("'") else f"'{name}'"
    head = f"pipeline: {quoted}\n" + ENDS.replace("name: shop", f"name: {quoted}").replace(
        "name: lake", f"name: {quoted}"
    )
    found = problems(tmp_path, head + line("table: t, mode: replace, into: t", name=quoted, source="given").replace(
        "table: t, ", "").replace("destination: lake", "destination: raw"))  # fmt: skip
    keys = [problem.split(": ")[1] for problem in found]
    assert keys == ["pipeline", "sources[0].name", "destinations[0].name", "resources[0].name"]


@pytest.mark.parametrize("name", ["a", "x" * 100, "A-1_b.c", "0", "-", "_a", "a..b"])
def test_tame_names_are_taken(tmp_path: Path, name: str) -> None:
    text = ENDS + line("table: t, mode: replace, into: t", name=name)
    assert project(tmp_path, text).resources[0].name == name


EVIL_TABLES = [
    "../x", "..", "a..b", ".a", "a.", "/etc/passwd", "a/b", "a\\b", 'a"b', "x" * 64, "s." + "x" * 64, "ü" * 32,
]  # fmt: skip


@pytest.mark.parametrize("table", EVIL_TABLES)
def test_a_target_cannot_leave_its_place(tmp_path: Path, table: str) -> None:
    keys = f"table: t, mode: replace, into: '{table}'"
    assert only_problem(tmp_path, keys).startswith("into: ")
    head = ENDS.replace("{name: lake, type: postgresql}", f"{{name: lake, type: postgresql, table: '{table}'}}")
    found = problems(tmp_path, head + line("table: t, mode: replace"))
    assert len(found) == 1
    assert found[0].startswith("ingest.yml:6: destinations[0].table: ")


@pytest.mark.parametrize("escape", [r"\0", r"\n", r"\x1f", r"\x7f"])
def test_a_target_has_no_control_characters(tmp_path: Path, escape: str) -> None:
    found = problems(tmp_path, ENDS + line(f'table: t, mode: replace, into: "a{escape}b"'))
    assert len(found) == 1
    assert f"ingest.yml:{FIRST}" in found[0]


@pytest.mark.parametrize("table", ["users", "raw.users", "db.raw.users", "x" * 63, "Weird name", "ü" * 31, "a-b;c'd"])
def test_a_target_is_a_table_or_a_schema_and_a_table(tmp_path: Path, table: str) -> None:
    quoted = table.replace("'", "''")
    assert resource(tmp_path, f"table: t, mode: replace, into: '{quoted}'").into == table


def test_a_name_that_is_no_table_asks_for_into(tmp_path: Path) -> None:
    found = problems(tmp_path, ENDS + line("table: t, mode: replace", name="x" * 64))
    assert len(found) == 1
    assert f"resources[0].name: the name is also the target table's; set `into`: {''}" in found[0]


def test_a_table_of_a_destination_that_is_wrong_is_told_once(tmp_path: Path) -> None:
    head = ENDS.replace("{name: lake, type: postgresql}", "{name: lake, type: postgresql, table: [x]}")
    found = problems(tmp_path, head + line("table: t, mode: replace", name="x" * 64))
    assert [problem.split(": ")[1] for problem in found] == ["destinations[0].table"]


@pytest.mark.parametrize(("one", "other"), [("users", "users"), ("users", "Users")])
def test_names_are_different_even_where_case_does_not_count(tmp_path: Path, one: str, other: str) -> None:
    keys = "table: t, incremental_column: id"
    text = ENDS + line(f"{keys}, into: a", name=one) + line(f"{keys}, into: b", name=other)
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(f"ingest.yml:{FIRST + 1}: resources[1].name: the name is there twice")
    assert found[0].endswith(f"first in line {FIRST}")


def test_a_misspelt_key_is_not_also_called_missing(tmp_path: Path) -> None:
    assert len(problems(tmp_path, DOCUMENTED.replace("incremental_column", "incremental_colum"))) == 1
    assert len(problems(tmp_path, ENDS + line("table: t, mode: merge, primary_keys: id"))) == 1
    assert len(problems(tmp_path, ENDS + line("tabel: t, mode: replace").replace("source:", "sourc:"))) == 2


def test_a_dangling_end_is_named_with_what_was_meant(tmp_path: Path) -> None:
    found = problems(tmp_path, ENDS + line("table: t, mode: replace", source="shp", destination="xyz"))
    assert found == [
        f"ingest.yml:{FIRST}: resources[0].source: there is no source 'shp'; did you mean shop?",
        f"ingest.yml:{FIRST}: resources[0].destination: there is no destination 'xyz'; use one of: lake, raw, one",
    ]


# --- side by side ---------------------------------------------------------------------------------------

REPLACE = "table: t, mode: replace, into: x"
APPEND = "table: t, incremental_column: id, into: X"


@pytest.mark.parametrize(("first", "second"), [(REPLACE, REPLACE), (REPLACE, APPEND), (APPEND, REPLACE)])
def test_a_table_that_is_replaced_has_one_writer(tmp_path: Path, first: str, second: str) -> None:
    found = problems(tmp_path, ENDS + line(first, name="r1") + line(second, name="r2"))
    assert len(found) == 1
    assert "replaces the table that this one writes" in found[0]


def test_two_names_for_one_destination_are_one_place(tmp_path: Path) -> None:
    head = ENDS.replace("destinations:\n", "destinations:\n  - {name: again, type: postgres}\n")
    text = head + line(REPLACE, name="r1") + line(REPLACE, name="r2", destination="again")
    assert len(problems(tmp_path, text)) == 1


def test_two_resources_can_append_to_one_table(tmp_path: Path) -> None:
    assert len(project(tmp_path, ENDS + line(APPEND, name="r1") + line(APPEND, name="r2")).resources) == 2


def test_two_destinations_can_each_be_replaced(tmp_path: Path) -> None:
    text = ENDS + line(REPLACE, name="r1") + line(REPLACE, name="r2", destination="raw")
    assert len(project(tmp_path, text).resources) == 2


# --- connections ----------------------------------------------------------------------------------------


def entry_problems(folder: Path, entry: str, side: str = "sources") -> list[str]:
    good = ENDS.replace(f"{side}:\n", f"{side}:\n  - {entry}\n", 1)
    return problems(folder, good + line("table: t, mode: replace"))


def test_an_unknown_type_is_named_with_what_was_meant(tmp_path: Path) -> None:
    assert entry_problems(tmp_path, "{name: x, type: postgrsql, whatever: 1}") == [
        "ingest.yml:2: sources[0].type: unknown type 'postgrsql'; did you mean postgresql?"
    ]


def test_a_type_on_the_wrong_side_is_said(tmp_path: Path) -> None:
    assert entry_problems(tmp_path, "{name: x, type: python}", "destinations") == [
        "ingest.yml:6: destinations[0].type: the type python can only be a source, not a destination"
    ]


@pytest.mark.parametrize("entry", ["x", "[x]", "3", "null"])
def test_an_entry_that_is_no_mapping_is_said(tmp_path: Path, entry: str) -> None:
    assert entry_problems(tmp_path, entry)[0].startswith("ingest.yml:2: sources[0]: expected keys and values, found ")


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("port: 0123", "port: expected a whole number, found '0123': a number has no leading zero"),
        ("port: 12:30:45", "port: expected a whole number, found '12:30:45': a number has no colon"),
        ("port: 0x10", "port: expected a whole number, found '0x10': write the number in decimal"),
        ("port: 1_000", "port: expected a whole number, found '1_000': write the number without underscores"),
        ("port: 5432.0", "port: expected a whole number, found '5432.0'"),
        ("port: '5432'", "port: write 5432 without quotes"),
        ("port: +5", "port: expected a whole number, found '+5'"),
        ("port: ٣", "port: expected a whole number, found '٣'"),
        ("port: 99999999999999999999", "port: expected a whole number, found '99999999999999999999': the number is "),
        ("port: [1]", "port: expected a whole number, found a list"),
        ("sslmode: strict", "sslmode: unknown value 'strict'; use one of: "),
        ("options: x", "options: expected keys and values, found a single value"),
        ("options: {a: [b]}", "options.a: expected text, found a list"),
        ("host: {a: b}", "host: expected text, found keys and values"),
        ("pasword: x", "pasword: unknown key; did you mean password?"),
        ("table: x", "table: unknown key"),
    ],
)
def test_a_wrong_key_of_a_connection_is_said(tmp_path: Path, keys: str, words: str) -> None:
    found = entry_problems(tmp_path, f"{{name: x, type: postgresql, {keys}}}")
    assert len(found) == 1
    assert found[0].startswith(f"ingest.yml:2: sources[0].{words}")


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "True", "FALSE", "1", "y"])
def test_only_true_and_false_are_booleans(tmp_path: Path, word: str) -> None:
    assert entry_problems(tmp_path, f"{{name: x, type: csv, path: a/, header: {word}}}") == [
        f"ingest.yml:2: sources[0].header: write true or false, not '{word}'"
    ]


def test_the_connectors_own_refusal_stands_at_its_entry(tmp_path: Path) -> None:
    assert entry_problems(tmp_path, "{name: x, type: csv, path: a/, delimiter: ';;'}") == [
        "ingest.yml:2: sources[0]: delimiter must be one ASCII character, and no end of line"
    ]


def test_a_connector_of_another_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moon_base.py").write_text(
        "from conduit.config.models import Connection\n"
        "from conduit.connectors.registry import Connector\n"
        "class Moon(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):\n    crater: str\n"
        "connector = Connector(source_connection='moon_base:Moon')\n"
    )
    info = tmp_path / "moon_base-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: moon-base\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[conduit.connectors]\nmoon = moon_base:connector\nbroken = moon_base:nothing\ngone = no_such_module:x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert entry_problems(tmp_path, "{name: x, type: moon}") == ["ingest.yml:2: sources[0].crater: the key is missing"]
    for name in ("broken", "gone"):
        assert "cannot be loaded" in entry_problems(tmp_path, f"{{name: x, type: {name}}}")[0]


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
