"""What came of the fleet's uploads, looked at in every store and judged against its ledger.

Looking reads the catalog, Postgres, landing, quarantine, archive and lake, and changes none of
them; judging is pure. What had to come of the uploads is fleet.py's, how it is told the caller's.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
from psycopg2 import sql

from logbox_pipeline.adapters.catalog_agreement import live_files
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import keys
from logbox_pipeline.core.tables import EVENTS, PARAMETERS
from logbox_pipeline.simulator.fleet import REFUSED, Upload, rows_by_log
from logbox_pipeline.steps.site import Site

Rows = Mapping[tuple[str, str], int]
"""Rows by (log_id, table)."""


# Looking


@dataclass(frozen=True)
class Delivery:
    """What the catalog says became of one object; `repeats` is the log_id of a duplicate."""

    landing_key: str
    state: str
    log_state: str | None
    reason: str | None
    repeats: str | None
    size_bytes: int
    damaged_bytes: int
    seconds: float | None
    """From received to loaded."""


@dataclass(frozen=True)
class Found:
    """What stands where. archived, quarantined: digests of the bytes read back, by landing key."""

    deliveries: Mapping[str, Delivery]
    postgres: Rows
    parquet: Rows
    archived: Mapping[str, str]
    quarantined: Mapping[str, str]
    in_landing: Sequence[str]
    stray_files: Sequence[str]
    busy_s: float


def look(site: Site, clients: list[str], folder: Path) -> Found:
    """Read back all that these clients' uploads became; `folder` takes the downloads."""
    with site.transaction() as cursor:
        deliveries = _deliveries(cursor, clients)
        log_ids = _log_ids(cursor, clients)
        batches = _batches(cursor, clients)
        live = live_files(cursor, [batch_id for batch_id, _, _ in batches])
        postgres = _postgres_rows(cursor, log_ids)
        archived = _places(cursor, clients, "o.archive_key")
        quarantined = _places(cursor, clients, "d.quarantine_key")
    tables = {one.lake_key: one.table_name for one in live}
    standing = {
        one.key
        for one in site.lake.list_all("lake/")
        if any(batch_id in one.key for batch_id, _, _ in batches)
    }
    files = {key: table for key, table in tables.items() if key in standing}
    return Found(
        deliveries=deliveries,
        postgres=postgres,
        parquet=_parquet_rows(site, files, set(log_ids), folder),
        archived=_digests(site.archive, archived, folder),
        quarantined=_digests(site.landing, quarantined, folder),
        in_landing=[
            one.key
            for client in clients
            for one in site.landing.list_all(keys.landing_prefix(client))
        ],
        stray_files=sorted(standing ^ set(tables)),
        busy_s=busy_seconds([(begin, end) for _, begin, end in batches]),
    )


def _deliveries(cursor: Any, clients: list[str]) -> dict[str, Delivery]:
    cursor.execute(
        """
        select d.landing_key, d.state, l.state, coalesce(d.reason, l.reason), d.duplicate_of::text,
            d.size_bytes, coalesce(l.damaged_bytes, 0),
            extract(epoch from l.loaded_at - l.received_at)::float
        from logbox.deliveries d
        left join logbox.logs l using (delivery_id)
        where d.client = any(%s)
        order by d.landing_key
        """,
        (clients,),
    )
    return {row[0]: Delivery(*row) for row in cursor.fetchall()}


def _log_ids(cursor: Any, clients: list[str]) -> list[str]:
    cursor.execute("select log_id::text from logbox.logs where client = any(%s)", (clients,))
    return [log_id for (log_id,) in cursor.fetchall()]


def _batches(cursor: Any, clients: list[str]) -> list[tuple[str, datetime, datetime]]:
    """(batch_id, when its run began, when it was done)."""
    cursor.execute(
        """
        select b.batch_id::text, b.started_at, b.finished_at
        from logbox.batches b
        where b.started_at is not null and b.finished_at is not null
            and exists (
                select
                from logbox.deliveries d
                where d.batch_id = b.batch_id and d.client = any(%s)
            )
        """,
        (clients,),
    )
    return list(cursor.fetchall())


def _places(cursor: Any, clients: list[str], column: str) -> dict[str, str]:
    """Where the bytes of each delivery stand, by landing key."""
    cursor.execute(
        sql.SQL(
            """
            select d.landing_key, {place}
            from logbox.deliveries d
            left join logbox.objects o on (o.client, o.sha256) = (d.client, d.sha256)
            where d.client = any(%s) and {place} is not null
            """
        ).format(place=sql.SQL(column)),
        (clients,),
    )
    return dict(cursor.fetchall())


def _postgres_rows(cursor: Any, log_ids: list[str]) -> Rows:
    """Counted, in every table there is."""
    cursor.execute(
        """
        select relname
        from pg_class
        where relnamespace = 'telemetry'::regnamespace and relkind = 'p'
        """
    )
    tables = [("telemetry", name) for (name,) in cursor.fetchall()]
    rows: dict[tuple[str, str], int] = {}
    for schema, table in [("logbox", EVENTS), ("logbox", PARAMETERS), *tables]:
        cursor.execute(
            sql.SQL(
                """
                select log_id::text, count(*)
                from {}
                where log_id = any(%s::uuid[])
                group by log_id
                """
            ).format(sql.Identifier(schema, table)),
            (log_ids,),
        )
        rows |= {(log_id, table): count for log_id, count in cursor.fetchall()}
    return rows


