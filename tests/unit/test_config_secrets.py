"""Secrets: what came into a `Secret` is found and hidden in every text, in whatever spelling."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conduit import secrets
from conduit.config.load import load
from conduit.config.models import Secret
from conduit.errors import ConfigError

CANARY = "c4nary-Ω p@ss/w'rd\\\"%41"


@pytest.fixture(autouse=True, scope="module")
def _forgotten_afterwards() -> Iterator[None]:
    """What these tests call a secret is none for the tests that follow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "_remembered", set())
        yield


def test_a_secret_is_hidden_from_the_moment_it_is_made() -> None:
    Secret("fresh-canary-1")
    assert secrets.scrub("FATAL: fresh-canary-1 refused") == "FATAL: *** refused"


@pytest.mark.parametrize(
    "spelled",
    [
        CANARY,
        quote(CANARY),
        quote(CANARY, safe=""),
        quote(CANARY, safe="").replace("%2F", "%2f"),
        quote_plus(CANARY),
        json.dumps(CANARY),
        json.dumps(CANARY, ensure_ascii=False),
        repr(CANARY),
        str({"password": CANARY}),
        CANARY.replace("'", "''"),
    ],
)
def test_every_spelling_of_a_secret_is_hidden(spelled: str) -> None:
    secrets.remember(CANARY)
    hidden = secrets.scrub(f"before {spelled} after")
    assert "c4nary" not in hidden
    assert hidden.startswith("before ")
    assert hidden.endswith(" after")


def test_the_password_of_a_secret_url_is_hidden_where_it_stands_alone() -> None:
    secrets.remember("postgresql://user:in%2Furl-canary@db.example.com:5432/app")
    hidden = secrets.scrub("password in/url-canary, in%2Furl-canary; host db.example.com")
    assert hidden == "password ***, ***; host db.example.com"


def test_a_password_with_an_at_sign_is_hidden_to_its_end() -> None:
    secrets.remember("postgresql://user:p@rt/two-canary@db/app")
    assert secrets.scrub("tried p@rt/two-canary") == "tried ***"


@pytest.mark.parametrize(
    "secret",
    ["postgresql://db/app?user=joe&password=n%40med-canary&x=1", "host=db password='n@med-canary' user=joe"],
)
def test_a_password_that_is_named_in_a_secret_is_hidden_where_it_stands_alone(secret: str) -> None:
    secrets.remember(secret)
    assert secrets.scrub("joe at db gave n@med-canary") == "joe at db gave ***"


def test_the_password_of_any_url_is_hidden() -> None:
    text = "could not connect to mysql+x://joe:never-told@db:3306/app?x=1 and http://a:b@c"
    assert secrets.scrub(text) == "could not connect to mysql+x://joe:***@db:3306/app?x=1 and http://a:***@c"


def test_an_address_without_a_password_stays() -> None:
    text = "postgresql://db.example.com:5432/app, s3://bucket/key, user@host:22, 12:30@noon"
    assert secrets.scrub(text) == text


def test_a_longer_secret_is_hidden_before_the_one_inside_of_it() -> None:
    secrets.remember("inner-canary")
    secrets.remember("inner-canary-and-more")
    assert secrets.scrub("inner-canary-and-more") == "***"


def test_a_short_secret_destroys_nothing_and_is_hidden_where_a_password_stands() -> None:
    secrets.remember("e")
    secrets.remember("q1")
    assert secrets.scrub("there are q1 rows here") == "there are q1 rows here"
    assert secrets.scrub("password=e host=here") == "password=*** host=here"
    assert secrets.scrub('{"Password": "q1", "user": "eve"}') == '{"Password": "***", "user": "eve"}'
    assert secrets.scrub("PGPASSWORD='q1'") == "PGPASSWORD='***'"
    assert secrets.scrub("postgresql://me:e@host/db") == "postgresql://me:***@host/db"


@pytest.mark.parametrize("blank", ["", " ", "\n"])
def test_a_blank_is_no_secret(blank: str) -> None:
    secrets.remember(blank)
    assert secrets.scrub("a b\nc") == "a b\nc"


def test_the_end_of_line_of_a_file_is_not_part_of_the_secret() -> None:
    secrets.remember("from-a-file-canary\n")
    assert secrets.scrub("it is from-a-file-canary.") == "it is ***."


@settings(deadline=None)
@given(st.text(min_size=4), st.text(), st.text())
def test_no_secret_survives_whatever_stands_around_it(value: str, before: str, after: str) -> None:
    secrets.remember(value)
    if value.strip():
        assert value not in secrets.scrub(before + value + after).replace(secrets.HIDDEN, "\0")


