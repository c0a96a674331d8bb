"""Tables that conduit makes or extends. A change of a table's columns is a commit of its own, and adds only."""

from __future__ import annotations

from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.sorting import SortDirection

from conduit.arrow import pa
from conduit.connectors.iceberg.config import IcebergDestinationConnection
from conduit.connectors.iceberg.place import Place
from conduit.connectors.iceberg.types import stored
from conduit.contract import Write
from conduit.errors import Busy, ConfigError, InternalError
from iceframe.errors import TableExistsError
from iceframe.internals import OneCommit
from iceframe.schemas import to_iceberg
from iceframe.specs import order_of, spec_of
from iceframe.tables import create_table

_ATTEMPTS = 5


def create(place: Place, table: str, columns: pa.Schema | Schema, connection: IcebergDestinationConnection) -> Table:
    """Make a table; one that somebody else has made meanwhile is taken as it is.

    Args:
        place: the catalog.
        table: its name.
        columns: Arrow fields as the rows come; or no columns at all, for a table that only keeps a mark as yet.
        connection: how a new table is laid out.
    """
    catalog = place.catalog()
    bare = isinstance(columns, Schema)
    given = columns if isinstance(columns, Schema) else pa.schema([stored(field, table) for field in columns])
    with place.errors(f"create table {table}"):
        try:
            return create_table(
                catalog,
                table,
                given,
                partition_spec=None if bare else connection.partition_spec,
                sort_order=None if bare else connection.sort_order,
                properties=connection.properties,
            )
        except TableExistsError:
            return _found(place, table)


def extend(place: Place, write: Write, connection: IcebergDestinationConnection) -> Table:
    """Add the columns that the table lacks; another run may be adding the same ones.

    Raises:
        ConfigError: a column that the rows lack has a default value, which only rows could carry.
        Busy: others change the table all the time.
    """
    for _ in range(_ATTEMPTS):
        table = _found(place, write.table)
        missing = [field for field in write.schema if field.name not in table.schema().column_names]
        if not missing:
            _refuse_defaults(table, write)
            return table
        added = to_iceberg(pa.schema([stored(field, write.table) for field in missing]))
        laid_out = connection if not table.schema().fields else None
        try:
            with place.errors(f"add columns to {write.table}"):
                _add(table, added, laid_out)
        except Busy:
            continue
    raise Busy(f"{place.name}: the columns of {write.table} are being changed by others", retryable=True)


def _add(table: Table, added: Schema, laid_out: IcebergDestinationConnection | None) -> None:
    with OneCommit(table) as transaction:
        with transaction.update_schema() as update:
            for field in added.fields:
                update.add_column(field.name, field.field_type)
        if laid_out is not None:
            _lay_out(transaction, laid_out)


def _lay_out(transaction: Transaction, connection: IcebergDestinationConnection) -> None:
    """Partitions and order of a table that was made without columns, for its mark."""
    schema = transaction.table_metadata.schema()
    parts = spec_of(connection.partition_spec, schema).fields
    order = order_of(connection.sort_order, schema).fields
    if parts:
        with transaction.update_spec() as spec:
            for part in parts:
                spec.add_field(_name(schema, part.source_id), part.transform, part.name)
    if order:
        with transaction.update_sort_order() as sorting:
            for one in order:
                add = sorting.asc if one.direction == SortDirection.ASC else sorting.desc
                add(_name(schema, one.source_id), one.transform, one.null_order)


def _name(schema: Schema, field_id: int) -> str:
    return schema.find_column_name(field_id) or ""


def _found(place: Place, name: str) -> Table:
    table = place.find(name)
    if table is None:
        raise InternalError(f"table {name} was made, and is gone")
    return table


def _refuse_defaults(table: Table, write: Write) -> None:
    for field in table.schema().fields:
        if field.write_default is not None and field.name not in write.schema.names:
            raise ConfigError(
                f"table {write.table}: column {field.name} has a default value, and the rows do not have the column",
                hint=f"select it in the query: `… AS {field.name}`",
            )
