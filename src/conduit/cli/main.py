"""The `conduit` command: its verbs, and the one place where errors become text and exit codes."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import sys
import traceback
import warnings

import click

from conduit import __version__
from conduit.errors import ConduitError
from conduit.faults import refuse_outside_tests
from conduit.interrupts import requested, watch_signals
from conduit.secrets import scrub

VERBS = {
    "run": "Move what is new.",
    "plan": "Show what a run would do; change nothing.",
    "check": "Reach every connection and see its permissions.",
    "verify": "Compare the destinations with their sources; change nothing.",
    "repair": "Load again the rows that verify finds different.",
    "state": "Show or change what is remembered.",
    "init": "Write a commented ingest.yml to start from.",
    "schema": "Print the JSON Schema of ingest.yml.",
}


GARBAGE_EVERY = 20_000
"""Objects between two looks for garbage, instead of 700: what modules make when they are imported is none."""
HUGE_PAGES = "MIMALLOC_ALLOW_THP"
"""Arrow's allocator asks for pages of 2 MB, which the system clears at first use: more than a short run ever fills."""


class Verbs(click.Group):
    """A group whose commands live in `conduit.cli.<verb>` and are imported at their first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The verbs, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb's command."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"conduit.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The verbs with their help, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="conduit")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.pass_context
def conduit(ctx: click.Context, debug: bool) -> None:
    """Move only what is new from a source to a destination, and never lose or double a row."""
    ctx.obj = debug


def main() -> None:
    """Run the command line and leave with the exit code of docs/cli.md."""
    gc.set_threshold(GARBAGE_EVERY)
    os.environ.setdefault(HUGE_PAGES, "0")
    watch_signals()
    _hide_secrets_of_libraries()
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]  # it may stand anywhere
    try:
        refuse_outside_tests()
        code = conduit.main(arguments, standalone_mode=False)
    except click.exceptions.Abort:
        code = 130
    except click.ClickException as error:
        error.show()
        code = 2
    except ConduitError as error:
        code = _tell(requested() or error, debug=debug)
    except Exception as error:  # noqa: BLE001 - the edge of the program: a bug is told as one
        code = _tell_bug(error, debug=debug)
    gc.freeze()  # the process ends: whether its modules are garbage need not be looked at any more
    sys.exit(code if isinstance(code, int) else 0)


class _Scrubbed(logging.Formatter):
    """What a library logs, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))


def _hide_secrets_of_libraries() -> None:
    """What libraries warn of goes to stderr without passing through here: urls of servers, with all that is in them."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_Scrubbed("warning: %(message)s"))
    warnings.showwarning = lambda message, *_, **__: click.echo(scrub(f"warning: {message}"), err=True)


def _tell(error: ConduitError, *, debug: bool) -> int:
    if debug:
        click.echo(scrub(traceback.format_exc()), err=True)
    click.echo(scrub(f"error: {error}"), err=True)
    return error.exit_code


def _tell_bug(error: Exception, *, debug: bool) -> int:
    if debug:
        click.echo(scrub(traceback.format_exc()), err=True)
    told = f"internal error: {type(error).__name__}: {error}"
    click.echo(scrub(f"{told}\n  hint: this is a bug in conduit; run again with --debug and report it"), err=True)
    return 1
