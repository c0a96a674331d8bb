"""`conduit state`: show and change what is remembered. Every change is recorded with who, when, old and new."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click
import msgspec

from conduit import remember, rewind
from conduit.cli.options import FILE, output_option
from conduit.config.load import load
from conduit.config.models import Project, Resource
from conduit.errors import ConfigError
from conduit.job import choose
from conduit.secrets import scrub
from conduit.state_log import Difference, Entry

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
        click.echo(scrub("\n".join(f"{_text(one)}{_verified(one)}" for one in found)))


@command.command()
@click.argument("resources", nargs=-1)
@_file_option
@output_option
def log(resources: tuple[str, ...], file: str, output: str) -> None:
    """Every position that was committed, newest first, and where that is known from."""
    project = load(file)
    found = [rewind.log(project, resource) for resource in choose(project, resources)]
    if output == "json":
        click.echo(scrub(json.dumps([_log_json(one) for one in found], indent=2)))
    else:
        click.echo(scrub("\n".join(_log_text(one) for one in found)))


@command.command()
@click.argument("resource")
@click.argument("one")
@click.argument("other", required=False)
@_file_option
@output_option
def diff(resource: str, one: str, other: str | None, file: str, output: str) -> None:
    """What changed between two entries of the log of RESOURCE: runs, times or values; now, without OTHER."""
    found = rewind.diff(*_chosen(file, resource), one, other)
    if output == "json":
        click.echo(scrub(json.dumps(msgspec.to_builtins(found), indent=2)))
    else:
        click.echo(scrub(_difference_text(resource, found)))


@command.command(name="rewind")
@click.argument("resource")
@click.option("--to", required=True, metavar="ENTRY", help="A run, time or value of `state log`.")
@click.option("--with-data", is_flag=True, help="Take the rows of the later runs back in the same step.")
@click.option("--keep-data", is_flag=True, help="Let them stay, although they will be loaded again and doubled.")
@_file_option
@_yes_option
def rewind_mark(resource: str, to: str, file: str, *, with_data: bool, keep_data: bool, yes: bool) -> None:
    """Move the mark of RESOURCE back to where it was."""
    project, chosen = _chosen(file, resource)
    decided = rewind.decide(project, chosen, to, with_data=with_data, keep_data=keep_data)
    click.echo(scrub(decided.told), err=True)
    _confirm(f"{resource}: the mark moves back", yes=yes)
    click.echo(scrub(_text(rewind.carry_out(project, chosen, decided))))


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


def _log_text(found: rewind.Log) -> str:
    lines = [f"  {_entry_text(entry)}" for entry in reversed(found.entries)] or ["  nothing was ever committed"]
    notes = [f"  note: {found.note}"] if found.note else []
    return "\n".join([f"{found.resource}:", *lines, *notes])


def _entry_text(entry: Entry) -> str:
    shown = "no position" if entry.value is None else repr(entry.value)
    unfinished = "" if entry.complete else ", in the middle of a run"
    place = "" if entry.origin == "destination" else " (from .conduit/history.db)"
    return f"{entry.committed_at}  {shown}, {entry.rows:,} rows, run {entry.run_id}{unfinished}{place}"


def _log_json(found: rewind.Log) -> dict[str, object]:
    entries = [msgspec.to_builtins(entry) for entry in reversed(found.entries)]
    return {"resource": found.resource, "entries": entries, "note": found.note}


def _difference_text(resource: str, found: Difference) -> str:
    older, newer = found.older, found.newer
    lines = [
        f"{resource}: {older.value!r} -> {newer.value!r}",
        f"  {found.commits} commit{'s' * (found.commits != 1)}, {found.rows:,} rows, {found.seconds:,.0f} s",
        *(f"  run {run}" for run in found.runs),
    ]
    lines += [f"  transactions {found.window[0]} up to {found.window[1]}"] if found.window else []
    return "\n".join([*lines, *(f"  file {name}" for name in found.files or ())])


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


def _verified(found: remember.Remembered) -> str:
    if found.verified is None:
        return ""
    through = f"through {found.verified.through}" if found.verified.through is not None else "as a whole"
    return f"; verified {through} at {found.verified.verified_at}"