def test_scrubbing_a_long_text_is_quick() -> None:
    started = time.perf_counter()
    secrets.scrub("a" * 1_000_000 + "://" * 100_000 + "password" * 100_000)
    assert time.perf_counter() - started < 5


def test_a_secret_never_prints_itself() -> None:
    secret = Secret("never-printed-canary")
    assert "canary" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "never-printed-canary"


# --- what `load` says -----------------------------------------------------------------------------------

WRONG_FILES = {
    "list for a secret": "{name: a, type: postgresql, password: [c4nary-told]}",
    "mapping for a secret": "{name: a, type: postgresql, password: {c4nary-told: 1}, port: x}",
    "unknown key": "{name: a, type: postgresql, pasword: c4nary-told}",
    "number": '{name: a, type: postgresql, port: "${PW}"}',
    "word": '{name: a, type: postgresql, sslmode: "${PW}"}',
    "type": '{name: a, type: "${PW}"}',
    "name": '{name: "${PW}/", type: postgresql}',
    "broken": "{name: a, type: postgresql, password: c4nary-told",
    "broken quote": "{name: a, type: postgresql, password: 'c4nary-told}",
    "tab": "{name: a,\n\tpassword: c4nary-told}",
    "source": '{name: a, type: postgresql}\n  - "${PW}"',
}


@pytest.mark.parametrize("name", WRONG_FILES)
def test_no_message_shows_a_secret_or_what_a_variable_held(tmp_path: Path, name: str) -> None:
    file = tmp_path / "ingest.yml"
    file.write_text(
        f"sources:\n  - {WRONG_FILES[name]}\n"
        "destinations:\n  - {name: d, type: postgresql}\n"
        'resources:\n  - {name: r, source: "${PW}", destination: d, into: "${PW}/", mode: "${PW}",\n'
        '     batch_size: "${PW}", columns: {a: "${PW}"}, metadata_columns: "${PW}"}\n'
    )
    with pytest.raises(ConfigError) as caught:
        load(file, environment={"PW": "c4nary-told"})
    shown = f"{caught.value} {caught.value!r} {caught.value.args} {[p.text for p in caught.value.problems]}"
    assert "c4nary-told" not in shown


def test_the_parts_of_a_secret_that_variables_brought_are_hidden(tmp_path: Path) -> None:
    file = tmp_path / "ingest.yml"
    file.write_text(
        "sources:\n  - {name: s, type: postgresql, url: 'postgresql://${U}:${PW}@${H}/x?token=${T}'}\n"
        "destinations:\n  - {name: d, type: postgresql}\n"
        "resources:\n  - {name: r, source: s, destination: d, table: t, incremental_column: id}\n"
    )
    project = load(file, environment={"U": "postgres", "PW": "piece/c@nary", "H": "db.host", "T": "t0ken?"})
    assert "c@nary" not in repr(project)
    assert secrets.scrub("piece/c@nary, piece%2Fc%40nary and t0ken?") == "***, *** and ***"
    assert secrets.scrub("postgresql on db.host") == "postgresql on db.host"


def test_a_variable_inside_of_a_secret_is_hidden_where_it_stands_alone(tmp_path: Path) -> None:
    file = tmp_path / "ingest.yml"
    file.write_text(
        "sources:\n  - {name: s, type: postgresql, password: 'prefix-${PW}'}\n"
        "destinations:\n  - {name: d, type: postgresql}\n"
        "resources:\n  - {name: r, source: s, destination: d, table: t, incremental_column: id}\n"
    )
    load(file, environment={"PW": "alone-canary"})
    assert secrets.scrub("prefix-alone-canary, alone-canary") == "***, ***"


def test_a_connectors_own_words_do_not_show_what_a_variable_held(tmp_path: Path) -> None:
    file = tmp_path / "ingest.yml"
    file.write_text(
        "sources:\n  - {name: s, type: csv, path: '${PLACE}'}\n"
        "destinations:\n  - {name: d, type: postgresql}\n"
        "resources:\n  - {name: r, source: s, destination: d, mode: append}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(file, environment={"PLACE": "https://c4nary-place/x"})
    assert "is a URL" in str(caught.value)
    assert "c4nary-place" not in str(caught.value)


def test_a_traceback_scrubbed_holds_no_secret(tmp_path: Path) -> None:
    program = (
        "import traceback\n"
        "from conduit import secrets\nfrom conduit.config.models import Secret\n"
        "secret = Secret('tr4ceback-canary')\n"
        "try:\n    raise ValueError(f'bad dsn {secret.reveal()}')\n"
        "except ValueError:\n    print(secrets.scrub(traceback.format_exc()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "bad dsn ***" in done.stdout
    assert "tr4ceback-canary')" not in done.stdout
