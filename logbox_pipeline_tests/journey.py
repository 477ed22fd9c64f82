"""Send logs on their journey in a test, and take down all that came out. No test here."""

import hashlib
import io
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import psycopg2
import pyarrow.parquet as pq
from psycopg2 import sql

from logbox_pipeline.adapters import catalog_outbox
from logbox_pipeline.adapters.catalog_batches import Claim, OpenBatch
from logbox_pipeline.adapters.catalog_outbox import Owed
from logbox_pipeline.core import keys
from logbox_pipeline.core.batching import RunSeen
from logbox_pipeline.core.told import Line, Subject, lines
from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.attempt import claim
from logbox_pipeline.steps.ingest import ingest_offered
from logbox_pipeline.steps.manifest import tell_all
from logbox_pipeline.steps.report import StepReport
from logbox_pipeline.steps.sense import Tick, sense
from logbox_pipeline.steps.site import Site


def jsonl(*messages: str) -> bytes:
    return b"".join(
        json.dumps({"level": "info", "msg": each}).encode() + b"\n" for each in messages
    )


def ulog(topics: Mapping[str, Sequence[str]], rows: int = 3, seed: int = 0) -> bytes:
    """A small real ULog: float `fields` of each topic, `rows` rows, one text message."""
    start_us = 1_000_000 + seed
    parts = [b"ULog\x01\x12\x35\x01" + struct.pack("<Q", start_us)]

    def add(kind: str, payload: bytes) -> None:
        parts.append(struct.pack("<Hc", len(payload), kind.encode()) + payload)

    add("B", bytes(40))
    for name, fields in topics.items():
        text = "".join(f"float {field};" for field in fields)
        add("F", f"{name}:uint64_t timestamp;{text}".encode())
    for number, name in enumerate(topics):
        add("A", struct.pack("<BH", 0, number) + name.encode())
    add("L", struct.pack("<BQ", ord("6"), start_us) + b"logging started")
    for row in range(rows):
        for number, fields in enumerate(topics.values()):
            values = [row + 0.5 * place for place in range(len(fields))]
            at = struct.pack("<HQ", number, start_us + 1_000 * row)
            add("D", at + struct.pack(f"<{len(values)}f", *values))
    return b"".join(parts)


def upload(site: Site, key: str, data: bytes, *, declare: bool = True, **metadata: str) -> None:
    """Put an object into landing as a drone does: with its digest, unless `declare` is False."""
    if declare:
        metadata = {"sha256": hashlib.sha256(data).hexdigest()} | metadata
    site.landing.client.put_object(
        Bucket=site.landing.bucket, Key=key, Body=data, Metadata=metadata
    )


def with_settings(site: Site, **changes: Any) -> Site:
    return replace(site, settings=site.settings.model_copy(update=changes))


def dying_at(settings: Settings, failpoint: str) -> Settings:
    """With these, the first process that comes to the failpoint kills itself there."""
    folder = settings.scratch.with_name(f"{settings.scratch.name}-failpoints")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / failpoint).touch()
    return settings.model_copy(update={"failpoints": folder})


def tick(site: Site, run_states: Mapping[str, RunSeen] | None = None) -> Tick:
    """One look at landing, as the sensor takes it."""
    return sense(site, hint={}, run_states=lambda _: run_states or {})


def claim_offered(site: Site, run_id: str = "run-1") -> Claim:
    """One tick, and the only batch it offers."""
    (batch,) = tick(site).offered
    return claim(site, batch.batch_id, batch.attempt, run_id)


def ingest_all(site: Site) -> list[StepReport]:
    """Sense and ingest until nothing is offered, as sensor and runs do."""
    reports: list[StepReport] = []
    while offered := tick(site).offered:
        reports += ingest_offers(site, offered)
    return reports


def ingest_offers(site: Site, offered: Iterable[OpenBatch]) -> list[StepReport]:
    """What the runs of these batches do, one after the other."""
    return [
        report
        for batch in offered
        for report in ingest_offered(site, batch.run_key, f"run-{batch.run_key}")
    ]


