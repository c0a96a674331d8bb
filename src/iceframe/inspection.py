"""What a table is made of, as Polars frames: snapshots, files, partitions, names. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
from pyiceberg.table import Table

from iceframe.maintenance.readers import registered
from iceframe.scan import pinned, storage

_PARTITIONS: dict[str, type[pl.DataType]] = {"record_count": pl.Int64, "file_count": pl.Int32}
_READERS = {"job": pl.String(), "since": pl.Int64(), "target": pl.String(), "at": pl.Datetime("us", "UTC")}


@dataclass(frozen=True, slots=True)
class Inspection:
    """A table as it was when it was loaded; each frame is made when it is asked for. Times are in UTC.

    Files, partitions and manifests are those of the head of main. Every frame raises a StorageError when a manifest is
    missing or corrupt.
    """

    table: Table

    @property
    def snapshots(self) -> pl.DataFrame:
        """The snapshots that are kept: when they came, after which, what they did, and their summary."""
        return _framed(self.table.inspect.snapshots)

    @property
    def history(self) -> pl.DataFrame:
        """Which snapshot was the head of main, and since when."""
        return _framed(self.table.inspect.history)

    @property
    def files(self) -> pl.DataFrame:
        """Data files (`content` 0) and delete files, with their partition, sizes and statistics."""
        return _framed(self.table.inspect.files)

    @property
    def partitions(self) -> pl.DataFrame:
        """Rows and files of each partition; without a row while the table has no snapshot."""
        if self.table.metadata.current_snapshot() is None:
            return pl.DataFrame(schema=_PARTITIONS)
        return _framed(self.table.inspect.partitions)

    @property
    def manifests(self) -> pl.DataFrame:
        """The manifests, with how many files each adds, keeps and takes away."""
        return _framed(self.table.inspect.manifests)

    @property
    def refs(self) -> pl.DataFrame:
        """Branches and tags, with what they keep."""
        return _framed(self.table.inspect.refs)

    @property
    def metadata_log(self) -> pl.DataFrame:
        """The metadata files of the table, the newest last."""
        return _framed(self.table.inspect.metadata_log_entries)

    @property
    def readers(self) -> pl.DataFrame:
        """The jobs that are registered as readers, with the last snapshot that each has read.

        Raises:
            ValidationError: a property of the table is no record of a reader.
        """
        found = registered(self.table)
        return pl.DataFrame([(one.job, one.since, one.target, one.at) for one in found], schema=_READERS, orient="row")

    @property
    def stats(self) -> pl.DataFrame:
        """One row: the rows that a read gives, data files, delete files, bytes of both, and kept snapshots.

        Files with deletes are read for it, as only that tells how many rows are left.
        """
        files = self.files
        return pl.DataFrame(
            {
                "rows": [pinned(self.table).count()],
                "files": [files.filter(pl.col("content") == 0).height],
                "delete_files": [files.filter(pl.col("content") != 0).height],
                "bytes": [int(files["file_size_in_bytes"].sum())],
                "snapshots": [len(self.table.metadata.snapshots)],
            },
            schema_overrides=dict.fromkeys(("rows", "files", "delete_files", "bytes", "snapshots"), pl.Int64),
        )


def inspect(table: Table) -> Inspection:
    """What a table is made of."""
    return Inspection(table)


def _framed(ask: Callable[[], pa.Table]) -> pl.DataFrame:
    with storage("the manifests"):
        found = pl.from_arrow(ask())
    frame = found if isinstance(found, pl.DataFrame) else found.to_frame()
    naive = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime) and kind.time_zone is None]
    return frame.with_columns(pl.col(naive).dt.replace_time_zone("UTC"))
