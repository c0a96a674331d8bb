"""The bare script: what is above the highest id of the copy, by binary COPY: `python psycopg2_new_rows.py DSN`."""

import io
import sys

import psycopg2

source, target = psycopg2.connect(sys.argv[1]), psycopg2.connect(sys.argv[1])
with target.cursor() as cur:
    cur.execute("SELECT coalesce(max(id), 0) FROM copied")
    [highest] = cur.fetchone() or (0,)
new = io.BytesIO()
with source.cursor() as cur:
    cur.copy_expert(f"COPY (SELECT * FROM events WHERE id > {int(highest)}) TO STDOUT (FORMAT binary)", new)
new.seek(0)
with target.cursor() as cur:
    cur.copy_expert("COPY copied FROM STDIN (FORMAT binary)", new)
target.commit()
