"""Values of the state file: where the destination has a mark it is taken, where it has none the run stops (exit 4).

A mark that was taken loads the new rows, which is right: what must not happen is a start from nothing, a start from
somewhere else, or SQL out of a value. Which rows are loaded then is what tests/acceptance/test_state.py counts.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.faults.malformed.case import NEW, Case

_INJECTED = (
    "0'; DROP TABLE victim; --",
    "0; DROP TABLE victim",
    "0 OR 1=1",
    "1 UNION SELECT word, 1, 2 FROM victim",
    "'",
    '"',
    "\\",
    ":last_value",
    "${HOME}",
    "{{7*7}}",
    "%s",
    "?",
    "$1",
    "\0",
    "\n",
    "-- ",
    "/*",
    "2026-01-01'::date",
)
_BROKEN: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "null": b"null",
    "a list": b"[1,2]",
    "a number": b"5",
    "a text": b'"x"',
    "true": b"true",
    "a string of it": b'"{}"',
    "NaN": b'{"r": NaN}',
    "infinity": b'{"r": Infinity}',
    "minus infinity": b'{"r": -Infinity}',
    "1e999": b'{"r": 1e999}',
    "minus 1e999": b'{"r": -1e999}',
    "a fraction": b'{"r": 2.5}',
    "a boolean": b'{"r": true}',
    "a list as value": b'{"r": [2]}',
    "a mapping as value": b'{"r": {"value": 2}}',
    "twice": b'{"r": 2, "r": 3}',
    "another twice": b'{"r": 2, "x": 1, "x": 2}',
    "5000 digits": b'{"r": ' + b"9" * 5000 + b"}",
    "deep lists": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep mappings": b'{"x":' * 50_000,
    "two documents": b'{"r": 2}{"r": 3}',
    "more after it": b'{"r": 2} x',
    "a comma too many": b'{"r": 2,}',
    "single quotes": b"{'r': 2}",
    "no quotes": b"{r: 2}",
    "a comment": b'{"r": 2} // two',
    "latin-1": b'{"r": "\xe9"}',
    "UTF-16": '{"r": 2}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + b'{"r": 2}',
    "a NUL": b'{"r": 2}\0',
    "NULs": b"\0" * 512,
    "half a surrogate": b'{"r": "\xed\xa0\x80"}',
    "leading zero": b'{"r": 02}',
    "plus": b'{"r": +2}',
    "hexadecimal": b'{"r": 0x2}',
    "an open text": b'{"r": "2',
    "an open key": b'{"r',
    "a pickle": b"\x80\x04\x95\x0b\x00",
    "YAML": b"r: 2\n",
    "a huge file": b'{"x": "' + b"x" * 1_100_000 + b'"}',
    "many keys and cut": b"{" + b'"k": 1,' * 50_000,
}


def cases() -> Iterator[Case]:
    """Each content with a mark and without one."""
    for name, content in _contents():
        laid = {".conduit_state.json": content}
        yield Case(f"with a mark: {name}", files=laid, codes=(), says=(r"mark",), harmless=True)
        yield Case(f"without a mark: {name}", NEW, laid, codes=(4,), says=(r"\.conduit_state\.json", "state reset r`"))


def _contents() -> Iterator[tuple[str, bytes]]:
    yield from _BROKEN.items()
    good = b'{\n  "r": 2\n}\n'
    for cut in range(1, len(good) - 2):
        yield f"cut at {cut}", good[:cut]
    chance = random.Random(4)
    for number in range(15):
        yield f"random bytes {number}", chance.randbytes(chance.randrange(1, 60))
    for number, text in enumerate(_INJECTED):
        escaped = "".join(f"\\u{ord(char):04x}" for char in text)
        yield f"injected {number}", f'{{"r": "{escaped}"}}'.encode()
