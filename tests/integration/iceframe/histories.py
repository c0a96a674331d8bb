"""Random histories of a table, and what should be in it by plain lists."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.types import DoubleType

from iceframe.scan import pinned
from tests.integration.iceframe.writers import Rows, compact, delete_at, expire, multiset, roll_back


@dataclass
class State:
    """What the table held at a snapshot: values by column, whatever the columns were called."""

    snapshot: int
    rows: list[dict[str, object]]
    how: str


@dataclass
class Model:
    """A table, and what should be in it by plain lists."""

    table: Table
    chance: random.Random
    columns: dict[str, str] = field(default_factory=lambda: {"id": "id", "x": "x"})
    line: list[State] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    expired: set[int] = field(default_factory=set)
    made: int = 0

    @property
    def rows(self) -> list[dict[str, object]]:
        return self.line[-1].rows if self.line else []

    def new_rows(self) -> list[dict[str, object]]:
        return [
            {key: self.chance.choice([None, 1.0, 2.0] if key != "id" else [1, 2, 3, 4, None]) for key in self.columns}
            for _ in range(self.chance.randint(1, 4))
        ]

    def arrow(self, rows: list[dict[str, object]]) -> pa.Table:
        shape = self.table.schema().as_arrow()
        arrays = [
            pa.array([row.get(key) for row in rows], shape.field(name).type) for key, name in self.columns.items()
        ]
        return pa.table(arrays, names=list(self.columns.values()))

    def project(self, rows: list[dict[str, object]]) -> Rows:
        return multiset([row.get(key) for key in self.columns] for row in rows)

    def moved(self, how: str, rows: list[dict[str, object]]) -> None:
        """Note what an operation did, if it made a snapshot."""
        snapshot = self.table.refresh().current_snapshot()
        if snapshot and (not self.line or self.line[-1].snapshot != snapshot.snapshot_id):
            self.line.append(State(snapshot.snapshot_id, rows, how))


def do_append(model: Model) -> None:
    rows = model.new_rows()
    model.table.append(model.arrow(rows))
    model.moved("append", model.rows + rows)


def do_overwrite(model: Model) -> None:
    rows = model.new_rows()
    model.table.overwrite(model.arrow(rows))
    model.moved("change", rows)


def do_delete(model: Model) -> None:
    wanted = model.chance.randint(1, 4)
    model.table.delete(f"id = {wanted}")
    model.moved("change", [row for row in model.rows if row.get("id") != wanted])


def do_delete_by_place(model: Model) -> None:
    files = pinned(model.table.refresh()).files()
    if not files or model.table.format_version < 2:
        return
    task = model.chance.choice(files)
    place = model.chance.randrange(task.file.record_count)
    delete_at(model.table, task.file.file_path, [place])
    after = multiset(pinned(model.table.refresh()).frame())
    gone = model.project(model.rows) - after
    rows = list(model.rows)
    for row in model.rows:
        if gone[shown_row := next(iter(model.project([row])))]:
            gone[shown_row] -= 1
            rows.remove(row)
    model.moved("change", rows)


def do_upsert(model: Model) -> None:
    keys = Counter(row.get("id") for row in model.rows)
    snapshot = model.table.refresh().current_snapshot()
    if snapshot and snapshot.schema_id != model.table.metadata.current_schema_id:
        return  # pyiceberg's upsert fails on a table whose columns changed since its last snapshot
    if None in keys or any(count > 1 for count in keys.values()):
        return
    rows = [{**row, "id": place} for place, row in enumerate(model.new_rows(), start=model.chance.randint(1, 3))]
    model.table.upsert(model.arrow(rows), join_cols=[model.columns["id"]])
    given = {row["id"] for row in rows}
    model.moved("change", [row for row in model.rows if row["id"] not in given] + rows)


def do_compact(model: Model) -> None:
    if model.line:
        compact(model.table)
        model.moved("compact", model.rows)


def do_expire(model: Model) -> None:
    kept = {ref.snapshot_id for ref in model.table.refresh().metadata.refs.values()}
    free = [one.snapshot_id for one in model.table.metadata.snapshots if one.snapshot_id not in kept]
    if free:
        gone = model.chance.sample(free, model.chance.randint(1, min(2, len(free))))
        expire(model.table, *gone)
        model.expired.update(gone)


def do_roll_back(model: Model) -> None:
    alive = [state for state in model.line[:-1] if state.snapshot not in model.expired]
    on_line = {one.snapshot_id for one in _line(model.table)}
    alive = [state for state in alive if state.snapshot in on_line]
    if alive:
        target = model.chance.choice(alive)
        roll_back(model.table, target.snapshot)
        place = model.line.index(target)
        model.left += [state.snapshot for state in model.line[place + 1 :]]
        model.line = model.line[: place + 1]


def do_evolve(model: Model) -> None:
    model.made += 1
    others = [key for key in model.columns if key != "id"]
    choice = model.chance.choice(["add", "rename", "drop"] if others else ["add"])
    with model.table.update_schema(allow_incompatible_changes=True) as update:
        if choice == "add":
            name = model.chance.choice([one for one in ("x", "y", "z") if one not in model.columns.values()] or ["w"])
            if name not in model.columns.values():
                update.add_column(name, DoubleType())
                model.columns[f"made{model.made}"] = name
        elif choice == "rename":
            key = model.chance.choice(others)
            update.rename_column(model.columns[key], f"n{model.made}")
            model.columns[key] = f"n{model.made}"
        else:
            key = model.chance.choice(others)
            update.delete_column(model.columns.pop(key))
    model.table.refresh()


def _line(table: Table) -> Iterator[Snapshot]:
    snapshot = table.refresh().current_snapshot()
    while snapshot is not None:
        yield snapshot
        parent = snapshot.parent_snapshot_id
        snapshot = table.snapshot_by_id(parent) if parent else None


OPERATIONS: dict[Callable[[Model], None], int] = {
    do_append: 6,
    do_overwrite: 1,
    do_delete: 1,
    do_delete_by_place: 1,
    do_upsert: 1,
    do_compact: 2,
    do_expire: 1,
    do_roll_back: 1,
    do_evolve: 2,
}
