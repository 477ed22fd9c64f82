"""The catalog's record of where the bytes of loaded logs are."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from logbox_pipeline.adapters.catalog_deliveries import Delivery, delivery_columns, delivery_of


@dataclass(frozen=True)
class Source:
    """The delivery that brought some logs, and its object in the archive."""

    delivery: Delivery
    archive_key: str
    version_id: str | None
    log_ids: tuple[UUID, ...]


def sources(cursor: Any, log_ids: Collection[UUID]) -> list[Source]:
    """Where the bytes of these logs are, in delivery_id order."""
    cursor.execute(
        f"""
        select l.log_id, o.archive_key, o.version_id, {delivery_columns()}
        from logbox.logs l
        join logbox.deliveries d using (delivery_id)
        join logbox.objects o on (o.client, o.sha256::text) = (d.client, d.sha256::text)
        where l.log_id = any(%s::uuid[])
        order by d.delivery_id, l.log_id
        """,  # noqa: S608 - the columns are the dataclass's own field names
        ([str(one) for one in log_ids],),
    )
    logs: dict[UUID, list[UUID]] = defaultdict(list)
    found: dict[UUID, tuple[Delivery, str, str | None]] = {}
    for log_id, archive_key, version_id, *columns in cursor.fetchall():
        delivery = delivery_of(columns)
        logs[delivery.delivery_id].append(UUID(log_id))
        found[delivery.delivery_id] = delivery, archive_key, version_id
    return [Source(*found[one], tuple(logs[one])) for one in found]
