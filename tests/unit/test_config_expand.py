"""`${VAR}`: values arrive unchanged, missing ones are named, and nothing that a variable holds becomes syntax."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from conduit.config.load import load
from conduit.config.models import Project
from conduit.connectors.postgresql.config import PostgresqlConnection
from conduit.errors import ConfigError

FILE = """\
sources:
  - name: shop
    type: postgresql
    host: {host}
    port: {port}
    password: {password}
destinations:
  - {{name: lake, type: postgresql}}
resources:
  - {{name: users, source: shop, destination: lake, table: users, incremental_column: id}}
"""


def project(folder: Path, environment: Mapping[str, str], **values: str) -> Project:
    keys = {"host": "db", "port": "5432", "password": "${PW}"} | values
    file = folder / "ingest.yml"
    file.write_text(FILE.format(**keys), encoding="utf-8")
    file.chmod(0o600)
    return load(file, environment=environment)


def connection(folder: Path, environment: Mapping[str, str], **values: str) -> PostgresqlConnection:
    found = project(folder, environment, **values).sources["shop"].connection
    assert isinstance(found, PostgresqlConnection)
    return found


def password(folder: Path, environment: Mapping[str, str], **values: str) -> str:
    secret = connection(folder, environment, **values).password
    assert secret is not None
    return secret.reveal()


def problems(folder: Path, environment: Mapping[str, str], **values: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        project(folder, environment, **values)
    return [str(problem) for problem in caught.value.problems]


def dotenv(folder: Path, content: str | bytes, mode: int = 0o600) -> None:
    path = folder / ".env"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)


AWKWARD = [
    "12345",
    "se: cret",
    "a$b",
    "a b#",
    "a #b",
    "${PW}",
    "$${X}",
    "'",
    '"',
    "\\",
    "{x}",
    "[x",
    "null",
    "~",
    "true",
    "- x",
    "a\nmode: replace",
    " padded ",
    "p@ss:w/rd?",
    "ünïcødé",
    "%41",
    "!!python/x",
]


@pytest.mark.parametrize("value", AWKWARD)
@pytest.mark.parametrize("written", ["${PW}", '"${PW}"', "'${PW}'"])
def test_a_value_of_the_environment_arrives_unchanged(tmp_path: Path, value: str, written: str) -> None:
    assert password(tmp_path, {"PW": value}, password=written) == value


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("PW=12345", "12345"),
        ("PW=se: cret", "se: cret"),
        ("PW=a$b", "a$b"),
        ("PW=a b#", "a b#"),
        ("PW='a #b'", "a #b"),
        ("PW=${HOME}x", "${HOME}x"),
        ('PW="a${HOME}$b"', "a${HOME}$b"),
        ("export PW=x=y", "x=y"),
        ("# nothing\n\nPW=after a comment", "after a comment"),
        ("\ufeffPW=after a mark", "after a mark"),
        ("A=1\r\nPW=windows\r", "windows"),
        ("PW='two\nlines'", "two\nlines"),
    ],
)
def test_a_value_of_dotenv_arrives_unchanged(tmp_path: Path, line: str, value: str) -> None:
    dotenv(tmp_path, f"{line}\n")
    assert password(tmp_path, {}) == value


def test_the_real_environment_wins_over_dotenv(tmp_path: Path) -> None:
    dotenv(tmp_path, "PW=from-the-file\n")
    assert password(tmp_path, {"PW": "from-the-environment"}) == "from-the-environment"


def test_without_a_mapping_the_environment_of_the_process_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "of-the-process")
    project(tmp_path, {"PW": "x"})
    found = load(tmp_path / "ingest.yml").sources["shop"].connection
    assert isinstance(found, PostgresqlConnection)
    assert found.password is not None
    assert found.password.reveal() == "of-the-process"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${NO:-fallback}", "fallback"),
        ('"${NO:-a: b # c}"', "a: b # c"),
        ("${NO:-}", ""),
        ("${EMPTY:-fallback}", "fallback"),
        ("${EMPTY}", ""),
        ("${PW:-fallback}", "secret"),
        ("<${PW}-${NO:-x}>", "<secret-x>"),
        ("$${PW}", "${PW}"),
        ("a$${", "a${"),
        ("$PW", "$PW"),
        ("$", "$"),
        ("$$", "$$"),
        ("$$x$$", "$$x$$"),
        ("{x}$", "'{x}$'"),
    ],
)
def test_variables_defaults_and_escapes(tmp_path: Path, written: str, value: str) -> None:
    quoted = f"'{written}'" if written.startswith("{") else written
    expected = value.strip("'") if written.startswith("{") else value
    assert password(tmp_path, {"PW": "secret", "EMPTY": ""}, password=quoted) == expected


@pytest.mark.parametrize("written", ["${", "${}", "${1A}", "${A-b}", "${A", "${A B}", "${A:-${PW}}", "${Ä}"])
def test_a_broken_variable_is_refused_with_both_ways_out(tmp_path: Path, written: str) -> None:
    found = problems(tmp_path, {"PW": "x"}, password=f"'{written}'")
    assert len(found) == 1
    assert found[0].startswith("ingest.yml:6: sources[0].password: `${` begins a variable: write ${NAME} or")
    assert found[0].endswith("and $${ for the two characters")


def test_every_missing_variable_is_named_with_its_line_and_key(tmp_path: Path) -> None:
    found = problems(tmp_path, {}, host="${PG_HOST}", port="${PG_PORT}", password="${PG_PASSWORD}${PG_HOST}")
    where = "is not set, neither in the environment nor in .env"
    assert found == [
        f"ingest.yml:4: sources[0].host: the variable PG_HOST {where}",
        f"ingest.yml:5: sources[0].port: the variable PG_PORT {where}",
        f"ingest.yml:6: sources[0].password: the variable PG_PASSWORD {where}",
        f"ingest.yml:6: sources[0].password: the variable PG_HOST {where}",
    ]


def test_a_missing_variable_stands_beside_the_other_problems(tmp_path: Path) -> None:
    found = problems(tmp_path, {}, port="0123")
    assert ["sources[0].port" in found[0], "PW is not set" in found[1]] == [True, True]


def test_a_variable_can_be_a_number(tmp_path: Path) -> None:
    assert connection(tmp_path, {"PW": "x", "PORT": "6543"}, port="${PORT}").port == 6543
    assert connection(tmp_path, {"PW": "x", "PORT": "6543"}, port='"${PORT}"').port == 6543


def test_a_variable_cannot_add_keys(tmp_path: Path) -> None:
    found = project(tmp_path, {"PW": "x", "HOST": "db\n    user: root\nmode: replace"}, host="${HOST}")
    host = found.sources["shop"].connection
    assert isinstance(host, PostgresqlConnection)
    assert host.user is None
    assert host.host == "db\n    user: root\nmode: replace"


def test_keys_are_not_expanded(tmp_path: Path) -> None:
    file = tmp_path / "ingest.yml"
    file.write_text(FILE.format(host="db", port=1, password="x") + "${PIPELINE}: x\n")
    with pytest.raises(ConfigError, match=r"\$\{PIPELINE\}: unknown key"):
        load(file, environment={"PIPELINE": "pipeline"})


@pytest.mark.skipif(os.name != "posix", reason="only there the environment holds bytes")
def test_a_variable_that_is_not_text_is_refused(tmp_path: Path) -> None:
    value = os.fsdecode(b"\xff\xfe")
    assert "the variable PW holds bytes that are not UTF-8 text" in problems(tmp_path, {"PW": value})[0]


def test_a_line_of_dotenv_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path) -> None:
    dotenv(tmp_path, "A=1\n\nPW='hunter2\n")
    found = problems(tmp_path, {"PW": "x"})
    assert found == [".env:3: this line is not NAME=value"]


def test_a_dotenv_that_is_no_text_is_named(tmp_path: Path) -> None:
    dotenv(tmp_path, b"A=1\nPW=\xff\n")
    assert problems(tmp_path, {"PW": "x"}) == [".env:2: this is not UTF-8; save the file as UTF-8"]


def test_a_dotenv_without_end_is_refused(tmp_path: Path) -> None:
    dotenv(tmp_path, b"A=" + b"x" * 1_000_001)
    assert problems(tmp_path, {"PW": "x"}) == [".env:1: the file has more than 1,000,000 bytes"]


def test_a_folder_called_dotenv_is_no_dotenv(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert password(tmp_path, {"PW": "x"}) == "x"


def test_a_name_without_a_value_in_dotenv_is_not_set(tmp_path: Path) -> None:
    dotenv(tmp_path, "PW\n")
    assert "PW is not set" in problems(tmp_path, {})[0]


@pytest.mark.skipif(os.name != "posix", reason="there are no such permissions")
@pytest.mark.parametrize(("mode", "noted"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_dotenv_that_others_can_read_is_noted(tmp_path: Path, mode: int, noted: bool) -> None:
    dotenv(tmp_path, "PW=x\n", mode)
    notes = project(tmp_path, {}).notes
    assert any("chmod 600 .env" in note for note in notes) == noted


@pytest.mark.skipif(os.name != "posix", reason="there are no such permissions")
@pytest.mark.parametrize(("mode", "noted"), [(0o600, False), (0o644, False), (0o664, True), (0o666, True)])
def test_a_file_that_others_can_change_is_noted(tmp_path: Path, mode: int, noted: bool) -> None:
    project(tmp_path, {"PW": "x"})
    (tmp_path / "ingest.yml").chmod(mode)
    notes = load(tmp_path / "ingest.yml", environment={"PW": "x"}).notes
    assert any("chmod go-w ingest.yml" in note for note in notes) == noted
