"""Merge: update rows by key, insert the others. Works with and without a unique index on the target."""

from __future__ import annotations

from conduit.strategies.statements import (
    Statement,
    Tables,
    find_duplicate_key,
    insert_missing,
    remove_superseded,
)


def statements(tables: Tables, *, key_is_unique: bool, refuse_duplicate_keys: bool) -> list[Statement]:
    """Resolve duplicate keys (or look for them), update, insert: in this order, in one transaction."""
    if refuse_duplicate_keys:
        prepare = [find_duplicate_key(tables)]
    else:
        prepare = [] if key_is_unique else [remove_superseded(tables)]
    change = _taken_out(tables) if tables.whole_rows and not tables.update else _update(tables)
    return [*prepare, *([change] if change else []), insert_missing(tables)]


def _taken_out(tables: Tables) -> Statement | None:
    """Remove the matched rows that differ: what is inserted afterwards holds them as they are now."""
    differs = _differing(tables)
    if not differs:
        return None
    matched = f"WHERE {tables.same_key()} AND ({differs})"
    return Statement(f"DELETE FROM {tables.target} AS target USING {tables.stage} AS source {matched}", "taken_out")


def _update(tables: Tables) -> Statement | None:
    """Change the matched rows that differ. With `update:` every matched row counts as changed."""
    quote = tables.dialect.quote
    changed = [name for name in tables.columns if name not in tables.key]
    assignments = [f"{quote(name)} = {tables.update.get(name) or tables.value(name)}" for name in changed]
    if tables.update:
        # on a line of its own: the expression may end in a comment
        assignments = [f"{quote(name)} = ({expression}\n)" for name, expression in tables.update.items()]
    if not assignments:
        return None
    differs = _differing(tables)
    if not tables.update and not differs:
        return None
    condition = "" if tables.update else f" AND ({differs})"
    return Statement(
        f"UPDATE {tables.target} AS target SET {', '.join(assignments)} FROM {tables.stage} AS source "
        f"WHERE {tables.same_key()}{condition}",
        "updated",
    )


def _differing(tables: Tables) -> str:
    """Whether a matched row is another one now; empty: no column can tell."""
    watched = [name for name in tables.columns if name not in (*tables.key, *tables.unwatched)]
    return " OR ".join(_differs(tables, name) for name in watched)


def _differs(tables: Tables, column: str) -> str:
    form = tables.comparable.get(column, "{}")
    left, right = f"target.{tables.dialect.quote(column)}", tables.value(column)
    return f"{form.format(left)} {tables.dialect.differs} {form.format(right)}"
