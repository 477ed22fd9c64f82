"""`logbox drill`: rehearse a rebuild on some days, without touching anything."""

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from logbox_pipeline.cli.operate import checked_site
from logbox_pipeline.cli.say import print_json, say
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.steps import drill as steps


def drill(
    days: Annotated[
        int | None, typer.Option("--days", min=1, help="How many; LOGBOX_DRILL_DAYS when left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Rebuild some days into a scratch database, compare with the live one, drop it.

    Exit 1: it failed, or found a difference.
    """
    site = checked_site()
    if site.settings.admin_database_url is None:
        raise UsageError(
            "a drill makes a database of its own",
            hint="set LOGBOX_ADMIN_DATABASE_URL to a role that may create one",
        )
    done = steps.drill(site, days=days)
    if as_json:
        print_json(asdict(done))
    elif done.verdict == "failed":
        say(f"the drill failed: {done.detail}")
    else:
        assert done.bytes_per_s is not None
        assert done.projected_s is not None
        named = ", ".join(f"{day}" for day in done.days)
        say(
            f"rebuilt {done.logs} log(s), {done.rows:,} rows of {named} in {done.seconds:.1f} s "
            f"({done.bytes_per_s / 1e6:.1f} MB/s of logs)"
        )
        say(f"everything would take {timedelta(seconds=round(done.projected_s))}")
        say(
            "equal to the live database, row for row"
            if done.verdict == "equal"
            else f"different: {done.detail}"
        )
    if done.verdict != "equal":
        raise typer.Exit(1)
