"""The texts that `conduit init` writes: an ingest.yml that loads as it stands, and the variables that it may use.

Prose begins in the first column; what is commented out becomes valid when its `# ` is taken away.
"""

from __future__ import annotations

INGEST_YML = """\
# What is moved, from where and to where. `conduit check` reads this file and tries both ends;
# `conduit run` moves what is new since its last run.

# Where rows come from. ${NAME} is read from the environment, or from a .env beside this file.
sources:
  - name: shop
    type: sqlite
    database: shop.db # relative to this file

  # - name: shop_postgresql
  #   type: postgresql
  #   host: localhost
  #   port: 5432
  #   database: shop
  #   user: conduit_reader # SELECT on the tables is enough
  #   password: ${PG_PASSWORD}

  # - name: shop_duckdb
  #   type: duckdb
  #   database: shop.duckdb

  # - name: orders_csv
  #   type: csv
  #   path: incoming/orders-*.csv

  # - name: events_json
  #   type: json
  #   path: incoming/events/

  # - name: history_parquet
  #   type: parquet
  #   path: incoming/history/

# Where rows go to.
destinations:
  - name: lake
    type: parquet
    path: lake/ # one folder for each table

  # - name: warehouse_postgresql
  #   type: postgresql
  #   host: localhost
  #   database: warehouse
  #   user: conduit_writer
  #   password: ${PG_PASSWORD}
  #   schema: raw

  # - name: warehouse_duckdb
  #   type: duckdb
  #   database: warehouse.duckdb

  # - name: warehouse_sqlite
  #   type: sqlite
  #   database: warehouse.db

# The work, line by line.
resources:
  - name: orders
    source: shop
    destination: lake
    # A column that only grows. Its highest value is kept with the rows; the next run reads what is above it.
    incremental_column: id
    query: SELECT * FROM orders WHERE id > :last_value ORDER BY id

# Rows that change: the newest version of each key wins.
  # - name: customers
  #   source: shop
  #   destination: warehouse_duckdb
  #   table: customers
  #   incremental_column: updated_at
  #   mode: merge
  #   primary_key: id

# A small table without such a column: all of it, every time.
  # - name: countries
  #   source: shop
  #   destination: lake
  #   table: countries
  #   mode: replace

# Files: each one is loaded once.
  # - name: orders_from_files
  #   source: orders_csv
  #   destination: lake
  #   mode: append
  #   columns: {amount: "decimal(12,2)", ordered_at: timestamptz}
"""

ENV_EXAMPLE = """\
# Copy this file to .env, fill it in, and keep it to yourself: chmod 600 .env, and never into version control.
# A variable that is set in the environment wins.
PG_PASSWORD=
"""
