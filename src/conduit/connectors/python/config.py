"""Keys of a `type: python` source: none; the object comes with `conduit.run(…, sources={name: object})`."""

from __future__ import annotations

from typing import ClassVar, Literal

from conduit.config.models import Connection


class PythonConnection(Connection, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Python object that is handed to `conduit.run`."""

    relation: ClassVar[Literal["sql", "path", "object"]] = "object"
