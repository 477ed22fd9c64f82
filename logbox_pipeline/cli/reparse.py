"""`logbox reparse`: loaded logs through the parsers of today, the difference first."""

from dataclasses import asdict
from datetime import date
from typing import Annotated
from uuid import UUID

import typer

from logbox_pipeline.adapters.catalog_reparse import Chosen
from logbox_pipeline.cli.operate import checked_site
from logbox_pipeline.cli.say import print_json, print_table, say
from logbox_pipeline.core.change import TableChange
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.steps import reparse as steps
from logbox_pipeline.steps.reparse import Reparsed

SHOWN = 50


def reparse(
    day: Annotated[
        str | None, typer.Option("--day", help="Logs received on that day: 2026-03-01.")
    ] = None,
    client: Annotated[str | None, typer.Option("--client", help="Only this client's.")] = None,
    format_: Annotated[
        str | None, typer.Option("--format", help="Only logs of this format: ulog.")
    ] = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="LOG_ID", help="Only this log.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Read loaded logs again and replace, in Postgres and the lake, what comes out otherwise."""
    chosen = Chosen(_day(day), client, format_, _log(log))
    site = checked_site()

    def tell(one: Reparsed) -> None:
        say(f"{one.logs} log(s) read again, {one.changed_logs} otherwise than before")

    found = steps.reparse(site, chosen, dry_run=dry_run, say=tell)
    if as_json:
        print_json(asdict(found))
    else:
        _show(found, dry_run=dry_run)
    if found.kept:
        raise typer.Exit(1)


def _show(found: Reparsed, *, dry_run: bool) -> None:
    if found.changes:
        print_table(
            "Would change" if dry_run else "Changed",
            [_row(one) for one in found.changes[:SHOWN]],
            ("log_id", "table", "rows_before", "rows_after", "columns", "values"),
        )
    if len(found.changes) > SHOWN:
        say(f"and {len(found.changes) - SHOWN} more; --json has all")
    for one in found.kept:
        say(f"kept as it is: {one.log_id}: {one.why}")
    verb = "would be replaced" if dry_run else "were replaced"
    say(f"{found.logs} log(s) read again; the rows of {found.changed_logs} {verb}")


def _row(one: TableChange) -> dict[str, object]:
    columns = [f"+{name}" for name in one.columns_gained] + [
        f"-{name}" for name in one.columns_lost
    ]
    values = [
        f"{change.column}: {change.rows} rows, {change.before} -> {change.after}"
        for change in one.values
    ]
    return {
        "log_id": one.log_id,
        "table": one.table_name,
        "rows_before": one.rows_before,
        "rows_after": one.rows_after,
        "columns": " ".join(columns),
        "values": "; ".join(values),
    }


def _day(text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no day", hint="a day reads 2026-03-01") from None


def _log(text: str | None) -> UUID | None:
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(f"{text!r} is no log_id", hint="`logbox trace NAME` shows it") from None
