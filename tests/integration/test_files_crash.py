"""Kills at the named points of a load, by a process that drives the destination: 0 rows lost, 0 doubled."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commits import mark
from tests.support.files import FORMS, STEP, commit, destination, found_ids, ids, run_in_process, run_out_of_space

POINTS = ("load.begun", "load.staged", "load.marked", "load.committed")
RUNS = [*((form, "append") for form in FORMS), ("lake/", "replace"), ("t.csv", "replace")]


@pytest.mark.parametrize(("form", "mode"), RUNS)
def test_a_kill_at_any_point_of_a_load_loses_and_doubles_nothing(form: str, mode: str, tmp_path: Path) -> None:
    commit(destination(form, tmp_path), ids(1, STEP), None, mark(STEP))
    for point in POINTS:
        assert run_in_process(form, tmp_path, mode, crash_at=f"{point}:1") == -9
    assert run_in_process(form, tmp_path, mode) == 0
    assert found_ids(form, tmp_path) == list(range(1, 3 * STEP + 1)), "one run died after its commit, two are whole"
    assert not list(tmp_path.rglob("part-0-*")), "what the killed runs had staged is gone"


@pytest.mark.parametrize("form", ["lake/", "t.csv"])
def test_a_full_disk_is_one_error_and_the_next_run_goes_on(form: str, tmp_path: Path) -> None:
    to = destination(form, tmp_path)
    commit(to, ids(1, STEP), None, mark(STEP))
    assert "no space left on" in run_out_of_space(form, tmp_path)
    assert found_ids(form, tmp_path) == list(range(1, STEP + 1))
    assert run_in_process(form, tmp_path, "append") == 0
    assert found_ids(form, tmp_path) == list(range(1, 2 * STEP + 1))
