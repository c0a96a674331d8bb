"""Conduit: move only what is new from a source to a destination, and never lose or double a row."""

__version__ = "0.1.0"
__all__ = ["__version__"]
