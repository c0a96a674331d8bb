"""pyiceberg's `Table.upsert` alone: `python iceberg_upsert.py FOLDER FILE`."""

import sys

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

folder, file = sys.argv[1:]
catalog = SqlCatalog("iceframe", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
with pa.memory_map(file) as mapped:
    catalog.load_table("default.copied").upsert(pa.ipc.open_file(mapped).read_all(), ["id"])
