"""A thousand malformed inputs: one clear error each, with the documented exit code, and nothing written.

For each input: no traceback and no internal error; an exit code that is documented for it; words that name the file
with the line or the key, or the object; and the destination, the source and the state file byte for byte as before.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from conduit import secrets
from tests.faults.malformed import catalogs, files, keys, names, queries, states, texts, words
from tests.faults.malformed.attempt import Ground, quickly, really
from tests.faults.malformed.case import Case
from tests.proof import tally

KINDS: dict[str, Callable[[], Iterator[Case]]] = {
    "texts of ingest.yml": texts.cases,
    "keys and their values": keys.cases,
    "names and paths": names.cases,
    "queries and expressions": queries.cases,
    "state files": states.cases,
    "data files": files.cases,
    "arguments and variables": words.cases,
    "catalogs": catalogs.cases,
}
AS_PROCESSES = 2
"""How many of each kind are also tried as processes of their own."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A pipeline that has new rows to load; what these inputs call a secret is none afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(secrets, "_remembered", set())
        yield Ground.laid_out(tmp_path_factory.mktemp("malformed"))


@pytest.mark.parametrize("kind", KINDS)
def test_malformed_input_is_one_clear_error_and_writes_nothing(ground: Ground, kind: str) -> None:
    cases = list(KINDS[kind]())
    assert len({case.name for case in cases}) == len(cases)
    wrong = {case.name: found for case in cases if (found := ground.attempt(case, quickly))}
    print(f"malformed inputs {len(cases) - len(wrong)}/{len(cases)} ({kind})")
    tally.note("malformed inputs", kind=kind, tried=len(cases), told=len(cases) - len(wrong))
    assert not wrong, "\n".join(f"{name}: {'; '.join(found)}" for name, found in wrong.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_process_of_its_own_says_the_same(ground: Ground, kind: str) -> None:
    for case in random.Random(kind).sample(list(KINDS[kind]()), AS_PROCESSES):
        assert not ground.attempt(case, really), case.name


def test_there_are_a_thousand_of_them() -> None:
    count = sum(1 for cases in KINDS.values() for _ in cases())
    print(f"malformed inputs in all: {count}")
    assert count >= 1000


def test_the_same_ground_lets_good_input_through(ground: Ground) -> None:
    told = ground.attempt(Case("good", codes=()), quickly)
    assert told
    assert "exit code 0" in told[0]
