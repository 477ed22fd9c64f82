"""The catalog's record of receipts that are owed, and the facts they tell."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg2.extras import execute_values

from logbox_pipeline.core.keys import from_text
from logbox_pipeline.core.receipt import UNSETTLED, DeliveryFacts, LogFacts

NAME_ONLY = "/name"
_FETCH_ROWS = 10_000


@dataclass(frozen=True)
class Owed:
    """An entry of the outbox: a delivery whose receipts are not true any more. `is_name_only`: the
    one by digest has been written. `revision` says which change it is about."""

    delivery_id: UUID
    is_name_only: bool
    revision: int

    @property
    def id(self) -> str:
        return f"{self.delivery_id}{NAME_ONLY if self.is_name_only else ''}"


def owed_of_batch(cursor: Any, batch_id: UUID) -> list[Owed]:
    cursor.execute(
        """
        select o.id, o.revision
        from logbox.deliveries d
        join logbox.outbox o on o.subject = 'receipt' and o.id = d.delivery_id::text
        where d.batch_id = %s
        order by o.id
        """,
        (str(batch_id),),
    )
    return [_owed(*row) for row in cursor.fetchall()]


def owed(cursor: Any, most: int, *, settled_for: datetime) -> list[Owed]:
    """What has been owed longest, at most `most`.

    Deliveries of a batch at work are its run's, and receipts that stand by digest already leave
    the store to batches at work, unless they have been owed since before `settled_for`.
    """
    cursor.execute(
        """
        select o.id, o.revision
        from logbox.outbox o
        where o.subject = 'receipt'
            and (
                o.changed_at < %s
                or not exists (
                    select from logbox.deliveries d
                    join logbox.batches b using (batch_id)
                    where d.delivery_id = split_part(o.id, '/', 1)::uuid
                        and b.state in ('open', 'running', 'loaded')
                )
                and (
                    o.id not like '%%/name'
                    or not exists (
                        select from logbox.batches
                        where state in ('open', 'running', 'loaded')
                    )
                )
            )
        order by o.changed_at
        limit %s
        """,
        (settled_for, most),
    )
    return [_owed(*row) for row in cursor.fetchall()]


def _owed(entry: str, revision: int) -> Owed:
    delivery_id, _, rest = entry.partition("/")
    return Owed(UUID(delivery_id), bool(rest), revision)


def speakers_by_name(cursor: Any, deliveries: Collection[UUID]) -> dict[UUID, UUID]:
    """For each delivery, whose receipt stands at its name: the newest under that key."""
    cursor.execute(
        """
        select asked.delivery_id, newest.delivery_id
        from logbox.deliveries asked
        cross join lateral (
            select d.delivery_id
            from logbox.deliveries d
            where d.bucket = asked.bucket
                and md5(d.landing_key) = md5(asked.landing_key)
                and d.landing_key = asked.landing_key
                and d.state <> all(%s)
            order by d.received_at desc, d.arrival desc, d.delivery_id desc
            limit 1
        ) as newest
        where asked.delivery_id = any(%s::uuid[])
        """,
        (list(UNSETTLED), [str(one) for one in deliveries]),
    )
    return {UUID(row[0]): UUID(row[1]) for row in cursor.fetchall()}


def speakers_by_digest(cursor: Any, deliveries: Collection[UUID]) -> dict[UUID, UUID]:
    """For each delivery whose bytes were read, whose receipt stands at their digest: one that is in
    the archive before any that is not, of several the newest."""
    cursor.execute(
        """
        select asked.delivery_id, first.delivery_id
        from logbox.deliveries asked
        cross join lateral (
            select d.delivery_id
            from logbox.deliveries d
            where d.sha256 = asked.sha256 and d.client = asked.client and d.state <> all(%s)
            order by d.state in ('archived', 'duplicate') desc,
                d.received_at desc, d.arrival desc, d.delivery_id desc
            limit 1
        ) as first
        where asked.delivery_id = any(%s::uuid[])
        """,
        (list(UNSETTLED), [str(one) for one in deliveries]),
    )
    return {UUID(row[0]): UUID(row[1]) for row in cursor.fetchall()}


def facts(cursor: Any, deliveries: Collection[UUID]) -> dict[UUID, DeliveryFacts]:
    """What is known of each delivery, as of now.

    An open drift of its object denies that it is archived, or replicated: a drone deletes on it.
    """
    wanted = [str(one) for one in deliveries]
    logs = _logs(cursor, wanted)
    cursor.execute(
        """
        select d.delivery_id, d.client, d.vehicle, d.landing_key, d.sha256, d.declared_sha256,
            d.size_bytes, d.received_at, d.state, d.reason, d.detail, d.duplicate_of,
            case
                when o.archived_at is not null and d.state <> 'erased' and not adrift.in_archive
                then d.archived_at
            end,
            case
                when d.archived_at is not null and o.archived_at is not null
                    and d.state <> 'erased' and not adrift.in_replica
                then o.replicated_at
            end,
            head.number, head.sha256
        from logbox.deliveries d
        left join logbox.objects o on o.client = d.client and o.sha256 = d.sha256
        cross join lateral (
            select coalesce(bool_or(w.place = 'archive'), false) as in_archive,
                coalesce(bool_or(w.place = 'replica'), false) as in_replica
            from logbox.drifts w
            where w.subject = o.archive_key
                and w.resolved_at is null
                and w.place in ('archive', 'replica')
                and w.kind in ('missing', 'mismatch', 'unreadable')
        ) as adrift
        left join lateral (
            select s.number, s.sha256
            from logbox.seals s
            where s.client = d.client
            order by s.number desc
            limit 1
        ) as head on true
        where d.delivery_id = any(%s::uuid[])
        """,
        (wanted,),
    )
    return {
        UUID(row[0]): DeliveryFacts(
            delivery_id=UUID(row[0]),
            client=row[1],
            vehicle=row[2],
            landing_key=from_text(row[3]),
            sha256=row[4],
            declared_sha256=row[5],
            size_bytes=row[6],
            received_at=row[7],
            state=row[8],
            reason=row[9],
            detail=row[10],
            duplicate_of=UUID(row[11]) if row[11] else None,
            archived_at=row[12],
            replicated_at=row[13],
            # What refused bytes hold is told by the delivery that brought them well, and what lost
            # ones held by nobody.
            logs=logs[UUID(row[0])] if row[12] is not None else (),
            seal=None if row[14] is None else (row[14], row[15]),
        )
        for row in cursor.fetchall()
    }


def _logs(cursor: Any, deliveries: Sequence[str]) -> dict[UUID, list[LogFacts]]:
    cursor.execute(
        """
        with recursive held as (
            select d.delivery_id, o.member, o.log_id, o.reason
            from logbox.deliveries d
            join logbox.object_logs o on o.client = d.client and o.sha256 = d.sha256
            where d.delivery_id = any(%s::uuid[])
        ),
        longer as (
            select distinct l.log_id, l.superseded_by as by
            from held
            join logbox.logs l using (log_id)
            where l.superseded_by is not null
            union
            select longer.log_id, l.superseded_by
            from longer
            join logbox.logs l on l.log_id = longer.by
            where l.superseded_by is not null
        )
        select h.delivery_id, l.log_id, h.member,
            case
                when l.log_id is null then 'refused'
                when l.superseded_by is not null then 'superseded'
                else l.state
            end,
            coalesce(h.reason, l.reason), l.format,
            l.telemetry_rows + l.events + l.parameters,
            coalesce(l.is_damaged, false), coalesce(l.damaged_bytes, 0),
            case
                when l.superseded_by is null then l.loaded_at
                else (
                    select max(last.loaded_at)
                    from longer
                    join logbox.logs last on last.log_id = longer.by
                    where longer.log_id = l.log_id and last.superseded_by is null
                )
            end
        from held h
        left join logbox.logs l using (log_id)
        order by h.delivery_id, h.member
        """,
        (list(deliveries),),
    )
    found: dict[UUID, list[LogFacts]] = defaultdict(list)
    for delivery_id, log_id, *rest in cursor.fetchall():
        found[UUID(delivery_id)].append(LogFacts(UUID(log_id) if log_id else None, *rest))
    return found


@dataclass(frozen=True)
class Settled:
    """A delivery that has something to tell. `changed_at`: when what it tells last changed; None:
    not everything that it tells has a time."""

    client: str
    delivery_id: UUID
    landing_key: str
    sha256: str | None
    changed_at: datetime | None


def settled(connection: Any) -> Iterator[Settled]:
    """All of them, client by client; memory does not grow.

    Begins a transaction on `connection` and leaves its end to the caller.
    """
    with connection.cursor(f"settled_{uuid4().hex}") as cursor:
        cursor.itersize = _FETCH_ROWS
        cursor.execute(
            """
            select d.client, d.delivery_id, d.landing_key, d.sha256,
                case
                    when d.state in ('archived', 'duplicate', 'quarantined')
                        and held.is_timed is not false
                    then greatest(
                        d.received_at, d.sensed_at, d.verified_at, d.quarantined_at, d.archived_at,
                        o.replicated_at, held.loaded_at
                    )
                end
            from logbox.deliveries d
            left join logbox.objects o on o.client = d.client and o.sha256 = d.sha256
            left join lateral (
                -- Unparsed and superseded logs and refused members have no time of their own.
                select bool_and(l.loaded_at is not null and l.superseded_by is null) as is_timed,
                    max(l.loaded_at) as loaded_at
                from logbox.object_logs m
                left join logbox.logs l using (log_id)
                where m.client = d.client and m.sha256 = d.sha256
            ) as held on true
            where d.state <> all(%s)
            order by d.client
            """,
            (list(UNSETTLED),),
        )
        for client, delivery_id, landing_key, sha256, changed_at in cursor:
            yield Settled(client, UUID(delivery_id), from_text(landing_key), sha256, changed_at)


def told(cursor: Any, entries: Collection[Owed]) -> None:
    """Strike what was written off the outbox, as far as nothing changed meanwhile.

    An entry that is gone was told by another at the same time, whose receipt ours may have written
    over: it is owed again.
    """
    struck = set(
        execute_values(
            cursor,
            """
            with told as (
                select o.id
                from logbox.outbox o
                join (values %s) as v (id, revision) using (id, revision)
                where o.subject = 'receipt'
                order by o.id
                -- What someone holds is about to change.
                for update of o skip locked
            )
            delete from logbox.outbox o
            using told
            where o.subject = 'receipt' and o.id = told.id
            returning o.id
            """,
            [(one.id, one.revision) for one in entries],
            template="(%s::text, %s::bigint)",
            page_size=len(entries),
            fetch=True,
        )
        if entries
        else ()
    )
    put_again(cursor, {one.id for one in entries} - {entry for (entry,) in struck})


def put_again(cursor: Any, ids: Collection[str]) -> None:
    """Owe receipts that are not owed already; `ids` as in `Owed.id`."""
    cursor.execute(
        """
        insert into logbox.outbox (subject, id, changed_at)
        select 'receipt', id, clock_timestamp()
        from unnest(%s::text[]) as id
        order by id
        on conflict do nothing
        """,
        (sorted(ids),),
    )


def put_off(cursor: Any, ids: Collection[str]) -> None:
    """Receipts that could not be written stand behind all others."""
    cursor.execute(
        """
        with late as (
            select id
            from logbox.outbox
            where subject = 'receipt' and id = any(%s)
            order by id
            for update skip locked
        )
        update logbox.outbox o
        set changed_at = clock_timestamp()
        from late
        where o.subject = 'receipt' and o.id = late.id
        """,
        (sorted(ids),),
    )
