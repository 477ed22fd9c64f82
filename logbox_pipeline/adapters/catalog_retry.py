"""The catalog's record of what was refused or not read: list it, let it go on, take note of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Choice:
    """Which refused or unread files a command is about; what is None does not narrow."""

    client: str | None = None
    reason: str | None = None
    since: datetime | None = None
    batch_id: UUID | None = None
    log_id: UUID | None = None
    deliveries: tuple[UUID, ...] = ()

    @property
    def is_everything(self) -> bool:
        return self == Choice()


@dataclass(frozen=True)
class RefusedFile:
    """One file that did not come through. `seen_at` is when that was decided; `batch_state` None:
    no batch has it. `landing_key` is the catalog's text form."""

    delivery_id: UUID
    log_id: UUID | None
    client: str
    vehicle: str | None
    landing_key: str
    name: str
    size_bytes: int
    received_at: datetime
    seen_at: datetime
    state: str
    reason: str
    detail: str | None
    declared_sha256: str | None
    declared_by: str | None
    sha256: str | None
    quarantine_key: str | None
    left_landing_at: datetime | None
    batch_id: UUID | None
    batch_state: str | None
    released_at: datetime | None
    acknowledged_at: datetime | None
    note: str | None


_REFUSED = """
    from (
        select d.delivery_id, l.log_id, d.client, d.vehicle, d.landing_key, d.name, d.size_bytes,
            d.received_at,
            coalesce(
                case d.state
                    when 'quarantined' then d.quarantined_at
                    when 'vanished' then d.left_landing_at
                end,
                b.finished_at, b.loaded_at, d.sensed_at
            ) as seen_at,
            d.state, d.reason, d.detail, d.declared_sha256, d.declared_by, d.sha256,
            d.quarantine_key, d.left_landing_at, d.batch_id, b.state as batch_state, d.released_at,
            d.acknowledged_at, d.note
        from logbox.deliveries d
        left join lateral (
            select log_id
            from logbox.logs
            where delivery_id = d.delivery_id and state = 'failed'
            order by log_id
            limit 1
        ) as l on true
        left join logbox.batches b on b.batch_id = d.batch_id
        where d.state in ('quarantined', 'failed', 'vanished')
        union all
        select d.delivery_id, l.log_id, d.client, d.vehicle, d.landing_key,
            concat_ws(
                '/',
                d.name,
                (
                    select min(o.member)
                    from logbox.object_logs o
                    where (o.client, o.sha256::text) = (d.client, d.sha256::text)
                        and o.log_id = l.log_id
                        and o.member <> ''
                )
            ),
            d.size_bytes, d.received_at, coalesce(b.finished_at, b.loaded_at, d.sensed_at),
            l.state, l.reason,
            l.detail, d.declared_sha256, d.declared_by, d.sha256, d.quarantine_key,
            d.left_landing_at, d.batch_id, b.state, d.released_at, d.acknowledged_at, d.note
        from logbox.logs l
        join logbox.deliveries d on d.delivery_id = l.delivery_id and d.state = 'archived'
        left join logbox.batches b on b.batch_id = d.batch_id
        where l.state in ('unparsed', 'failed')
    ) as refused
    where (%(client)s::text is null or client = %(client)s)
        and (%(reason)s::text is null or reason = %(reason)s)
        and (%(since)s::timestamptz is null or seen_at >= %(since)s)
        and (%(batch_id)s::uuid is null or batch_id = %(batch_id)s)
        and (%(log_id)s::uuid is null or log_id = %(log_id)s)
        and (%(deliveries)s::uuid[] = '{}' or delivery_id = any(%(deliveries)s::uuid[]))
"""


def refused(cursor: Any, choice: Choice, most: int | None = None) -> list[RefusedFile]:
    """What was refused, has vanished, failed or could not be read: open first, newest first."""
    cursor.execute(
        f"select {', '.join(RefusedFile.__dataclass_fields__)}"
        + _REFUSED
        + "order by acknowledged_at is not null, seen_at desc, delivery_id limit %(most)s",
        _values(choice) | {"most": most},
    )
    return [_refused_file(row) for row in cursor.fetchall()]


def _refused_file(row: Sequence[Any]) -> RefusedFile:
    known = dict(zip(RefusedFile.__dataclass_fields__, row, strict=True))
    for name in ("delivery_id", "log_id", "batch_id"):
        known[name] = None if known[name] is None else UUID(known[name])
    return RefusedFile(**known)


