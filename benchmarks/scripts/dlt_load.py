"""dlt with the fastest settings that its documentation gives: `python dlt_load.py '{"source": …}'`.

Tables are read by `sql_table` with the backend connectorx (the fastest one, its documentation says) or pyarrow, CSV by
`read_csv_duckdb(use_pyarrow=True)`; rows stay Arrow and Parquet up to the destination, which PostgreSQL takes by ADBC.
"""

import json
import sys
from typing import Any

import dlt

asked: dict[str, Any] = json.loads(sys.argv[1])


def rows() -> Any:
    """The resource that is read."""
    if asked["source"].endswith(".csv"):
        from dlt.sources.filesystem import filesystem, read_csv_duckdb

        folder, _, name = asked["source"].rpartition("/")
        files = filesystem(bucket_url=f"file://{folder}", file_glob=name)
        types = {"amount": "DECIMAL(12,2)", "local_at": "TIMESTAMP"}
        found = (files | read_csv_duckdb(chunk_size=100_000, use_pyarrow=True, dtype=types)).with_name("copied")
        found.apply_hints(columns={"local_at": {"data_type": "timestamp", "timezone": False}})
        return found
    from dlt.sources.sql_database import sql_table

    incremental = dlt.sources.incremental("id") if asked["incremental"] else None
    backend = {"conn": asked["source"].replace("+psycopg2", "")} if asked["backend"] == "connectorx" else {}
    if asked["backend"] == "connectorx":
        backend |= {"return_type": "arrow_stream", "batch_size": 100_000}
    return sql_table(
        asked["source"], table=asked["table"], schema="public", incremental=incremental, backend=asked["backend"],
        chunk_size=100_000, reflection_level="full_with_precision", backend_kwargs=backend,
    )  # fmt: skip


def destination() -> Any:
    """Where the rows go."""
    places: dict[str, Any] = {
        "postgresql": lambda: dlt.destinations.postgres(asked["url"]),
        "parquet": lambda: dlt.destinations.filesystem(f"file://{asked['folder']}/lake"),
        "iceberg": lambda: dlt.destinations.filesystem(f"file://{asked['folder']}/lake"),
        "duckdb": lambda: dlt.destinations.duckdb(f"{asked['folder']}/warehouse.duckdb"),
    }
    return places[asked["destination"]]()


def main() -> None:
    """Extract, normalize, load."""
    resource = rows()
    if asked["mode"] == "merge":
        resource.apply_hints(primary_key="id")
    pipeline = dlt.pipeline(
        "bench", pipelines_dir=f"{asked['folder']}/dlt", destination=destination(), dataset_name="lake"
    )
    disposition: Any = {"disposition": "merge", "strategy": "upsert"} if asked["mode"] == "merge" else asked["mode"]
    options: dict[str, Any] = {"table_format": "iceberg"} if asked["destination"] == "iceberg" else {}
    pipeline.run(resource, table_name="copied", write_disposition=disposition, loader_file_format="parquet", **options)


if __name__ == "__main__":
    main()
