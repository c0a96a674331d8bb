"""Keeping tables healthy: fewer files, fewer snapshots, no files that nobody knows."""

from iceframe.maintenance.compaction import Compaction, compact_data_files
from iceframe.maintenance.expiry import Expiry, expire_snapshots
from iceframe.maintenance.orphans import Orphans, remove_orphan_files
from iceframe.maintenance.readers import Reader, forget, register, registered

__all__ = [
    "Compaction",
    "Expiry",
    "Orphans",
    "Reader",
    "compact_data_files",
    "expire_snapshots",
    "forget",
    "register",
    "registered",
    "remove_orphan_files",
]
