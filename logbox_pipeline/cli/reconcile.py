"""`logbox reconcile`: compare every store with every other and name what differs; mend nothing."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from logbox_pipeline.cli.operate import print_line
from logbox_pipeline.cli.say import print_json, say
from logbox_pipeline.cli.stack import require_stack
from logbox_pipeline.core.errors import LogboxError, SettingError, StoreRefused, TransientError
from logbox_pipeline.core.reconciliation import Drift
from logbox_pipeline.core.repair import next_command
from logbox_pipeline.settings import load_settings
from logbox_pipeline.steps import reconcile as steps
from logbox_pipeline.steps.reconcile import Reconciliation, Verdict
from logbox_pipeline.steps.site import open_site

FOUND_WRONG, NOT_CHECKED = 1, 3


def reconcile(
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Digests of rows too, and tonight's share of LOGBOX_SCRUB_DAYS in bytes."
        ),
    ] = False,
    every_byte: Annotated[
        bool, typer.Option("--every-byte", help="As --deep, and read everything stored again now.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """Compare every store with every other: exit 0 clean, 1 drift, 3 could not check."""
    try:
        found = steps.reconcile(
            # A store that is away is for the reconciliation to say, so nothing is asked before.
            open_site(load_settings()),
            deep=deep or every_byte,
            scrub_days=1 if every_byte else None,
        )
    except (TransientError, StoreRefused) as error:
        _say_why(error)
        raise typer.Exit(NOT_CHECKED) from None
    if as_json:
        print_json(_plain(found))
    else:
        _show(found)
    if found.verdict is not Verdict.CLEAN:
        raise typer.Exit(FOUND_WRONG if found.verdict is Verdict.DRIFT else NOT_CHECKED)


def _say_why(error: LogboxError) -> None:
    """That the stack does not run explains whatever does not answer."""
    why = error
    try:
        require_stack()
    except TransientError as down:
        why = down
    except SettingError:
        pass
    say(f"could not check: {why}")


def _plain(found: Reconciliation) -> dict[str, Any]:
    return {**asdict(found), "drifts": [_drift(one) for one in found.drifts]}


def _drift(one: Drift) -> dict[str, Any]:
    return {"drift_id": one.drift_id, **asdict(one), "next": next_command(one)}


def _show(found: Reconciliation) -> None:
    for one in found.drifts:
        print_line(f"{one.kind} in {one.place}: {one.subject}")
        print_line(f"    expected {one.expected}")
        print_line(f"    found    {one.found}")
        print_line(f"    next     {next_command(one)}")
    for which, why in found.unchecked.items():
        say(f"could not check {which}: {why}")
    seconds = (found.finished_at - found.started_at).total_seconds()
    read = f", {found.read_bytes / 1e6:,.1f} MB read" if found.is_deep else ""
    say(f"compared {sum(found.compared.values()):,} things in {seconds:.1f} s{read}")
    if found.verdict is Verdict.CLEAN:
        say("clean: everything that was compared agrees")
    elif found.drifts:
        say(
            f"{found.open_drifts} drift(s) open, {found.new_drifts} new, "
            f"{found.resolved_drifts} gone"
        )
