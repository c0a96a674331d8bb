"""Conduit: move only what is new from a source to a destination, and never lose or double a row.

The door of the package: `run` and `plan` do what the commands of the same names do, and errors are in
`conduit.errors`. Nothing heavy is imported before rows move.
"""

from conduit.errors import ConduitError
from conduit.job import Backfill, Event
from conduit.plan import ResourcePlan, plan
from conduit.report import Report, ResourceReport
from conduit.run import run

__version__ = "0.1.0"

__all__ = [
    "Backfill",
    "ConduitError",
    "Event",
    "Report",
    "ResourcePlan",
    "ResourceReport",
    "__version__",
    "plan",
    "run",
]
