"""`logbox retain`: old telemetry leaves Postgres, as the schedule has it leave."""

from typing import Annotated

import typer

from logbox_pipeline.cli.operate import checked_site
from logbox_pipeline.cli.say import print_json, print_table, say
from logbox_pipeline.steps.retain import retain as retain_telemetry


def retain(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Drop months of telemetry from Postgres that LOGBOX_POSTGRES_TELEMETRY_DAYS does not ask
    for;
    exit 1 when one must stay, since the lake does not hold all of it."""
    report = retain_telemetry(checked_site(), dry_run=dry_run)
    judged = [
        {
            "table": one.partition.table_name,
            "month": f"{one.partition.month:%Y-%m}",
            "rows": one.rows,
            "bytes": one.partition.size_bytes,
            "kept_because": one.why,
        }
        for one in report.judged
    ]
    if as_json:
        print_json(
            {
                "dry_run": dry_run,
                "first_day": report.first_day and report.first_day.isoformat(),
                **report.counts,
                "partitions": judged,
            }
        )
    elif judged:
        print_table(
            "to be dropped" if dry_run else "dropped",
            judged,
            ["table", "month", "rows", "bytes", "kept_because"],
        )
    if report.first_day is None:
        say("Postgres keeps every day: LOGBOX_POSTGRES_TELEMETRY_DAYS is 0")
    else:
        say(f"Postgres is to hold telemetry received since {report.first_day}; the lake holds all")
    if report.kept:
        raise typer.Exit(1)
