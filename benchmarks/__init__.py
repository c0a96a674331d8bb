"""Measurements of conduit beside the limits of the machine, taken in the same run."""
