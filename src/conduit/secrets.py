"""The secrets of this process, and how they are kept out of every text that a person or a file gets to see.

Each `Secret` is remembered when it is made; whatever prints, logs or stores a text sends it through `scrub` first.
This module knows no file and no connector.

Values of 1 to 3 characters cannot be hidden wherever they stand without destroying the text around them. They are
hidden where a password stands: in a url, or after `password=`, `password:` and their like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from urllib.parse import quote, unquote

HIDDEN = "***"
SHORT = 4
"""Values with fewer characters are hidden only in the place of a password."""

_remembered: set[str] = set()

_URL_PASSWORD = re.compile(r"(?P<before>[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s:/@\"']*:)(?P<password>[^\s/\"']+)(?=@)")
_WHOLE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^:/@]*:(?P<password>.+)@[^?]*(?:\?(?P<query>.*))?", re.DOTALL)
_WORDS = "(?:password|passwd|pwd|secret|token|key)"
_LABEL = rf"(?P<label>\b\w*{_WORDS}[\"']?\s*[=:]\s*[\"']?)"
_LABELLED_PART = re.compile(rf"{_WORDS}\s*=\s*(?:'(?P<quoted>[^']+)'|(?P<plain>[^\s&;']+))", re.IGNORECASE)


def remember(value: str, parts: Sequence[str] = ()) -> None:
    """Hide `value` from now on; of a url or a DSN, also the password in it. Blank text is no secret.

    Args:
        value: the secret.
        parts: pieces of it that are secrets of their own: what variables brought in. Of a url with a password only
            those in the password and in the query are: its user and its host are words of every other message.
    """
    url = _WHOLE_URL.match(value)
    found = [value, *parts]
    if url:
        password, query = url["password"], url["query"] or ""
        found = [value, password, unquote(password), *(part for part in parts if part in password or part in query)]
    labelled = [match["quoted"] or match["plain"] for match in _LABELLED_PART.finditer(value)]
    for text in (*found, *labelled, *map(unquote, labelled)):
        if text.strip():
            _remembered.update((text, text.strip()))


def scrub(text: str) -> str:
    """The text with `***` in the place of every remembered value, and of every password in a url.

    A value is also found as it looks in a url, in JSON, in a Python literal and in an SQL literal.
    """
    anywhere, labelled = _patterns(frozenset(_remembered))
    if anywhere is not None:
        text = anywhere.sub(HIDDEN, text)
    if labelled is not None:
        text = labelled.sub(rf"\g<label>{HIDDEN}", text)
    return _URL_PASSWORD.sub(rf"\g<before>{HIDDEN}", text)


@lru_cache(maxsize=1)
def _patterns(values: frozenset[str]) -> tuple[re.Pattern[str] | None, re.Pattern[str] | None]:
    """One pattern for the long values, one for the short ones."""
    long = [value for value in values if len(value) >= SHORT]
    short = [value for value in values if len(value) < SHORT]
    return _any_of(long), _any_of(short, before=_LABEL, after=r"(?!\w)")


def _any_of(values: Sequence[str], *, before: str = "", after: str = "") -> re.Pattern[str] | None:
    """The longest value first, so that no tail of it is left over."""
    ordered = sorted(values, key=lambda value: (-len(value), value))
    choices = "|".join(choice for value in ordered for choice in dict.fromkeys(_spellings(value)))
    flags = re.IGNORECASE if before else 0  # PASSWORD=, Password:
    return re.compile(f"{before}(?:{choices}){after}", flags) if choices else None


def _spellings(value: str) -> Iterator[str]:
    """Patterns for the value as it may look in a text."""
    yield re.escape(value)
    for safe in ("", "/", " "):
        url = quote(value, safe=safe, errors="surrogatepass").replace(" ", "+")
        yield re.sub("%([0-9A-F]{2})", r"%(?i:\1)", re.escape(url))
    yield re.escape(json.dumps(value)[1:-1])
    yield re.escape(json.dumps(value, ensure_ascii=False)[1:-1])
    yield re.escape(repr(value)[1:-1])
    yield re.escape(value.replace("'", "''"))
    yield re.escape(value.replace("\\", "\\\\").replace("'", "\\'"))
