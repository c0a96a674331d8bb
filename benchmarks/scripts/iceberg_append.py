"""pyiceberg writing alone: `python iceberg_append.py FOLDER FILE`. The rows are in an Arrow file that is mapped."""

import sys

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

folder, file = sys.argv[1:]
catalog = SqlCatalog("iceframe", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
with pa.memory_map(file) as mapped:
    rows = pa.ipc.open_file(mapped).read_all()
    catalog.create_namespace_if_not_exists("default")
    catalog.create_table("default.copied", rows.schema).append(rows)
