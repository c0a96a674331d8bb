"""Small files, and files with deletes, into files of the size that the table wants. No row changes.

The snapshot is a `replace`: who reads what was appended passes over it. Knows what may be asked for; the work is done
elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import Table, TableProperties
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType

from iceframe.asking import refreshed
from iceframe.catalog import mapped
from iceframe.commit import commit
from iceframe.errors import UnsupportedError, ValidationError
from iceframe.filters import Where, condition_of
from iceframe.maintenance.rewriting import Rewriting


@dataclass(frozen=True, slots=True, kw_only=True)
class Compaction:
    """What a compaction did.

    Attributes:
        snapshot_id: the new snapshot; None: there was nothing to do.
        files_before: data files that were rewritten.
        files_after: data files that took their place.
        rows: rows in them.
        bytes_before: size of the files that were rewritten.
        bytes_after: size of those that took their place.
        delete_files_removed: delete files that no data file needs any more.
    """

    snapshot_id: int | None
    files_before: int = 0
    files_after: int = 0
    rows: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    delete_files_removed: int = 0


def compact_data_files(
    table: Table,
    *,
    target_file_size: int | None = None,
    min_files: int = 2,
    where: Where = None,
    sort: Sequence[str] | None = None,
    branch: str = MAIN_BRANCH,
) -> Compaction:
    """Rewrite small files, and files with deletes, in one `replace` snapshot.

    Rows that are appended, changed or deleted meanwhile are kept, changed and deleted: what no longer fits is worked
    out again. A compaction that fails leaves orphan files and changes nothing.

    Args:
        table: what is rewritten.
        target_file_size: bytes of a file; unless said the table's `write.target-file-size-bytes`.
        min_files: as many small files of a partition must come together; files with deletes are always rewritten.
        where: only files that may hold rows for which this holds; text or a pyiceberg expression.
        sort: columns by which rows are sorted, run by run, in ascending order; unless said the table's sort order.
        branch: whose files are rewritten.

    Raises:
        ValidationError: an argument makes no sense.
        UnsupportedError: the table has equality deletes, or row ids (format version 3) that would be lost.
        StorageError: a file cannot be read or written, or does not hold the rows that the table says.
        ConflictError: other writers came first too often.
    """
    with mapped(f"table {'.'.join(table.name())}"):
        refreshed(table)
    rewriting = Rewriting(
        target=_target(table.metadata, target_file_size),
        min_files=min_files,
        where=_where(table.metadata, where),
        sort=None if sort is None else tuple(sort),
        branch=branch,
    )
    _require_possible(table, rewriting)
    done = commit(table, rewriting.plan, branch=branch)
    if done.snapshot_id is None or done.change is None:
        return Compaction(snapshot_id=None)
    change = done.change
    return Compaction(
        snapshot_id=done.snapshot_id,
        files_before=len(change.removed),
        files_after=len(change.added),
        rows=change.counts["rows"],
        bytes_before=sum(file.file_size_in_bytes for file in change.removed),
        bytes_after=sum(file.file_size_in_bytes for file in change.added),
        delete_files_removed=len(change.dangling),
    )


def _target(metadata: TableMetadata, said: int | None) -> int:
    name = TableProperties.WRITE_TARGET_FILE_SIZE_BYTES
    default = metadata.properties.get(name, str(TableProperties.WRITE_TARGET_FILE_SIZE_BYTES_DEFAULT))
    if said is None and not default.isdecimal():
        raise ValidationError(f"the table property {name} is {default!r}; it is a whole number")
    target = int(default) if said is None else said
    if target < 1:
        raise ValidationError(f"a target file size of {target} bytes makes no sense")
    return target


def _where(metadata: TableMetadata, where: Where) -> BooleanExpression:
    condition = condition_of(where, metadata.schema())
    if condition.rows is not None:
        raise ValidationError(
            "files cannot be chosen by a Polars expression", hint="give the filter as text or as a pyiceberg expression"
        )
    return condition.files


def _require_possible(table: Table, rewriting: Rewriting) -> None:
    name, metadata = ".".join(table.name()), table.metadata
    if metadata.format_version >= 3:
        raise UnsupportedError(f"{name} has format version 3: its row ids would be lost")
    if rewriting.min_files < 2:
        raise ValidationError(f"min_files is {rewriting.min_files}; it is at least 2: one file alone becomes no fewer")
    ref = metadata.refs.get(rewriting.branch)
    if ref is None and rewriting.branch != MAIN_BRANCH:
        names = ", ".join(sorted(metadata.refs)) or "none"
        raise ValidationError(f"{name} has no branch {rewriting.branch!r}", hint=f"there are: {names}")
    if ref and ref.snapshot_ref_type != SnapshotRefType.BRANCH:
        raise ValidationError(f"{name}: {rewriting.branch!r} is a tag, and a tag does not move")
    _require_sortable(metadata, rewriting.sort)


def _require_sortable(metadata: TableMetadata, columns: Sequence[str] | None) -> None:
    names = [one.name for one in metadata.schema().fields]
    if unknown := [name for name in columns or () if name not in names]:
        raise ValidationError(f"unknown column {', '.join(unknown)}", hint=f"columns: {', '.join(names)}")
    nested = [name for name in columns or () if not metadata.schema().find_field(name).field_type.is_primitive]
    if nested:
        raise ValidationError(f"rows cannot be sorted by {', '.join(nested)}: values of nested types have no order")
