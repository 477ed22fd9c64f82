"""The catalog's record of drift: what should stand somewhere and does not."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg2.extras import execute_values

from logbox_pipeline.core.reconciliation import Comparison, Drift, DriftKind, Place, comparison_of


@dataclass(frozen=True)
class OpenDrift:
    """A drift that has not been seen to be gone."""

    drift_id: UUID
    kind: DriftKind
    place: Place
    subject: str
    log_id: UUID | None
    table_name: str | None

    @property
    def comparison(self) -> Comparison:
        return comparison_of(self.kind, self.place, self.subject, self.log_id, self.table_name)


def record_drift(
    cursor: Any,
    kind: str,
    place: str,
    subject: str,
    *,
    expected: str | None,
    found: str | None,
    now: datetime,
    client: str | None = None,
    log_id: UUID | None = None,
    table_name: str | None = None,
) -> None:
    """Write a drift, or see it again: then nobody has acknowledged it."""
    drift = Drift(
        DriftKind(kind), Place(place), subject, expected, found, client, log_id, table_name
    )
    record_drifts(cursor, [drift], now, keeps_acknowledged=False)


def record_drifts(
    cursor: Any, drifts: Sequence[Drift], now: datetime, *, keeps_acknowledged: bool
) -> int:
    """Write drifts, or see them again. Returns how many were not open before.

    keeps_acknowledged: what a person took note of stays quiet while it is open and the same.
    """
    if not drifts:
        return 0
    found = execute_values(
        cursor,
        f"""
        with open as (
            select drift_id from logbox.drifts where resolved_at is null
        ), seen as (
            insert into logbox.drifts as d (
                drift_id, kind, place, subject, expected, found, client, log_id, table_name,
                first_seen_at, last_seen_at
            )
            values %s
            on conflict (drift_id) do update
            set last_seen_at = excluded.last_seen_at, expected = excluded.expected,
                found = excluded.found, client = excluded.client, log_id = excluded.log_id,
                table_name = excluded.table_name, resolved_at = null,
                acknowledged_at = case
                    when {keeps_acknowledged}
                        and d.resolved_at is null
                        and (d.expected, d.found)
                            is not distinct from (excluded.expected, excluded.found)
                    then d.acknowledged_at
                end
            returning drift_id
        )
        select drift_id from seen where drift_id not in (select drift_id from open)
        """,  # noqa: S608
        [
            (
                str(one.drift_id), one.kind, one.place, one.subject, one.expected, one.found,
                one.client, one.log_id and str(one.log_id), one.table_name, now, now,
            )
            for one in drifts
        ],
        template="(%s::uuid, %s, %s, %s, %s, %s, %s, %s::uuid, %s, %s::timestamptz, "
        "%s::timestamptz)",
        page_size=1_000,
        fetch=True,
    )  # fmt: skip
    return len(found)


def open_drifts(cursor: Any) -> list[OpenDrift]:
    """All that are not resolved, acknowledged or not."""
    cursor.execute(
        """
        select drift_id, kind, place, subject, log_id, table_name
        from logbox.drifts
        where resolved_at is null
        order by first_seen_at, drift_id
        """
    )
    return [
        OpenDrift(
            UUID(drift_id), DriftKind(kind), Place(place), subject,
            None if log_id is None else UUID(log_id), table_name,
        )
        for drift_id, kind, place, subject, log_id, table_name in cursor.fetchall()
    ]  # fmt: skip


def described(cursor: Any) -> list[Drift]:
    """The same with all that was said of them."""
    cursor.execute(
        """
        select kind, place, subject, expected, found, client, log_id, table_name
        from logbox.drifts
        where resolved_at is null
        order by first_seen_at, place, subject
        """
    )
    return [
        Drift(
            DriftKind(kind), Place(place), subject, expected, found, client,
            None if log_id is None else UUID(log_id), table_name,
        )
        for kind, place, subject, expected, found, client, log_id, table_name in cursor.fetchall()
    ]  # fmt: skip


def resolve(cursor: Any, drifts: Collection[UUID], now: datetime) -> None:
    """These were looked at and are gone."""
    cursor.execute(
        """
        update logbox.drifts
        set resolved_at = %s
        where drift_id = any(%s::uuid[]) and resolved_at is null
        """,
        (now, [str(one) for one in drifts]),
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
