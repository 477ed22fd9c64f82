"""Turn a step's report into what the Dagster UI shows: numbers to plot, tables to read."""

import dagster as dg

from logbox_pipeline.steps.ingest import StepReport


def report(step: StepReport) -> dg.MaterializeResult[None]:
    """One materialization per asset and batch; numeric metadata gets a plot over time for free."""
    metadata: dict[str, dg.MetadataValue] = {
        name: dg.MetadataValue.int(value) for name, value in step.counts.items()
    }
    metadata["seconds"] = dg.MetadataValue.float(round(float(step.seconds), 3))
    # Of the asset's own table: deliveries, objects, rows.
    row_count = step.counts.get("rows", next(iter(step.counts.values()), 0))
    metadata["dagster/row_count"] = dg.MetadataValue.int(row_count)
    if "rows" in step.counts:
        rate = step.counts["rows"] / step.seconds if step.seconds else 0.0
        metadata["rows_per_s"] = dg.MetadataValue.float(round(rate, 1))
    if step.tables:
        metadata["rows_by_table"] = dg.MetadataValue.table(
            [
                dg.TableRecord({"table": table, "rows": rows})
                for table, rows in sorted(step.tables.items())
            ],
            schema=dg.TableSchema(
                [dg.TableColumn("table", "string"), dg.TableColumn("rows", "int")]
            ),
        )
    if step.refused:
        metadata["refused"] = dg.MetadataValue.table(
            [
                dg.TableRecord(
                    {
                        "delivery": str(one.delivery_id),
                        "reason": str(one.reason),
                        "detail": one.detail[:300],
                        "next": f"logbox quarantine show {one.delivery_id}",
                    }
                )
                for one in step.refused
            ],
            schema=dg.TableSchema(
                [
                    dg.TableColumn(name, "string")
                    for name in ("delivery", "reason", "detail", "next")
                ]
            ),
        )
    return dg.MaterializeResult(asset_key=step.asset, metadata=metadata)
