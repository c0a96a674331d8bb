"""Conformance suites for connectors, named as promises. Shipped, so that every connector can be held to them.

    from conduit.testing import DestinationPromises, SourcePromises

Subclass one in a pytest module and give it the few things that it asks for (docs/new-connector.md). Needs pytest.
"""

from conduit.testing.destinations import DestinationPromises
from conduit.testing.sources import SourcePromises

__all__ = ["DestinationPromises", "SourcePromises"]
