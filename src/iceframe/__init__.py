"""IceFrame: Apache Iceberg tables as Polars frames.

Read what is new since a snapshot, MERGE it into another table, know where you stopped:

    ice = IceFrame()
    with ice.incremental("raw_events", into="daily_summary", job="daily") as window:
        if window.frame.height:
            window.merge(summarise(window.frame), on=["day"]).when_matched_update(...).when_not_matched_insert()

This is the door of the package: what is not exported here, or in `iceframe.errors`, may move. `iceframe` never imports
`conduit`.
"""

from iceframe.catalog import load_catalog_config_from_env
from iceframe.changes import Changes
from iceframe.frame import IceFrame
from iceframe.jobs import Window
from iceframe.merge import Merge, MergeResult
from iceframe.query import Query

__all__ = ["Changes", "IceFrame", "Merge", "MergeResult", "Query", "Window", "load_catalog_config_from_env"]
