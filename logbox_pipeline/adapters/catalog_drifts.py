"""The catalog's record of drift: what should stand somewhere and does not."""

from datetime import datetime
from typing import Any

from logbox_pipeline.core.digest import drift_id


def record_drift(
    cursor: Any,
    kind: str,
    place: str,
    subject: str,
    *,
    expected: str | None,
    found: str | None,
    now: datetime,
) -> None:
    """Write a drift, or see it again."""
    cursor.execute(
        """
        insert into logbox.drifts as d
            (drift_id, kind, place, subject, expected, found, first_seen_at, last_seen_at)
        values (%s, %s, %s, %s, %s, %s, %s, %s)
        on conflict (drift_id) do update
        set last_seen_at = excluded.last_seen_at, expected = excluded.expected,
            found = excluded.found, resolved_at = null, acknowledged_at = null
        """,
        (str(drift_id(kind, place, subject)), kind, place, subject, expected, found, now, now),
    )


def acknowledge_drift(cursor: Any, drift: str, note: str, now: datetime) -> bool:
    """A person has seen it; False when no open drift has that id."""
    cursor.execute(
        """
        update logbox.drifts
        set acknowledged_at = %s, note = %s
        where drift_id::text = %s and resolved_at is null and acknowledged_at is null
        """,
        (now, note, drift),
    )
    return bool(cursor.rowcount == 1)
