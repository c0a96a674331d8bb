"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from conduit.errors import ConfigError
from conduit.job import Backfill

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = "ingest.yml"


def file_argument(function: Command) -> Command:
    """`FILE`: the ingest.yml; the one of this folder when left out."""
    return click.argument("file", default=FILE, type=click.Path(dir_okay=False))(function)


def resources_argument(function: Command) -> Command:
    """`[RESOURCE …]`: all when left out."""
    return click.argument("resources", nargs=-1)(function)


def output_option(function: Command) -> Command:
    """`--output text|json`."""
    return click.option(
        "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of the answer."
    )(function)


def range_options(function: Command) -> Command:
    """`--full-refresh`, `--from`, `--to`."""
    for option in (
        click.option("--to", "end", metavar="VALUE", help="With --from: load up to this cursor value, included."),
        click.option("--from", "start", metavar="VALUE", help="Load again what is above this value (merge only)."),
        click.option("--full-refresh", multiple=True, metavar="RESOURCE", help="Forget its mark, replace its table."),
    ):
        function = option(function)
    return function


def shrink_option(function: Command) -> Command:
    """`--allow-shrink`."""
    return click.option(
        "--allow-shrink", type=click.FloatRange(0, 1), metavar="SHARE", help="Share of its rows a table may lose."
    )(function)


def backfill_of(start: str | None, end: str | None) -> Backfill | None:
    """The range of `--from` and `--to`.

    Raises:
        ConfigError: one is given without the other.
    """
    if (start is None) != (end is None):
        raise ConfigError("--from and --to belong together", hint="give both ends of the range")
    return Backfill(start, end) if start is not None and end is not None else None
