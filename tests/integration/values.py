"""The values at the edges of each type, for the round trips."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import pyarrow as pa

UTC = dt.UTC

VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "small": (pa.int16(), [-32768, 32767, 0, None]),
    "big": (pa.int64(), [-(2**63), 2**63 - 1, 3_000_000_000, None]),
    "exact": (
        pa.decimal128(38, 10),
        [Decimal("1234567890123456789012345678.0123456789"), Decimal("-0.0000000001"), None],
    ),
    "real": (pa.float64(), [1.1, -0.0, 1e308, 5e-324, None]),
    "yes": (pa.bool_(), [True, False, None]),
    "text": (
        pa.string(),
        [
            "00501", "N", "None", "N/A", "", "null", "é 漢字 🙂", 'a"b', "a,b;c\td", "line\nbreak\r\n", "\\N",
            "'; DROP TABLE t; --", None,
        ],
    ),
    "bytes": (pa.binary(), [b"", b"\x00\xff\n", b"\\x41", None]),
    "day": (pa.date32(), [dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2024, 2, 29), None]),
    "clock": (pa.time64("us"), [dt.time(0), dt.time(23, 59, 59, 999999), None]),
    "local": (pa.timestamp("us"), [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None]),
    "moment": (
        pa.timestamp("us", "UTC"),
        [dt.datetime(1970, 1, 1, tzinfo=UTC), dt.datetime(2024, 3, 10, 9, 59, 59, 123456, tzinfo=UTC), None],
    ),
    "key": (pa.uuid(), [uuid.UUID("0e37df36-f698-11e6-8dd4-cb9ced3df976").bytes, None]),
    "doc": (pa.json_(), ['{"a": 1.10, "b": [null, "é"]}', "[]", None]),
}  # fmt: skip
