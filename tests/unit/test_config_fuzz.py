"""Whatever bytes stand in ingest.yml and .env: a Project or one ConfigError, never anything else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conduit.config.load import load
from conduit.config.models import Project
from conduit.connectors.postgresql.config import PostgresqlConnection
from conduit.errors import ConfigError, Problem

GOOD = b"""\
pipeline: p
defaults: {mode: append, batch_size: 5}
sources:
  - &a {name: s, type: postgresql, port: 5432, password: "${PW:-x}", options: {a: b}}
  - {name: f, type: csv, path: in/, header: true}
destinations:
  - {name: d, type: postgresql, table: t, mode: merge}
resources:
  - {name: r, source: s, destination: d, query: "SELECT 1", incremental: {column: id, lag: 5}, primary_key: [id]}
  - {name: q, source: f, destination: d, columns: {a: text}, primary_key: id, into: q}
"""
PIECES = [
    "sources", "destinations", "resources", "pipeline", "defaults", "name", "type", "postgresql", "csv", "python",
    "source", "destination", "query", "table", "mode", "merge", "replace", "append", "primary_key", "incremental",
    "incremental_column", "columns", "update", "into", "path", "port", "password", "safety", "lag", "quality_checks",
    ": ", ":", "- ", "\n", "\n  ", "\n    ", "{", "}", "[", "]", ", ", "&a ", "*a", "<<", "!!str ", "${A}", "${A:-b}",
    "${", "$${", "'", '"', "|\n", ">-\n", "~", "null", "true", "no", "0123", "1", "-1", "# ", "---\n", "...\n", "%",
    "\t",     "\0", "\x1b", "\ufeff", "\u2028", "é", "../", "a", "?", "@", "`", "\\", "\r",
]  # fmt: skip

FUZZ = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def only_a_config_error(content: bytes, dotenv: bytes | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ingest.yml"
        file.write_bytes(content)
        if dotenv is not None:
            (Path(folder) / ".env").write_bytes(dotenv)
        problems = problems_of(file)
    assert all(problem.file in ("ingest.yml", ".env") and problem.line > 0 for problem in problems)
    assert all(str(problem).isprintable() for problem in problems)


def problems_of(file: Path) -> tuple[Problem, ...]:
    try:
        found = load(file, environment={"A": "value", "E": ""})
    except ConfigError as error:
        return error.problems or (Problem("an error without a problem"),)
    assert isinstance(found, Project)
    return ()


@FUZZ
@given(st.binary(max_size=400))
def test_random_bytes_are_a_config_error(content: bytes) -> None:
    only_a_config_error(content)


@FUZZ
@given(st.text(max_size=200))
def test_random_text_is_a_config_error(content: str) -> None:
    only_a_config_error(content.encode("utf-8", "surrogatepass"))


@FUZZ
@given(st.lists(st.sampled_from(PIECES), max_size=60))
def test_random_pieces_of_a_file_are_a_config_error(pieces: list[str]) -> None:
    only_a_config_error("".join(pieces).encode())


@FUZZ
@given(st.integers(0, len(GOOD)), st.integers(0, 40), st.lists(st.sampled_from(PIECES), max_size=4))
def test_a_good_file_with_a_piece_exchanged_is_a_project_or_a_config_error(
    start: int, length: int, pieces: list[str]
) -> None:
    only_a_config_error(GOOD[:start] + "".join(pieces).encode() + GOOD[start + length :])


@FUZZ
@given(
    st.binary(max_size=200) | st.lists(st.sampled_from([*PIECES, "A=", "="]), max_size=20).map("".join).map(str.encode)
)
def test_random_bytes_in_dotenv_are_a_project_or_a_config_error(content: bytes) -> None:
    only_a_config_error(GOOD, content)


@FUZZ
@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Zl", "Zp"]), max_size=30))
def test_a_quoted_text_arrives_as_it_was_written(text: str) -> None:
    quoted = json.dumps(text.replace("${", "$${"), ensure_ascii=False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ingest.yml"
        file.write_text(GOOD.decode().replace("options: {a: b}", f"options: {{a: {quoted}}}"), encoding="utf-8")
        connection = load(file, environment={}).sources["s"].connection
    assert isinstance(connection, PostgresqlConnection)
    assert connection.options == {"a": text}


def test_a_good_file_cut_anywhere_is_a_project_or_a_config_error() -> None:
    for length in range(len(GOOD)):
        only_a_config_error(GOOD[:length])


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(PIECES)
_TREES = st.recursive(
    _SCALARS,
    lambda node: (
        st.lists(node, max_size=4) | st.dictionaries(st.sampled_from(PIECES) | st.text(max_size=5), node, max_size=6)
    ),
    max_leaves=30,
)


@FUZZ
@given(st.fixed_dictionaries({"sources": _TREES, "destinations": _TREES, "resources": _TREES, "defaults": _TREES}))
def test_random_shapes_under_the_right_keys_are_a_config_error(tree: dict[str, object]) -> None:

    only_a_config_error(json.dumps(tree).encode())
