"""SQL in a DuckDB that can attach PostgreSQL: `python duckdb_sql.py "SQL"`."""

import sys

import duckdb

connection = duckdb.connect()
if "TYPE postgres" in sys.argv[1]:
    from duckdb_extensions import import_extension

    import_extension("postgres_scanner", con=connection)
    connection.execute("LOAD postgres_scanner")
connection.execute("SET TimeZone = 'UTC'")
connection.execute(sys.argv[1])
