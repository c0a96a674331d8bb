"""A plain reader of a SQLite file, in a process of its own: two copies of SQLite in one ignore each other's locks."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

_READ = """
import pickle, sqlite3, sys
opened = sqlite3.connect(sys.argv[1])
found = opened.execute(sys.argv[2]).fetchall()
opened.commit()
opened.close()
sys.stdout.buffer.write(pickle.dumps(found))
"""


def query(file: Path, sql: str) -> list[tuple[Any, ...]]:
    """What `sql` gives through Python's own driver.

    Raises:
        OSError: the file is locked, or the statement fails.
    """
    done = subprocess.run([sys.executable, "-c", _READ, str(file), sql], capture_output=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.decode().strip().splitlines()[-1])
    found: list[tuple[Any, ...]] = pickle.loads(done.stdout)
    return found
