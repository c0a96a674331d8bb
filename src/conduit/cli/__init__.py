"""The command line: one file per verb, imported when the verb is used, so that `--help` costs nothing."""

from conduit.cli.main import main

__all__ = ["main"]
