"""The catalog's record of drills."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Drill:
    """One rehearsal. Sizes in bytes; `projected_s`: seconds to rebuild everything at its speed."""

    drill_id: UUID
    started_at: datetime
    finished_at: datetime | None
    verdict: str | None
    days: tuple[date, ...]
    logs: int | None
    size_bytes: int | None
    rows: int | None
    seconds: float | None
    bytes_per_s: float | None
    projected_s: float | None
    detail: str | None


_COLUMNS = ", ".join(Drill.__dataclass_fields__)


def begin(cursor: Any, drill_id: UUID, days: Sequence[date], now: datetime) -> None:
    cursor.execute(
        "insert into logbox.drills (drill_id, started_at, days) values (%s, %s, %s::date[])",
        (str(drill_id), now, list(days)),
    )


def finish(cursor: Any, done: Drill) -> None:
    cursor.execute(
        """
        update logbox.drills
        set finished_at = %s, verdict = %s, logs = %s, size_bytes = %s, rows = %s, seconds = %s,
            bytes_per_s = %s, projected_s = %s, detail = %s
        where drill_id = %s
        """,
        (
            done.finished_at,
            done.verdict,
            done.logs,
            done.size_bytes,
            done.rows,
            done.seconds,
            done.bytes_per_s,
            done.projected_s,
            done.detail,
            str(done.drill_id),
        ),
    )


def newest(cursor: Any, most: int = 1) -> list[Drill]:
    """Finished or dead, newest first."""
    cursor.execute(
        f"select {_COLUMNS} from logbox.drills order by started_at desc limit %s",  # noqa: S608
        (most,),
    )
    found = [dict(zip(Drill.__dataclass_fields__, row, strict=True)) for row in cursor.fetchall()]
    return [
        Drill(**{**one, "drill_id": UUID(one["drill_id"]), "days": tuple(one["days"])})
        for one in found
    ]
