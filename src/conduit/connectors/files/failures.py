"""What file systems, DuckDB and Arrow raise, as conduit's errors: with the file's name, and the line if known."""

from __future__ import annotations

import csv
import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from conduit.arrow import pa
from conduit.errors import ConduitError, ConnectionFailed, DataError
from conduit.late import late

if TYPE_CHECKING:
    import duckdb
else:
    duckdb = late("duckdb")

_LINE = re.compile(r"on Line: (\d+)")
_CSV_REASONS = re.compile(
    r"Expected Number of Columns: (?P<expected>\d+) Found: (?P<found>\d+)|(?P<quote>unterminated quote)"
    r"|(?P<unicode>not utf-8 encoded|[Ii]nvalid unicode)|(?P<long>Maximum line size)|(?P<state>invalid state)"
)
_JSON_REASON = re.compile(r"Malformed JSON .* in (?:line|record/value) \d+: (.+?)\.?\s*$", re.MULTILINE)
_KIND = re.compile(r"^(?:[A-Z][A-Za-z/]+ ){1,3}Error: ")
_GONE = ("No such file", "No files found")
_REFUSED = ("Permission denied", "Cannot open file", "Too many open files")
_HINTS = {
    errno.EACCES: "give this user the right to write there",
    errno.EXDEV: "files are staged beside the folder, and it is a mount point: use a folder below it",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def reading(source: str, file: str) -> Iterator[None]:
    """Raise conduit's error for what goes wrong while `file` of the source is read."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError, csv.Error, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise _unreadable(source, file, error) from error
        raise _malformed(source, file, error) from error


@contextmanager
def writing(destination: str, path: object) -> Iterator[None]:
    """Raise conduit's error for what goes wrong while something is written at `path`."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise _unwritable(destination, path, error) from error
        raise _not_worked_out(destination, path, error) from error


def _unwritable(destination: str, path: object, error: OSError) -> ConnectionFailed:
    """The error for a refused write, with the file that the system named."""
    place = error.filename or path
    if error.errno in _FULL or "No space left" in str(error):
        return ConnectionFailed(f"{destination}: no space left on {place}", hint="free some space, or write elsewhere")
    reason = error.strerror or first_line(error)
    hint = _HINTS.get(error.errno or 0, "")
    return ConnectionFailed(f"{destination}: cannot write {place}: {reason}", hint=hint)


def first_line(error: Exception) -> str:
    """What the error says first, on one line of bounded length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = (lines or [type(error).__name__])[0]
    text = _KIND.sub("", text)
    return text if len(text) <= 300 else text[:297] + "..."


def _unreadable(source: str, file: str, error: OSError) -> ConduitError:
    if error.errno == errno.ENOENT:
        return ConnectionFailed(f"{source}: {file} is gone", hint="it vanished while it was read", retryable=True)
    return ConnectionFailed(f"{source}: cannot read {file}: {error.strerror or first_line(error)}")


def _malformed(source: str, file: str, error: Exception) -> ConduitError:
    """By the text: what DuckDB raises reaches us through Arrow's stream as an OSError without a number."""
    text = str(error)
    if any(sign in text for sign in _GONE):
        return ConnectionFailed(f"{source}: {file} is gone", hint="it vanished while it was read", retryable=True)
    if "IO Error" in text and any(sign in text for sign in _REFUSED):
        return ConnectionFailed(f"{source}: cannot read {file}: {first_line(error)}")
    if "Out of Memory Error" in text:
        return ConnectionFailed(f"{source}: not enough memory to read {file}")
    if found := _JSON_REASON.search(text):
        return DataError(f"{source}: {file}: not valid JSON: {found[1]}")
    if "maximum_object_size" in text:
        return DataError(f"{source}: {file}: a record is larger than 16 MiB")
    if "CSV" in text:
        return _malformed_csv(source, file, text)
    if isinstance(error, UnicodeError):
        return DataError(f"{source}: {file} is not written in the declared encoding", hint="set `encoding: latin-1`")
    return DataError(f"{source}: {file}: {first_line(error)}", hint="the file is damaged or not complete")


def _malformed_csv(source: str, file: str, text: str) -> DataError:
    line = _LINE.search(text)
    place = f"{source}: {file}:{line[1]}" if line else f"{source}: {file}"
    reason = _CSV_REASONS.search(text.partition("Possible")[0]) or _CSV_REASONS.search(text)
    match reason.lastgroup if reason else None:
        case "found" if reason:
            return DataError(
                f"{place}: {reason['found']} fields where the first line has {reason['expected']}",
                hint="a field that holds the delimiter or an end of line must be quoted",
            )
        case "quote":
            return DataError(f"{place}: a quoted field is not closed, or goes on after its quote")
        case "unicode":
            return DataError(f"{place}: the text is not in the declared encoding", hint="set `encoding: latin-1`")
        case "long":
            return DataError(f"{place}: the line is too long", hint="is a quote left open?")
        case "state":
            return DataError(f"{place}: not CSV as declared", hint="are some lines ended by \\n and others by \\r\\n?")
        case _:
            return DataError(f"{place}: {first_line(Exception(text))}")


def _not_worked_out(destination: str, path: object, error: Exception) -> ConduitError:
    """By the text, as above: rows that have no form in the file, or keys that could not be compared."""
    text = str(error)
    if "No space left" in text:
        return ConnectionFailed(f"{destination}: no space left on {path}", hint="free some space, or write elsewhere")
    if "Out of Memory Error" in text:
        return ConnectionFailed(f"{destination}: not enough memory to write {path}")
    if "IO Error" in text:
        return ConnectionFailed(f"{destination}: {path}: {first_line(error)}")
    return DataError(f"{destination}: {path}: {first_line(error)}")
