"""What entries and tables may be called. Names become keys of marks, lock files and folders, so they stay tame."""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}", re.ASCII)
_PART = re.compile(r'[^\x00-\x1f\x7f/\\"]+')
_LONGEST_PART = 63
_LONGEST_FILE_NAME, _LONGEST_PATH = 255, 4000
_OWN = (".conduit", ".conduit_state.json")


def name_problem(name: str) -> str:
    """Why an entry cannot be called `name`; empty when it can."""
    if _NAME.fullmatch(name):
        return ""
    return "a name has 1 to 100 of the characters A-Z a-z 0-9 _ - . and does not begin with a dot"


def table_problem(table: str) -> str:
    """Why a target cannot be called `table`; empty when it can. The rule is the same for tables and files."""
    for part in table.split("."):
        if not part:
            return "a table is `table` or `schema.table`: no part between the dots is empty"
        if not _PART.fullmatch(part):
            return 'a table has no / \\ " and no control characters in its name'
        if len(part.encode()) > _LONGEST_PART:
            return f"a part of the table's name is longer than {_LONGEST_PART} bytes, and databases would cut it"
    return ""


def path_problem(path: str) -> str:
    """Why nothing can be read from or written to a file or folder `path`; empty when it can."""
    if not path or "\0" in path:
        return "names nothing"
    parts = path.replace("\\", "/").split("/")
    if len(path.encode()) > _LONGEST_PATH or max(len(part.encode()) for part in parts) > _LONGEST_FILE_NAME:
        return f"is longer than file names can be ({_LONGEST_FILE_NAME} bytes between two slashes)"
    own = [part for part in parts if part in _OWN]
    return f"is conduit's own: {own[0]} is written after every run" if own else ""
