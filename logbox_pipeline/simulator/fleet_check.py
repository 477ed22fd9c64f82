"""Hold a ledger against every store: the whole look, and the whole verdict."""

from collections.abc import Sequence
from pathlib import Path

from logbox_pipeline.core.errors import SettingError
from logbox_pipeline.simulator.fleet_access import judge_requests, look_at_requests
from logbox_pipeline.simulator.fleet_judge import Check, judge
from logbox_pipeline.simulator.fleet_ledger import Fleet, Sent
from logbox_pipeline.simulator.fleet_look import Found, look
from logbox_pipeline.simulator.fleet_receipts import judge_receipts, look_at_receipts
from logbox_pipeline.steps.site import Site


def check_fleet(
    site: Site, fleet: Fleet, sent: Sequence[Sent], folder: Path
) -> tuple[Found, list[Check]]:
    """What was found, and every check of it. `folder` takes the downloads.

    Raises TransientError when a store is away: then nothing is known to be wrong.
    """
    found = look(site, fleet.clients, folder)
    has_replica = site.replica is not None
    checks = judge(sent, found, has_replica=has_replica)
    try:
        receipts = look_at_receipts(site, fleet.clients)
        checks += judge_receipts(found, receipts, has_replica=has_replica)
    except SettingError as missing:
        checks.append(Check(f"receipts are not judged: {missing.message}"))
    return found, checks + judge_requests(fleet, sent, look_at_requests(site, fleet))
