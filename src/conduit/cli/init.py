"""`conduit init`: a commented ingest.yml and .env.example."""

from __future__ import annotations

from pathlib import Path

import click

from conduit.config.template import ENV_EXAMPLE, INGEST_YML
from conduit.errors import ConfigError, ConnectionFailed


@click.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False))
def command(folder: str) -> None:
    """Write ingest.yml and .env.example into FOLDER; files that exist are never touched."""
    target = Path(folder)
    for name, text in (("ingest.yml", INGEST_YML), (".env.example", ENV_EXAMPLE)):
        path = target / name
        try:
            target.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError as error:
            raise ConfigError(f"{path} exists already", hint="remove it, or name another folder") from error
        except OSError as error:
            raise ConnectionFailed(f"cannot write {path}: {error.strerror}") from error
        click.echo(f"wrote {path}")
