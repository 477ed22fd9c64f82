"""A catalog of many loaded logs, made by SQL and not by uploading them: what growth is measured on.

Everything a loaded log leaves in the catalog is there, as much as a real one leaves; telemetry rows
and the bytes in the stores are not.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg2 import Binary

from logbox_pipeline.adapters import databases
from logbox_pipeline.core.growth import Beginning
from logbox_pipeline.settings import required
from logbox_pipeline.steps.site import Site

CLIENT = "bench"
FIRST_AT = datetime(2025, 1, 1, tzinfo=UTC)
FIRST_BATCH = UUID(hashlib.md5(b"batch0", usedforsecurity=False).hexdigest())
OBJECT_BYTES = 20_000
LOGS_PER_VEHICLE = 1_000
TOPICS = 5


@dataclass(frozen=True)
class Shape:
    """days: over how many, from FIRST_AT on, the logs arrived. beginning: how every one of them
    begins, but for its last mark: as DataFlash logs of one vehicle do. has_files: also the Parquet
    files and manifests of each batch, which no store has."""

    days: int = 365
    beginning: Beginning = field(default_factory=lambda: Beginning(b"", ()))
    has_files: bool = True
    logs_per_batch: int = 500


def make_catalog(site: Site, logs: int, shape: Shape) -> None:
    """Fill the site's empty catalog with `logs` loaded logs of one event, and nothing owed."""
    _run(site, _LOGS, _given(logs, shape))
    if shape.has_files:
        _run(site, _FILES, _given(logs, shape))
    _tidy(site)


def add_files(site: Site, logs: int, shape: Shape) -> None:
    """To a catalog that was made without them, the files that `has_files` would have given it."""
    _run(site, _FILES, _given(logs, shape))
    _tidy(site)


def _given(logs: int, shape: Shape) -> dict[str, Any]:
    return {
        "client": CLIENT,
        "first": FIRST_AT,
        "size": OBJECT_BYTES,
        "logs": logs,
        "per_batch": shape.logs_per_batch,
        "batches": -(-logs // shape.logs_per_batch),
        "per_vehicle": LOGS_PER_VEHICLE,
        "topics": TOPICS,
        "days": shape.days - 1,
        "head": Binary(shape.beginning.head),
        "marks": list(shape.beginning.marks[:-1]),
        "has_marks": bool(shape.beginning.marks),
    }


def _tidy(site: Site) -> None:
    """As autovacuum, which only a table's owner may, and checkpoints leave what grew in a year."""
    owner_url = required(site.settings.owner_database_url, "LOGBOX_OWNER_DATABASE_URL")
    with databases.administrator(owner_url) as cursor:
        cursor.execute("vacuum analyze")
    admin_url = required(site.settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    with databases.administrator(admin_url) as cursor:
        cursor.execute("checkpoint")


def _run(site: Site, statements: Sequence[str], given: dict[str, Any]) -> None:
    with site.transaction() as cursor:
        # A made-up catalog is not to be told to the archive.
        cursor.execute("select set_config('logbox.is_restoring', 'on', true)")
        for statement in statements:
            cursor.execute(statement, given)


_BATCHES = """
    create temporary table made_batches on commit drop as
    select b, md5('batch' || b)::uuid as batch_id, date_trunc(
        'minute', %(first)s::timestamptz + %(days)s * interval '1 day' * b / %(batches)s
    ) as at
    from generate_series(0, %(batches)s - 1) as b
"""

_LOGS = (
    _BATCHES,
    """
    create temporary table made on commit drop as
    select md5('log' || n)::uuid as log_id, md5('delivery' || n)::uuid as delivery_id,
        md5('flight' || n)::uuid as flight_id, encode(sha256(('log' || n)::bytea), 'hex') as sha256,
        'vehicle-' || n / %(per_vehicle)s as vehicle, n, batch_id,
        at + n %% %(per_batch)s * interval '10 ms' as at,
        (at at time zone 'UTC')::date as received_on
    from generate_series(0, %(logs)s - 1) as n
    join made_batches on b = n / %(per_batch)s
    """,
    "insert into logbox.clients values (%(client)s, %(first)s, null) on conflict do nothing",
    """
    insert into logbox.vehicles (client, vehicle, first_seen_at, last_seen_at)
    select %(client)s, vehicle, min(at), max(at)
    from made
    group by vehicle
    """,
    """
    insert into logbox.batches (
        batch_id, received_on, state, files, size_bytes, created_at, run_id, started_at,
        heartbeat_at, loaded_at, finished_at
    )
    select batch_id, received_on, 'finished', count(*), count(*) * %(size)s, min(at),
        'run-' || batch_id, min(at), min(at), min(at), min(at)
    from made
    group by batch_id, received_on
    """,
    """
    insert into logbox.objects (
        client, sha256, archive_key, size_bytes, archived_at, replicated_at
    )
    select %(client)s, sha256,
        'archive/' || %(client)s || '/' || left(sha256, 2) || '/' || sha256 || '.jsonl', %(size)s,
        at, at
    from made
    """,
    """
    insert into logbox.deliveries (
        delivery_id, bucket, landing_key, etag, received_at, client, vehicle, name, size_bytes,
        sensed_at, state, batch_id, version_id, declared_sha256, declared_by, sha256, verdict,
        verified_at, archived_at, left_landing_at
    )
    select delivery_id, 'bench', 'landing/' || %(client)s || '/' || vehicle || '/' || n || '.jsonl',
        md5('etag' || n), at, %(client)s, vehicle, n || '.jsonl', %(size)s, at, 'archived',
        batch_id, md5('version' || n), sha256, 'metadata', sha256, 'verified', at, at, at
    from made
    """,
    """
    insert into logbox.logs (
        log_id, client, vehicle, content_sha256, delivery_id, received_at, received_on, size_bytes,
        state, format, parser_version, time_source, recorded_from, recorded_to, telemetry_rows,
        events, parameters, track_rows, loaded_at, batch_id, head, marks
    )
    select log_id, %(client)s, vehicle, sha256, delivery_id, at, received_on, %(size)s, 'loaded',
        'jsonl', 1, 'gps', at - interval '30 minutes', at - interval '10 minutes', 0, 1, 0, 0, at,
        batch_id, %(head)s,
        %(marks)s::bigint[]
            || case when %(has_marks)s then array[hashint8extended(n, 0)] else '{}' end
    from made
    """,
    """
    insert into logbox.object_logs (client, sha256, log_id)
    select %(client)s, sha256, log_id from made
    """,
    """
    insert into logbox.log_tables (log_id, table_name, rows, content_digest)
    select log_id, 'log_events', 1, repeat('0', 32) from made
    """,
    """
    insert into logbox.log_events (log_id, seq, message)
    select log_id, 0, 'one row' from made
    """,
    """
    insert into logbox.log_topics (
        log_id, topic, instance, rows, first_at, last_at, rate_hz, table_name
    )
    select log_id, 'topic_' || topic, 0, 0, at - interval '30 minutes',
        at - interval '10 minutes', 50, 'jsonl_topic_' || topic
    from made
    cross join generate_series(1, %(topics)s) as topic
    """,
    """
    insert into logbox.flights (
        flight_id, client, vehicle, takeoff_at, landed_at, started_before, duration_s, end_state,
        time_source
    )
    select flight_id, %(client)s, vehicle, at - interval '25 minutes', at - interval '15 minutes',
        at - interval '25 minutes', 600, 'landed', 'gps'
    from made
    """,
    """
    insert into logbox.flight_logs (
        log_id, flight_no, flight_id, is_track, timed_by, first_second, last_second, takeoff_at,
        landed_at, duration_s, end_state
    )
    select log_id, 1, flight_id, true, 'utc', 0, 600, at - interval '25 minutes',
        at - interval '15 minutes', 600, 'landed'
    from made
    """,
)

_FILES = (
    _BATCHES,
    """
    insert into logbox.lake_files (
        lake_key, table_name, received_on, batch_id, attempt, state, rows, size_bytes, sha256,
        planned_at, live_at, batch_ids
    )
    select 'lake/' || name || '/' || batch_id, name, (at at time zone 'UTC')::date, batch_id, 1,
        'live', %(per_batch)s, %(size)s, encode(sha256((name || b)::bytea), 'hex'), at, at,
        array[batch_id]
    from made_batches
    cross join (
        select 'log_events' as name
        union all
        select 'jsonl_topic_' || topic from generate_series(1, %(topics)s) as topic
    ) as tables
    """,
    """
    insert into logbox.manifests (
        archive_key, client, batch_id, kind, sha256, size_bytes, planned_at, written_at,
        replicated_at, sealed_by
    )
    select 'archive/manifests/' || %(client)s || '/' || batch_id || '-1-' || kind || '.jsonl',
        %(client)s, batch_id, kind, encode(sha256((kind || b)::bytea), 'hex'), %(size)s, at, at, at,
        'archive/seals/made'
    from made_batches
    cross join (values ('intake'), ('outcome')) as kinds (kind)
    """,
)
