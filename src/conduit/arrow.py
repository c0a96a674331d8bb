"""The one door to Arrow. pyarrow costs 0.1 s to import, so it is loaded at the first use, never for `--help`.

Other modules write `from conduit.arrow import pa, pc` and use the names as if they had imported them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from conduit.late import late

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    AnyArray = pa.Array[Any]
    AnyField = pa.Field[Any]
    AnyScalar = pa.Scalar[Any]
else:
    AnyArray = AnyField = AnyScalar = Any
    pa, pc, pq = late("pyarrow"), late("pyarrow.compute"), late("pyarrow.parquet")

__all__ = ["AnyArray", "AnyField", "AnyScalar", "pa", "pc", "pq"]
