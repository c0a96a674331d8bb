"""`conduit verify`: whether the destinations hold what their sources have."""

from __future__ import annotations

import json
from collections.abc import Sequence

import click

from conduit.checking.differing import Difference
from conduit.checking.verify import Extent, ResourceCheck, checks_exit_code, verify
from conduit.cli.options import file_argument, output_option, resources_argument
from conduit.secrets import scrub


@click.command()
@file_argument
@resources_argument
@click.option("--since", metavar="VALUE", help="Compare only what is above this cursor value.")
@click.option("--sample", type=click.FloatRange(0, 1, min_open=True), metavar="FRACTION", help="Share of the ranges.")
@click.option("--seed", type=int, default=0, metavar="N", help="Which ranges a sample takes.")
@click.option("--limit", type=click.IntRange(min=0), default=20, metavar="N", help="Differences to name.")
@output_option
@click.pass_context
def command(
    ctx: click.Context,
    file: str,
    resources: tuple[str, ...],
    *,
    since: str | None,
    sample: float | None,
    seed: int,
    limit: int,
    output: str,
) -> None:
    """Compare source and destination row by row, up to the mark. Exit code 6: they differ."""
    checks = verify(file, resources, extent=Extent(since=since, sample=sample, seed=seed, limit=limit))
    if output == "json":
        click.echo(scrub(json.dumps([check.as_dict() for check in checks], indent=2)))
    else:
        click.echo(scrub("\n".join(check_text(check) for check in checks)))
    ctx.exit(checks_exit_code(checks))


def check_text(check: ResourceCheck) -> str:
    """What was found about one resource."""
    lines = [f"{check.resource}: {check.status} ({check.seconds:.2f} s)"]
    if check.error:
        return "\n".join([*lines, "  error: " + check.error.replace("\n", "\n  ")])
    through = f" up to {check.through!r}" if check.through is not None else ""
    above = f" above {check.since}" if check.since is not None else ""
    lines.append(f"  source {check.source_rows:,} rows, {check.table} {check.target_rows:,} rows{above}{through}")
    if check.status == "different":
        lines.append(f"  {check.missing:,} missing, {check.extra:,} extra, {check.changed:,} changed")
    lines += difference_lines(check.differences, check.missing + check.extra + check.changed)
    lines += [f"  {check.next_run:,} rows differ that the next run brings"] if check.next_run else []
    return "\n".join([*lines, *(f"  note: {note}" for note in check.notes)])


def difference_lines(differences: Sequence[Difference], count: int) -> list[str]:
    """The differences that are named, and how many are not."""
    lines = [f"  {one.kind}: {one.row}{_at(one.row, one.cursor)}{_times(one.rows)}" for one in differences]
    hidden = count - sum(one.rows for one in differences)
    return [*lines, f"  and {hidden:,} more"] if hidden else lines


def _at(row: str, cursor: str | None) -> str:
    known = cursor is None or any(part.endswith(f" = {cursor}") for part in row.split(", "))
    return "" if known else f" at {cursor}"


def _times(rows: int) -> str:
    return f" ({rows:,} times)" if rows > 1 else ""
