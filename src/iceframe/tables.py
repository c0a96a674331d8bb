"""Tables are made, listed and dropped; rows are appended, replaced and deleted, each in one snapshot.

Knows nothing of marks, merges and incremental reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.sorting import SortOrder
from pyiceberg.typedef import Identifier

from iceframe.adding import described_files, full_paths, refuse_known, with_name_mapping
from iceframe.catalog import ensure_namespace, identifier, load_table, mapped
from iceframe.change import Change
from iceframe.commit import Done, Plan, commit
from iceframe.errors import (
    CatalogError,
    ConflictError,
    IceFrameError,
    OutcomeUnknownError,
    SchemaError,
    TableExistsError,
    ValidationError,
)
from iceframe.files import discard, written
from iceframe.filters import Where
from iceframe.removal import Removal
from iceframe.schemas import Rows, SchemaLike, differences, fitted, to_iceberg
from iceframe.specs import Part, described, order_of, spec_of

Summary = Mapping[str, str] | None
Paths = str | Path | Sequence[str | Path]

# --- tables ---------------------------------------------------------------------------------------------


def create_table(
    catalog: Catalog,
    name: str | Identifier,
    schema: SchemaLike,
    *,
    partition_spec: Sequence[Part] | PartitionSpec | None = None,
    sort_order: Sequence[str] | SortOrder | None = None,
    properties: Mapping[str, object] | None = None,
    location: str | None = None,
    if_not_exists: bool = False,
) -> Table:
    """Make a table, and its namespace if it is not there.

    Args:
        catalog: where.
        name: `table` or `namespace.table`.
        schema: whatever `to_iceberg` understands.
        partition_spec: parts like `day(event_time)`, `category`, `bucket(16, id)`.
        sort_order: fields like `id`, `id desc nulls last`.
        properties: of the table.
        location: where its files go, instead of the warehouse.
        if_not_exists: a table that is there already and has these columns will do.

    Raises:
        SchemaError: the columns, the partitions or the order make no sense, or the table there has others.
        TableExistsError: there is one.
        CatalogError: the catalog refuses.
    """
    parts, columns = identifier(name), to_iceberg(schema)
    spec, order = spec_of(partition_spec, columns), order_of(sort_order, columns)
    ensure_namespace(catalog, parts)
    try:
        with mapped(f"table {'.'.join(parts)}"):
            return catalog.create_table(
                parts, columns, location, partition_spec=spec, sort_order=order, properties=_texts(properties or {})
            )
    except TableExistsError as error:
        if not if_not_exists:
            raise TableExistsError(f"there is a table {'.'.join(parts)} already") from error
    table = load_table(catalog, parts)
    if other := differences(table.schema(), columns):
        raise SchemaError(f"the table {'.'.join(parts)} is there and has other columns: {'; '.join(other)}")
    if partition_spec is not None and described(spec, columns) != described(table.spec(), table.schema()):
        there = ", ".join(described(table.spec(), table.schema())) or "nothing"
        raise SchemaError(f"the table {'.'.join(parts)} is there and is partitioned by {there}")
    return table


def table_exists(catalog: Catalog, name: str | Identifier) -> bool:
    """Whether there is a table of this name."""
    parts = identifier(name)
    with mapped(f"table {'.'.join(parts)}"):
        return catalog.namespace_exists(parts[:-1]) and catalog.table_exists(parts)


def list_tables(catalog: Catalog, namespace: str | Identifier | None = None) -> list[str]:
    """The full names of the tables of a namespace, or of all.

    Raises:
        TableNotFoundError: there is no such namespace.
    """
    with mapped("the catalog" if namespace is None else f"namespace {namespace}"):
        if namespace is not None:
            parts = tuple(namespace.split(".")) if isinstance(namespace, str) else tuple(namespace)
            return sorted(".".join(one) for one in catalog.list_tables(parts))
        spaces = _namespaces(catalog, ())
        return sorted(".".join(one) for space in spaces for one in catalog.list_tables(space))


def drop_table(catalog: Catalog, name: str | Identifier, *, purge: bool = False, if_exists: bool = False) -> None:
    """Take a table out of the catalog.

    Args:
        catalog: where.
        name: of the table.
        purge: delete its files, too.
        if_exists: a table that is not there is no error.

    Raises:
        TableNotFoundError: there is none.
    """
    if if_exists and not table_exists(catalog, name):
        return
    parts = load_table(catalog, name).name()
    with mapped(f"table {'.'.join(parts)}"):
        (catalog.purge_table if purge else catalog.drop_table)(parts)


def rename_table(catalog: Catalog, name: str | Identifier, to: str | Identifier) -> Table:
    """Give a table another name, or put it into another namespace.

    Raises:
        TableNotFoundError: there is no table of the old name.
        TableExistsError: there is one of the new name.
    """
    old, new = load_table(catalog, name).name(), identifier(to)
    ensure_namespace(catalog, new)
    with mapped(f"table {'.'.join(new)}"):
        return catalog.rename_table(old, new)


# --- rows -----------------------------------------------------------------------------------------------


def append(table: Table, rows: Rows, *, branch: str = MAIN_BRANCH, summary: Summary = None) -> Done:
    """Append rows in one snapshot; no rows make none.

    Args:
        table: where.
        rows: a frame, a lazy frame, Arrow data; columns go by name, types are widened, never narrowed.
        branch: whose head moves.
        summary: entries for the summary of the snapshot.

    Raises:
        SchemaError: the rows do not fit the table.
        ValidationError: there is no such branch, or these are no rows.
        ConflictError: other writers came first too often, or changed the table's columns meanwhile.
    """
    texts = _refused(table, branch, summary)
    added = written(table.metadata, table.io, fitted(rows, table.schema()))
    change = Change(operation="append", added=added, counts=_counts(added)) if added else None
    return _committed(table, lambda _: Plan(change=change, summary=texts), branch, lambda: added)


def overwrite(
    table: Table, rows: Rows, *, where: Where = None, branch: str = MAIN_BRANCH, summary: Summary = None
) -> Done:
    """Put rows in the place of all rows, or of those for which a filter holds, in one snapshot.

    Files that lose all their rows are dropped, files that lose some are written anew without them. A row for which the
    filter is NULL stays. Where nothing is there to be replaced, the snapshot is an `append`.

    Args:
        table: where.
        rows: what comes.
        where: what goes; None: everything.
        branch: whose head moves.
        summary: entries for the summary of the snapshot.

    Raises:
        SchemaError: the rows do not fit the table.
        ValidationError: there is no such branch, these are no rows, or the filter makes no sense.
        StorageError: a file is missing, corrupt, or cannot be written.
        ConflictError: other writers came first too often, or changed the table's columns meanwhile.
    """
    texts = _refused(table, branch, summary)
    removal = Removal(table, where, branch)
    added = written(table.metadata, table.io, fitted(rows, table.schema()))
    return _removed(table, removal, added, branch, texts)


def delete(table: Table, where: Where, *, branch: str = MAIN_BRANCH, summary: Summary = None) -> Done:
    """Delete the rows for which a filter holds; a row for which it is NULL stays. No such row, no snapshot.

    Args:
        table: where.
        where: what goes.
        branch: whose head moves.
        summary: entries for the summary of the snapshot.

    Raises:
        ValidationError: there is no such branch, or the filter makes no sense.
        StorageError: a file is missing, corrupt, or cannot be written.
        ConflictError: other writers came first too often, or changed the table's columns meanwhile.
    """
    if where is None:
        raise ValidationError("a delete needs a filter", hint="to delete all rows, say `true`")
    return _removed(table, Removal(table, where, branch), (), branch, _refused(table, branch, summary))


def add_files(table: Table, paths: Paths, *, check_duplicates: bool = True, branch: str = MAIN_BRANCH) -> Done:
    """Make Parquet files part of a table where they are, in one snapshot. The table owns them from then on.

    Args:
        table: where.
        paths: of the files.
        check_duplicates: look whether the table holds one of them already.
        branch: whose head moves.

    Raises:
        ValidationError: there is no such branch, a path comes twice, or is part of the table already.
        SchemaError: the columns of a file do not fit, or its rows belong to several partitions.
        StorageError: a file is missing, or is no Parquet file.
    """
    _refused(table, branch, None)
    full = full_paths(paths)
    added = described_files(table.metadata, table.io, full)

    def plan(now: Table) -> Plan:
        if check_duplicates:
            refuse_known(now, full, branch)
        change = Change(operation="append", added=added, counts=_counts(added))
        return Plan(change=change, properties=with_name_mapping(now.metadata))

    return _committed(table, plan, branch, tuple)


def _removed(table: Table, removal: Removal, added: tuple[DataFile, ...], branch: str, summary: dict[str, str]) -> Done:
    def plan(now: Table) -> Plan:
        gone = removal.at(now)
        if not gone.files and not added:
            return Plan(change=None)
        operation: Literal["append", "delete", "overwrite"] = "overwrite"
        if not gone.files:
            operation = "append"
        elif not added and not gone.kept:
            operation = "delete"
        change = Change(
            operation=operation,
            added=(*added, *gone.kept),
            removed=gone.files,
            dangling=gone.dangling,
            counts={**_counts(added), "deleted": gone.rows},
        )
        return Plan(change=change, summary=summary)

    return _committed(table, plan, branch, lambda: (*added, *removal.kept))


def _committed(
    table: Table, plan: Callable[[Table], Plan], branch: str, mine: Callable[[], tuple[DataFile, ...]]
) -> Done:
    """Commit; where that certainly did not happen, the files that were written for it are deleted."""
    schema_id = table.metadata.current_schema_id

    def guarded(now: Table) -> Plan:
        if now.metadata.current_schema_id != schema_id:
            raise ConflictError(
                f"{'.'.join(now.name())}: the columns were changed while the files were written",
                hint="nothing was written; run it again",
            )
        return plan(now)

    try:
        return commit(table, guarded, branch=branch)
    except (OutcomeUnknownError, CatalogError):
        # an attempt before may have taken place after all: its files stay, at worst as orphans
        raise
    except IceFrameError:
        discard(table.io, mine())
        raise


def _counts(added: tuple[DataFile, ...]) -> dict[str, int]:
    return {"inserted": sum(file.record_count for file in added)}


def _refused(table: Table, branch: str, summary: Summary) -> dict[str, str]:
    """The summary as text, where the branch is there and the summary makes sense."""
    ref = table.metadata.refs.get(branch)
    if (ref is None and branch != MAIN_BRANCH) or (ref and ref.snapshot_ref_type != SnapshotRefType.BRANCH):
        there = [name for name, one in table.metadata.refs.items() if one.snapshot_ref_type == SnapshotRefType.BRANCH]
        raise ValidationError(
            f"{'.'.join(table.name())} has no branch {branch}",
            hint=f"branches: {', '.join(sorted(there)) or MAIN_BRANCH}",
        )
    if "operation" in (summary or {}):
        raise ValidationError("a summary cannot name its operation", hint="leave it out")
    return _texts(summary or {})


def _texts(given: Mapping[str, object]) -> dict[str, str]:
    missing = [key for key, value in given.items() if value is None]
    if missing:
        raise ValidationError(f"{missing[0]} has no value", hint="leave it out, or give it one")
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()}


def _namespaces(catalog: Catalog, parent: Identifier) -> list[Identifier]:
    found = []
    for one in catalog.list_namespaces(parent):
        if len(one) > len(parent):
            found += [one, *_namespaces(catalog, one)]
    return found