def _parquet_rows(site: Site, files: Mapping[str, str], log_ids: set[str], folder: Path) -> Rows:
    """Counted in the files themselves, every column of them decoded."""
    rows: Counter[tuple[str, str]] = Counter()
    for lake_key, table in files.items():
        path = folder / "lake.parquet"
        if site.lake.download(lake_key, path) is None:
            continue
        column = pq.ParquetFile(path).read().column("log_id")
        for log_id, count in Counter(column.to_pylist()).items():
            text = str(log_id if isinstance(log_id, UUID) else UUID(bytes=log_id))
            if text in log_ids:
                rows[text, table] += count
    return dict(rows)


def _digests(bucket: S3Bucket, places: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Of the bytes as they are now, read back from the store."""
    digests = {}
    for landing_key, place in places.items():
        download = bucket.download(place, folder / "object")
        digests[landing_key] = "missing" if download is None else download.sha256
    return digests


def busy_seconds(spans: Sequence[tuple[datetime, datetime]]) -> float:
    """Seconds in which at least one run was at work."""
    busy, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for begin, end in sorted(spans):
        busy += max(0.0, (end - max(begin, until)).total_seconds())
        until = max(until, end)
    return busy


# Judging


@dataclass(frozen=True)
class Check:
    """One thing that must be so; `wrong` says what is not."""

    sentence: str
    wrong: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.wrong


def judge(fleet: Sequence[Upload], found: Found, refused: Mapping[str, str]) -> list[Check]:
    """Hold what was found against what the fleet knows must come out. Every finding is named."""
    sent = [upload for upload in fleet if upload.state != REFUSED]
    rows = rows_by_log(fleet)
    total = f"{sum(rows.values()):,}"
    return [
        _judge_refusals(fleet, found, refused),
        _judge_deliveries(sent, found),
        _judge_bytes(
            "the archive gives back byte for byte each log that was accepted",
            {one.landing_key: one.sha256 for one in sent if one.state != "quarantined"},
            found.archived,
        ),
        _judge_bytes(
            "quarantine keeps byte for byte each log that was not",
            {one.landing_key: one.sha256 for one in sent if one.state == "quarantined"},
            found.quarantined,
        ),
        Check("nothing is left in landing", tuple(found.in_landing)),
        _judge_rows(f"Postgres has the {total} rows the drones wrote", rows, found.postgres),
        _judge_rows(f"Parquet has the {total} rows the drones wrote", rows, found.parquet),
        Check("the lake has no file too many and none too few", tuple(found.stray_files)),
    ]


def _judge_refusals(fleet: Sequence[Upload], found: Found, refused: Mapping[str, str]) -> Check:
    must = {one.landing_key: one.reason or "" for one in fleet if one.state == REFUSED}
    wrong = _differences(must, refused, "answered")
    wrong += [f"{key}: it came in" for key in must if key in found.deliveries]
    return Check("S3 refused to write below the other client's prefix", tuple(wrong))


def _judge_deliveries(sent: Sequence[Upload], found: Found) -> Check:
    log_ids = {one.log_id for one in sent if one.log_state == "loaded"}
    must = {one.landing_key: _outcome(one.state, one.log_state, one.reason) for one in sent}
    have = {
        key: _outcome(one.state, one.log_state, one.reason) for key, one in found.deliveries.items()
    }
    wrong = _differences(must, have, "ended")
    wrong += [
        f"{key}: repeats no log of the fleet"
        for key, one in found.deliveries.items()
        if one.state == "duplicate" and one.repeats not in log_ids
    ]
    return Check(f"each of {len(sent)} deliveries ended as it must", tuple(wrong))


def _outcome(*words: str | None) -> str:
    return " ".join(word for word in words if word)


def _judge_bytes(sentence: str, must: Mapping[str, str], have: Mapping[str, str]) -> Check:
    return Check(sentence, tuple(_differences(must, have, "is")))


def _judge_rows(sentence: str, must: Rows, have: Rows) -> Check:
    wrong = [
        f"{table} of log {log_id}: expected {must.get((log_id, table), 0):,} rows, "
        f"found {have.get((log_id, table), 0):,}"
        for log_id, table in sorted(set(must) | set(have))
        if must.get((log_id, table), 0) != have.get((log_id, table), 0)
    ]
    return Check(sentence, tuple(wrong))


def _differences(must: Mapping[str, str], have: Mapping[str, str], verb: str) -> list[str]:
    return [
        f"{key}: expected {must.get(key, 'nothing')}, {verb} {have.get(key, 'nothing')}"
        for key in sorted(set(must) | set(have))
        if must.get(key) != have.get(key)
    ]
