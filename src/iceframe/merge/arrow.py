"""Arrow arrays of any type, for annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    Array = pa.Array[Any]
    Column = pa.Array[Any] | pa.ChunkedArray[Any]
else:
    Array = Column = Any
