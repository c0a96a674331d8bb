"""`conduit run`: move what is new, and say what was moved."""

from __future__ import annotations

import json
import sys

import click

from conduit.cli.options import (
    backfill_of,
    file_argument,
    output_option,
    range_options,
    resources_argument,
    shrink_option,
)
from conduit.cli.progress import watching
from conduit.cli.tables import preview_text, report_text
from conduit.errors import ConfigError
from conduit.job import Backfill
from conduit.run import run
from conduit.secrets import scrub


@click.command()
@file_argument
@resources_argument
@range_options
@shrink_option
@click.option("--dry-run", is_flag=True, help="Show what would be done, as `conduit plan` does.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show the first N rows; write nothing.")
@output_option
@click.pass_context
def command(
    ctx: click.Context,
    file: str,
    resources: tuple[str, ...],
    full_refresh: tuple[str, ...],
    start: str | None,
    end: str | None,
    *,
    allow_shrink: float | None,
    dry_run: bool,
    limit: int | None,
    output: str,
) -> None:
    """Move what is new, for all resources of FILE or those named."""
    backfill = backfill_of(start, end)
    if limit is not None:
        _preview(file, resources, limit, output)
    elif dry_run:
        ctx.exit(_show(file, resources, full_refresh, backfill, allow_shrink, output))
    else:
        with watching(sys.stderr) as watch:
            report = run(
                file,
                resources,
                full_refresh=full_refresh,
                backfill=backfill,
                allow_shrink=allow_shrink,
                watch=watch,
            )
        text = json.dumps(report.as_dict(), indent=2) if output == "json" else report_text(report)
        click.echo(scrub(text))
        ctx.exit(report.exit_code)


def _show(
    file: str,
    resources: tuple[str, ...],
    full_refresh: tuple[str, ...],
    backfill: Backfill | None,
    allow_shrink: float | None,
    output: str,
) -> int:
    from conduit.cli.plan import show_plans  # noqa: PLC0415 - a run makes no plan to show
    from conduit.plan import plan, plans_exit_code  # noqa: PLC0415

    plans = plan(file, resources, full_refresh=full_refresh, backfill=backfill, allow_shrink=allow_shrink)
    show_plans(plans, output)
    return plans_exit_code(plans)


def _preview(file: str, resources: tuple[str, ...], limit: int, output: str) -> None:
    if len(resources) != 1:
        raise ConfigError("--limit shows the rows of one resource", hint="conduit run FILE RESOURCE --limit 10")
    from conduit.plan import preview  # noqa: PLC0415

    rows = preview(file, resources[0], limit=limit)
    click.echo(scrub(preview_text(rows, output)))
