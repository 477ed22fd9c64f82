"""`logbox drift list/acknowledge`: differences that were found, and that a person has seen."""

from typing import Annotated

import typer

from logbox_pipeline.adapters import catalog_drifts, catalog_status
from logbox_pipeline.cli.operate import checked_site, print_line
from logbox_pipeline.cli.say import print_json, say
from logbox_pipeline.core.errors import UsageError

drift_app = typer.Typer(
    no_args_is_help=True, help="What should stand somewhere and does not, or not as it should."
)


@drift_app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False) -> None:
    """Drift nobody has acknowledged; exit 1 when there is any."""
    site = checked_site()
    with site.transaction() as cursor:
        found = catalog_status.open_drifts(cursor)
    if as_json:
        print_json(found)
    for row in found if not as_json else ():
        print_line(f"{row['drift_id']}  {row['kind']} in {row['place']}: {row['subject']}")
        print_line(f"    expected {row['expected']}")
        print_line(f"    found    {row['found']}")
    if not found:
        say("no drift is open")
        return
    raise typer.Exit(1)


@drift_app.command("acknowledge")
def acknowledge(
    drift: Annotated[str, typer.Argument(metavar="DRIFT", help="Its id, see list.")],
    note: Annotated[str, typer.Option("--note", help="What was found out; it stays with it.")],
) -> None:
    """Take note of a drift, so that its check is quiet until it changes or comes again."""
    site = checked_site()
    with site.transaction() as cursor:
        if not catalog_drifts.acknowledge_drift(cursor, drift, note, site.now()):
            raise UsageError(f"no open drift has the id {drift}", hint="see `logbox drift list`")
    say("acknowledged")
