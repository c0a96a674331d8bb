"""A merge as a change of the files of a table, worked out against its present head. Commits nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import polars as pl
import pyarrow as pa
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from iceframe import files
from iceframe.change import Change
from iceframe.errors import ValidationError
from iceframe.merge.binding import Binding
from iceframe.merge.clauses import Spec
from iceframe.merge.deletes import Marked, marked, require_version
from iceframe.merge.edits import Editor
from iceframe.merge.inserts import Inserts
from iceframe.merge.keys import ROW, key_schema, source_keys
from iceframe.merge.matching import Matches, Reader, match
from iceframe.merge.pruning import Candidate, candidates
from iceframe.merge.rewrite import Outcome, rewritten
from iceframe.merge.source import Source
from iceframe.parallel import in_order

MODE = "write.merge.mode"
"""The table property that says how: `copy-on-write`, or `merge-on-read`."""
_MODES = ("copy-on-write", "merge-on-read")
_AT_ONCE = 2


def change_for(table: Table, spec: Spec, source: Source) -> Change | None:
    """Do a merge up to its commit: match the rows of the table's head and write the files.

    Args:
        table: as it is now.
        spec: key columns and clauses.
        source: the rows that are merged.

    Returns:
        The files that come and go, with `counts` of rows inserted, updated and deleted; None: nothing changes.

    Raises:
        ValidationError: the clauses make no sense for this table and source, or an expression cannot be evaluated.
        DuplicateKeysError: two rows of the source have one key.
        SchemaError: a value does not fit into its column.
        UnsupportedError: the table cannot be merged into in the way that it asks for.
        StorageError: a file is missing, corrupt, or cannot be written.

    When it raises, the files that it wrote are deleted again.
    """
    spec.require_sense()
    merge = _prepared(table, spec, source)
    done = False
    try:
        found = merge.change(_head_of(table, spec.branch))
        done = True
    finally:
        if not done:
            files.discard(table.io, merge.written)
    return found


def discard(io: FileIO, change: Change) -> None:
    """Delete the files of a change that will not be committed, as far as that is possible.

    Args:
        io: deletes files.
        change: one that no catalog has seen, or that a catalog has refused for good.
    """
    files.discard(io, (*change.added, *change.deletes))


@dataclass(slots=True, kw_only=True)
class _Merge:
    """One attempt at a merge."""

    reader: Reader
    keys: Schema
    source: Source
    binding: Binding
    source_keys: pl.DataFrame
    on_read: bool
    written: list[DataFile] = field(default_factory=list)

    @property
    def editor(self) -> Editor:
        return Editor(self.binding, self.source)

    @property
    def schema(self) -> Schema:
        return self.reader.metadata.schema()

    def change(self, head: int | None) -> Change | None:
        """The files that come and go."""
        inserts = Inserts(self.editor)
        found = self._candidates(head)
        outcome = self._on_read(found, inserts) if self.on_read else self._on_write(found, inserts)
        counts = {"inserted": inserts.inserted, "updated": outcome.updated, "deleted": outcome.deleted}
        if not any(counts.values()):
            return None
        gone = outcome.removed or outcome.deletes
        return Change(
            operation="overwrite" if gone and outcome.added else "delete" if gone else "append",
            added=tuple(outcome.added),
            removed=tuple(outcome.removed),
            deletes=tuple(outcome.deletes),
            counts=counts,
        )

    def write(self, rows: Iterator[pa.RecordBatch]) -> list[DataFile]:
        """Write rows, and remember the files."""
        found = []
        for file in files.write_data_files(self.reader.metadata, self.reader.io, rows):
            self.written.append(file)
            found.append(file)
        return found

    def _candidates(self, head: int | None) -> list[Candidate]:
        by_source = bool(self.binding.not_matched_by_source)
        if head is None or not (self.source_keys.height or by_source):
            return []
        return candidates(self.reader.metadata, self.reader.io, head, self.keys, self.source_keys, every=by_source)

    def _edited(self, matches: Matches) -> bool:
        """Whether a clause can apply to rows of the file."""
        matched = bool(self.binding.matched) and matches.found.height > 0
        return matched or bool(self.binding.not_matched_by_source)

    # --- copy-on-write ----------------------------------------------------------------------------------

    def _on_write(self, found: list[Candidate], inserts: Inserts) -> Outcome:
        total, matched = Outcome(), [pl.Series(ROW, [], pl.Int64)]
        for rows, outcome in in_order((partial(self._rewrite, one) for one in found), ahead=_AT_ONCE):
            matched.append(rows)
            total.add(outcome)
        total.added += self.write(inserts.batches(self.source_keys, pl.concat(matched)))
        return total

    def _rewrite(self, candidate: Candidate) -> Iterator[tuple[pl.Series, Outcome]]:
        outcome = Outcome()
        with self.reader.rows(candidate.task) as file:
            matches = match(file, candidate.keys, self.keys)
            if self._edited(matches):
                outcome = rewritten(file, self.editor, matches, self.schema, self.write, self._unneeded)
        yield matches.found[ROW], outcome

    def _unneeded(self, file: DataFile) -> None:
        files.discard(self.reader.io, [file])

    # --- merge-on-read ----------------------------------------------------------------------------------

    def _on_read(self, found: list[Candidate], inserts: Inserts) -> Outcome:
        total, matched = Outcome(), [pl.Series(ROW, [], pl.Int64)]

        def rows() -> Iterator[pa.RecordBatch]:
            for one in in_order((partial(self._mark, one) for one in found), ahead=_AT_ONCE):
                if isinstance(one, pl.Series):
                    matched.append(one)
                elif one.outcome:
                    total.add(one.outcome)
                elif one.images:
                    yield one.images
            yield from inserts.batches(self.source_keys, pl.concat(matched))

        added = self.write(rows())
        total.added += added
        return total

    def _mark(self, candidate: Candidate) -> Iterator[pl.Series | Marked]:
        with self.reader.rows(candidate.task) as file:
            matches = match(file, candidate.keys, self.keys)
            yield matches.found[ROW]
            if not self._edited(matches):
                return
            for one in marked(self.reader, file, self.editor, matches):
                if one.outcome:
                    self.written += one.outcome.deletes
                yield one


def _prepared(table: Table, spec: Spec, source: Source) -> _Merge:
    metadata = table.metadata
    mode = metadata.properties.get(MODE, _MODES[0])
    if mode not in _MODES:
        raise ValidationError(f"{MODE} is {mode!r}", hint=f"it is one of {', '.join(_MODES)}")
    on_read = mode == _MODES[1]
    require_version(metadata, ".".join(table.name()), on_read=on_read)
    keys = key_schema(metadata.schema(), spec.on)
    return _Merge(
        reader=Reader(metadata, table.io),
        keys=keys,
        source=source,
        source_keys=source_keys(source, keys),
        binding=Binding(spec, metadata.schema(), source),
        on_read=on_read,
    )


def _head_of(table: Table, branch: str) -> int | None:
    head = table.metadata.snapshot_by_name(branch)
    if head is None and branch != MAIN_BRANCH:
        raise ValidationError(
            f"{'.'.join(table.name())} has no branch {branch!r}", hint=f"branches: {', '.join(table.metadata.refs)}"
        )
    return head.snapshot_id if head else None
