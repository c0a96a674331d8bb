"""`conduit repair`: loads again the rows that `conduit verify` finds different."""

from __future__ import annotations

import json

import click

from conduit.checking.repair import Repair, repair
from conduit.cli.options import FILE, output_option
from conduit.cli.verify import difference_lines
from conduit.contract import SHRINK
from conduit.secrets import scrub


@click.command()
@click.argument("resource")
@click.option("--file", "-f", default=FILE, show_default=True, help="The ingest.yml.")
@click.option("--plan", is_flag=True, help="Say what would be done; change nothing.")
@click.option(
    "--allow-shrink", type=click.FloatRange(0, 1), default=SHRINK, metavar="SHARE", help="Share of rows that may go."
)
@click.option("--limit", type=click.IntRange(min=0), default=20, metavar="N", help="Differences to name.")
@output_option
@click.pass_context
def command(
    ctx: click.Context, resource: str, *, file: str, plan: bool, allow_shrink: float, limit: int, output: str
) -> None:
    """Bring the rows of RESOURCE that differ again, in one commit. The mark stays where it is."""
    done = repair(file, resource, plan=plan, allow_shrink=allow_shrink, limit=limit)
    click.echo(scrub(json.dumps(done.as_dict(), indent=2) if output == "json" else repair_text(done)))
    ctx.exit(done.exit_code)


def repair_text(done: Repair) -> str:
    """What was done, or would be."""
    lines = [f"{done.resource}: {done.status} ({done.seconds:.2f} s)"]
    if done.missing or done.extra or done.changed:
        goes = "removed" if done.status == "repaired" else "would be removed"
        lines.append(f"  {done.missing:,} missing, {done.extra:,} extra, {done.changed:,} changed")
        lines += difference_lines(done.differences, done.missing + done.extra + done.changed)
        lines.append(f"  {done.removed:,} rows of {done.table} {goes}, {done.inserted:,} inserted")
    lines += [f"  note: {note}" for note in done.notes]
    lines += ["  error: " + done.error.replace("\n", "\n  ")] if done.error else []
    return "\n".join(lines)
