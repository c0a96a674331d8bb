"""Forgetting old snapshots, and deleting the files that only they needed. Never touches what a kept one refers to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import SnapshotRef, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot, ancestors_of
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    RemovePartitionStatisticsUpdate,
    RemoveSnapshotsUpdate,
    RemoveStatisticsUpdate,
    TableUpdate,
)

from iceframe.earlier import earlier_metadata
from iceframe.errors import ConflictError, ValidationError
from iceframe.maintenance.reachable import Unreachable, delete_all, require_own_files, statistics_of, unreachable
from iceframe.maintenance.readers import needed, registered
from iceframe.updates import Update, change_metadata

MAX_AGE = timedelta(days=5)
"""How long snapshots are kept where neither the call nor the table says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """What an expiry took away; after a dry run, what it would.

    Attributes:
        snapshots: their ids, oldest first.
        data_files: data files and delete files.
        manifests: manifests.
        manifest_lists: manifest lists.
        bytes: of data files, delete files, statistics and manifests.
    """

    snapshots: tuple[int, ...]
    data_files: int
    manifests: int
    manifest_lists: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """Which snapshots are to go."""

    cutoff: int
    now: int
    retain_last: int | None
    snapshot_ids: frozenset[int] | None
    ignore_readers: bool

    def chosen(self, table: Table) -> list[Snapshot]:
        """The snapshots that go, oldest first.

        Raises:
            ValidationError: one that was named is not there, or is held, or a reader still needs it.
        """
        if self.snapshot_ids is None:
            found = self._by_age(table.metadata)
            return found if self.ignore_readers or not found else _unneeded(table, found)
        found = self._by_name(table)
        if found and not self.ignore_readers:
            _require_unread(table, found)
        return found

    def _by_age(self, metadata: TableMetadata) -> list[Snapshot]:
        default = _number(metadata, "history.expire.min-snapshots-to-keep", 1)
        least = max(1, default if self.retain_last is None else self.retain_last)
        kept = self._retained(metadata, self.cutoff, least)
        return [one for one in _by_time(metadata) if one.timestamp_ms < self.cutoff and one.snapshot_id not in kept]

    def _by_name(self, table: Table) -> list[Snapshot]:
        metadata, wanted = table.metadata, self.snapshot_ids or frozenset()
        name = ".".join(table.name())
        if missing := wanted - {one.snapshot_id for one in metadata.snapshots}:
            raise ValidationError(f"{name} has no snapshot {', '.join(map(str, sorted(missing)))}")
        if held := wanted & self._retained(metadata, self.now + 1, self.retain_last or 1):
            raise ValidationError(
                f"{name}: snapshot {min(held)} cannot be expired, a branch or a tag holds it",
                hint="drop the branch or the tag first, or change how long it keeps snapshots",
            )
        return [one for one in _by_time(metadata) if one.snapshot_id in wanted]

    def _retained(self, metadata: TableMetadata, cutoff: int, least: int) -> set[int]:
        """What branches and tags hold, each as its own settings say, otherwise as this rule does."""
        kept = {metadata.current_snapshot_id} if metadata.current_snapshot_id is not None else set()
        for ref in metadata.refs.values():
            kept |= self._held_by(ref, metadata, cutoff, least)
        return kept

    def _held_by(self, ref: SnapshotRef, metadata: TableMetadata, cutoff: int, least: int) -> set[int]:
        if ref.snapshot_ref_type == SnapshotRefType.TAG:
            return {ref.snapshot_id}
        least = ref.min_snapshots_to_keep or least
        cutoff = cutoff if ref.max_snapshot_age_ms is None else self.now - ref.max_snapshot_age_ms
        kept: set[int] = set()
        for one in ancestors_of(metadata.snapshot_by_id(ref.snapshot_id), metadata):
            if len(kept) >= least and one.timestamp_ms < cutoff:
                break
            kept.add(one.snapshot_id)
        return kept


