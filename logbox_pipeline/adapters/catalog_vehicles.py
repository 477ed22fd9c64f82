"""The catalog's record of which hardware flies under which name. A conflict is two rows."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

MAX_UID_BYTES = 500
"""Longer than any hardware id; an index entry has room for it beside the vehicle's name."""


def record_aliases(cursor: Any, log_ids: Sequence[UUID]) -> None:
    """Part of the load transaction: the hardware ids and names that these logs have together.

    Follows from `logbox.logs` alone, so that a log may be recorded again. Rows are written in one
    order, so that two batches never wait for each other in a ring.
    """
    cursor.execute(
        """
        insert into logbox.vehicle_aliases as known (
            client, vehicle_uid, vehicle, first_seen_at, last_seen_at
        )
        select client, vehicle_uid, vehicle, min(received_at), max(received_at)
        from logbox.logs
        where log_id = any(%s::uuid[])
            and vehicle is not null
            and vehicle_uid <> ''
            and octet_length(vehicle_uid) <= %s
        group by 1, 2, 3
        order by 1, 2, 3
        on conflict (client, vehicle_uid, vehicle) do update
        set first_seen_at = least(known.first_seen_at, excluded.first_seen_at),
            last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at)
        """,
        ([str(log_id) for log_id in log_ids], MAX_UID_BYTES),
    )
