"""The harness of the benchmarks: its arithmetic, its judgement, and that the page says what was measured."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from benchmarks import picture, profiling, report, results
from benchmarks.environments import Environments
from benchmarks.figures import Outcome, Taken, paired
from benchmarks.results import Result
from benchmarks.rows import KINDS, expected_amount, in_postgres, kind_of
from benchmarks.running import Places, Wanted, compared, outcomes, telling
from benchmarks.scenario import Found, Goal, Participant, Role, Scenario, Turn
from benchmarks.scenarios import SCENARIOS
from tests.support.pages import ROOT
from tests.support.postgres import server


def taken(round_: int, seconds: float, mb: float = 10) -> Taken:
    return Taken(round=round_, seconds=seconds, cpu=seconds / 2, largest_mb=mb, sum_mb=mb)


def outcome(role: Role, *seconds: float, name: str = "", wrong: str = "", cannot: str = "") -> Outcome:
    runs = [taken(*one) for one in enumerate(seconds)]
    return Outcome(name=name or role, role=role, taken=runs, wrong=wrong, cannot=cannot)


def result(*outcomes: Outcome, at_most: float = 1.5, name: str = "pg-to-pg") -> Result:
    machine = {"cores": 2, "processor": "p", "memory_gb": 8, "system": "s", "python": "3.11", "packages": {}}
    return Result(
        name=name, title=name, note="", goal=Goal(at_most=at_most), rows=1000, date="2026-01-01", commit="abc",
        machine=machine, outcomes=list(outcomes),
    )  # fmt: skip


RIGHT = Found(rows=10, distinct=10, amount=expected_amount(10), changed=0, types=KINDS)


# --- arithmetic -----------------------------------------------------------------------------------------


def test_a_ratio_is_that_of_one_round_and_the_table_shows_the_median_of_the_rounds() -> None:
    limit, ours = outcome("limit", 1, 10, 2), outcome("ours", 2, 11, 8)
    assert paired(ours, limit) == 2
    assert ours.seconds == 8


def test_a_round_in_which_only_one_of_the_two_ran_has_no_ratio() -> None:
    late = Outcome(name="late", role="peer", taken=[taken(1, 3)])
    assert paired(late, outcome("limit", 1, 2)) == 1.5
    assert paired(late, outcome("limit", 1)) is None


# --- judgement ------------------------------------------------------------------------------------------


def test_a_right_result_is_called_right() -> None:
    assert compared(RIGHT, 10, expected_amount(10), 0) == ""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (replace(RIGHT, rows=20), "rows 20, not 10"),
        (replace(RIGHT, distinct=9), "different ids 9, not 10"),
        (replace(RIGHT, amount=Decimal(1)), "sum of amount 1, not 55.55"),
        (replace(RIGHT, changed=3), "changed rows 3, not 0"),
        (replace(RIGHT, types={**KINDS, "local_at": "timestamptz"}), "local_at is timestamptz, not timestamp"),
        (replace(RIGHT, types={**KINDS, "note": "missing"}), "note is missing, not text"),
    ],
)
def test_a_wrong_result_is_called_wrong(found: Found, said: str) -> None:
    assert compared(found, 10, expected_amount(10), 0) == said


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("BIGINT", "integer"), ("integer", "integer"), ("HUGEINT", "hugeint"), ("DECIMAL(38,10)", "decimal"),
        ("decimal(12,2)", "decimal"), ("decimal(12,1)", "decimal(12,1)"), ("double precision", "double"),
        ("character varying", "text"), ("TIMESTAMP WITH TIME ZONE", "timestamptz"), ("TIMESTAMP_NS", "timestamp"),
    ],
)  # fmt: skip
def test_a_wider_type_of_the_same_kind_is_as_good(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_the_sum_of_the_amounts_is_that_of_the_ids() -> None:
    assert expected_amount(4) == sum(Decimal("1.01") * one for one in range(1, 5))


def test_an_error_is_told_in_its_own_words() -> None:
    assert telling("starting\nValueError: no table\ndone in 3 s\n") == "ValueError: no table"
    assert (
        telling("error: ingest.yml has 1 problem\n  line 3: unknown\n")
        == "error: ingest.yml has 1 problem line 3: unknown"
    )
    assert telling("killed\n") == "killed"


# --- the page -------------------------------------------------------------------------------------------


def test_a_goal_is_met_by_the_ratio_of_the_rounds() -> None:
    limit = outcome("limit", 1, 1)
    assert report.verdict(result(limit, outcome("ours", 1.4, 1.5))) == "met"
    assert report.verdict(result(limit, outcome("ours", 1.4, 1.8))) == "missed"
    assert report.verdict(result(limit, outcome("ours", 1, 1, wrong="rows 1, not 2"))) == "missed: no result"
    assert report.verdict(result(limit, outcome("ours", cannot="not there"))) == "missed: no result"


def test_the_best_peer_is_the_fastest_one_whose_result_is_right() -> None:
    fast, slow = outcome("peer", 2, name="fast", wrong="rows 1, not 2"), outcome("peer", 3, name="slow")
    assert report.peer(result(outcome("limit", 1), outcome("ours", 1), fast, slow)) == "slow 3.00x"


def test_wrong_and_cannot_are_in_the_table_of_their_scenario() -> None:
    others = outcome("peer", 2, wrong="rows 1, not 2"), outcome("peer", cannot="it fell over")
    text = report.rendered({"pg-to-pg": result(outcome("limit", 1), outcome("ours", 1), *others)})
    assert "wrong: rows 1, not 2" in text
    assert "cannot: it fell over" in text


def test_results_are_the_same_after_they_were_saved(tmp_path: Path) -> None:
    made = {"pg-to-pg": result(outcome("limit", 1.0), outcome("ours", 2.0))}
    results.save(made, tmp_path / "results.json")
    assert results.read(tmp_path / "results.json") == made


def test_the_page_says_what_the_results_say() -> None:
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.placed(page, results.read()) == page
    assert profiling.placed(page, profiling.read()) == page


def test_the_picture_shows_what_the_results_say() -> None:
    assert picture.FILE.read_text(encoding="utf-8") == picture.drawn(results.read())


def test_every_scenario_has_a_name_of_its_own_and_ours_takes_part_in_each() -> None:
    assert len({one.name for one in SCENARIOS}) == len(SCENARIOS)
    for scenario in SCENARIOS:
        if not scenario.sizes:
            assert [one.role for one in scenario.participants][:2] == ["limit", "ours"], scenario.name


# --- profiles -------------------------------------------------------------------------------------------

READS = "/x/src/conduit/connectors/postgresql/reader.py:batches"
IMPORTS = "/x/src/conduit/connectors/registry.py:load"


def test_a_profile_tells_phases_and_the_functions_of_this_project() -> None:
    module = "/v/lib/python3.11/site-packages/pyiceberg/catalog/__init__.py:<module>"
    seen = [
        ("main", ["/v/lib/python3.11/threading.py:wait", "/x/src/conduit/read_ahead.py:_next"], 1_000),
        ("main", [module, "<frozen importlib._bootstrap>:_load", IMPORTS], 5_000),
        ("main", ["/v/lib/python3.11/site-packages/adbc/dbapi.py:fetch", READS], 3_000),
        ("reading", ["/x/src/conduit/interrupts.py:_listen"], 9_000),
    ]
    found = profiling.summed(seen)
    assert found == {
        "main": {
            "phases": {"import": 5, "read": 3, "waiting for the other thread": 1},
            "entries": {
                "import of pyiceberg": 5,
                "conduit/connectors/postgresql/reader.py:batches → adbc/dbapi.py:fetch": 3,
                "conduit/read_ahead.py:_next → threading.py:wait": 1,
            },
        }
    }


# --- from end to end ------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_one_that_fails_or_is_late_or_holds_nothing_does_not_stop_the_others(tmp_path: Path) -> None:
    def participant(name: str, role: Role, code: str, found: Callable[[Turn], Found] | None = None) -> Participant:
        command = [sys.executable, "-c", code]
        return Participant(name=name, role=role, command=lambda _: command, found=found)

    scenario = Scenario(
        name="odd",
        title="odd",
        participants=(
            participant("limit", "limit", "pass"),
            participant("fails", "ours", "raise SystemExit('error: no such thing')"),
            participant("late", "peer", "import time; time.sleep(60)"),
            participant("empty", "peer", "pass", in_postgres),
            participant("last", "peer", "pass"),
        ),
    )
    with server() as running, ExitStack() as stack:
        places = Places(running, tmp_path, Environments(tmp_path), stack)
        found = outcomes(scenario, Wanted(rows=100, rounds=2, timeout=1), places, print)
    limit, fails, late, empty, last = found
    assert fails.cannot == "error: no such thing"
    assert late.cannot == "it was not done after 1 seconds"
    assert empty.wrong.startswith("no result: ")
    assert [len(one.taken) for one in (limit, fails, late, empty, last)] == [2, 0, 0, 2, 2]


@pytest.mark.timeout(120)
def test_the_runner_runs_a_scenario_and_writes_nothing_in_a_quick_run() -> None:
    before = {file: file.read_bytes() for file in (report.PAGE, picture.FILE)}
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--only", "parquet-to-parquet help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all of ours did their work" in done.stdout
    assert "parquet-to-parquet 1/1 duckdb" in done.stdout
    assert {file: file.read_bytes() for file in before} == before
