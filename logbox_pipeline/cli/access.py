"""`logbox access`: who did what at the stores."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from logbox_pipeline.adapters import catalog_access
from logbox_pipeline.cli.operate import Client, Json, checked_site, parse_since
from logbox_pipeline.cli.say import print_json, print_table, say

SHOWN = 50
"""Rows shown without --json."""


def access(
    client: Client = None,
    since: Annotated[
        str, typer.Option("--since", help="Only later than this: 2026-03-01, 36h or 7d.")
    ] = "24h",
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    as_json: Json = False,
) -> None:
    """Who asked the stores for what, and what was refused; Logbox's own requests too."""
    at = parse_since(since, datetime.now(UTC))
    with checked_site().transaction() as cursor:
        found = catalog_access.summary(cursor, since=at, client=client, is_refused=refused)
        loaded_at = catalog_access.last_loaded_at(cursor)
    if as_json:
        print_json(found)
    elif found:
        shown = [
            {
                **row,
                "who": row["who"] if row["is_authenticated"] else f"{row['who']} (only claimed)",
                "answer": " ".join(str(row[name]) for name in ("status", "error") if row[name]),
            }
            for row in found[:SHOWN]
        ]
        columns = ("who", "operation", "answer", "requests", "objects", "last_seen_at", "address")
        print_table(f"Requests since {at:%Y-%m-%d %H:%M} UTC", shown, columns)
    more = f", {SHOWN} shown" if len(found) > SHOWN and not as_json else ""
    say(f"{sum(row['requests'] for row in found):,} request(s){more}")
    say(
        f"the stores' logs were last loaded at {loaded_at:%Y-%m-%d %H:%M:%S} UTC"
        if loaded_at
        else "no log of a store was ever found: it is the embedded S3's below LOGBOX_HOME, or "
        "AWS's where LOGBOX_ACCESS_LOG_PREFIX is set, and Dagster's schedule audit_schedule "
        "loads it"
    )
