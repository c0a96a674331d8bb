"""CSV, JSON, NDJSON and Parquet files: damaged at chosen bytes, cut, of another encoding, of another kind."""

from __future__ import annotations

import gzip
import io
import json
import random
import zlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from tests.faults.malformed.case import FORGOTTEN, NEW, Case

_ROWS = [{"id": n, "customer": f"customer {n}", "total": n * 1.5} for n in range(1, 201)]
_NAMED = r"in/a\.|r: failed"

_CSV: dict[str, bytes] = {
    "a ragged line": b"id,b\n1,x\n2\n3,z\n",
    "a long line": b"id,b\n1,x\n2,y,z\n",
    "an open quote": b'id,b\n1,x\n2,"y\n3,z\n',
    "text after a quote": b'id,b\n1,"x"y\n',
    "latin-1": "id,b\n1,caf\xe9\n".encode("latin-1"),
    "empty": b"",
    "a blank first line": b"\n1,2\n",
    "a column without a name": b"id,\n1,2\n",
    "twin columns": b"id,id\n1,2\n",
    "another delimiter": b"id;b\n1;2\n",
    "two ends of line": b"id,b\r\n1,x\n2,y\r\n",
    "UTF-16": "id,b\n1,x\n".encode("utf-16"),
    "a header alone, cut": b'id,"b',
    "Parquet inside": b"PAR1" + bytes(100) + b"PAR1",
    "gzip inside": gzip.compress(b"id,b\n1,2\n"),
    "an open quote at the end": b'id,b\n1,x\n2,"y',
    "half a character": b"id,b\n1,\xc3",
    "overlong": b"id,b\n1,\xc0\xaf\n",
    "half a surrogate": b"id,b\n1,\xed\xa0\x80\n",
}
_JSON: dict[str, bytes] = {
    "cut": b'[{"id": 1}, {"id"',
    "a scalar": b"42",
    "a text": b'"x"',
    "a list of scalars": b"[1, 2]",
    "a list of lists": b"[[1]]",
    "two arrays": b'[{"id": 1}][{"id": 2}]',
    "a comma too many": b'[{"id": 1},]',
    "single quotes": b"[{'id': 1}]",
    "NaN": b'[{"id": NaN}]',
    "infinity": b'[{"id": Infinity}]',
    "a comment": b'[{"id": 1} /* x */]',
    "no quotes": b"[{id: 1}]",
    "latin-1": b'[{"id": 1, "b": "caf\xe9"}]',
    "a NUL": b'[{"id": 1, "b": "\x00"}]',
    "twin keys": b'[{"id": 1, "id": 2}]',
    "leading zero": b'[{"id": 01}]',
    "plus": b'[{"id": +1}]',
    "hexadecimal": b'[{"id": 0x1}]',
    "an open text": b'[{"id": "1}]',
    "more after it": b'[{"id": 1}] x',
    "an array in lines": b'{"id": 1}\n[2]\n',
    "a broken line": b'{"id": 1}\n{"id": 2\n{"id": 3}\n',
    "a scalar line": b'{"id": 1}\n2\n{"id": 3}\n',
    "a cut line": b'{"id": 1}\n{"id": 2',
    "deep": b'[{"id": ' + b"[" * 50_000 + b"]" * 50_000 + b"}]",
    "half an escape": b'[{"id": "\\u12"}]',
    "UTF-16": '[{"id": 1}]'.encode("utf-16"),
}


def cases() -> Iterator[Case]:
    """Each file as the source of a resource."""
    for name, content in _CSV.items():
        yield _case(f"csv {name}", "csv", "in/a.csv", content)
    for name, content in _JSON.items():
        yield _case(f"json {name}", "json", "in/a.json", content)
    plain = {"csv": _csv(), "json": b"\n".join(json.dumps(row).encode() for row in _ROWS) + b"\n"}
    for kind, content in plain.items():
        yield from _compressed(kind, content)
    yield from _parquet()
    for kind, other in (("parquet", "csv"), ("parquet", "json"), ("json", "csv")):
        yield _case(f"{other} called {kind}", kind, f"in/a.{kind}", plain[other])
    yield _case("bytes called csv", "csv", "in/a.csv", random.Random(7).randbytes(5000), harmless=True)
    yield from _not_there()


