"""`conduit schema`: the JSON Schema of ingest.yml, for editors."""

from __future__ import annotations

import json

import click

from conduit.config.json_schema import json_schema


@click.command()
def command() -> None:
    """Print the JSON Schema of ingest.yml.

    Save it beside the file, and begin the file with `# yaml-language-server: $schema=ingest.schema.json`.
    """
    click.echo(json.dumps(json_schema(), indent=2))