def expire_snapshots(
    table: Table,
    *,
    older_than: datetime | timedelta | None = None,
    retain_last: int | None = None,
    snapshot_ids: Iterable[int] | None = None,
    dry_run: bool = False,
    ignore_readers: bool = False,
) -> Expiry:
    """Forget snapshots in one commit, then delete the files that no kept snapshot refers to.

    Heads of branches, tags, and what their own settings keep always stay, and so does what a registered reader has not
    read yet. If the process dies between the commit and
    the last file, files are left that `remove_orphan_files` finds.

    Args:
        table: its metadata and files change.
        older_than: a moment with a time zone, or an age; unless said the table's `history.expire.max-snapshot-age-ms`,
            else 5 days.
        retain_last: how many snapshots of each branch stay at least; unless said the table's
            `history.expire.min-snapshots-to-keep`, else 1.
        snapshot_ids: exactly these, whatever their age.
        dry_run: only say what would go.
        ignore_readers: also take what a registered reader has not read yet; its next read then fails.

    Raises:
        ValidationError: an argument makes no sense, a snapshot is held, or a reader still needs one; nothing changed.
        ConflictError: other writers came first too often, or a new branch was lost; no file was deleted.
        StorageError: a manifest cannot be read, or a file cannot be deleted.
    """
    rule = _rule(table.metadata, older_than, retain_last, snapshot_ids, ignore_readers)
    require_own_files(table)
    if dry_run:
        gone = rule.chosen(table)
        ids = {one.snapshot_id for one in gone}
        staying = [one for one in table.metadata.snapshots if one.snapshot_id not in ids]
        return _expiry(gone, unreachable(gone, staying, table.io, _statistics(table.metadata, ids)))
    gone, statistics = _forgotten(table, rule)
    if not gone:
        return _expiry((), Unreachable())
    _require_refs(table, {one.snapshot_id for one in gone})
    staying_statistics = statistics_of(table.metadata)
    free = {path: size for path, size in statistics.items() if path not in staying_statistics}
    found = unreachable(gone, table.metadata.snapshots, table.io, free)
    delete_all(table.io.delete, found.locations())
    return _expiry(gone, found)


def _forgotten(table: Table, rule: _Rule) -> tuple[list[Snapshot], dict[str, int]]:
    """Take snapshots out of the metadata; they, and the statistics files that went with them."""
    gone: list[Snapshot] = []
    statistics: dict[str, int] = {}

    def plan(table: Table) -> Update | None:
        metadata = table.metadata
        gone[:] = rule.chosen(table)
        ids = {one.snapshot_id for one in gone}
        statistics.clear()
        statistics.update(_statistics(metadata, ids))
        # a ref that is moved to one of them meanwhile would vanish with it
        same = [
            AssertRefSnapshotId.model_validate({"ref": name, "snapshot-id": ref.snapshot_id})
            for name, ref in metadata.refs.items()
        ]
        return Update(updates=_removing(metadata, ids), requirements=tuple(same)) if ids else None

    def reached(metadata: TableMetadata) -> bool:
        return bool(gone) and not any(metadata.snapshot_by_id(one.snapshot_id) for one in gone)

    change_metadata(table, plan, reached=reached)
    return gone, statistics


def _removing(metadata: TableMetadata, ids: Collection[int]) -> tuple[TableUpdate, ...]:
    whole = sorted({one.snapshot_id for one in metadata.statistics} & set(ids))
    partitions = sorted({one.snapshot_id for one in metadata.partition_statistics} & set(ids))
    return (
        *(RemoveStatisticsUpdate.model_validate({"snapshot-id": one}) for one in whole),
        *(RemovePartitionStatisticsUpdate.model_validate({"snapshot-id": one}) for one in partitions),
        RemoveSnapshotsUpdate.model_validate({"snapshot-ids": sorted(ids)}),
    )


def _unneeded(table: Table, going: Sequence[Snapshot]) -> list[Snapshot]:
    """Those of the snapshots that no reader still needs."""
    kept = {one for reader in registered(table) for one in needed(table, reader.since)}
    return [one for one in going if one.snapshot_id not in kept]