def rows(site: Site, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with site.transaction() as cursor:
        cursor.execute(query, values or None)
        return list(cursor.fetchall())


def one(site: Site, query: str, *values: Any) -> Any:
    """The only value of the only row."""
    ((value,),) = rows(site, query, *values)
    return value


def change(site: Site, statement: str, *values: Any) -> None:
    """By somebody's own hand, as in psql: neither archive nor drones are told of it."""
    url = site.settings.database_url
    with (
        closing(psycopg2.connect(url, options="-c timezone=UTC")) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement, values or None)


def write(site: Site, statement: str, *values: Any) -> None:
    """As Logbox does, which owes the archive and the drones word of it."""
    with site.transaction() as cursor:
        cursor.execute(statement, values or None)


def deliveries(site: Site) -> dict[str, tuple[str, str | None]]:
    """(state, reason) by key below landing/; for tests where no key arrives twice."""
    found = rows(site, "select landing_key, state, reason from logbox.deliveries")
    by_key = {key.removeprefix("landing/"): (state, reason) for key, state, reason in found}
    assert len(by_key) == len(found), found
    return by_key


def states(site: Site) -> list[tuple[str, str | None]]:
    """(state, reason) of every delivery, sorted."""
    return sorted(rows(site, "select state, coalesce(reason, '') from logbox.deliveries"), key=str)


def keys_in(bucket: Any, prefix: str = "") -> list[str]:
    """Receipts only when asked for: there is one of all that happens."""
    found = [each.key for each in bucket.list_all(prefix)]
    return found if prefix else [key for key in found if not key.startswith("receipts/")]


# What must be the same after any accident as after a clean run


def snapshot(site: Site) -> dict[str, Any]:
    """Everything that came out, without times, ids of deliveries and batches, and attempts."""
    return {
        "postgres": _postgres(site),
        "lake": _lake(site),
        "landing": sorted(_without_ids(site, key) for key in keys_in(site.landing)),
        "archive": sorted(
            key
            for key in keys_in(site.archive)
            if not key.startswith((keys.MANIFESTS_PREFIX, keys.JOURNAL_PREFIX))
        ),
        "untold": untold(site),
    }


_CATALOG = {
    # Which of two equal uploads owns the log is chance: compare them as a pair.
    "deliveries": """
        select client, vehicle, sha256, size_bytes, array_agg(landing_key order by landing_key),
            array_agg((
                state, reason, detail, declared_sha256, declared_by, verdict, duplicate_of,
                archived_at is null, quarantined_at is null, left_landing_at is null,
                waiting_until is null, batch_id is null, arrival
            )::text order by state),
            array_agg(replace(quarantine_key, delivery_id::text, '*') order by state)
        from logbox.deliveries
        group by client, vehicle, sha256, size_bytes
    """,
    "objects": """
        select client, sha256, archive_key, size_bytes, version_id is null, archived_at is null
        from logbox.objects
    """,
    "logs": """
        select log_id::text, client, vehicle, content_sha256, size_bytes, state, reason, detail,
            format, parser_version, vehicle_uid, firmware, hardware, time_source, time_error_ms,
            recorded_from, recorded_to, telemetry_rows, events, parameters, is_damaged,
            damaged_bytes, info::text, loaded_at is null
        from logbox.logs
    """,
    "object_logs": """
        select client, sha256, member, log_id::text, reason, detail
        from logbox.object_logs
    """,
    "log_topics": """
        select log_id::text, topic, instance, rows, first_t_boot_us, last_t_boot_us, table_name,
            lake_only_reason, first_at, last_at, rate_hz, fields::text, fields_id::text
        from logbox.log_topics
    """,
    "log_parameters": "select p::text from logbox.log_parameters p",
    "log_events": "select e::text from logbox.log_events e",
    "log_track": "select t::text from logbox.log_track t",
    "flights": "select (to_jsonb(f) - 'started_before')::text from logbox.flights f",
    "flight_logs": "select m::text from logbox.flight_logs m",
    "vehicle_aliases": "select client, vehicle_uid, vehicle from logbox.vehicle_aliases",
    "telemetry_columns": """
        select table_name, column_name, format, topic, source_name, position, type, unit, scale,
            definition
        from logbox.telemetry_columns
    """,
    "lake_files": """
        select table_name, state, sum(rows)
        from logbox.lake_files
        where state <> 'abandoned'
        group by table_name, state
    """,
    "batches": "select distinct state from logbox.batches where state <> 'split'",
    "vehicles": "select client, vehicle from logbox.vehicles",
    "drifts": "select kind, place, subject, resolved_at is null from logbox.drifts",
}


def _postgres(site: Site) -> dict[str, list[str]]:
    found = {name: sorted(map(str, rows(site, query))) for name, query in _CATALOG.items()}
    tables = rows(
        site,
        """
        select relname
        from pg_class
        where relkind = 'p' and relnamespace = 'telemetry'::regnamespace
        """,
    )
    with site.transaction() as cursor:
        for (table,) in tables:
            cursor.execute(
                sql.SQL("select (to_jsonb(t.*) - 'received_on')::text from {} t").format(
                    sql.Identifier("telemetry", table)
                )
            )
            found[table] = sorted(row for (row,) in cursor.fetchall())
    return found


def _lake(site: Site) -> dict[str, list[str]]:
    """What a bare glob over the bucket reads, table by table."""
    found: dict[str, list[str]] = {}
    for key in keys_in(site.lake):
        read = site.lake.read(key)
        assert read is not None
        table = pq.read_table(io.BytesIO(read[0]), partitioning=None)
        found.setdefault(key.split("/")[1], []).extend(str(row) for row in table.to_pylist())
    return {table: sorted(lines) for table, lines in found.items()}


def told(site: Site) -> dict[tuple[str, str], dict[str, Any] | None]:
    """What manifests and journal say of each row: the last that was told."""
    newest: dict[tuple[str, str], Line] = {}
    for prefix in (keys.MANIFESTS_PREFIX, keys.JOURNAL_PREFIX):
        for key in keys_in(site.archive, prefix):
            read = site.archive.read(key)
            assert read is not None
            for line in lines(read[0]):
                place = line.kind, line.id
                if place not in newest or newest[place].told_at <= line.told_at:
                    newest[place] = line
    return {
        place: None if line.text is None else json.loads(line.text)
        for place, line in newest.items()
    }


def untold(site: Site) -> list[tuple[str, str]]:
    """Rows that stand in the catalog otherwise than in the archive, once nothing is owed."""
    tell_all(site)
    archive = told(site)
    with site.transaction() as cursor:
        owed = [Owed(Subject(kind), id_, 0, is_gone=True) for kind, id_ in archive]
        catalog = {
            (str(row.subject), row.id): None if row.row is None else json.loads(row.row)
            for row in catalog_outbox.rows(cursor, owed)
        }
        cursor.execute("select count(*) from logbox.deliveries where batch_id is not null")
        (expected,) = cursor.fetchone()
    assert sum(kind == "delivery" for kind, _ in archive) >= expected
    return sorted(place for place in archive if archive[place] != catalog[place])


def _without_ids(site: Site, key: str) -> str:
    parts = key.split("/")
    if parts[0] == "quarantine":
        parts[3] = "*"
    return "/".join(parts)