def _case(name: str, kind: str, path: str, content: bytes, *, harmless: bool = False, keys: str = "") -> Case:
    file = NEW.replace("type: sqlite\n    database: shop.db", f"type: {kind}\n    path: {path}{keys}", 1)
    file = file.replace("    table: orders\n    incremental_column: id\n", "    mode: append\n")
    return Case(name, file, {path: content, **FORGOTTEN}, codes=(2, 3, 5), says=(_NAMED,), harmless=harmless)


def _csv() -> bytes:
    lines = ["id,customer,total", *(f"{row['id']},{row['customer']},{row['total']}" for row in _ROWS)]
    return "\n".join(lines).encode() + b"\n"


def _compressed(kind: str, content: bytes) -> Iterator[Case]:
    packed = gzip.compress(content, mtime=0)
    path = f"in/a.{kind}.gz"
    for cut in (
        0,
        1,
        5,
        9,
        10,
        11,
        len(packed) // 3,
        len(packed) // 2,
        len(packed) - 9,
        len(packed) - 8,
        len(packed) - 4,
        len(packed) - 1,
    ):
        yield _case(f"{kind}.gz cut at {cut}", kind, path, packed[:cut])
    for place in (0, 1, 2, len(packed) // 2, len(packed) - 8, len(packed) - 5, len(packed) - 3, len(packed) - 1):
        yield _case(f"{kind}.gz damaged at {place}", kind, path, _damaged(packed, place))
    yield _case(f"{kind}.gz with rubbish after it", kind, path, packed + b"rubbish")
    yield _case(f"{kind}.gz that is not packed", kind, path, content)
    yield _case(f"{kind}.gz of zlib", kind, path, zlib.compress(content))
    yield _case(f"{kind}.zst that is gzip", kind, f"in/a.{kind}.zst", packed)


def _parquet() -> Iterator[Case]:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(_ROWS), sink)
    whole = sink.getvalue()
    for cut in (
        0,
        1,
        3,
        4,
        8,
        100,
        len(whole) // 2,
        len(whole) - 100,
        len(whole) - 9,
        len(whole) - 8,
        len(whole) - 4,
        len(whole) - 1,
    ):
        yield _case(f"parquet cut at {cut}", "parquet", "in/a.parquet", whole[:cut])
    footer = int.from_bytes(whole[-8:-4], "little")
    for place in (0, *range(len(whole) - 8, len(whole))):  # the magic numbers and the footer's length
        yield _case(
            f"parquet damaged at {place - len(whole)}",
            "parquet",
            "in/a.parquet",
            _damaged(whole, place),
            harmless=place == 0,
        )
    for place in range(
        len(whole) - 8 - footer, len(whole) - 8, max(1, footer // 25)
    ):  # the footer: some bytes carry nothing
        yield _case(
            f"parquet footer {place - len(whole)}", "parquet", "in/a.parquet", _damaged(whole, place), harmless=True
        )
    for place in range(4, len(whole) - 8 - footer, max(1, len(whole) // 25)):  # pages without checksums: they may read
        yield _case(f"parquet page {place}", "parquet", "in/a.parquet", _damaged(whole, place), harmless=True)
    yield _case("parquet of magic alone", "parquet", "in/a.parquet", b"PAR1PAR1")
    yield _case("parquet with a huge footer", "parquet", "in/a.parquet", whole[:-8] + b"\xff\xff\xff\x7fPAR1")
    yield _case("parquet, encrypted", "parquet", "in/a.parquet", whole[:-4] + b"PARE")


def _damaged(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def _not_there() -> Iterator[Case]:
    for kind in ("csv", "json", "parquet"):
        for path in (f"in/nothing.{kind}", "/dev/null/x", "in/[", f"no/such/folder/a.{kind}", "ingest.yml/x"):
            case = _case(f"{kind} at {path}", kind, f"in/a.{kind}", b"")
            file = str(case.file).replace(f"path: in/a.{kind}", f"path: '{path}'")
            yield Case(case.name, file, FORGOTTEN, codes=(2, 3, 5), says=("r: failed|sources",), harmless=True)
