"""`conduit check`: reach every connection, see its permissions, run no query of the file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial

import click

from conduit.cli.options import file_argument, output_option
from conduit.config.load import load
from conduit.config.models import Project
from conduit.connectors import registry
from conduit.contract import Destination, Source
from conduit.errors import ConduitError, exit_code
from conduit.secrets import scrub


@click.command()
@file_argument
@output_option
@click.pass_context
def command(ctx: click.Context, file: str, output: str) -> None:
    """Reach every source and destination of FILE."""
    answers = list(_answers(load(file)))
    if output == "json":
        click.echo(scrub(json.dumps(answers, indent=2)))
    else:
        for answer in answers:
            click.echo(
                scrub(f"{answer['side']} {answer['name']}: {answer['found'] or 'error: ' + str(answer['error'])}")
            )
    ctx.exit(exit_code([int(str(answer["exit_code"])) for answer in answers]))


def _answers(project: Project) -> Iterator[dict[str, object]]:
    for source in project.sources.values():
        yield _answer("source", source.name, partial(registry.source, source, project.folder))
    for target in project.destinations.values():
        yield _answer("destination", target.name, partial(registry.destination, target, project.folder))


def _answer(side: str, name: str, make: Callable[[], Source | Destination]) -> dict[str, object]:
    answer: dict[str, object] = {"side": side, "name": name, "found": "", "error": "", "exit_code": 0}
    try:
        answer["found"] = make().check()
    except ConduitError as error:
        answer |= {"error": str(error), "exit_code": error.exit_code}
    return answer
