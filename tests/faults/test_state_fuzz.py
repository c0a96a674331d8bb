"""The state file, broken in every way: never a traceback, never a silent reset, and the mark decides.

`STATE_CASES` says how many; a soak asks for 10,000. The rules are checked against what JSON itself says of the bytes.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conduit.errors import StateConflict
from conduit.marks import Identity, Mark
from conduit.positions import cursor
from conduit.state import BrokenStateFile, StateFile, recover
from tests.faults.bench import Bench
from tests.proof import tally

MakeBench = Callable[..., Bench]
CASES = int(os.environ.get("STATE_CASES", "300"))
SEED = int(os.environ.get("STATE_SEED", "1"))
GOOD = b'{\n  "r": 12,\n  "other": "2024-01-01T00:00:00+00:00",\n  "third": 0.5\n}\n'
MARK = Mark(
    identity=Identity("default", "r", "t"), position=cursor("40", "int"), since=cursor("12", "int"), run_id="run",
    complete=True, rows=3, source="sqlite:t:id", committed_at="",
)  # fmt: skip
NAMED: tuple[bytes, ...] = (
    b"", b" ", b"null", b"[]", b"[1, 2]", b'"r"', b"12", b"{}", b'{"r": null}', b'{"r": true}', b'{"r": []}',
    b'{"r": {}}', b'{"r": 1.5}', b'{"r": 1e999}', b'{"r": -1e999}', b'{"r": NaN}', b'{"r": Infinity}', b'{"r": 1e2}',
    b'{"r": 1, "r": 2}', b'{"a": 1, "a": 1}', GOOD + GOOD, GOOD + b"x", b"\xef\xbb\xbf" + GOOD, b"\xff\xfe{}",
    GOOD.decode().encode("utf-16"), b"\x00" * 100, b'{"r": "\\ud800"}', b'{"\\u0000": 1}',
    b'{"r": ' + b"9" * 5000 + b"}",
    b'{"r": -' + b"9" * 5000 + b"}", b'{"o": ' + b"9" * 5000 + b"}", b"[" * 100_000, b'{"r":' * 100_000,
    b'{"r": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", b'{"r": "' + b"x" * 2_000_000 + b'"}', b"{" * 1_000_001,
    b'{"r": 0x10}', b"{'r': 12}", b'{"r": 012}', b'{"r": +1}', b'{"r": "12"}', b'{"R": 12}', b"{}\x00", b'{"r": 12,}',
)  # fmt: skip
WITHOUT_ENTRY = (b"{}", b'{"r": null}', b'{"R": 12}', b'{"\\u0000": 1}')
"""Good files that say nothing of `r`."""
VALUES: tuple[Any, ...] = (
    0, -1, 12, 40, 41, 2**63, 10**40, "", "12", "40", "x" * 300, "é", "\n", "'; DROP TABLE t", True, False, None, 0.5,
    [], [1], {}, {"r": 1},
)  # fmt: skip


def cases() -> Iterator[bytes]:
    """Truncated at every byte, the named ones, then random ones."""
    yield from (GOOD[:end] for end in range(len(GOOD) + 1))
    yield from NAMED
    schedule = random.Random(SEED)
    while True:
        yield RANDOM[schedule.randrange(len(RANDOM))](schedule)


def _bytes(schedule: random.Random) -> bytes:
    return schedule.randbytes(schedule.randrange(200))


def _changed(schedule: random.Random) -> bytes:
    changed = bytearray(GOOD)
    for _ in range(schedule.randrange(1, 4)):
        changed[schedule.randrange(len(changed))] = schedule.randrange(256)
    return bytes(changed)


def _spliced(schedule: random.Random) -> bytes:
    piece = schedule.choice((b"{", b"}", b",", b":", b'"', b"[", b"\x00", b"\\", b"1", b"e", b"-", b"\xff", b"\n"))
    place = schedule.randrange(len(GOOD))
    return GOOD[:place] + piece * schedule.randrange(1, 4) + GOOD[place + schedule.randrange(3) :]


def _typed(schedule: random.Random) -> bytes:
    names = schedule.sample(["r", "other", "r ", "", "é", "x" * 200], k=schedule.randrange(1, 5))
    return json.dumps({name: schedule.choice(VALUES) for name in names}).encode()


def _nested(schedule: random.Random) -> bytes:
    deep = schedule.randrange(1, 30_000)
    return b'{"r": ' + b'{"a":' * deep + b"1" + b"}" * schedule.choice((deep, deep + 1, 0)) + b"}"


RANDOM: tuple[Callable[[random.Random], bytes], ...] = (_bytes, _changed, _changed, _spliced, _typed, _typed, _nested)


def said_by_json(content: bytes) -> Any:
    """The entry `r` as any JSON reader sees it; an error when the bytes are no JSON object."""
    parsed = json.loads(content.decode("utf-8"))
    assert isinstance(parsed, dict)
    return parsed.get("r")


def require_rules(state: StateFile, content: bytes) -> None:
    """With a mark, the mark; without one, the very value of the file, or an error that names the file."""
    state.path.write_bytes(content)
    found = recover("r", MARK, lambda: state.value("r"), state.path)
    assert found.mark is MARK
    if found.broken:
        with pytest.raises(BrokenStateFile, match=r"."):
            state.value("r")
        with pytest.raises(StateConflict, match="no mark for r"):
            recover("r", None, lambda: state.value("r"), state.path)
        return
    value = state.value("r")
    assert value == said_by_json(content)
    if value is None:
        assert recover("r", None, lambda: None, state.path).mark is None
    else:
        with pytest.raises(StateConflict, match="no mark"):
            recover("r", None, lambda: value, state.path)


@pytest.mark.timeout(1200)
def test_whatever_the_state_file_holds_the_mark_decides_and_nothing_is_reset(tmp_path: Path) -> None:
    state = StateFile(tmp_path / ".conduit_state.json", tmp_path / ".conduit")
    for number, content in zip(range(CASES), cases(), strict=False):
        try:
            require_rules(state, content)
        except Exception as error:
            raise AssertionError(f"case {number} of seed {SEED}: {content[:200]!r}: {error!r}") from error
    tally.note("state case", count=CASES)


def test_the_command_takes_the_mark_keeps_the_broken_file_and_writes_a_good_one(bench: MakeBench) -> None:
    pipeline = bench("sqlite")
    pipeline.origin.add(20)
    pipeline.run().ok()
    state = pipeline.folder / ".conduit_state.json"
    sample = list(NAMED) if CASES > 300 else list(NAMED[::3])
    for content in sample:
        state.write_bytes(content)
        told = pipeline.run().ok()
        assert "Traceback" not in told.out + told.err
        last = max(i for i, *_ in pipeline.origin.rows())
        assert json.loads(state.read_text())["r"] == last
    tally.note("state case", count=len(sample))
    pipeline.exact()


def test_the_command_stops_where_there_is_neither_a_mark_nor_a_file_that_can_be_read(bench: MakeBench) -> None:
    pipeline = bench("sqlite")
    pipeline.origin.add(20)
    state = pipeline.folder / ".conduit_state.json"
    broken = [content for content in NAMED if content not in WITHOUT_ENTRY]
    sample = broken if CASES > 300 else broken[::3]
    for content in sample:
        state.write_bytes(content)
        ran = pipeline.run()
        told = ran.out + ran.err
        assert ran.code == 4, (content[:80], told)
        assert ".conduit_state.json" in told
        assert "Traceback" not in told
        assert state.read_bytes() == content
    tally.note("state case", count=len(sample))
    state.unlink()
    pipeline.exact()
