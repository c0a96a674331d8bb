"""Named places where a test may kill the process. Outside a test every one of them does nothing.

A test sets `CONDUIT_TESTING=1` and `CONDUIT_CRASH_AT=name:n`; the process then gets SIGKILL the n-th time it passes
that name (`name:n:STOP`: SIGSTOP, so that it can be woken again). `CONDUIT_CRASH_AT` without `CONDUIT_TESTING` is
refused by the command line.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

from conduit.errors import ConfigError

CRASH_POINTS = (
    "run.locked",  # the resource's lock is held, nothing was read
    "run.recovered",  # the mark was compared with the state file
    "run.bounded",  # the source's snapshot is fixed, no row was read
    "run.batch",  # a batch of rows went to the destination, uncommitted
    "load.begun",  # the destination's transaction or staging folder is open
    "load.staged",  # all rows of this commit are staged
    "load.marked",  # rows and mark are written, not yet committed
    "load.committed",  # the commit is done, nobody was told
    "run.committed",  # between two checkpoints, or before the record
    "state.written",  # the temporary state file is written, not renamed
    "state.renamed",  # the state file is in place, history is not
    "run.recorded",  # everything is done
)
"""Every name that `crash_point` is called with, in the order of a run. The tests kill at each."""

_passed: Counter[str] = Counter()


def crash_point(name: str) -> None:
    """Die here if a test asked for it. `name` is one of CRASH_POINTS."""
    wanted = os.environ.get("CONDUIT_CRASH_AT")
    if not wanted or os.environ.get("CONDUIT_TESTING") != "1":
        return
    point, _, rest = wanted.partition(":")
    nth, _, signal_name = rest.partition(":")
    if point != name:
        return
    _passed[name] += 1
    if _passed[name] == int(nth or 1):
        os.kill(os.getpid(), signal.Signals[f"SIG{signal_name or 'KILL'}"])


def refuse_outside_tests() -> None:
    """Raise ConfigError when the environment asks for a crash but does not say that this is a test."""
    if os.environ.get("CONDUIT_CRASH_AT") and os.environ.get("CONDUIT_TESTING") != "1":
        raise ConfigError(
            "CONDUIT_CRASH_AT is set, but this is not a test",
            hint="unset CONDUIT_CRASH_AT; only conduit's own tests use it",
        )
