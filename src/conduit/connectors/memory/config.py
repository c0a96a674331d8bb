"""Keys of a `type: memory` connection."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from conduit.config.models import Connection


class MemoryConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tables in this process's memory: for tests, gone when the process ends."""

    store: Annotated[
        str, Meta(min_length=1, description="Name of the set of tables; connections with one name share it.")
    ]
