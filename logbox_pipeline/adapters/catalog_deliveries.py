"""The catalog's record of deliveries in a batch: read, judged, archived, refused."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg2.extras import execute_values

from logbox_pipeline.core.verification import Declared, Verdict


@dataclass(frozen=True)
class Delivery:
    """What the steps need to know of one delivery. `landing_key` is the catalog's text form."""

    delivery_id: UUID
    landing_key: str
    etag: str
    received_at: datetime
    received_on: date
    arrival: int
    client: str
    vehicle: str | None
    name: str
    size_bytes: int
    sensed_at: datetime
    state: str
    reason: str | None
    detail: str | None
    version_id: str | None
    declared_sha256: str | None
    declared_by: str | None
    sha256: str | None
    verdict: str | None
    verified_at: datetime | None
    archived_at: datetime | None
    quarantine_key: str | None
    released_at: datetime | None
    left_landing_at: datetime | None


_COLUMNS = ", ".join(f"d.{name}" for name in Delivery.__dataclass_fields__)


def of_batch(cursor: Any, batch_id: UUID, *states: str) -> list[Delivery]:
    """Deliveries of a batch, in delivery_id order; only those in `states` when any are given."""
    cursor.execute(
        f"""
        select {_COLUMNS}
        from logbox.deliveries d
        where d.batch_id = %s and (%s or d.state = any(%s))
        order by d.delivery_id
        """,  # noqa: S608 - the columns are the dataclass's own field names
        (str(batch_id), not states, list(states)),
    )
    return [delivery_of(row) for row in cursor.fetchall()]


def not_archived(cursor: Any, batch_id: UUID) -> list[Delivery]:
    """Verified deliveries of a batch whose bytes the archive does not hold; of equal bytes the one
    that came first, whose log it will be."""
    cursor.execute(
        f"""
        select distinct on (d.client, d.sha256) {_COLUMNS}
        from logbox.deliveries d
        where d.batch_id = %s and d.state = 'verified' and not exists (
            select from logbox.objects o
            where o.client = d.client and o.sha256 = d.sha256 and o.archived_at is not null
        )
        order by d.client, d.sha256, d.received_at, d.delivery_id
        """,  # noqa: S608 - the columns are the dataclass's own field names
        (str(batch_id),),
    )
    return [delivery_of(row) for row in cursor.fetchall()]


def delivery_columns() -> str:
    """What to select of `logbox.deliveries d` for `delivery_of`."""
    return _COLUMNS


def delivery_of(row: Sequence[Any]) -> Delivery:
    return Delivery(UUID(row[0]), *row[1:])


@dataclass(frozen=True)
class Verified:
    """Bytes that were read and judged fit for the archive."""

    delivery_id: UUID
    version_id: str | None
    sidecar_version_id: str | None
    declared: Declared | None
    sha256: str
    verdict: Verdict


@dataclass(frozen=True)
class Refused:
    """Bytes that go to quarantine; `sha256` None when they were not read."""

    delivery_id: UUID
    version_id: str | None
    sidecar_version_id: str | None
    declared: Declared | None
    sha256: str | None
    verdict: Verdict
    reason: str
    detail: str
    quarantine_key: str | None


@dataclass(frozen=True)
class Gone:
    """Nothing was there to read."""

    delivery_id: UUID
    reason: str
    detail: str


UNREAD = "unread"
"""The reason of a delivery that is, or was, put off since the store does not give its bytes."""


@dataclass(frozen=True)
class Waits:
    """No digest is declared yet; or, with `unread` saying why, its bytes could not be had."""

    delivery_id: UUID
    until: datetime
    unread: str | None = None


def record_verified(cursor: Any, verified: Sequence[Verified], now: datetime) -> None:
    if not verified:
        return
    execute_values(
        cursor,
        """
        update logbox.deliveries d
        set state = 'verified', reason = null, detail = null,
            version_id = coalesce(d.version_id, v.version_id),
            sidecar_version_id = v.sidecar_version_id,
            declared_sha256 = v.declared_sha256, declared_by = v.declared_by,
            sha256 = v.sha256, verdict = v.verdict, verified_at = v.at
        from (values %s) as v (
            delivery_id, version_id, sidecar_version_id, declared_sha256, declared_by, sha256,
            verdict, at
        )
        where d.delivery_id = v.delivery_id::uuid
        """,
        [
            (
                str(one.delivery_id),
                one.version_id,
                one.sidecar_version_id,
                one.declared.sha256 if one.declared else None,
                one.declared.by if one.declared else None,
                one.sha256,
                one.verdict,
                now,
            )
            for one in verified
        ],
        template="(%s, %s::text, %s::text, %s::text, %s::text, %s::text, %s::text, "
        "%s::timestamptz)",
        page_size=2_000,
    )


