"""What the databases behind SQL catalogs raise. SQLAlchemy costs 0.2 s to import: its errors count once it is there."""

from __future__ import annotations

import sqlite3
import sys

Errors = tuple[type[Exception], ...]


def database_errors(*others: type[Exception]) -> Errors:
    """Errors of a driver: a statement was refused, or was not answered. And those others."""
    return (*others, sqlite3.Error, *_alchemy("DBAPIError"))


def catalog_errors(*others: type[Exception]) -> Errors:
    """Errors of a driver, and of a url that names no database. And those others."""
    return (*database_errors(*others), *_alchemy("ArgumentError"))


def twice_errors(*others: type[Exception]) -> Errors:
    """Errors of a row that is there already. And those others."""
    return (*others, sqlite3.IntegrityError, *_alchemy("IntegrityError"))


def _alchemy(name: str) -> Errors:
    """The error of SQLAlchemy with this name; none while nobody has imported it, since nothing can raise it then."""
    found = getattr(sys.modules.get("sqlalchemy.exc"), name, None)
    return () if found is None else (found,)
