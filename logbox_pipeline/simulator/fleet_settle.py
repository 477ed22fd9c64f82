"""How far Logbox is with a fleet's uploads, and the wait until there is nothing more to come."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.steps.site import Site

_EVERY_S = 1.0


@dataclass(frozen=True)
class Progress:
    """Deliveries of a fleet. seen: recorded at all. ended: with nothing more to come.
    unreplicated: objects; untold: receipts that are owed."""

    seen: int
    ended: int
    ended_bytes: int
    unreplicated: int
    untold: int

    @property
    def is_settled(self) -> bool:
        return self.seen == self.ended and not self.unreplicated and not self.untold


def progress(site: Site, clients: list[str]) -> Progress:
    """Raises TransientError when the catalog is away."""
    with site.transaction() as cursor:
        return Progress(*_counts(cursor, clients, has_replica=site.replica is not None))


def settle(
    site: Site,
    clients: list[str],
    least: int,
    *,
    has_time: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Wait until at least so many deliveries have ended and nothing of them is owed; whether that
    was in time. Stores that are away are waited for."""
    while True:
        try:
            now = progress(site, clients)
            if now.is_settled and now.seen >= least and _is_landing_empty(site, clients):
                return True
        except LogboxError:
            # A store that is away, or just coming back: the next look asks again.
            pass
        if not has_time():
            return False
        sleep(_EVERY_S)


def _is_landing_empty(site: Site, clients: list[str]) -> bool:
    return not any(
        site.landing.list_page(keys.landing_prefix(client), most=1).objects for client in clients
    )


def _counts(cursor: Any, clients: list[str], *, has_replica: bool) -> tuple[int, ...]:
    cursor.execute(
        """
        with own as (
            select d.delivery_id, d.size_bytes, d.client, d.sha256,
                b.state in ('finished', 'failed')
                    and (d.left_landing_at is not null or d.state in ('vanished', 'failed'))
                    and (
                        d.state in ('quarantined', 'duplicate', 'vanished', 'failed')
                        or (
                            d.state = 'archived'
                            and coalesce(of_it.are_done, true)
                        )
                    ) as is_ended
            from logbox.deliveries d
            left join logbox.batches b using (batch_id)
            left join lateral (
                select bool_and(
                    l.state in ('loaded', 'unparsed', 'failed') or l.superseded_by is not null
                ) as are_done
                from logbox.logs l
                where l.delivery_id = d.delivery_id
            ) of_it on true
            where d.client = any(%(clients)s)
        )
        select count(*), count(*) filter (where is_ended),
            coalesce(sum(size_bytes) filter (where is_ended), 0)::bigint,
            case when %(has_replica)s then (
                select count(*)
                from logbox.objects o
                where o.client = any(%(clients)s) and o.archived_at is not null
                    and o.replicated_at is null
            ) else 0 end,
            (
                select count(*)
                from logbox.outbox o
                where o.subject = 'receipt'
                    and split_part(o.id, '/', 1) in (select delivery_id::text from own)
            )
        from own
        """,
        {"clients": clients, "has_replica": has_replica},
    )
    return tuple(int(value) for value in cursor.fetchone())