def record_refused(cursor: Any, refused: Iterable[Refused], now: datetime) -> None:
    for one in refused:
        cursor.execute(
            """
            update logbox.deliveries
            set state = 'quarantined', reason = %s, detail = %s,
                version_id = coalesce(version_id, %s), sidecar_version_id = %s,
                declared_sha256 = %s, declared_by = %s, sha256 = %s, verdict = %s,
                verified_at = %s, quarantine_key = coalesce(quarantine_key, %s),
                quarantined_at = %s, acknowledged_at = null
            where delivery_id = %s
            """,
            (
                one.reason,
                one.detail,
                one.version_id,
                one.sidecar_version_id,
                one.declared.sha256 if one.declared else None,
                one.declared.by if one.declared else None,
                one.sha256,
                one.verdict,
                now,
                one.quarantine_key,
                now,
                str(one.delivery_id),
            ),
        )


def record_gone(cursor: Any, gone: Iterable[Gone], now: datetime) -> None:
    for one in gone:
        cursor.execute(
            """
            update logbox.deliveries
            set state = 'vanished', reason = %s, detail = %s, left_landing_at = %s
            where delivery_id = %s
            """,
            (one.reason, one.detail, now, str(one.delivery_id)),
        )


def record_waiting(cursor: Any, waits: Iterable[Waits]) -> None:
    for one in waits:
        cursor.execute(
            """
            update logbox.deliveries
            set state = 'waiting', waiting_until = %s, batch_id = null, reason = %s, detail = %s
            where delivery_id = %s
            """,
            (one.until, UNREAD if one.unread else None, one.unread, str(one.delivery_id)),
        )


def reserve_objects(
    cursor: Any, wanted: Sequence[tuple[str, str, str, int]]
) -> dict[tuple[str, str], tuple[str, str | None, datetime | None]]:
    """Give each (client, sha256, archive_key, size_bytes) its one place in the archive.

    Returns (archive_key, version_id, archived_at) by (client, sha256): another delivery of the
    same bytes may have chosen the key before.
    """
    if not wanted:
        return {}
    rows = sorted({one[:2]: one for one in wanted}.values())
    execute_values(
        cursor,
        """
        insert into logbox.objects (client, sha256, archive_key, size_bytes)
        values %s
        on conflict do nothing
        """,
        rows,
        page_size=2_000,
    )
    cursor.execute(
        """
        select o.client, o.sha256, o.archive_key, o.version_id, o.archived_at
        from logbox.objects o
        join unnest(%s::text[], %s::text[]) as w (client, sha256) using (client, sha256)
        """,
        ([row[0] for row in rows], [row[1] for row in rows]),
    )
    return {(row[0], row[1]): (row[2], row[3], row[4]) for row in cursor.fetchall()}


def record_archived(
    cursor: Any,
    archived: Sequence[tuple[str, str, str | None]],
    deliveries: Sequence[UUID],
    now: datetime,
) -> None:
    """`archived` is (client, sha256, version_id) of proven archive copies."""
    if archived:
        # In one order, so that two batches with the same bytes never wait in a ring.
        cursor.execute(
            """
            select
            from logbox.objects o
            join unnest(%s::text[], %s::text[]) as w (client, sha256) using (client, sha256)
            order by o.client, o.sha256
            for update of o
            """,
            ([one[0] for one in archived], [one[1] for one in archived]),
        )
        execute_values(
            cursor,
            """
            update logbox.objects o
            set version_id = v.version_id, archived_at = coalesce(o.archived_at, v.at)
            from (values %s) as v (client, sha256, version_id, at)
            where (o.client, o.sha256) = (v.client, v.sha256)
            """,
            [(*one, now) for one in archived],
            template="(%s, %s, %s::text, %s::timestamptz)",
            page_size=2_000,
        )
    cursor.execute(
        """
        update logbox.deliveries
        set state = 'archived', archived_at = %s
        where delivery_id = any(%s::uuid[])
        """,
        (now, [str(one) for one in deliveries]),
    )
