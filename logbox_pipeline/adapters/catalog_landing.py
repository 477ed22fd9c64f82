"""The catalog's record of landing: which deliveries exist, which are new, which wait."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg2.extras import execute_values

from logbox_pipeline.core import keys
from logbox_pipeline.core.batching import Candidate
from logbox_pipeline.core.digest import delivery_id
from logbox_pipeline.core.ports import ListedObject

Standing = tuple[str, str, str | None, str | None]
"""(delivery_id, landing_key, version_id, sidecar_version_id)."""


@dataclass(frozen=True)
class Arrived:
    """How much was new."""

    files: int
    size_bytes: int


def client_names(cursor: Any) -> list[str]:
    cursor.execute("select client from logbox.clients order by client")
    return [client for (client,) in cursor.fetchall()]


@dataclass(frozen=True)
class New:
    """A listed object that has no delivery; `earlier` equal ones had left landing before it was
    listed."""

    listed: ListedObject
    earlier: int


def find_new(
    cursor: Any, bucket: str, listed: Sequence[ListedObject], *, listed_at: datetime
) -> list[New]:
    """Listed objects without a delivery. One equal to one that had left landing before `listed_at`
    is new too."""
    if not listed:
        return []
    cursor.execute(
        """
        with listed as (
            select *
            from unnest(%s::text[], %s::text[], %s::timestamptz[], %s::bigint[])
                with ordinality as l(landing_key, etag, received_at, size_bytes, place)
        )
        select l.place, count(d.delivery_id)
        from listed l
        left join logbox.deliveries d
            on d.bucket = %s
            and md5(d.landing_key) = md5(l.landing_key)
            and (d.landing_key, d.etag, d.received_at) = (l.landing_key, l.etag, l.received_at)
        group by l.place
        having count(*) filter (
            where d.delivery_id is not null and (d.left_landing_at < %s) is not true
        ) = 0
        """,
        (
            [keys.to_text(one.key) for one in listed],
            [one.etag for one in listed],
            [one.received_at for one in listed],
            [one.size_bytes for one in listed],
            bucket,
            listed_at,
        ),
    )
    return [New(listed[place - 1], earlier) for place, earlier in cursor.fetchall()]


def record_arrivals(
    cursor: Any,
    bucket: str,
    new: Sequence[New],
    *,
    clients: frozenset[str],
    now: datetime,
) -> dict[date, Arrived]:
    """Write a delivery for each new object. Returns how much it was, by day."""
    rows = [_delivery_row(bucket, one.listed, 1 + one.earlier, clients, now) for one in new]
    if not rows:
        return {}
    inserted = execute_values(
        cursor,
        """
        insert into logbox.deliveries (
            delivery_id, bucket, landing_key, etag, received_at, arrival,
            client, vehicle, name, size_bytes, sensed_at
        )
        values %s
        on conflict do nothing
        returning client, vehicle, received_at, received_on, size_bytes
        """,
        rows,
        page_size=2_000,
        fetch=True,
    )
    _touch_vehicles(cursor, [row[:3] for row in inserted])
    arrived: dict[date, Arrived] = {}
    for *_, received_on, size_bytes in inserted:
        before = arrived.get(received_on, Arrived(0, 0))
        arrived[received_on] = Arrived(before.files + 1, before.size_bytes + size_bytes)
    return arrived


def _delivery_row(
    bucket: str, one: ListedObject, arrival: int, clients: frozenset[str], now: datetime
) -> tuple[Any, ...]:
    key = keys.parse_landing_key(one.key)
    is_safe = isinstance(key, keys.LandingKey) and key.client in clients
    client = key.client if key.client in clients else keys.UNKNOWN_CLIENT
    return (
        str(delivery_id(bucket, keys.to_text(one.key), one.etag, one.received_at, arrival)),
        bucket,
        keys.to_text(one.key),
        one.etag,
        one.received_at,
        arrival,
        client,
        key.vehicle if is_safe and isinstance(key, keys.LandingKey) else None,
        key.name if is_safe and isinstance(key, keys.LandingKey) else "object",
        one.size_bytes,
        now,
    )


def _touch_vehicles(cursor: Any, inserted: Iterable[tuple[str, str | None, datetime]]) -> None:
    seen: dict[tuple[str, str], list[datetime]] = {}
    for client, vehicle, received_at in inserted:
        if vehicle is not None:
            seen.setdefault((client, vehicle), []).append(received_at)
    if seen:
        execute_values(
            cursor,
            """
            insert into logbox.vehicles as v (client, vehicle, first_seen_at, last_seen_at)
            values %s
            on conflict (client, vehicle) do update
            set first_seen_at = least(v.first_seen_at, excluded.first_seen_at),
                last_seen_at = greatest(v.last_seen_at, excluded.last_seen_at)
            """,
            [(*name, min(times), max(times)) for name, times in sorted(seen.items())],
        )


def release_by_sidecars(cursor: Any, bucket: str, sidecars: Iterable[str]) -> int:
    """Let deliveries go on whose sidecar is now there: those that wait, and those refused as
    undeclared. Returns how many."""
    waited_for = [keys.to_text(key.removesuffix(keys.SIDECAR_SUFFIX)) for key in sidecars]
    if not waited_for:
        return 0
    cursor.execute(
        """
        update logbox.deliveries
        set state = 'received', reason = null, detail = null, batch_id = null, waiting_until = null
        where bucket = %s
            and md5(landing_key) = any(array(select md5(key) from unnest(%s::text[]) as key))
            and landing_key = any(%s)
            and (
                -- What could not be read waits for its time, whatever stands beside it.
                (state = 'waiting' and reason is null)
                or (
                    state = 'quarantined'
                    and reason = 'undeclared'
                    -- Not while its landing copy is being deleted: what would be read then?
                    and (left_landing_at is not null or quarantine_key is null)
                )
            )
        """,
        (bucket, waited_for, waited_for),
    )
    return int(cursor.rowcount)


def end_waiting(cursor: Any, now: datetime) -> int:
    """Let deliveries go on whose sidecar never came, or that are to be read again: these keep
    their reason, so that the batch they come into has no patience with them. Returns how many."""
    cursor.execute(
        """
        update logbox.deliveries
        set state = 'received', batch_id = null
        where state = 'waiting' and waiting_until <= %s
        """,
        (now,),
    )
    return int(cursor.rowcount)


def candidates(cursor: Any, most: int) -> list[Candidate]:
    """Deliveries that no batch has, at most `most`, every client's oldest first.

    Archived ones count while a log of theirs is neither loaded nor given up: `logbox retry`.
    """
    cursor.execute(
        """
        select delivery_id, client, received_on, size_bytes, sensed_at
        from (
            select *, row_number() over (
                partition by client order by sensed_at, delivery_id
            ) as turn
            from logbox.deliveries d
            where batch_id is null
                and (
                    state = 'received'
                    or (
                        state = 'archived'
                        and coalesce(
                            (
                                select bool_or(l.state = 'archived' and l.superseded_by is null)
                                from logbox.logs l
                                where l.delivery_id = d.delivery_id
                            ),
                            true
                        )
                    )
                )
        ) as waiting
        order by turn, client
        limit %s
        """,
        (most,),
    )
    return [Candidate(UUID(row[0]), *row[1:]) for row in cursor.fetchall()]


_STANDING = """
    select d.delivery_id, d.landing_key, d.version_id, d.sidecar_version_id
    from logbox.deliveries d
    join logbox.batches b using (batch_id)
    -- `null` is what stores call a version that a later PUT writes over.
    where d.version_id is not null
        and d.version_id <> 'null'
        and (
            d.state in ('archived', 'duplicate')
            or (d.state = 'quarantined' and d.quarantine_key is not null)
        )
"""


def standing_of_batch(cursor: Any, batch_id: UUID) -> list[Standing]:
    """Deliveries of a batch that are proven elsewhere but still stand in landing, or left it
    before the sidecar that released them came."""
    cursor.execute(
        _STANDING
        + """
        and b.batch_id = %s
        and (d.left_landing_at is null or d.sidecar_version_id is not null)
        """,
        (str(batch_id),),
    )
    return list(cursor.fetchall())


def standing_finished(cursor: Any, most: int, finished_before: datetime) -> list[Standing]:
    """Those of batches that finished before a time, some of them."""
    cursor.execute(
        _STANDING
        + """
        and d.left_landing_at is null
        and b.state = 'finished'
        and b.finished_at < %s
        -- One that cannot be deleted must not stand before the others.
        order by random()
        limit %s
        """,
        (finished_before, most),
    )
    return list(cursor.fetchall())


def mark_left(cursor: Any, deliveries: Sequence[str], now: datetime) -> None:
    cursor.execute(
        """
        update logbox.deliveries
        set left_landing_at = %s
        where delivery_id = any(%s::uuid[]) and left_landing_at is null
        """,
        (now, list(deliveries)),
    )
