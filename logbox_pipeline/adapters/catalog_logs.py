"""The catalog's record of logs and lake files: who owns a log, what it held, what is live."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg2 import Binary
from psycopg2.extras import Json, execute_values

from logbox_pipeline.adapters.catalog_batches import Claim
from logbox_pipeline.adapters.catalog_topics import TopicResult, record_topics
from logbox_pipeline.adapters.catalog_vehicles import record_aliases
from logbox_pipeline.core.growth import Beginning


@dataclass(frozen=True)
class OwnedLog:
    """A log that a delivery brought. `sha256` is its object's digest, `member` the log's name in
    there: empty when the object is the log, or a wrapper around this one stream."""

    log_id: UUID
    delivery_id: UUID
    client: str
    vehicle: str | None
    content_sha256: str
    received_at: datetime
    size_bytes: int
    sha256: str
    beginning: Beginning
    member: str = ""


@dataclass(frozen=True)
class RefusedMember:
    """A member of an archive that was not read, and why."""

    delivery_id: UUID
    client: str
    sha256: str
    member: str
    reason: str
    detail: str


def take_ownership(
    cursor: Any, found: Sequence[OwnedLog], refused: Sequence[RefusedMember] = ()
) -> tuple[list[OwnedLog], list[UUID]]:
    """Insert the logs that nobody has yet. Returns (owned and neither loaded nor superseded yet,
    deliveries that only repeat what others own).

    `found` holds every log of every delivery; of equal ones the first in order wins. Rows are
    written in log_id order, so that two batches never wait for each other in a ring.
    """
    ordered = sorted(found, key=lambda one: (one.log_id, one.received_at, one.delivery_id))
    if not ordered:
        return [], []
    first = list({one.log_id: one for one in reversed(ordered)}.values())[::-1]
    execute_values(
        cursor,
        """
        insert into logbox.logs (
            log_id, client, vehicle, content_sha256, delivery_id, received_at, received_on,
            size_bytes, head, marks
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
                Binary(one.beginning.head),
                list(one.beginning.marks),
            )
            for one in first
        ],
        template="(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s::bigint[])",
        page_size=2_000,
    )
    _record_members(cursor, found, refused)
    cursor.execute(
        """
        select log_id, delivery_id, state = 'loaded' or superseded_by is not null
        from logbox.logs
        where log_id = any(%s::uuid[])
        """,
        ([str(one.log_id) for one in first],),
    )
    owners = {UUID(row[0]): (UUID(row[1]), row[2]) for row in cursor.fetchall()}
    owned = [one for one in first if owners[one.log_id] == (one.delivery_id, False)]
    owning = {owner for owner, _ in owners.values()}
    duplicates = {
        one.delivery_id: one.log_id for one in reversed(found) if one.delivery_id not in owning
    }
    if duplicates:
        execute_values(
            cursor,
            """
            update logbox.deliveries d
            set state = 'duplicate', duplicate_of = v.log_id::uuid
            from (values %s) as v (delivery_id, log_id)
            where d.delivery_id = v.delivery_id::uuid
            """,
            [(str(delivery_id), str(log_id)) for delivery_id, log_id in duplicates.items()],
            page_size=2_000,
        )
    return owned, list(duplicates)


def _record_members(
    cursor: Any, found: Sequence[OwnedLog], refused: Sequence[RefusedMember]
) -> None:
    """What each object holds, as it was read now: an earlier reading may have found less."""
    members = {
        (one.client, one.sha256, one.member): (str(one.log_id), None, None) for one in found
    } | {(one.client, one.sha256, one.member): (None, one.reason, one.detail) for one in refused}
    execute_values(
        cursor,
        """
        insert into logbox.object_logs as o (client, sha256, member, log_id, reason, detail)
        values %s
        on conflict (client, sha256, member) do update
        set log_id = excluded.log_id, reason = excluded.reason, detail = excluded.detail
        where (o.log_id, o.reason, o.detail)
            is distinct from (excluded.log_id, excluded.reason, excluded.detail)
        """,
        [(*place, *what) for place, what in sorted(members.items())],
        template="(%s, %s, %s, %s::uuid, %s, %s)",
        page_size=2_000,
    )
    wrapped = sorted({(one.client, one.sha256) for one in found if _is_wrapped(one)})
    if not wrapped:
        return
    cursor.execute(
        """
        delete from logbox.object_logs o
        using unnest(%s::text[], %s::text[]) as w (client, sha256)
        where (o.client, o.sha256::text) = (w.client, w.sha256)
            and (o.client, o.sha256::text, o.member) not in (
                select * from unnest(%s::text[], %s::text[], %s::text[])
            )
        """,
        (*map(list, zip(*wrapped, strict=True)), *map(list, zip(*members, strict=True))),
    )
    # The object was its own unread log until now, and is not one any more.
    cursor.execute(
        """
        delete from logbox.logs l
        where l.delivery_id = any(%s::uuid[])
            and l.state = 'archived'
            and not exists (select from logbox.object_logs o where o.log_id = l.log_id)
        returning l.log_id, l.delivery_id
        """,
        ([str(one.delivery_id) for one in found],),
    )
    instead = {str(one.delivery_id): str(one.log_id) for one in reversed(found)}
    for log_id, delivery_id in cursor.fetchall():
        cursor.execute(
            "update logbox.deliveries set duplicate_of = %s where duplicate_of = %s",
            (instead[delivery_id], log_id),
        )


