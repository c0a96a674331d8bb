"""The door of the configuration: placeholder until the loader lands."""

from __future__ import annotations

from pathlib import Path

from conduit.config.models import Project


def load(file: str | Path) -> Project:
    """Read an ingest.yml."""
    raise NotImplementedError(str(file))
