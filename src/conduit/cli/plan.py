"""`conduit plan`: what a run would do."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from conduit.cli.options import (
    backfill_of,
    file_argument,
    output_option,
    range_options,
    resources_argument,
    shrink_option,
)
from conduit.cli.tables import plan_text
from conduit.plan import ResourcePlan, plan, plans_exit_code
from conduit.secrets import scrub


@click.command()
@file_argument
@resources_argument
@range_options
@shrink_option
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
    output: str,
) -> None:
    """Show, per resource: statement, bounds, rows, changes of the table, what is destructive. Change nothing."""
    plans = plan(
        file, resources, full_refresh=full_refresh, backfill=backfill_of(start, end), allow_shrink=allow_shrink
    )
    show_plans(plans, output)
    ctx.exit(plans_exit_code(plans))


def show_plans(plans: Sequence[ResourcePlan], output: str) -> None:
    """Print plans as text or JSON."""
    if output == "json":
        click.echo(scrub(json.dumps([one.as_dict() for one in plans], indent=2)))
    else:
        click.echo(scrub("\n\n".join(plan_text(one) for one in plans)))
