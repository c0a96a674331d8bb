"""Keys of an Iceberg catalog and of its tables, most of which only pyiceberg understands."""

from __future__ import annotations

from collections.abc import Iterator

from tests.faults.malformed.case import FORGOTTEN, NEW, Case

_SECRET = "canary-of-the-catalog"
_CATALOGS = (
    "nobody",
    "''",
    "{type: nothing}",
    "{type: sql}",
    "{type: sql, uri: x}",
    "{type: sql, uri: 'nodb://x/y'}",
    "{type: sql, uri: 'sqlite:///no/such/folder/c.db'}",
    "{type: sql, uri: 'sqlite:///.'}",
    "{type: sql, uri: 'sqlite:///ingest.yml'}",
    "{type: sql, uri: 'postgresql://u:canary-of-the-catalog@127.0.0.1:1/x'}",
    "{type: rest}",
    "{type: rest, uri: x}",
    "{type: rest, uri: 'http://127.0.0.1:1'}",
    "{type: rest, uri: 'http://127.0.0.1:1', token: canary-of-the-catalog}",
    "{type: rest, uri: 'http://u:canary-of-the-catalog@127.0.0.1:1', credential: 'a:canary-of-the-catalog'}",
    "{type: rest, uri: 'http://[::1'}",
    "{type: rest, uri: 'ftp://x'}",
    "{type: hive, uri: 'thrift://127.0.0.1:1'}",
    "{type: hive}",
    "{type: glue}",
    "{type: dynamodb}",
    "{type: bigquery}",
    "{py-catalog-impl: os.system}",
    "{py-catalog-impl: nothing.Nothing}",
    "{py-catalog-impl: x}",
    "{type: sql, py-catalog-impl: x}",
    "{type: in-memory, warehouse: /dev/null}",
    "{uri: 'sqlite:///c.db', warehouse: 'nothing://x'}",
    "{uri: 'sqlite:///c.db', warehouse: '/dev/null/x'}",
    "{uri: 'sqlite:///c.db', warehouse: /proc/x}",
    "{uri: 'sqlite:///c.db', py-io-impl: nothing.Nothing}",
    "{uri: 'sqlite:///c.db', warehouse: 's3://b/x', s3.endpoint: 'http://127.0.0.1:1', "  # noqa: ISC004 - one text
    "s3.secret-access-key: canary-of-the-catalog, s3.access-key-id: a, s3.connect-timeout: '1', s3.region: x}",
)
_TABLES = (
    "partition_spec: [day(nothing)]",
    "partition_spec: [nothing]",
    "partition_spec: ['bucket(0, id)']",
    "partition_spec: ['bucket(x, id)']",
    "partition_spec: ['bucket(id)']",
    "partition_spec: ['truncate(-1, customer)']",
    "partition_spec: [day(customer)]",
    "partition_spec: ['day(']",
    "partition_spec: ['day(id) x']",
    "partition_spec: ['']",
    "partition_spec: ['id; DROP']",
    "partition_spec: [id, id]",
    "partition_spec: ['void(id']",
    "sort_order: [nothing]",
    "sort_order: ['id sideways']",
    "sort_order: ['']",
    "sort_order: ['id desc asc']",
    "sort_order: ['id nulls']",
    "properties: {format-version: '99'}",
    "properties: {format-version: x}",
    "properties: {write.format.default: csv}",
    "properties: {write.parquet.compression-codec: nothing}",
    "properties: {write.target-file-size-bytes: x}",
    "properties: {write.merge.mode: x}",
)


def cases() -> Iterator[Case]:
    """Each catalog on both sides, and each layout of a new table."""
    for catalog in _CATALOGS:
        keys = f"type: iceberg\n    catalog: {catalog}"
        target = NEW.replace("type: sqlite\n    database: lake.db", keys)
        yield _case(f"into {catalog[:80]}", target, "lake")
        yield _case(f"from {catalog[:80]}", NEW.replace("type: sqlite\n    database: shop.db", keys, 1), "shop")
    for layout in _TABLES:
        keys = f"type: iceberg\n    uri: sqlite:///c.db\n    warehouse: w\n    {layout}"
        file = NEW.replace("type: sqlite\n    database: lake.db", keys)
        yield Case(
            layout,
            file,
            _LAID,
            codes=(2, 3, 5),
            says=("r: failed|destinations",),
            harmless=layout.startswith("properties"),
        )


_LAID = {**FORGOTTEN, "c.db": b"", "w/x": b""}
"""What a catalog may leave behind though its table was refused."""


def _case(name: str, file: str, entry: str) -> Case:
    says = (rf"{entry}|(sources|destinations)\[0\]|^r: failed",)
    return Case(
        name,
        file,
        {**_LAID, ".iceframe/x": b""},
        codes=(2, 3, 4, 5),
        says=says,
        never=(_SECRET,),
        harmless="in-memory" in name,
    )
