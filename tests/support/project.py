"""A project in a folder: its ingest.yml, and the `conduit` command run in it as a process of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.support import zygote
from tests.support.processes import Ran, cold


@dataclass(frozen=True)
class Project:
    """A folder with an ingest.yml.

    Attributes:
        folder: where it is.
        environment: what every command sees on top of the process's own.
    """

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def write(self, content: dict[str, Any] | str) -> None:
        """Write ingest.yml."""
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        (self.folder / "ingest.yml").write_text(text)

    def conduit(self, *arguments: str, env: dict[str, str] | None = None) -> Ran:
        """Run `conduit ARGUMENTS` here, in a process that is forked from one that has imported it."""
        environment: Any = self.environment | (env or {})
        return zygote.shared().conduit(self.folder, *arguments, **environment)

    def cold(self, *arguments: str, env: dict[str, str] | None = None) -> Ran:
        """The same in a process that starts from nothing, as a user's does."""
        return cold(self.folder, *arguments, **(self.environment | (env or {})))

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> Any:
        """`conduit run ingest.yml --output json`, which must succeed; the first resource's report."""
        ran = self.conduit("run", "ingest.yml", *arguments, "--output", "json", env=env).ok()
        return ran.json["resources"][0]

    @property
    def state(self) -> Any:
        """The state file; None when there is none."""
        path = self.folder / ".conduit_state.json"
        return json.loads(path.read_text()) if path.exists() else None


def pipeline(source: dict[str, Any], destination: dict[str, Any], **resource: Any) -> dict[str, Any]:
    """An ingest.yml with one resource `r` from `source` to `destination`."""
    return {
        "sources": [{"name": "src", **source}],
        "destinations": [{"name": "dst", **destination}],
        "resources": [{"name": "r", "source": "src", "destination": "dst", **resource}],
    }
