"""`conduit state`: show and change what is remembered. Every change is recorded with who, when, old and new."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from conduit import remember
from conduit.cli.options import FILE, output_option
from conduit.config.load import load
from conduit.config.models import Project, Resource
from conduit.errors import ConfigError
from conduit.job import choose
from conduit.secrets import scrub

Verb = TypeVar("Verb", bound=Callable[..., Any])


@click.group()
def command() -> None:
    """Show or change what is remembered."""


def _file_option(function: Verb) -> Verb:
    return click.option("--file", "-f", default=FILE, show_default=True, help="The ingest.yml.")(function)


def _yes_option(function: Verb) -> Verb:
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(function)


@command.command()
@click.argument("resources", nargs=-1)
@_file_option
@output_option
def show(resources: tuple[str, ...], file: str, output: str) -> None:
    """Both records of the resources: the destination's mark and the state file."""
    project = load(file)
    found = [remember.show(project, resource) for resource in choose(project, resources)]
    if output == "json":
        click.echo(scrub(json.dumps([one.as_dict() for one in found], indent=2)))
    else:
        click.echo(scrub("\n".join(_text(one) for one in found)))


@command.command(name="set")
@click.argument("resource")
@click.argument("value")
@_file_option
@_yes_option
def set_value(resource: str, value: str, file: str, *, yes: bool) -> None:
    """Move the mark of RESOURCE to VALUE; the next run goes on above it."""
    project, chosen = _chosen(file, resource)
    _confirm(f"{resource}: the next run goes on above {value!r}; rows at or below it are not loaded again", yes=yes)
    click.echo(scrub(_text(remember.set_value(project, chosen, value))))


@command.command()
@click.argument("resource")
@_file_option
@_yes_option
def reset(resource: str, file: str, *, yes: bool) -> None:
    """Forget the mark of RESOURCE; the next run loads everything again."""
    project = load(file)
    _confirm(f"{resource}: the next run loads everything again; rows that are loaded stay where they are", yes=yes)
    known = {one.name: one for one in project.resources}
    if resource in known:
        click.echo(scrub(_text(remember.reset(project, known[resource]))))
    else:
        remember.forget(project, resource)
        click.echo(f"{resource}: forgotten")


@command.command()
@click.argument("resource")
@_file_option
@_yes_option
def adopt(resource: str, file: str, *, yes: bool) -> None:
    """Take what is found for the truth: the file's value without a mark, or the source that is there now."""
    project, chosen = _chosen(file, resource)
    _confirm(f"{resource}: what is found is taken for the truth", yes=yes)
    click.echo(scrub(_text(remember.adopt(project, chosen))))


@command.command()
@click.argument("old")
@click.argument("new")
@_file_option
@_yes_option
def move(old: str, new: str, file: str, *, yes: bool) -> None:
    """Give the mark of OLD, a resource that was renamed, to NEW."""
    project, chosen = _chosen(file, new)
    _confirm(f"the mark of {old} becomes the mark of {new}", yes=yes)
    click.echo(scrub(_text(remember.move(project, old, chosen))))


def _chosen(file: str, name: str) -> tuple[Project, Resource]:
    project = load(file)
    return project, choose(project, [name])[0]


def _confirm(what: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("a change of the state must be confirmed", hint="add --yes")
    click.confirm(f"{what}. Go on?", abort=True)


def _text(found: remember.Remembered) -> str:
    mark = found.mark
    if mark is None:
        return f"{found.resource}: no mark; state file {found.file}"
    shown = "reset: the next run loads everything"
    if mark.position is not None:
        shown = "whole reload" if mark.position.kind == "full" else repr(mark.position.shown())
    unfinished = "" if mark.complete else ", in the middle of a run"
    return (
        f"{found.resource}: mark {shown}{unfinished}, run {mark.run_id} at {mark.committed_at}; state file {found.file}"
    )
