"""What the fault tests share: a bench per destination."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.bench import Bench
from tests.support.zygote import Zygote


@pytest.fixture
def bench(request: pytest.FixtureRequest, zygote: Zygote, tmp_path: Path) -> Callable[..., Bench]:
    """`bench("parquet", **resource)`: a pipeline into that destination, in a folder of the test unless one is given."""

    def make(name: str, folder: Path = tmp_path, **resource: Any) -> Bench:
        database = request.getfixturevalue("database") if name == "postgresql" else None
        return Bench.set_up(zygote, folder, name, database, **resource)

    return make