def _is_wrapped(one: OwnedLog) -> bool:
    return one.member != "" or one.sha256 != one.content_sha256


def put_off(cursor: Any, deliveries: Sequence[UUID]) -> None:
    """Leave archived deliveries to a later batch."""
    cursor.execute(
        """
        update logbox.deliveries
        set batch_id = null
        where delivery_id = any(%s::uuid[]) and state = 'archived'
        """,
        ([str(one) for one in deliveries],),
    )


@dataclass(frozen=True)
class PlannedFile:
    """A Parquet file that stands in scratch and is about to be put."""

    lake_key: str
    table_name: str
    received_on: date
    rows: int
    size_bytes: int
    sha256: str
    batch_ids: tuple[UUID, ...]


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
    insert_planned(cursor, held.batch_id, held.attempt, files, now)
    return abandoned


def insert_planned(
    cursor: Any, batch_id: UUID, attempt: int, files: Sequence[PlannedFile], now: datetime
) -> None:
    """Write down what is about to be put; what counts already stays as it is."""
    if not files:
        return
    execute_values(
        cursor,
        """
        insert into logbox.lake_files (
            lake_key, table_name, received_on, batch_id, attempt, state, rows, size_bytes,
            sha256, planned_at, batch_ids
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
                str(batch_id),
                attempt,
                "planned",
                one.rows,
                one.size_bytes,
                one.sha256,
                now,
                [str(of) for of in one.batch_ids],
            )
            for one in files
        ],
        template="(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::uuid[])",
        page_size=2_000,
    )


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
    autopilot: str | None = None
    airframe: str | None = None
    time_source: str | None = None
    time_error_ms: int | None = None
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None
    telemetry_rows: int | None = None
    events: int | None = None
    parameters: int | None = None
    track_rows: int | None = None
    damaged_bytes: int = 0
    is_damaged: bool = False
    info: dict[str, Any] | None = None


def record_results(
    cursor: Any,
    batch_id: UUID,
    results: Sequence[LogResult],
    topics: Sequence[TopicResult],
    now: datetime,
) -> None:
    """Part of the load transaction: states, counts and topics of each log."""
    if results:
        execute_values(
            cursor,
            """
            update logbox.logs l
            set state = v.state, reason = v.reason, detail = v.detail, format = v.format,
                parser_version = v.parser_version, vehicle_uid = v.vehicle_uid,
                firmware = v.firmware, hardware = v.hardware, autopilot = v.autopilot,
                airframe = v.airframe, time_source = v.time_source,
                time_error_ms = v.time_error_ms, recorded_from = v.recorded_from,
                recorded_to = v.recorded_to, telemetry_rows = v.telemetry_rows,
                events = v.events, parameters = v.parameters, track_rows = v.track_rows,
                damaged_bytes = v.damaged_bytes, is_damaged = v.is_damaged, info = v.info,
                loaded_at = v.loaded_at, batch_id = v.batch_id
            from (values %s) as v (
                log_id, state, reason, detail, format, parser_version, vehicle_uid, firmware,
                hardware, autopilot, airframe, time_source, time_error_ms, recorded_from,
                recorded_to, telemetry_rows, events, parameters, track_rows, damaged_bytes,
                is_damaged, info, loaded_at, batch_id
            )
            where l.log_id = v.log_id
            """,
            [
                (
                    str(one.log_id), one.state, one.reason, one.detail, one.format,
                    one.parser_version, one.vehicle_uid, one.firmware, one.hardware,
                    one.autopilot, one.airframe, one.time_source, one.time_error_ms,
                    one.recorded_from, one.recorded_to, one.telemetry_rows, one.events,
                    one.parameters, one.track_rows, one.damaged_bytes, one.is_damaged,
                    Json(one.info) if one.info else None,
                    now if one.state == "loaded" else None,
                    str(batch_id) if one.state == "loaded" else None,
                )
                for one in results
            ],
            template="(%s::uuid, %s, %s::text, %s::text, %s::text, %s::int, %s::text, %s::text, "
            "%s::text, %s::text, %s::text, %s::text, %s::bigint, %s::timestamptz, "
            "%s::timestamptz, %s::bigint, %s::bigint, %s::bigint, %s::bigint, %s::bigint, "
            "%s::boolean, %s::jsonb, %s::timestamptz, "
            "%s::uuid)",
            page_size=500,
        )  # fmt: skip
    record_topics(cursor, topics)
    record_aliases(cursor, [one.log_id for one in results])