def count_refused(cursor: Any, choice: Choice) -> tuple[int, int]:
    """(files, how many of them are open)."""
    cursor.execute(
        "select count(*), count(*) filter (where acknowledged_at is null)" + _REFUSED,
        _values(choice),
    )
    files, is_open = cursor.fetchone()
    return int(files), int(is_open)


def _values(choice: Choice) -> dict[str, Any]:
    return {
        "client": choice.client,
        "reason": choice.reason,
        "since": choice.since,
        "batch_id": _text(choice.batch_id),
        "log_id": _text(choice.log_id),
        "deliveries": [str(one) for one in choice.deliveries],
    }


def states(cursor: Any, deliveries: Sequence[UUID]) -> dict[UUID, tuple[str, datetime | None]]:
    """(state, released_at) of those deliveries that exist."""
    cursor.execute(
        """
        select delivery_id, state, released_at
        from logbox.deliveries
        where delivery_id = any(%s::uuid[])
        """,
        ([str(one) for one in deliveries],),
    )
    return {UUID(row[0]): (row[1], row[2]) for row in cursor.fetchall()}


def release(cursor: Any, deliveries: Sequence[UUID], note: str, now: datetime) -> list[UUID]:
    """Let refused bytes through whatever their digest says. Returns whose state changed.

    Not while the landing object is about to leave: a reader could miss both it and its copy.
    """
    cursor.execute(
        """
        update logbox.deliveries
        set state = 'received', reason = null, detail = null, batch_id = null,
            waiting_until = null, released_at = %s, acknowledged_at = null, note = %s
        where delivery_id = any(%s::uuid[]) and state = 'quarantined' and reason <> 'unsafe_key'
            and (left_landing_at is not null or quarantine_key is null)
        returning delivery_id
        """,
        (now, note, [str(one) for one in deliveries]),
    )
    return sorted(UUID(row[0]) for row in cursor.fetchall())


def acknowledge(cursor: Any, deliveries: Sequence[UUID], note: str, now: datetime) -> list[UUID]:
    """Say that a person has seen it: checks are silent from now on. Returns whose note is new."""
    cursor.execute(
        """
        update logbox.deliveries d
        set acknowledged_at = coalesce(d.acknowledged_at, %s), note = %s
        where d.delivery_id = any(%s::uuid[])
            and (d.acknowledged_at is null or d.note is distinct from %s)
            and (
                d.state in ('quarantined', 'failed', 'vanished')
                or exists (
                    select from logbox.logs l
                    where l.delivery_id = d.delivery_id and l.state in ('unparsed', 'failed')
                )
            )
        returning d.delivery_id
        """,
        (now, note, [str(one) for one in deliveries], note),
    )
    return sorted(UUID(row[0]) for row in cursor.fetchall())


def drive_again(cursor: Any, deliveries: Sequence[UUID]) -> list[UUID]:
    """Free failed deliveries, and those of unparsed or failed logs, for a new batch.

    What is archived is read from the archive again. A batch that is still at work on one keeps
    it; loaded logs are never touched. Returns whose state changed.
    """
    wanted = [str(one) for one in deliveries]
    cursor.execute(
        """
        select d.delivery_id
        from logbox.deliveries d
        left join logbox.batches b on b.batch_id = d.batch_id
        where d.delivery_id = any(%s::uuid[])
            and coalesce(b.state, 'finished') in ('finished', 'failed', 'split')
            and (
                d.state = 'failed'
                or (d.state = 'archived' and exists (
                    select from logbox.logs l
                    where l.delivery_id = d.delivery_id and l.state in ('unparsed', 'failed')
                ))
            )
        order by d.delivery_id
        for update of d
        """,
        (wanted,),
    )
    free = [row[0] for row in cursor.fetchall()]
    cursor.execute(
        """
        update logbox.logs
        set state = 'archived', reason = null, detail = null
        where delivery_id = any(%s::uuid[]) and state in ('unparsed', 'failed')
        """,
        (free,),
    )
    cursor.execute(
        """
        update logbox.deliveries
        set state = case when archived_at is null then 'received' else 'archived' end,
            reason = null, detail = null, batch_id = null
        where delivery_id = any(%s::uuid[])
        """,
        (free,),
    )
    return [UUID(one) for one in free]


def _text(value: UUID | None) -> str | None:
    return str(value) if value is not None else None