def _require_unread(table: Table, going: Sequence[Snapshot]) -> None:
    for reader in registered(table):
        kept = needed(table, reader.since)
        if wanted := [one.snapshot_id for one in going if one.snapshot_id in kept]:
            raise ValidationError(
                f"{'.'.join(table.name())}: snapshot {wanted[0]} cannot be expired, job {reader.job!r} (into "
                f"{reader.target or 'another system'}) still needs it: it has read up to snapshot {reader.since}",
                hint="run the job first, or forget it if it is no more; with ignore_readers=True it must load anew",
            )


def _require_refs(table: Table, gone: set[int]) -> None:
    """See that no branch or tag that was made at the very last moment went with the snapshots.

    A catalog drops a ref together with its snapshot, and no requirement can speak of a name that is not known yet.
    """
    before = next(iter(earlier_metadata(table.metadata, table.io)), None)
    lost = [name for name, ref in before.refs.items() if ref.snapshot_id in gone] if before else []
    if lost:
        raise ConflictError(
            f"{'.'.join(table.name())}: {', '.join(lost)} was made at an expired snapshot while that was forgotten",
            hint="no file was deleted; the metadata file before this one still has the snapshot",
        )


def _rule(
    metadata: TableMetadata,
    older_than: datetime | timedelta | None,
    retain_last: int | None,
    snapshot_ids: Iterable[int] | None,
    ignore_readers: bool,
) -> _Rule:
    if retain_last is not None and retain_last < 1:
        raise ValidationError(f"retain_last is {retain_last}; a branch keeps its head, so it is at least 1")
    if snapshot_ids is not None and older_than is not None:
        raise ValidationError("older_than and snapshot_ids exclude each other: an age, or exactly these snapshots")
    now = datetime.now(UTC)
    return _Rule(
        cutoff=_milliseconds(_cutoff(metadata, older_than, now)),
        now=_milliseconds(now),
        retain_last=retain_last,
        snapshot_ids=None if snapshot_ids is None else frozenset(snapshot_ids),
        ignore_readers=ignore_readers,
    )


def _cutoff(metadata: TableMetadata, older_than: datetime | timedelta | None, now: datetime) -> datetime:
    if isinstance(older_than, datetime):
        if older_than.tzinfo is None:
            raise ValidationError(f"older_than is {older_than}, without a time zone", hint="datetime.now(UTC) has one")
        return older_than
    if older_than is None:
        default = MAX_AGE // timedelta(milliseconds=1)
        return now - timedelta(milliseconds=_number(metadata, "history.expire.max-snapshot-age-ms", default))
    if older_than < timedelta(0):
        raise ValidationError(f"older_than is {older_than}; an age is not negative")
    return now - older_than


def _number(metadata: TableMetadata, name: str, default: int) -> int:
    said = metadata.properties.get(name)
    if said is not None and not said.isdecimal():
        raise ValidationError(f"the table property {name} is {said!r}; it is a whole number")
    return default if said is None else int(said)


def _milliseconds(moment: datetime) -> int:
    return (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)


def _by_time(metadata: TableMetadata) -> list[Snapshot]:
    return sorted(metadata.snapshots, key=lambda one: (one.timestamp_ms, one.sequence_number or 0))


def _statistics(metadata: TableMetadata, ids: Collection[int]) -> dict[str, int]:
    found = (*metadata.statistics, *metadata.partition_statistics)
    return {one.statistics_path: one.file_size_in_bytes for one in found if one.snapshot_id in ids}


def _expiry(gone: Iterable[Snapshot], found: Unreachable) -> Expiry:
    return Expiry(
        snapshots=tuple(one.snapshot_id for one in gone),
        data_files=len(found.files),
        manifests=len(found.manifests),
        manifest_lists=len(found.manifest_lists),
        bytes=found.size(),
    )
