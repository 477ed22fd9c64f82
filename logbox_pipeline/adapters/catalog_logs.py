"""The catalog's record of logs and lake files: who owns a log, what it held, what is live."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg2.extras import Json, execute_values

from logbox_pipeline.adapters.catalog_batches import Claim


@dataclass(frozen=True)
class OwnedLog:
    """A log that this batch parses and loads."""

    log_id: UUID
    delivery_id: UUID
    client: str
    vehicle: str | None
    content_sha256: str
    received_at: datetime
    size_bytes: int


def take_ownership(cursor: Any, found: Sequence[OwnedLog]) -> tuple[list[OwnedLog], list[OwnedLog]]:
    """Insert the logs that nobody has yet. Returns (owned and not yet loaded, duplicates).

    `found` holds one entry per delivery; of equal ones the first in order wins. Rows are written
    in log_id order, so that two batches never wait for each other in a ring.
    """
    ordered = sorted(found, key=lambda one: (one.log_id, one.received_at, one.delivery_id))
    if not ordered:
        return [], []
    execute_values(
        cursor,
        """
        insert into logbox.logs (
            log_id, client, vehicle, content_sha256, delivery_id, received_at, received_on,
            size_bytes
        )
        values %s
        on conflict do nothing
        """,
        [
            (
                str(one.log_id),
                one.client,
                one.vehicle,
                one.content_sha256,
                str(one.delivery_id),
                one.received_at,
                one.received_at.date(),
                one.size_bytes,
            )
            for one in {one.log_id: one for one in reversed(ordered)}.values()
        ][::-1],
        page_size=2_000,
    )
    execute_values(
        cursor,
        """
        insert into logbox.object_logs (client, sha256, log_id)
        values %s
        on conflict do nothing
        """,
        sorted({(one.client, one.content_sha256, str(one.log_id)) for one in ordered}),
        page_size=2_000,
    )
    cursor.execute(
        "select log_id, delivery_id, state from logbox.logs where log_id = any(%s::uuid[])",
        ([str(one.log_id) for one in ordered],),
    )
    owners = {UUID(row[0]): (UUID(row[1]), row[2]) for row in cursor.fetchall()}
    owned = [
        one
        for one in ordered
        if owners[one.log_id][0] == one.delivery_id and owners[one.log_id][1] != "loaded"
    ]
    duplicates = [one for one in ordered if owners[one.log_id][0] != one.delivery_id]
    if duplicates:
        execute_values(
            cursor,
            """
            update logbox.deliveries d
            set state = 'duplicate', duplicate_of = v.log_id::uuid
            from (values %s) as v (delivery_id, log_id)
            where d.delivery_id = v.delivery_id::uuid
            """,
            [(str(one.delivery_id), str(one.log_id)) for one in duplicates],
            page_size=2_000,
        )
    return owned, duplicates


@dataclass(frozen=True)
class PlannedFile:
    """A Parquet file that stands in scratch and is about to be put."""

    lake_key: str
    table_name: str
    received_on: date
    rows: int
    size_bytes: int
    sha256: str


def plan_lake_files(
    cursor: Any, held: Claim, files: Sequence[PlannedFile], now: datetime
) -> list[str]:
    """Write down what this attempt will put, and abandon what dead attempts had planned.

    Returns the keys to delete first: planned by a dead attempt and not planned again.
    """
    cursor.execute(
        """
        update logbox.lake_files
        set state = 'abandoned'
        where batch_id = %s and state = 'planned' and attempt < %s and lake_key <> all(%s)
        returning lake_key
        """,
        (str(held.batch_id), held.attempt, [one.lake_key for one in files]),
    )
    abandoned = [key for (key,) in cursor.fetchall()]
    if files:
        execute_values(
            cursor,
            """
            insert into logbox.lake_files (
                lake_key, table_name, received_on, batch_id, attempt, state, rows, size_bytes,
                sha256, planned_at
            )
            values %s
            on conflict (lake_key) do update
            set attempt = excluded.attempt, planned_at = excluded.planned_at, state = 'planned'
            where lake_files.state in ('planned', 'abandoned')
            """,
            [
                (
                    one.lake_key,
                    one.table_name,
                    one.received_on,
                    str(held.batch_id),
                    held.attempt,
                    "planned",
                    one.rows,
                    one.size_bytes,
                    one.sha256,
                    now,
                )
                for one in files
            ],
            page_size=2_000,
        )
    return abandoned


def make_live(cursor: Any, held: Claim, lake_keys: Sequence[str], now: datetime) -> None:
    """Part of the load transaction: from here on these files count."""
    cursor.execute(
        """
        update logbox.lake_files
        set state = 'live', live_at = %s
        where lake_key = any(%s) and batch_id = %s and state = 'planned'
        """,
        (now, list(lake_keys), str(held.batch_id)),
    )
    if cursor.rowcount != len(lake_keys):
        raise RuntimeError(
            f"{cursor.rowcount} of {len(lake_keys)} planned lake files of batch {held.batch_id} "
            "were there to become live"
        )


def abandoned_lake_files(cursor: Any, most: int) -> list[str]:
    """Keys to delete, locked: an attempt that plans one of them again waits until that is done."""
    cursor.execute(
        """
        select lake_key
        from logbox.lake_files
        where state = 'abandoned'
        order by planned_at
        limit %s
        for update skip locked
        """,
        (most,),
    )
    return [key for (key,) in cursor.fetchall()]


def lock_abandoned(cursor: Any, lake_keys: Sequence[str]) -> list[str]:
    """Those of the keys that are abandoned still, locked until they are deleted."""
    cursor.execute(
        """
        select lake_key
        from logbox.lake_files
        where lake_key = any(%s) and state = 'abandoned'
        order by lake_key
        for update
        """,
        (list(lake_keys),),
    )
    return [key for (key,) in cursor.fetchall()]


def forget_abandoned(cursor: Any, lake_keys: Sequence[str], planned_before: datetime) -> None:
    cursor.execute(
        """
        delete from logbox.lake_files
        where lake_key = any(%s) and state = 'abandoned' and planned_at < %s
        """,
        (list(lake_keys), planned_before),
    )


@dataclass(frozen=True)
class LogResult:
    """What became of one owned log: loaded, or unparsed with a reason."""

    log_id: UUID
    state: str
    reason: str | None = None
    detail: str | None = None
    format: str | None = None
    parser_version: int | None = None
    vehicle_uid: str | None = None
    firmware: str | None = None
    hardware: str | None = None
    time_source: str | None = None
    time_error_ms: int | None = None
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None
    telemetry_rows: int | None = None
    events: int | None = None
    parameters: int | None = None
    damaged_bytes: int = 0
    is_damaged: bool = False
    info: dict[str, Any] | None = None


@dataclass(frozen=True)
class TopicResult:
    """One (topic, instance) of one log."""

    log_id: UUID
    topic: str
    instance: int
    rows: int
    first_t_boot_us: int | None
    last_t_boot_us: int | None
    table_name: str
    lake_only_reason: str | None


def record_results(
    cursor: Any,
    held: Claim,
    results: Sequence[LogResult],
    topics: Sequence[TopicResult],
    now: datetime,
) -> None:
    """Part of the load transaction: states, counts and topics of each log; the batch is loaded."""
    if results:
        execute_values(
            cursor,
            """
            update logbox.logs l
            set state = v.state, reason = v.reason, detail = v.detail, format = v.format,
                parser_version = v.parser_version, vehicle_uid = v.vehicle_uid,
                firmware = v.firmware, hardware = v.hardware, time_source = v.time_source,
                time_error_ms = v.time_error_ms, recorded_from = v.recorded_from,
                recorded_to = v.recorded_to, telemetry_rows = v.telemetry_rows,
                events = v.events, parameters = v.parameters,
                damaged_bytes = v.damaged_bytes, is_damaged = v.is_damaged, info = v.info,
                loaded_at = v.loaded_at
            from (values %s) as v (
                log_id, state, reason, detail, format, parser_version, vehicle_uid, firmware,
                hardware, time_source, time_error_ms, recorded_from, recorded_to, telemetry_rows,
                events, parameters, damaged_bytes, is_damaged, info, loaded_at
            )
            where l.log_id = v.log_id
            """,
            [
                (
                    str(one.log_id), one.state, one.reason, one.detail, one.format,
                    one.parser_version, one.vehicle_uid, one.firmware, one.hardware,
                    one.time_source, one.time_error_ms, one.recorded_from, one.recorded_to,
                    one.telemetry_rows, one.events, one.parameters, one.damaged_bytes,
                    one.is_damaged, Json(one.info) if one.info else None,
                    now if one.state == "loaded" else None,
                )
                for one in results
            ],
            template="(%s::uuid, %s, %s::text, %s::text, %s::text, %s::int, %s::text, %s::text, "
            "%s::text, %s::text, %s::bigint, %s::timestamptz, %s::timestamptz, %s::bigint, "
            "%s::bigint, %s::bigint, %s::bigint, %s::boolean, %s::jsonb, %s::timestamptz)",
            page_size=500,
        )  # fmt: skip
    if topics:
        execute_values(
            cursor,
            """
            insert into logbox.log_topics (
                log_id, topic, instance, rows, first_t_boot_us, last_t_boot_us, table_name,
                lake_only_reason
            )
            values %s
            """,
            [
                (
                    str(one.log_id), one.topic, one.instance, one.rows, one.first_t_boot_us,
                    one.last_t_boot_us, one.table_name, one.lake_only_reason,
                )
                for one in topics
            ],
            page_size=2_000,
        )  # fmt: skip
    cursor.execute(
        "update logbox.batches set state = 'loaded', loaded_at = %s where batch_id = %s",
        (now, str(held.batch_id)),
    )


def outcome_of_batch(cursor: Any, batch_id: UUID) -> list[dict[str, Any]]:
    """One plain mapping per log that this batch's deliveries own, for the outcome manifest."""
    cursor.execute(
        """
        select l.client, jsonb_build_object(
            'kind', 'log', 'client', l.client, 'log_id', l.log_id,
            'content_sha256', l.content_sha256, 'delivery_id', l.delivery_id, 'state', l.state,
            'reason', l.reason, 'format', l.format, 'parser_version', l.parser_version,
            'telemetry_rows', l.telemetry_rows, 'events', l.events, 'parameters', l.parameters,
            'is_damaged', l.is_damaged, 'damaged_bytes', l.damaged_bytes,
            'loaded_at', l.loaded_at,
            'tables', coalesce((
                select jsonb_agg(jsonb_build_object(
                    'topic', t.topic, 'instance', t.instance, 'rows', t.rows,
                    'table', t.table_name
                ) order by t.topic, t.instance)
                from logbox.log_topics t
                where t.log_id = l.log_id
            ), '[]')
        )
        from logbox.logs l
        join logbox.deliveries d using (delivery_id)
        where d.batch_id = %s
        order by l.log_id
        """,
        (str(batch_id),),
    )
    lines = [line for _, line in cursor.fetchall()]
    cursor.execute(
        """
        select distinct d.client, c.table_name, c.column_name, c.format, c.topic, c.source_name,
            c.position, c.type, c.unit, c.scale, c.definition
        from logbox.telemetry_columns c
        join logbox.log_topics t using (table_name)
        join logbox.logs l using (log_id)
        join logbox.deliveries d using (delivery_id)
        where d.batch_id = %s
        """,
        (str(batch_id),),
    )
    names = [column.name for column in cursor.description]
    for row in sorted(cursor.fetchall(), key=lambda one: (one[0], one[1], one[6])):
        lines.append({"kind": "column", **dict(zip(names, row, strict=True))})
    return lines
