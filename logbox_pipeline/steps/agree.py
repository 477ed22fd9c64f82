"""Do Postgres and the lake hold the same rows? Counted on both sides, not read from the catalog."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from psycopg2 import sql

from logbox_pipeline.adapters import catalog_agreement
from logbox_pipeline.core.retention import telemetry_window
from logbox_pipeline.core.tables import CATALOG_TABLES
from logbox_pipeline.steps.compare_rows import parquet_rows
from logbox_pipeline.steps.judge import Judgement
from logbox_pipeline.steps.site import TRANSFERS, Site

RECENT = timedelta(hours=2)
MOST_BATCHES = 20


def compare_recent(site: Site) -> Judgement:
    """Compare the newest batches, table by table: rows in Parquet footers against count(*)."""
    with site.transaction() as cursor:
        batches = catalog_agreement.recent_batches(cursor, site.now() - RECENT, MOST_BATCHES)
        first_day = telemetry_window(site.settings.postgres_telemetry_days, site.now().date())
        files = catalog_agreement.live_files(cursor, batches, first_day)
        postgres_rows = {
            (of, table): _count(cursor, of, table)
            for of, table in sorted({(one.batch_ids, one.table_name) for one in files})
        }
        lake_only = catalog_agreement.lake_only_tables(
            cursor, sorted({batch for one in files for batch in one.batch_ids})
        )
    with ThreadPoolExecutor(TRANSFERS) as threads:
        footers = list(threads.map(lambda one: parquet_rows(site, one.lake_key), files))
    parquet: dict[tuple[tuple[str, ...], str], int] = {}
    unreadable = []
    for one, rows in zip(files, footers, strict=True):
        if rows is None:
            unreadable.append(
                {"table": one.table_name, "file": one.lake_key, "parquet_rows": "missing"}
            )
        else:
            place = (one.batch_ids, one.table_name)
            parquet[place] = parquet.get(place, 0) + rows
    differing: list[dict[str, Any]] = [
        {
            "table": table,
            "batch": ", ".join(of),
            "parquet_rows": parquet.get((of, table), 0),
            "postgres_rows": rows,
        }
        for (of, table), rows in postgres_rows.items()
        if not any((batch, table) in lake_only for batch in of)
        and parquet.get((of, table), 0) != rows
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


def _count(cursor: Any, batch_ids: Collection[str], table: str) -> int:
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
                where l.batch_id = any(%s::uuid[])
            )
            """
        ).format(sql.Identifier(schema, table)),
        (list(batch_ids),),
    )
    return int(cursor.fetchone()[0])
