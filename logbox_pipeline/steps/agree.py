"""Do Postgres and the lake hold the same rows? Counted on both sides, not read from the catalog."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql

from logbox_pipeline.adapters import catalog_agreement
from logbox_pipeline.core.tables import CATALOG_TABLES
from logbox_pipeline.steps.judge import Judgement
from logbox_pipeline.steps.site import TRANSFERS, Site

RECENT = timedelta(hours=2)
MOST_BATCHES = 20
_FOOTER_BYTES = 64 * 1024


def compare_recent(site: Site) -> Judgement:
    """Compare the newest batches, table by table: rows in Parquet footers against count(*)."""
    with site.transaction() as cursor:
        batches = catalog_agreement.recent_batches(cursor, site.now() - RECENT, MOST_BATCHES)
        files = catalog_agreement.live_files(cursor, batches)
        postgres_rows = {
            (batch, table): _count(cursor, batch, table)
            for batch, table in sorted({(one.batch_id, one.table_name) for one in files})
        }
        lake_only = catalog_agreement.lake_only_tables(cursor, batches)
    with ThreadPoolExecutor(TRANSFERS) as threads:
        footers = list(threads.map(lambda one: parquet_rows(site, one.lake_key), files))
    parquet: dict[tuple[str, str], int] = {}
    unreadable = []
    for one, rows in zip(files, footers, strict=True):
        if rows is None:
            unreadable.append(
                {"table": one.table_name, "file": one.lake_key, "parquet_rows": "missing"}
            )
        else:
            place = (one.batch_id, one.table_name)
            parquet[place] = parquet.get(place, 0) + rows
    differing: list[dict[str, Any]] = [
        {
            "table": table,
            "batch": batch,
            "parquet_rows": parquet.get((batch, table), 0),
            "postgres_rows": rows,
        }
        for (batch, table), rows in postgres_rows.items()
        if (batch, table) not in lake_only and parquet.get((batch, table), 0) != rows
    ]
    found = unreadable + differing
    total = sum(parquet.values())
    return Judgement(
        "loaded_logs",
        "postgres_equals_parquet",
        not found,
        f"{len(found)} table(s) differ"
        if found
        else f"{total:,} rows in {len(files)} Parquet file(s) of the newest {len(batches)} "
        "batch(es) are as many in Postgres.",
        len(found),
        found[:100],
        "logbox status --json",
        is_error=True,
    )


def parquet_rows(site: Site, lake_key: str) -> int | None:
    """Rows a Parquet file says it has, read from its footer; None when it is missing or broken."""
    size = _FOOTER_BYTES
    end = site.lake.read_end(lake_key, size)
    if end is None or end[-4:] != b"PAR1":
        return None
    needed = int.from_bytes(end[-8:-4], "little") + 8
    if needed > len(end):
        end = site.lake.read_end(lake_key, needed)
    if end is None:
        return None
    try:
        return int(pq.read_metadata(pa.BufferReader(end)).num_rows)
    except pa.ArrowInvalid:
        return None


def _count(cursor: Any, batch_id: str, table: str) -> int:
    schema = "logbox" if table in CATALOG_TABLES else "telemetry"
    cursor.execute("select to_regclass(format('%%I.%%I', %s::text, %s::text))", (schema, table))
    if cursor.fetchone()[0] is None:
        return 0
    cursor.execute(
        sql.SQL(
            """
            select count(*)
            from {} as rows
            where rows.log_id in (
                select l.log_id
                from logbox.logs l
                where l.batch_id = %s
            )
            """
        ).format(sql.Identifier(schema, table)),
        (batch_id,),
    )
    return int(cursor.fetchone()[0])
