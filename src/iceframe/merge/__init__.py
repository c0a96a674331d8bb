"""MERGE: rows of a source into a table by their key, in one commit."""

from iceframe.merge.builder import Merge, MergeResult
from iceframe.merge.plan import change_for, discard

__all__ = ["Merge", "MergeResult", "change_for", "discard"]
