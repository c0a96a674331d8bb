"""IceFrame: Apache Iceberg tables as DataFrames.

This is the door of the package; what lies behind it is the next piece of work (docs/architecture.md).
`iceframe` never imports `conduit`.
"""

__all__: list[str] = []
