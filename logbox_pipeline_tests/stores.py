"""Read every row of every table from Postgres and from the lake, and compare them. No test here.

Value by value; rows are told apart by all they hold, as a table in Postgres has no order. It comes
out as CSV, which pyarrow reads into the lake's own types: samples have millions of values, too many
for one Python object each.
"""

import io
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from psycopg2 import sql

from logbox_pipeline.core.tables import CATALOG_TABLES
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests.journey import keys_in

JSON = {"attributes"}


def differences(site: Site) -> tuple[list[str], dict[str, int]]:
    """What is not the same in both stores (`ulog_fix.x`), and the rows of each table in the
    lake. Tables that stay in the lake alone are only counted."""
    found = []
    rows = {}
    for table, in_lake in lake_tables(site).items():
        rows[table] = in_lake.num_rows
        in_postgres = postgres_table(site, table, in_lake.schema)
        if in_postgres is not None:
            found += [f"{table}.{name}" for name in _differing(in_lake, in_postgres)]
    return found, rows


def lake_tables(site: Site) -> dict[str, pa.Table]:
    """All rows of each table, in the order written; without client and vehicle."""
    parts: dict[str, list[pa.Table]] = {}
    for key in keys_in(site.lake):
        read = site.lake.read(key)
        assert read is not None
        part = pq.read_table(io.BytesIO(read[0]), partitioning=None)
        parts.setdefault(key.split("/")[1], []).append(part.drop_columns(["client", "vehicle"]))
    return {
        table: pa.concat_tables(found, promote_options="default").combine_chunks()
        for table, found in parts.items()
    }


def postgres_table(site: Site, table: str, schema: pa.Schema) -> pa.Table | None:
    """The same rows in Postgres, in types that compare with `schema`; None without such a
    table."""
    place = "logbox" if table in CATALOG_TABLES else "telemetry"
    out = io.BytesIO()
    with site.transaction() as cursor:
        cursor.execute("select to_regclass(format('%%I.%%I', %s::text, %s::text))", (place, table))
        if cursor.fetchone()[0] is None:
            return None
        query = sql.SQL("select {} from {}").format(
            sql.SQL(", ").join(map(_selected, schema)), sql.Identifier(place, table)
        )
        cursor.copy_expert(sql.SQL("copy ({}) to stdout (format csv, header)").format(query), out)
    types = {field.name: _compared_as(field.type) for field in schema}
    return pa_csv.read_csv(
        io.BytesIO(out.getvalue()),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        read_options=pa_csv.ReadOptions(block_size=2**30),
        convert_options=pa_csv.ConvertOptions(
            column_types=types,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
            null_values=[""],
        ),
    )


def _selected(field: pa.Field) -> sql.Composable:
    column = sql.Identifier(field.name)
    if pa.types.is_list(field.type):
        return sql.SQL("array_to_json({})::text as {}").format(column, column)
    if pa.types.is_decimal(field.type):
        return sql.SQL("{}::text as {}").format(column, column)
    return column


def _compared_as(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.UuidType) or pa.types.is_list(kind) or pa.types.is_decimal(kind):
        return pa.string()
    return pa.string() if pa.types.is_binary(kind) else kind


def _differing(lake: pa.Table, postgres: pa.Table) -> list[str]:
    if lake.num_rows != postgres.num_rows:
        return [f"* ({lake.num_rows} rows in the lake, {postgres.num_rows} in Postgres)"]
    kinds = {field.name: field.type for field in lake.schema}
    plain = pa.table({name: _comparable(lake[name].combine_chunks()) for name in kinds})
    keys = [n for n, kind in kinds.items() if not pa.types.is_list(kind) and n not in JSON]
    ours, theirs = (
        table.take(pc.sort_indices(table, [(name, "ascending") for name in keys])).combine_chunks()
        for table in (plain, postgres)
    )
    return [
        name
        for name, kind in kinds.items()
        if not _same(name, kind, _whole(ours[name]), _whole(theirs[name]))
    ]


def _comparable(values: pa.Array) -> pa.Array:
    kind = values.type
    if isinstance(kind, pa.UuidType):
        return pa.array([str(one) for one in values.to_pylist()], pa.string())
    if pa.types.is_binary(kind):
        return pa.array([one and rf"\x{one.hex()}" for one in values.to_pylist()], pa.string())
    return values.cast(pa.string()) if pa.types.is_decimal(kind) else values


def _whole(values: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)


def _same(name: str, kind: pa.DataType, lake: pa.Array, postgres: pa.Array) -> bool:
    if name in JSON:
        return _json(lake) == _json(postgres)
    if pa.types.is_list(kind):
        return _same_lists(lake, pa.array(_lists(postgres), kind))
    return _same_floats(lake, postgres) if pa.types.is_floating(kind) else lake.equals(postgres)


def _json(texts: pa.Array) -> list[Any]:
    return [
        None if text is None else json.loads(text, parse_float=Decimal, parse_int=Decimal)
        for text in texts.to_pylist()
    ]


def _lists(texts: pa.Array) -> list[Any]:
    read = [None if text is None else json.loads(text) for text in texts.to_pylist()]
    numbers = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
    return [row and [numbers.get(one, one) for one in row] for row in read]


def _same_lists(lake: pa.Array, postgres: pa.Array) -> bool:
    if not pc.list_value_length(lake).equals(pc.list_value_length(postgres)):
        return False
    ours, theirs = lake.flatten(), postgres.flatten()
    if pa.types.is_floating(ours.type):
        return _same_floats(ours, theirs)
    return bool(ours.equals(theirs))


def _same_floats(lake: pa.Array, postgres: pa.Array) -> bool:
    """NaN equals NaN, and minus zero is not zero."""
    ours, theirs = lake.drop_null().to_numpy(), postgres.drop_null().to_numpy()
    return (
        bool(lake.is_null().equals(postgres.is_null()))
        and np.array_equal(ours, theirs, equal_nan=True)
        and np.signbit(ours[ours == 0]).sum() == np.signbit(theirs[theirs == 0]).sum()
    )
