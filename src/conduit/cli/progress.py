"""Progress of a run on stderr: one live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from conduit.job import Event
from conduit.secrets import scrub

EVERY = 10.0
"""Seconds between two plain lines of one resource."""


@contextmanager
def watching(stream: TextIO) -> Iterator[Callable[[Event], None]]:
    """A watcher for `conduit.run`: live where `stream` is a terminal, plain lines elsewhere."""
    if not stream.isatty():
        yield _plain(stream)
        return
    from rich.console import Console  # noqa: PLC0415 - 50 ms that only a terminal needs
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        yield _live(progress.add_task, progress.update, lambda text: progress.console.print(text, markup=False))


def _plain(stream: TextIO) -> Callable[[Event], None]:
    rows: dict[str, int] = {}
    told: dict[str, float] = {}

    def watch(event: Event) -> None:
        rows[event.resource] = rows.get(event.resource, 0) + event.rows
        now = time.monotonic()
        if event.note:
            stream.write(scrub(f"{event.resource}: {event.note}\n"))
        elif now - told.setdefault(event.resource, now) >= EVERY:
            told[event.resource] = now
            stream.write(f"{event.resource}: {rows[event.resource]:,} rows so far\n")
        stream.flush()

    return watch


def _live(
    add: Callable[..., object], update: Callable[..., None], say: Callable[[str], None]
) -> Callable[[Event], None]:
    tasks: dict[str, object] = {}
    rows: dict[str, int] = {}
    began: dict[str, float] = {}

    def watch(event: Event) -> None:
        name = event.resource
        if name not in tasks:
            tasks[name], began[name] = add(name, total=None, told=""), time.monotonic()
        if event.note:
            say(scrub(f"{name}: {event.note}"))
        rows[name] = rows.get(name, 0) + event.rows
        rate = rows[name] / max(time.monotonic() - began[name], 0.001)
        update(tasks[name], told=f"{rows[name]:,} rows, {rate:,.0f} rows/s")

    return watch
