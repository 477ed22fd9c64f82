"""Turn a step's report into what the Dagster UI shows: numbers to plot, tables to read."""

import re
from collections.abc import Sequence
from datetime import datetime

import dagster as dg

from logbox_pipeline.adapters.catalog_drills import Drill
from logbox_pipeline.core.repair import next_command
from logbox_pipeline.core.shown import one_line
from logbox_pipeline.steps.reconcile import Reconciliation
from logbox_pipeline.steps.repair import Repaired
from logbox_pipeline.steps.report import StepReport

_DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")


def materialization(step: StepReport) -> dg.MaterializeResult[None]:
    """One materialization per asset and batch; numeric metadata gets a plot over time for free."""
    row_count, *_ = [*step.counts.values(), 0]
    metadata: dict[str, dg.MetadataValue] = {
        "dagster/row_count": dg.MetadataValue.int(row_count),
        "seconds": dg.MetadataValue.float(round(float(step.seconds), 3)),
    }
    for name, value in step.counts.items():
        if name != "rows":
            metadata[name] = dg.MetadataValue.int(value)
    if "rows" in step.counts:
        rate = row_count / step.seconds if step.seconds else 0.0
        metadata["rows_per_s"] = dg.MetadataValue.float(round(float(rate), 1))
    if step.tables:
        metadata["rows_by_table"] = _table(
            {"table": "string", "rows": "int"},
            [
                {"table": table, "rows": rows}
                for table, rows in sorted(step.tables.items(), key=lambda one: (-one[1], one[0]))
            ],
        )
    if step.refused:
        metadata["refused"] = _table(
            dict.fromkeys(("client", "name", "reason", "detail", "next"), "string"),
            [
                {
                    "client": one.client,
                    "name": one.name,
                    "reason": one.reason,
                    "detail": _DIGEST.sub(r"\1…", one.detail)[:200],
                    "next": f"logbox quarantine show {one.delivery_id}",
                }
                for one in step.refused
            ],
        )
    return dg.MaterializeResult(asset_key=step.asset, metadata=metadata)


MOST_DRIFTS_SHOWN = 100


def reconciled(found: Reconciliation) -> dg.MaterializeResult[None]:
    """Numbers that make a plot over time, and the drifts that are open."""
    seconds = (found.finished_at - found.started_at).total_seconds()
    metadata: dict[str, dg.MetadataValue] = {
        "verdict": dg.MetadataValue.text(found.verdict.value),
        "open_drifts": dg.MetadataValue.int(found.open_drifts),
        "new_drifts": dg.MetadataValue.int(found.new_drifts),
        "resolved_drifts": dg.MetadataValue.int(found.resolved_drifts),
        "compared": dg.MetadataValue.int(sum(found.compared.values())),
        "unchecked": dg.MetadataValue.int(len(found.unchecked)),
        "read_bytes": dg.MetadataValue.int(found.read_bytes),
        "seconds": dg.MetadataValue.float(round(seconds, 3)),
    }
    if found.drifts:
        metadata["drifts"] = _table(
            dict.fromkeys(("kind", "place", "subject", "expected", "found", "next"), "string"),
            [
                {
                    "kind": one.kind.value,
                    "place": one.place.value,
                    "subject": one.subject,
                    "expected": _DIGEST.sub(r"\1…", one.expected or "")[:200],
                    "found": _DIGEST.sub(r"\1…", one.found or "")[:200],
                    "next": next_command(one),
                }
                for one in found.drifts[:MOST_DRIFTS_SHOWN]
            ],
        )
    if found.unchecked:
        metadata["not_checked"] = _table(
            {"comparison": "string", "why": "string"},
            [{"comparison": which, "why": why} for which, why in found.unchecked.items()],
        )
    return dg.MaterializeResult(metadata=metadata)


def sentence(step: StepReport) -> str:
    """The same for the run's log."""
    counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in step.counts.items())
    return f"{step.asset}: {counts} in {step.seconds:.2f} s"


def _table(
    columns: dict[str, str], rows: list[dict[str, str]] | list[dict[str, str | int]]
) -> dg.MetadataValue:
    return dg.MetadataValue.table(
        [dg.TableRecord({name: shown(value) for name, value in row.items()}) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )


def shown(value: object) -> str | int | float | bool | None:
    """A cell: Dagster shows text as it is, so that nobody's marks may turn it round."""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, int | float | bool | None):
        return value
    return one_line(str(value))


def drilled(done: Drill) -> dg.MaterializeResult[None]:
    """A drill's figures; times and speeds get a plot for free."""
    metadata: dict[str, dg.MetadataValue] = {
        "verdict": dg.MetadataValue.text(done.verdict or "died"),
        "days": dg.MetadataValue.text(", ".join(f"{day}" for day in done.days)),
        "dagster/row_count": dg.MetadataValue.int(done.rows or 0),
        "logs": dg.MetadataValue.int(done.logs or 0),
        "log_bytes": dg.MetadataValue.int(done.size_bytes or 0),
    }
    if done.seconds is not None and done.bytes_per_s is not None:
        metadata["seconds"] = dg.MetadataValue.float(round(done.seconds, 3))
        metadata["mb_per_s"] = dg.MetadataValue.float(round(done.bytes_per_s / 1e6, 3))
        metadata["projected_hours_for_everything"] = dg.MetadataValue.float(
            round((done.projected_s or 0.0) / 3600, 3)
        )
    if done.detail:
        metadata["detail"] = dg.MetadataValue.text(done.detail)
    return dg.MaterializeResult(metadata=metadata)


def repairs_table(done: Sequence[Repaired]) -> dg.MetadataValue:
    """What became of each drift."""
    names = ("drift", "kind", "place", "subject", "action", "state", "source", "detail")
    return _table(
        dict.fromkeys(names, "string"),
        [
            {
                "drift": str(one.drift_id),
                "kind": str(one.drift.kind),
                "place": str(one.drift.place),
                "subject": one.drift.subject,
                "action": str(one.action),
                "state": one.state,
                "source": one.source or "",
                "detail": _DIGEST.sub(r"\1…", one.detail or "")[:200],
            }
            for one in done
        ],
    )
