"""DuckDB: a database in one file."""
