"""Runs conduit and looks every 2 milliseconds where each of its threads is: `python profiled.py RESULT run ingest.yml`.

A look sees a thread inside of C code as the Python line that called it, also while that code lets other threads run.
Time in which C code holds the interpreter's lock is counted at the look after it.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import FrameType

EVERY = 0.002


def stack(frame: FrameType | None) -> Iterator[str]:
    """`file:function` from the innermost frame outwards."""
    while frame is not None:
        yield f"{frame.f_code.co_filename}:{frame.f_code.co_name}"
        frame = frame.f_back


class Looks(threading.Thread):
    """The thread that looks."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.seen: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def run(self) -> None:
        """Add the time since the last look to where each thread is now."""
        last = time.perf_counter()
        while not self.ended.wait(EVERY):
            now = time.perf_counter()
            for thread, frame in sys._current_frames().items():  # noqa: SLF001
                if thread != self.ident:
                    name = "main" if thread == threading.main_thread().ident else "reading"
                    self.seen[name, tuple(stack(frame))] += int((now - last) * 1e6)
            last = now


def main(result: str, *words: str) -> None:
    """Run the command line, and write down what was seen."""
    looks = Looks()
    looks.start()
    sys.argv = ["conduit", *words]
    try:
        import_module("conduit.cli").main()
    finally:
        looks.ended.set()
        looks.join()
        found = [[thread, frames, spent] for (thread, frames), spent in looks.seen.items()]
        Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
