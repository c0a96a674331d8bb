"""Every rule is broken on purpose, and the harness sees it: rows are lost or doubled that the whole program keeps.

Each attack is what the tests of the invariant do, and says what the oracle found. A rule that nobody misses would be a
rule that nothing tests.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from tests.faults.bench import CHECKPOINT, Bench
from tests.proof import tally
from tests.support.postgres import Database
from tests.support.processes import is_stopped
from tests.support.project import Project, pipeline
from tests.support.proxy import proxy
from tests.support.synced import unsynced
from tests.support.zygote import Zygote

MakeBench = Callable[..., Bench]
Found = tuple[int, int]
Attack = Callable[[MakeBench, str], Found]
ONE_COMMIT = 10**9


def killed(bench: MakeBench, mutant: str, name: str, point: str, **resource: Any) -> Found:
    """A run is killed at `point`; the next one goes on. Lost and doubled rows."""
    pipeline = bench(name, **resource)
    pipeline.origin.add(CHECKPOINT)
    pipeline.run(mutant=mutant).ok()
    pipeline.origin.add(3 * CHECKPOINT)
    assert pipeline.run(mutant=mutant, crash_at=point).code == -9
    pipeline.run(mutant=mutant)
    return pipeline.lost_and_doubled()


def stopped(bench: MakeBench, mutant: str, name: str, point: str, meanwhile: Callable[[Bench], object]) -> Found:
    """A run is stopped at `point`, something happens, it wakes up; then a clean run. Lost and doubled rows."""
    pipeline = bench(name, checkpoint_interval=ONE_COMMIT)
    pipeline.origin.add(CHECKPOINT)
    zombie = pipeline.zygote.start(pipeline.folder, "run", "ingest.yml", crash_at=f"{point}:1:STOP", mutant=mutant)
    assert is_stopped(zombie)
    meanwhile(pipeline)
    os.kill(zombie, signal.SIGCONT)
    pipeline.zygote.finish(zombie)
    pipeline.run(mutant=mutant).ok()
    return pipeline.lost_and_doubled()


def by_twin(pipeline: Bench) -> None:
    pipeline.zygote.conduit(pipeline.twin(), "run", "ingest.yml").ok()


def second_transaction(name: str) -> Attack:
    return lambda bench, mutant: killed(bench, mutant, name, "load.committed:1")


def tie(bench: MakeBench, mutant: str) -> Found:
    pipeline = bench("sqlite", incremental_column="key", checkpoint_interval=7)
    pipeline.origin.add(3 * CHECKPOINT)
    assert pipeline.run(mutant=mutant, crash_at="run.committed").code == -9
    pipeline.run(mutant=mutant).ok()
    return pipeline.lost_and_doubled()


def all_rows_read(bench: MakeBench, mutant: str) -> Found:
    return killed(bench, mutant, "sqlite", "run.committed")


def json_first(bench: MakeBench, mutant: str) -> Found:
    return killed(bench, mutant, "sqlite", "load.committed", checkpoint_interval=ONE_COMMIT)


def lost_answer(bench: MakeBench, mutant: str) -> Found:
    pipeline = bench("postgresql", checkpoint_interval=ONE_COMMIT)
    pipeline.origin.add(CHECKPOINT)
    keys = pipeline.end.keys
    with proxy(keys["host"], keys["port"]) as between:
        pipeline.change_port(between.port)
        pipeline.run().ok()
        pipeline.origin.add(CHECKPOINT)
        between.within, between.lose_commits = b"COPY ", 1
        pipeline.run(mutant=mutant)
    return pipeline.lost_and_doubled()


def lost_answer_of_the_catalog(bench: MakeBench, mutant: str) -> Found:
    pipeline = bench("iceberg", checkpoint_interval=ONE_COMMIT)
    pipeline.origin.add(CHECKPOINT)
    pipeline.run(mutant=f"lost_answer_of_the_catalog+{mutant}" if mutant else "lost_answer_of_the_catalog").ok()
    try:
        return pipeline.lost_and_doubled()
    except FileNotFoundError:  # a snapshot names a data file that is not there
        return pipeline.origin.rows().total(), 0


def looked_back(bench: MakeBench, mutant: str) -> Found:
    look_back = {"column": "id", "safety": "lag", "lag": 50}
    pipeline = bench("parquet", incremental=look_back, incremental_column=None, primary_key="id")
    for _ in range(2):
        pipeline.origin.add(CHECKPOINT)
        pipeline.run(mutant=mutant).ok()
    return pipeline.lost_and_doubled()


ATTACKS: dict[str, Attack] = {
    "data_first_json_after": json_first,
    "json_before_the_mark": json_first,
    "mark_in_a_second_transaction": second_transaction("sqlite"),
    "mark_over_all_rows_read": all_rows_read,
    "no_compare_and_swap": lambda bench, mutant: stopped(bench, mutant, "postgresql", "load.staged", by_twin),
    "plan_not_asked_again": lambda bench, mutant: stopped(bench, mutant, "iceberg", "load.marked", by_twin),
    "blind_resend": lost_answer,
    "files_removed_after_an_unknown_outcome": lost_answer_of_the_catalog,
    "until_after_the_rows": lambda bench, mutant: stopped(
        bench, mutant, "sqlite", "run.batch", lambda pipeline: pipeline.origin.add(CHECKPOINT)
    ),
    "checkpoint_inside_a_tie": tie,
    "no_key_deduplication": looked_back,
}
"""Mutant -> attack."""


@pytest.mark.parametrize("mutant", ATTACKS)
def test_a_broken_rule_is_caught(bench: MakeBench, mutant: str) -> None:
    caught(mutant, ATTACKS[mutant](bench, mutant))


@pytest.mark.parametrize("attack", ATTACKS)
def test_the_same_attack_finds_nothing_in_the_whole_program(bench: MakeBench, attack: str) -> None:
    assert ATTACKS[attack](bench, "") == (0, 0)


@pytest.mark.parametrize("name", ["postgresql", "duckdb", "parquet", "csv-file", "iceberg"])
def test_a_mark_in_a_second_transaction_is_caught_everywhere(bench: MakeBench, name: str) -> None:
    lost, doubled = second_transaction(name)(bench, "mark_in_a_second_transaction")
    assert (lost, doubled > 0) == (0, True)


# --- late rows ------------------------------------------------------------------------------------------


@pytest.fixture
def late(zygote: Zygote, project: Project, database: Database) -> Callable[[str], Found]:
    """A row that commits after a higher one was read: what is lost and doubled then."""

    def attack(mutant: str) -> Found:
        set_up(project, database)
        run(zygote, project, mutant)
        with closing(database.connect()) as writer, writer.cursor() as cur:
            writer.autocommit = False
            cur.execute("INSERT INTO events (v) VALUES ('late')")
            database.execute("INSERT INTO events (v) VALUES ('early')")
            run(zygote, project, mutant)
            writer.commit()
        run(zygote, project, mutant)
        return difference(database)

    return attack


@pytest.fixture
def resumed(zygote: Zygote, project: Project, database: Database) -> Callable[[str], Found]:
    """Ids that were taken long before, a kill between two checkpoints of their window, and the rest of it."""

    def attack(mutant: str) -> Found:
        set_up(project, database, checkpoint_interval=50, batch_size=50)
        run(zygote, project, mutant)
        database.execute("INSERT INTO events (id, v) SELECT i + 100, 'late' FROM generate_series(1, 200) AS i")
        assert run(zygote, project, mutant, crash_at="run.committed:1") == -9
        run(zygote, project, mutant)
        run(zygote, project, mutant)
        return difference(database)

    return attack


def set_up(project: Project, database: Database, **resource: Any) -> None:
    database.execute("CREATE TABLE events (id bigserial PRIMARY KEY, v text)")
    database.execute("INSERT INTO events (id, v) VALUES (1000, 'first')")
    database.execute("SELECT setval('events_id_seq', 1000)")
    wanted: dict[str, Any] = {"table": "events", "into": "copy", "incremental_column": "id"} | resource
    project.write(pipeline(database.keys, database.keys, **wanted))


def run(zygote: Zygote, project: Project, mutant: str, crash_at: str = "") -> int:
    return zygote.conduit(project.folder, "run", "ingest.yml", mutant=mutant, crash_at=crash_at).code


def difference(database: Database) -> Found:
    both = [f"SELECT id, v FROM {table}" for table in ("events", "copy")]
    counts = [f"SELECT count(*) FROM ({one} EXCEPT ALL {other}) AS q" for one, other in (both, both[::-1])]
    lost, doubled = (int(database.execute(text)[0][0]) for text in counts)
    return lost, doubled


def test_a_plain_comparison_in_place_of_the_window_is_caught(late: Callable[[str], Found]) -> None:
    caught("plain_comparison", late("plain_comparison"))


def test_a_late_row_is_not_lost_by_the_window(late: Callable[[str], Found]) -> None:
    assert late("") == (0, 0)


def test_a_window_that_goes_on_at_its_watermark_is_caught(resumed: Callable[[str], Found]) -> None:
    caught("window_resumed_at_the_watermark", resumed("window_resumed_at_the_watermark"))


def test_a_window_goes_on_where_it_was_cut(resumed: Callable[[str], Found]) -> None:
    assert resumed("") == (0, 0)


# --- durability: a kill keeps the page cache, so the order of the system's calls is looked at ----------


@pytest.mark.parametrize("name", ["parquet", "csv", "csv-file", "json"])
def test_a_file_is_on_the_disk_before_it_gets_its_name(bench: MakeBench, name: str) -> None:
    pipeline = bench(name)
    pipeline.origin.add(CHECKPOINT)
    renamed, missing = unsynced(pipeline.zygote, pipeline.folder)
    assert renamed
    assert missing == []


def test_a_forgotten_fsync_is_caught(bench: MakeBench) -> None:
    pipeline = bench("parquet")
    pipeline.origin.add(CHECKPOINT)
    _, missing = unsynced(pipeline.zygote, pipeline.folder, mutant="no_fsync")
    caught("no_fsync", (len(missing), 0))


def caught(mutant: str, found: Found) -> None:
    """Write down whether the oracle saw it."""
    tally.note("mutant", name=mutant, caught=found != (0, 0), lost=found[0], doubled=found[1])
    assert found != (0, 0), f"{mutant}: neither lost nor doubled a row"
