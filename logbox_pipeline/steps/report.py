"""What each step of a batch did, in numbers and names for people. No step here."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from logbox_pipeline.adapters.catalog_deliveries import Delivery, Gone, Refused
from logbox_pipeline.adapters.catalog_logs import RefusedMember
from logbox_pipeline.steps.archive import ArchiveReport
from logbox_pipeline.steps.lake import LakeReport
from logbox_pipeline.steps.load import LoadReport
from logbox_pipeline.steps.parse import ParsedBatch, Unparsed
from logbox_pipeline.steps.settle import SettleReport
from logbox_pipeline.steps.verify import VerifyReport

SAMPLE = 50
"""Refused files told of per step; the catalog has them all."""

ASSETS = ("verified_logs", "archived_logs", "parsed_logs", "loaded_logs")


@dataclass(frozen=True)
class RefusedFile:
    """One file that did not come through: shown to people, so capped and short."""

    delivery_id: UUID
    client: str
    name: str
    reason: str
    detail: str


@dataclass(frozen=True)
class StepReport:
    """What one step did. `asset` is the Dagster asset; counts say their unit in their name, and
    the first is the asset's own."""

    asset: str
    seconds: float
    counts: dict[str, int]
    refused: tuple[RefusedFile, ...] = ()
    tables: dict[str, int] = field(default_factory=dict)


class Stopwatch:
    """Seconds from lap to lap."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        now = time.monotonic()
        seconds, self._last = now - self._last, now
        return seconds


def verified(
    done: VerifyReport, deliveries: Sequence[Delivery], now: datetime, seconds: float
) -> StepReport:
    oldest = min((one.received_at for one in deliveries), default=now)
    return StepReport(
        "verified_logs",
        seconds,
        {
            "verified_files": done.verified,
            "read_bytes": done.read_bytes,
            "quarantined_files": len(done.refused),
            "vanished_files": len(done.gone),
            "waiting_files": done.waiting,
            "longest_wait_s": int((now - oldest).total_seconds()),
        },
        _refused(done.not_kept, deliveries),
    )


def archived(done: ArchiveReport, seconds: float) -> StepReport:
    return StepReport(
        "archived_logs",
        seconds,
        {
            "archived_files": done.archived,
            "stored_objects": done.stored,
            "stored_bytes": done.stored_bytes,
            "manifests": len(done.manifests),
        },
    )


def parsed(
    done: ParsedBatch, lake: LakeReport, deliveries: Sequence[Delivery], seconds: float
) -> StepReport:
    return StepReport(
        "parsed_logs",
        seconds,
        {
            "rows": sum(lake.table_rows.values()),
            "parsed_logs": done.parsed,
            "unparsed_logs": len(done.unparsed),
            "refused_members": len(done.refused),
            "duplicate_files": done.duplicates,
            "damaged_logs": done.damaged,
            "lake_bytes": lake.size_bytes,
        },
        _refused([*done.unparsed, *done.refused], deliveries),
        lake.table_rows,
    )


def loaded(done: LoadReport, settled: SettleReport, seconds: float) -> StepReport:
    return StepReport(
        "loaded_logs",
        seconds,
        {
            "rows": sum(done.table_rows.values()),
            "loaded_logs": done.logs,
            "left_landing_files": settled.left_landing,
        },
        (),
        done.table_rows,
    )


def merge(reports: Iterable[StepReport]) -> Iterator[StepReport]:
    """One report per asset, counts added up; every asset is there even when nothing was done."""
    reports = list(reports)
    for asset in ASSETS:
        same = [one for one in reports if one.asset == asset]
        counts: Counter[str] = Counter()
        tables: Counter[str] = Counter()
        for one in same:
            counts.update(one.counts)
            tables.update(one.tables)
        yield StepReport(
            asset,
            sum((one.seconds for one in same), 0.0),
            dict(counts),
            tuple(refused for one in same for refused in one.refused)[:SAMPLE],
            dict(tables),
        )


def _refused(
    found: Sequence[Refused | Gone | Unparsed | RefusedMember], deliveries: Sequence[Delivery]
) -> tuple[RefusedFile, ...]:
    by_id = {one.delivery_id: one for one in deliveries}
    return tuple(
        RefusedFile(
            one.delivery_id,
            by_id[one.delivery_id].client,
            _name(one, by_id[one.delivery_id]),
            str(one.reason),
            one.detail,
        )
        for one in found[:SAMPLE]
    )


def _name(one: Refused | Gone | Unparsed | RefusedMember, delivery: Delivery) -> str:
    member = one.member if isinstance(one, Unparsed | RefusedMember) else ""
    return f"{delivery.name}/{member}" if member else delivery.name
