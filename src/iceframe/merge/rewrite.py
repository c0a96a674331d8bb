"""Copy-on-write: a file in which a row changes is written anew, row after row; all others stay byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

import polars as pl
import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema

from iceframe.merge.arrow import Array
from iceframe.merge.edits import Editor, Edits, Update, equal_places
from iceframe.merge.matching import Matches, Rows, Span
from iceframe.parallel import in_order

_HELD_BYTES = 32 << 20
"""Rows before the first change of a file wait in memory up to here; a file without a change is then not written."""

_AHEAD_BYTES = 32 << 20
"""Rows that are decoded and edited while those before them are encoded: a row group, which is encoded at once."""

Write = Callable[[Iterator[pa.RecordBatch]], list[DataFile]]
"""Writes rows as data files."""


@dataclass(slots=True)
class Outcome:
    """What a merge does to the rows and files of a table.

    Attributes:
        updated: rows that became others.
        deleted: rows that are gone.
        removed: files that are gone.
        added: files with rows in their place.
        deletes: position delete files.
    """

    updated: int = 0
    deleted: int = 0
    removed: list[DataFile] = field(default_factory=list)
    added: list[DataFile] = field(default_factory=list)
    deletes: list[DataFile] = field(default_factory=list)

    def count(self, edits: Edits) -> None:
        """Add the rows of a span."""
        self.updated += edits.changes
        self.deleted += edits.deletes

    def add(self, other: Outcome) -> None:
        """Add what happens to another file."""
        self.updated += other.updated
        self.deleted += other.deleted
        self.removed += other.removed
        self.added += other.added
        self.deletes += other.deletes


def rewritten(
    file: Rows, editor: Editor, matches: Matches, schema: Schema, write: Write, discard: Callable[[DataFile], None]
) -> Outcome:
    """Write a file anew with the clauses applied; nothing is removed and added if no row changes.

    Args:
        file: its rows.
        editor: applies the clauses.
        matches: the rows of it that the source has.
        schema: all columns of the table.
        write: writes rows as data files.
        discard: deletes a file that was written and is not needed.

    Raises:
        StorageError: a file cannot be read or written.
        ValidationError, SchemaError: what the clauses raise.
    """
    outcome = Outcome()
    edited = partial(_edited, file, editor, matches, schema, outcome)
    with closing(in_order([edited], depth=_AHEAD_BYTES, weigh=attrgetter("nbytes"))) as rows:
        added = write(_held_back(rows, outcome))
    if outcome.updated or outcome.deleted:
        outcome.removed.append(file.file)
        outcome.added += added
    else:
        for unneeded in added:
            discard(unneeded)
    return outcome


def _edited(file: Rows, editor: Editor, matches: Matches, schema: Schema, outcome: Outcome) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in file.batches(schema):
        span = Span(start, batch.num_rows, batch.column, batch.schema.names)
        edits = editor.edits(span, matches)
        outcome.count(edits)
        yield _applied(batch, edits, matches.gone(span))
        start += batch.num_rows


def _held_back(rows: Iterator[pa.RecordBatch], outcome: Outcome) -> Iterator[pa.RecordBatch]:
    """The rows, the first of them not before something has changed, if nothing does then none."""
    held: list[pa.RecordBatch] = []
    for batch in rows:
        held.append(batch)
        if outcome.updated or outcome.deleted or sum(one.nbytes for one in held) > _HELD_BYTES:
            yield from held
            held.clear()
            yield from rows


def _applied(batch: pa.RecordBatch, edits: Edits, gone: pl.Series) -> pa.RecordBatch:
    """The rows of a batch with its edits, without the deleted ones, in their order."""
    columns = list(batch.columns)
    for name in {name for update in edits.updates for name in update.columns}:
        place = batch.schema.get_field_index(name)
        columns[place] = _replaced(columns[place], name, edits.updates)
    rows = pa.RecordBatch.from_arrays(columns, schema=batch.schema)
    taken = [places for places in (*edits.deleted, gone) if places.len()]
    if not taken:
        return rows
    kept = pl.repeat(True, rows.num_rows, dtype=pl.Boolean, eager=True)
    for places in taken:
        kept.scatter(places, values=False)
    return rows.filter(kept.to_arrow())


def _replaced(old: Array, name: str, updates: list[Update]) -> Array:
    """A column with new values in some rows; taken from old and new together, which works for nested types too."""
    chosen = [update for update in updates if name in update.columns and _differs(old, update, name)]
    if not chosen:
        return old
    sources = pl.int_range(len(old), dtype=pl.Int64, eager=True)
    start = len(old)
    for update in chosen:
        sources.scatter(update.places, pl.int_range(start, start + update.places.len(), dtype=pl.Int64, eager=True))
        start += update.places.len()
    return pa.concat_arrays([old, *(update.columns[name] for update in chosen)]).take(sources.to_arrow())


def _differs(old: Array, update: Update, name: str) -> bool:
    """Whether a row gets another value in a column; most of them are in all columns but a few what they were."""
    new = update.columns[name]
    return len(equal_places(old.take(update.places.to_arrow()), new)) < len(new)
