"""What a resource may say: every rule refuses with line, key and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit.config.models import Incremental
from tests.unit.config_files import (
    DOCUMENTED,
    ENDS,
    FIRST,
    line,
    only_problem,
    problems,
    project,
    resource,
)

# --- one rule a test ------------------------------------------------------------------------------------

RULES = {
    "unknown key": ("table: t, incremental_colum: id", ("incremental_colum: unknown key; did you mean "
                    "incremental_column?")),
    "quality_checks": ("table: t, mode: replace, quality_checks: []", "quality_checks: not available in this version"),
    "empty transform": ("table: t, mode: replace, transform: ''", "transform: the value is empty"),
    "on_change without a history": ("table: t, incremental_column: id, on_change: ignore", ("on_change: a source of "
                                    "type postgresql keeps no history of its rows")),
    "partition as text": ("table: t, mode: replace, partition: day", ("partition: expected keys and values, found a "
                          "single value")),
    "partition without column": ("table: t, mode: replace, partition: {number: 2}", ("partition.column: the key is "
                                 "missing")),
    "no ranges": ("table: t, mode: replace, partition: {column: id, number: 0}", ("partition.number: expected a whole "
                  "number >= 1")),
    "ranges by name": ("table: t, mode: replace, partition: {column: id, number: many}", ("partition.number: ")),
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
    "more than all rows": ("table: t, mode: replace, allow_shrink: 1.5", "allow_shrink: expected a number <= 1.0"),
    "fewer than no rows": ("table: t, mode: replace, allow_shrink: -1", "allow_shrink: expected a number >= 0.0"),
    "no share": ("table: t, mode: replace, allow_shrink: half", "allow_shrink: expected a number, found 'half'"),
    "changed files of SQL": ("table: t, mode: replace, on_changed_file: reload", ("on_changed_file: only a source of "
                             "files has files that change")),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_a_rule_refuses_with_line_key_and_reason(tmp_path: Path, name: str) -> None:
    keys, words = RULES[name]
    assert only_problem(tmp_path, keys).startswith(words)


def test_only_a_source_that_shares_its_snapshot_is_read_in_ranges(tmp_path: Path) -> None:
    found = only_problem(tmp_path, "mode: append, partition: {column: id}", source="files")
    assert found.endswith("partition: a source of type csv is read by one reader; several: postgresql")


@pytest.mark.parametrize("key", ["query: SELECT 1", "table: t"])
def test_a_source_of_files_takes_neither_query_nor_table(tmp_path: Path, key: str) -> None:
    found = only_problem(tmp_path, f"mode: append, {key}", source="files")
    assert "a source of type csv takes no" in found
    assert "which files are read" in found


@pytest.mark.parametrize("key", ["query: SELECT 1", "table: t"])
def test_a_python_object_takes_neither_query_nor_table(tmp_path: Path, key: str) -> None:
    assert "given to conduit.run" in only_problem(tmp_path, f"mode: replace, {key}", source="given")


WINDOW = "incremental: {column: id, safety: xid_window}"


@pytest.mark.parametrize(("source", "type_"), [("files", "csv"), ("given", "python")])
def test_a_window_is_refused_where_a_source_never_has_one(tmp_path: Path, source: str, type_: str) -> None:
    found = only_problem(tmp_path, WINDOW, source=source)
    assert found.startswith(f"incremental.safety: a source of type {type_} does not tell which transaction wrote a row")


def test_a_window_can_be_asked_of_postgresql_and_the_problem_stands_at_its_own_line(tmp_path: Path) -> None:
    assert resource(tmp_path, f"table: t, {WINDOW}").incremental == Incremental(column="id", safety="xid_window")
    for type_ in ("sqlite", "duckdb"):
        ends = f"sources:\n  - {{name: s, type: {type_}, database: s.db}}\n"
        ends += "destinations:\n  - {name: d, type: parquet, path: d/}\nresources:\n"
        found = problems(
            tmp_path,
            ends + "  - name: r\n    source: s\n    destination: d\n    table: t\n    incremental:\n"
            "      column: id\n      safety: xid_window\n",
        )
        assert len(found) == 1
        assert ":12: resources[0].incremental.safety: a source of type" in found[0]


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
