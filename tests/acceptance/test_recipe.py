"""The recipe for incremental ingestion: word for word where it stands beside the project, and as one block of a job."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from iceframe import IceFrame

SEED = Path(__file__).parents[3] / "shared" / "seeds" / "incremental-ingestion-recipe.md"
KEYS = ["event_date", "category"]
SCHEMA = {"event_date": "date", "category": "string", "amount": "double"}
SUMMARY = {"event_date": "date", "category": "string", "event_count": "long", "total_amount": "double"}
BATCH_1 = [("2024-01-01", "a", 1.0), ("2024-01-01", "a", 2.0), ("2024-01-01", "b", 3.0)]
BATCH_2 = [("2024-01-01", "a", 10.0), ("2024-01-02", "c", 20.0)]

Step = Callable[[], None]


def events(rows: list[tuple[str, str, float]]) -> pl.DataFrame:
    frame = pl.DataFrame(
        rows, schema={"event_date": pl.String, "category": pl.String, "amount": pl.Float64}, orient="row"
    )
    return frame.with_columns(pl.col("event_date").str.to_date())


def oracle(ice: IceFrame) -> pl.DataFrame:
    """What the summary must be, from all that the source holds."""
    totals = [pl.len().cast(pl.Int64).alias("event_count"), pl.sum("amount").alias("total_amount")]
    return ice.read_table("raw_events").group_by(KEYS).agg(totals).sort(KEYS)


def summary(ice: IceFrame) -> pl.DataFrame:
    return ice.read_table("daily_summary").sort(KEYS)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    return {"type": "sql", "uri": f"sqlite:///{tmp_path}/catalog.db", "warehouse": tmp_path.as_uri() + "/warehouse"}


@pytest.fixture
def ice(config: dict[str, str]) -> Iterator[IceFrame]:
    found = IceFrame(config)
    found.create_table("raw_events", SCHEMA)
    found.create_table("daily_summary", SUMMARY)
    yield found
    found.catalog.close()


def word_for_word() -> str:
    if not SEED.exists():
        pytest.skip(f"{SEED.name} does not stand beside the project")
    block = re.search(r"```python\n(.*?)```", SEED.read_text(), re.DOTALL)
    assert block
    code = block[1]
    return code if hasattr(pl, "count") and _bare_count_works() else code.replace("pl.count()", "pl.len()")


def _bare_count_works() -> bool:
    return int(pl.__version__.split(".")[0]) < 2


def run_recipe(config: dict[str, str]) -> None:
    exec(compile(word_for_word(), SEED.name, "exec"), {"pl": pl, "config": config})


@pytest.mark.filterwarnings("ignore:.*pl.count.*:DeprecationWarning")
def test_the_recipe_runs_word_for_word_three_times(
    ice: IceFrame, config: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "ingestion_state.json"
    ice.append_to_table("raw_events", events(BATCH_1))
    run_recipe(config)
    assert_frame_equal(summary(ice), oracle(ice))
    assert json.loads(state.read_text()) == {"last_snapshot_id": current(ice, "raw_events")}

    ice.append_to_table("raw_events", events(BATCH_2))
    run_recipe(config)
    assert_frame_equal(summary(ice), oracle(ice))
    assert summary(ice)["event_count"].to_list() == [3, 1, 1]

    before = current(ice, "daily_summary"), state.read_text()
    capsys.readouterr()
    run_recipe(config)
    assert "No new data found." in capsys.readouterr().out
    assert (current(ice, "daily_summary"), state.read_text()) == before


def test_rows_that_arrive_between_the_read_and_the_saved_state_are_read_next_time(ice: IceFrame) -> None:
    ice.append_to_table("raw_events", events(BATCH_1))
    reader, writer = ice, IceFrame(ice.catalog)
    read = reader.read_incremental("raw_events", None)
    writer.append_to_table("raw_events", events(BATCH_2))
    snapshot = reader.get_table("raw_events").current_snapshot()
    assert snapshot is not None
    late = reader.read_incremental("raw_events", snapshot.snapshot_id)
    assert (read.height, late.height) == (3, 2)


def current(ice: IceFrame, name: str) -> int:
    snapshot = IceFrame(ice.catalog).get_table(name).current_snapshot()
    assert snapshot is not None
    return snapshot.snapshot_id


def job(ice: IceFrame) -> int | None:
    """The recipe as one block."""
    with ice.incremental("raw_events", into="daily_summary", job="daily") as window:
        if window.frame.height:
            totals = [pl.len().alias("event_count"), pl.sum("amount").alias("total_amount")]
            window.merge(window.frame.group_by(KEYS).agg(totals), on=KEYS).when_matched_update(
                {
                    "event_count": pl.col("target.event_count") + pl.col("source.event_count"),
                    "total_amount": pl.col("target.total_amount") + pl.col("source.total_amount"),
                }
            ).when_not_matched_insert()
    return window.snapshot_id


def test_the_same_job_as_one_block_needs_no_state_file(ice: IceFrame, tmp_path: Path) -> None:
    ice.append_to_table("raw_events", events(BATCH_1))
    assert job(ice) is not None
    assert_frame_equal(summary(ice), oracle(ice))
    ice.append_to_table("raw_events", events(BATCH_2))
    assert job(ice) is not None
    assert_frame_equal(summary(ice), oracle(ice))
    assert job(ice) is None
    assert not list(tmp_path.glob("*.json"))


def test_iceframe_without_a_config_works_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ice = IceFrame()
    ice.create_table("raw_events", SCHEMA)
    ice.append_to_table("raw_events", events(BATCH_1))
    ice.catalog.close()
    again = IceFrame()
    assert again.list_tables() == ["default.raw_events"]
    assert again.read_table("raw_events").height == 3
    again.catalog.close()
