"""Fixtures that all tests share: a PostgreSQL server, a database of it, an S3 server, a project folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import postgres, s3
from tests.support import zygote as forks
from tests.support.project import Project

os.environ.setdefault("CONDUIT_TESTING", "1")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """A PostgreSQL server. Without one its tests are skipped, loudly; with CI=true that is a failure."""
    if not os.environ.get("CONDUIT_TEST_POSTGRES") and postgres.binaries() is None:
        message = "no PostgreSQL server on this machine: nothing that concerns PostgreSQL was tested"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with postgres.server() as server:
        yield server


@pytest.fixture
def database(postgres_server: postgres.Server) -> Iterator[postgres.Database]:
    """An empty database."""
    with postgres_server.database() as database:
        yield database


@pytest.fixture(scope="session")
def storage() -> Iterator[s3.Storage]:
    """An S3 server with an empty bucket. Without one its tests are skipped, loudly; with CI=true that is a failure."""
    if s3.binary() is None:
        message = "no S3 server on this machine: nothing that concerns S3 was tested"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with s3.server() as storage:
        yield storage


@pytest.fixture(scope="session")
def zygote() -> forks.Zygote:
    """The process that forks runs."""
    return forks.shared()


@pytest.fixture(scope="session", autouse=True)
def _zygote_ends() -> Iterator[None]:
    """Any test may have asked for it."""
    yield
    forks.close_shared()


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty project folder."""
    return Project(tmp_path)
