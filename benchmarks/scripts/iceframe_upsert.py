"""The public iceframe's upsert: `python iceframe_upsert.py FOLDER FILE`."""

import sys

import pyarrow as pa

from iceframe import IceFrame

folder, file = sys.argv[1:]
place = {"uri": f"sqlite:///{folder}/catalog.db", "warehouse": f"file://{folder}/warehouse"}
ice = IceFrame({"type": "sql"} | place)
with pa.memory_map(file) as mapped:
    ice.upsert("default.copied", pa.ipc.open_file(mapped).read_all(), ["id"])
