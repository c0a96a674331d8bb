"""Every row of the table: who takes part, what is wanted, what a reader has to know."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import limits, others, rows
from benchmarks.ours import going_on, help_of_ours, merging, ours
from benchmarks.scenario import Goal, Scenario

TYPES = {
    "number": "integer", "amount": "decimal(12,2)", "even": "boolean", "seen_at": "timestamptz",
    "local_at": "timestamp",
}  # fmt: skip

SCENARIOS = (
    Scenario(
        name="pg-to-pg",
        title="PostgreSQL → PostgreSQL, same types",
        goal=Goal(at_most=1.1),
        note="The copy of conduit gets the primary key of its source; the third line is the limit with it.",
        participants=(
            limits.copy_pipe(),
            ours("postgresql", "postgresql"),
            limits.copy_pipe(then="ALTER TABLE copied ADD PRIMARY KEY (id)", name=", and the primary key"),
            others.dlt("postgresql"),
            others.ingestr("postgresql"),
            others.conduit_core(),
        ),
    ),
    Scenario(
        name="pg-to-pg-arrow",
        title="PostgreSQL → PostgreSQL through Arrow",
        goal=Goal(at_most=1.5),
        note="`columns: {number: bigint}` gives one column another type, so that rows cannot be passed through.",
        participants=(limits.copy_pipe(), ours("postgresql", "postgresql", columns={"number": "bigint"})),
    ),
    Scenario(
        name="pg-to-pg-parallel",
        title="PostgreSQL → PostgreSQL, two parts at once",
        note="`partition: {column: id, number: 2}`; no goal of its own on two cores.",
        participants=(
            limits.copy_pipe(),
            ours("postgresql", "postgresql", partition={"column": "id", "number": 2}),
        ),
    ),
    Scenario(
        name="pg-to-pg-5m",
        title="PostgreSQL → PostgreSQL, five times the rows",
        goal=Goal(at_most=1.5),
        times=5,
        participants=(limits.copy_pipe(), ours("postgresql", "postgresql"), others.dlt("postgresql")),
    ),
    Scenario(
        name="pg-to-pg-20m",
        title="PostgreSQL → PostgreSQL, twenty times the rows",
        times=20,
        huge=True,
        participants=(limits.copy_pipe(), ours("postgresql", "postgresql")),
    ),
    Scenario(
        name="pg-to-parquet",
        title="PostgreSQL → Parquet",
        goal=Goal(at_most=1.4),
        participants=(limits.duckdb(limits.TO_PARQUET), ours("postgresql", "parquet"), others.dlt("parquet")),
    ),
    Scenario(
        name="pg-to-duckdb",
        title="PostgreSQL → DuckDB",
        goal=Goal(at_most=1.5),
        participants=(
            limits.duckdb(limits.TO_DUCKDB),
            ours("postgresql", "duckdb"),
            others.dlt("duckdb"),
            others.ingestr("duckdb"),
        ),
    ),
    Scenario(
        name="pg-to-iceberg",
        title="PostgreSQL → Iceberg",
        goal=Goal(at_most=1.15),
        note="The limit writes rows that are in memory already; it reads no database.",
        files=True,
        participants=(limits.iceberg_append(), ours("postgresql", "iceberg"), others.dlt("iceberg")),
    ),
    Scenario(
        name="nothing-new",
        title="A run with nothing new, PostgreSQL → PostgreSQL",
        goal=Goal(at_most=2.5),
        keeps=True,
        participants=(
            limits.bare_script(),
            going_on("postgresql"),
            others.dlt("postgresql", goes_on=True),
            others.ingestr("postgresql", goes_on=True),
            others.conduit_core(goes_on=True),
        ),
    ),
    Scenario(
        name="new-rows",
        title="A run with 10,000 new rows, PostgreSQL → PostgreSQL",
        goal=Goal(at_most=2.5),
        keeps=True,
        between=rows.insert_new,
        expected=rows.after_inserts,
        changes=rows.few,
        participants=(
            limits.bare_script(),
            going_on("postgresql"),
            others.dlt("postgresql", goes_on=True),
            others.ingestr("postgresql", goes_on=True),
            others.conduit_core(goes_on=True),
        ),
    ),
    Scenario(
        name="merge-pg",
        title="Merge of 10,000 rows, PostgreSQL → PostgreSQL",
        goal=Goal(at_most=1.15),
        note="Nine of ten rows change one that is there, spread over the whole table; one of ten is new.",
        keeps=True,
        between=rows.change,
        expected=rows.after_changes,
        changes=rows.few,
        participants=(
            limits.on_conflict(),
            merging("postgresql"),
            others.dlt("postgresql", merges=True),
            others.ingestr("postgresql", merges=True),
            others.conduit_core(merges=True),
        ),
    ),
    Scenario(
        name="merge-duckdb",
        title="Merge of 10,000 rows, PostgreSQL → DuckDB",
        goal=Goal(at_most=1.0),
        keeps=True,
        between=rows.change,
        expected=rows.after_changes,
        changes=rows.few,
        participants=(
            limits.duckdb(limits.MERGE, begin=limits.TO_DUCKDB),
            merging("duckdb"),
            others.dlt("duckdb", merges=True),
            others.ingestr("duckdb", merges=True),
        ),
    ),
    Scenario(
        name="merge-iceberg",
        title="Merge of 10,000 rows, PostgreSQL → Iceberg",
        goal=Goal(at_most=0.35),
        note="The limit's changes are in memory already.",
        keeps=True,
        between=rows.save_changes,
        expected=rows.after_changes,
        changes=rows.few,
        files=True,
        participants=(
            limits.iceberg_upsert(),
            merging("iceberg"),
            others.dlt("iceberg", merges=True),
            others.iceframe_upsert(),
        ),
    ),
    Scenario(
        name="csv-to-pg",
        title="CSV → PostgreSQL",
        goal=Goal(at_most=0.65),
        files=True,
        participants=(
            limits.copy_csv(),
            ours("csv", "postgresql", columns=TYPES),
            others.dlt("postgresql", csv=True),
            others.ingestr("postgresql", csv=True),
        ),
    ),
    Scenario(
        name="csv-to-parquet",
        title="CSV → Parquet",
        goal=Goal(at_most=1.1),
        files=True,
        participants=(
            limits.duckdb(limits.CSV_TO_PARQUET),
            ours("csv", "parquet", columns=TYPES),
            others.dlt("parquet", csv=True),
        ),
    ),
    Scenario(
        name="parquet-to-parquet",
        title="Parquet → Parquet",
        files=True,
        participants=(limits.duckdb(limits.PARQUET_TO_PARQUET), ours("parquet file", "parquet")),
    ),
    Scenario(
        name="duckdb-to-duckdb",
        title="DuckDB → DuckDB",
        files=True,
        participants=(limits.duckdb(limits.DUCKDB_TO_DUCKDB), ours("duckdb file", "duckdb")),
    ),
    Scenario(
        name="help",
        title="`--help`",
        goal=Goal(at_most=0.15, unit="s"),
        participants=(
            limits.python_alone(),
            help_of_ours(),
            others.help_of("dlt", "dlt"),
            others.help_of("ingestr", "ingestr"),
            others.help_of("conduit-core", "conduit"),
        ),
    ),
    Scenario(
        name="size",
        title="Installed size",
        note="conduit is the core: Arrow, Polars, DuckDB, Iceberg. The extra `postgres` adds the drivers.",
        goal=Goal(at_most=300, unit="MB"),
        sizes=True,
        participants=(),
    ),
)


@dataclass(frozen=True, kw_only=True)
class MemoryGoal:
    """What the memory of several scenarios, which differ in nothing but their rows, has to be.

    Attributes:
        scenarios: from few to many rows.
        at_most_mb: of the largest process.
        growth: from the first to the last, as a part of the first.
    """

    scenarios: tuple[str, ...]
    at_most_mb: float
    growth: float


MEMORY = MemoryGoal(scenarios=("pg-to-pg", "pg-to-pg-5m", "pg-to-pg-20m"), at_most_mb=200, growth=0.10)
