"""ingest.yml -> typed models, with file:line in every error. `load` is the door."""

from conduit.config.load import load
from conduit.config.models import (
    Connection,
    DestinationConfig,
    Incremental,
    Project,
    Resource,
    Secret,
    SourceConfig,
)

__all__ = [
    "Connection",
    "DestinationConfig",
    "Incremental",
    "Project",
    "Resource",
    "Secret",
    "SourceConfig",
    "load",
]
