"""The one door to Arrow. pyarrow costs 0.2 s to import, so it is loaded at the first use, never for `--help`.

Other modules write `from conduit.arrow import pa, pc` and use the names as if they had imported them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    AnyArray = pa.Array[Any]
    AnyField = pa.Field[Any]
    AnyScalar = pa.Scalar[Any]
else:
    import importlib

    class _AtFirstUse:
        """A module that is imported when the first of its names is asked for."""

        def __init__(self, name):
            self._name = name

        def __getattr__(self, attribute):
            module = importlib.import_module(self._name)
            self.__dict__.update({k: v for k, v in vars(module).items() if not k.startswith("__")})
            return getattr(module, attribute)

    AnyArray = AnyField = AnyScalar = Any
    pa = _AtFirstUse("pyarrow")
    pc = _AtFirstUse("pyarrow.compute")
    pq = _AtFirstUse("pyarrow.parquet")

__all__ = ["AnyArray", "AnyField", "AnyScalar", "pa", "pc", "pq"]
