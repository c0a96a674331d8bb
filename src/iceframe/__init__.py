"""IceFrame: Apache Iceberg tables as Polars frames.

Read what is new since a snapshot, MERGE it into another table, know where you stopped:

    ice = IceFrame()
    with ice.incremental("raw_events", into="daily_summary", job="daily") as window:
        if window.frame.height:
            window.merge(summarise(window.frame), on=["day"]).when_matched_update(...).when_not_matched_insert()

This is the door of the package: what is not exported here, or in `iceframe.errors`, may move. `iceframe` never imports
`conduit`. A name is imported from its module when it is first used, so that a part can be imported alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what `__getattr__` imports at the first use
    from iceframe.catalog import load_catalog_config_from_env
    from iceframe.changes import Changes
    from iceframe.frame import IceFrame
    from iceframe.jobs import Window
    from iceframe.merge import Merge, MergeResult
    from iceframe.query import Query

__all__ = ["Changes", "IceFrame", "Merge", "MergeResult", "Query", "Window", "load_catalog_config_from_env"]

_HOMES = {
    "Changes": "iceframe.changes",
    "IceFrame": "iceframe.frame",
    "Merge": "iceframe.merge",
    "MergeResult": "iceframe.merge",
    "Query": "iceframe.query",
    "Window": "iceframe.jobs",
    "load_catalog_config_from_env": "iceframe.catalog",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
