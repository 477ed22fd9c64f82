"""`logbox repair`: mend drifts from a side that is proven by digest."""

import getpass
from typing import Annotated, Any

import typer

from logbox_pipeline.cli.operate import checked_site, print_line
from logbox_pipeline.cli.say import print_json, printable, say
from logbox_pipeline.steps import repair as steps
from logbox_pipeline.steps.repair import Repaired


def repair(
    drifts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DRIFT]...", help="Drift ids, see drift list; all open ones."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Mend what reconciliation found; exit 1 when something could not be mended.

    Never from a side that is not proven by its digest, and never the last copy is deleted.
    """

    def tell(one: Repaired) -> None:
        if not as_json:
            _show(one)

    done = steps.repair(
        checked_site(), drifts or (), dry_run=dry_run, by=f"{getpass.getuser()}", say=tell
    )
    left = sum(one.state in ("refused", "failed") for one in done)
    if as_json:
        print_json([_plain(one) for one in done])
    elif not done:
        say("no drift is open")
    else:
        verb = "would be mended" if dry_run else "mended"
        say(f"{len(done) - left} of {len(done)} drift(s) {verb}; `logbox reconcile` looks again")
    if left:
        raise typer.Exit(1)


def _show(one: Repaired) -> None:
    print_line(printable(f"{one.drift.kind} in {one.drift.place}: {one.drift.subject}"))
    source = f" from {one.source}" if one.source else ""
    print_line(printable(f"    {one.state}: {one.action}{source}"))
    if one.detail:
        print_line(printable(f"    {one.detail}"))


def _plain(one: Repaired) -> dict[str, Any]:
    return {
        "drift_id": one.drift_id,
        "kind": one.drift.kind,
        "place": one.drift.place,
        "subject": one.drift.subject,
        "action": one.action,
        "state": one.state,
        "source": one.source,
        "detail": one.detail,
    }
