"""Turn a step's report into what the Dagster UI shows: numbers to plot, tables to read."""

import re

import dagster as dg

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


def sentence(step: StepReport) -> str:
    """The same for the run's log."""
    counts = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in step.counts.items())
    return f"{step.asset}: {counts} in {step.seconds:.2f} s"


def _table(
    columns: dict[str, str], rows: list[dict[str, str]] | list[dict[str, str | int]]
) -> dg.MetadataValue:
    return dg.MetadataValue.table(
        [dg.TableRecord(dict(row)) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )
