"""Retain: telemetry of months before the window leaves Postgres; the lake and the archive keep it.

A partition goes only when the lake is seen to hold at least as many rows of each of its days, in
files that stand where `lake_files` says. Events, parameters, tracks and the catalog stay for ever.
"""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

from logbox_pipeline.adapters import catalog_lake
from logbox_pipeline.adapters.catalog_lake import LakeFileRow
from logbox_pipeline.adapters.telemetry_partitions import (
    Partition,
    drop_partition,
    partitions_before,
    rows_by_day,
)
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.core.retention import telemetry_window
from logbox_pipeline.steps.site import TRANSFERS, Site


@dataclass(frozen=True)
class Judged:
    """A partition before the window; `why` says what keeps it, None: it is dropped, or would be."""

    partition: Partition
    rows: int
    why: str | None


@dataclass(frozen=True)
class RetainReport:
    """`first_day`: the first that Postgres is to hold; None: it holds every day."""

    first_day: date | None
    judged: tuple[Judged, ...]

    @property
    def dropped(self) -> tuple[Judged, ...]:
        return tuple(one for one in self.judged if one.why is None)

    @property
    def kept(self) -> tuple[Judged, ...]:
        return tuple(one for one in self.judged if one.why is not None)

    @property
    def counts(self) -> dict[str, int]:
        return {
            "dropped_partitions": len(self.dropped),
            "dropped_rows": sum(one.rows for one in self.dropped),
            "dropped_bytes": sum(one.partition.size_bytes for one in self.dropped),
            "kept_partitions": len(self.kept),
        }


def retain(site: Site, *, dry_run: bool = False) -> RetainReport:
    """Drop what LOGBOX_POSTGRES_TELEMETRY_DAYS no longer asks for, one partition at a time.

    A table that somebody reads for long keeps its partition until the next time.
    """
    first_day = telemetry_window(site.settings.postgres_telemetry_days, site.now().date())
    if first_day is None:
        return RetainReport(None, ())
    with site.transaction() as cursor:
        before = partitions_before(cursor, first_day)
    judged = []
    with site.connection() as connection:
        for partition in before:
            one = _judge(site, partition)
            if one.why is None and not dry_run:
                try:
                    drop_partition(connection, partition)
                except TransientError as error:
                    one = Judged(partition, one.rows, error.message)
            judged.append(one)
    return RetainReport(first_day, tuple(judged))


def _judge(site: Site, partition: Partition) -> Judged:
    with site.transaction() as cursor:
        # One snapshot: a compaction or a load in between changes both or neither.
        cursor.execute("set transaction isolation level repeatable read, read only")
        in_postgres = rows_by_day(cursor, partition)
        files = [
            one
            for one in catalog_lake.live_files(cursor, [partition.table_name])
            if partition.month <= one.received_on < partition.following
        ]
    in_lake: Counter[date] = Counter()
    for one in files:
        in_lake[one.received_on] += one.rows
    rows = sum(in_postgres.values())
    # The lake may hold more: what LOGBOX_POSTGRES_TOPICS left out that day, or what was lost here.
    for day, count in sorted(in_postgres.items()):
        if count > in_lake[day]:
            why = f"{day}: {count} rows in Postgres, {in_lake[day]} in the lake"
            return Judged(partition, rows, why)
    return Judged(partition, rows, _not_standing(site, files))


def _not_standing(site: Site, files: Sequence[LakeFileRow]) -> str | None:
    """What is not in the lake as `lake_files` says, in a sentence."""
    with ThreadPoolExecutor(TRANSFERS) as threads:
        found = list(threads.map(lambda one: site.lake.head(one.lake_key), files))
    for one, stored in zip(files, found, strict=True):
        if stored is None or stored.size_bytes != one.size_bytes:
            return (
                f"s3://{site.lake.bucket}/{one.lake_key}: expected {one.size_bytes} bytes, found "
                f"{'nothing' if stored is None else stored.size_bytes}"
            )
    return None
