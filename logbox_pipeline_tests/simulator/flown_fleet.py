"""What `logbox simulate` does until all has settled, the sensor's and the runs' work given."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from logbox_pipeline.adapters.iam import Iam
from logbox_pipeline.core.signing import public_text
from logbox_pipeline.simulator.fleet_clients import make_clients
from logbox_pipeline.simulator.fleet_ledger import Fleet, Ledger, LedgerFile, read_ledger
from logbox_pipeline.simulator.fleet_plan import Wishes, plan
from logbox_pipeline.simulator.fleet_run import fly, pack
from logbox_pipeline.simulator.fleet_send import Sender
from logbox_pipeline.simulator.fleet_settle import settle
from logbox_pipeline.steps.signing import believed_keys
from logbox_pipeline.steps.site import Site

MOST_ROUNDS = 100


def fly_fleet(
    site: Site,
    wishes: Wishes,
    folder: Path,
    *,
    endpoint: str,
    access_key_id: str,
    secret_access_key: str,
    work: Callable[[], object],
) -> Ledger:
    """`work` once and again, while the drones send and afterwards. endpoint: of S3 and IAM."""
    iam = Iam(
        endpoint=endpoint,
        region="us-east-1",
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
    )
    public = ",".join(map(public_text, believed_keys(site.settings)))
    keys = make_clients(
        site, iam, wishes.clients,
        endpoint=endpoint, receipt_keys=public, endure=lambda seconds: None,
    )  # fmt: skip
    fleet = Fleet(
        wishes.seed,
        _now(),
        site.landing.bucket,
        {name: target.access_key_id for name, target in keys.clients.items()},
        keys.revoked.access_key_id,
        accepts_undeclared=False,
    )
    packed = pack(plan(wishes), fleet, keys, list(keys.clients), folder)
    ledger = folder / "ledger.jsonl"
    file = LedgerFile(ledger, fleet, [one.sent for one in packed])
    sender = Sender(keys, folder / "drones", has_time=lambda: True, now=_now, slow_s=1, resend_s=1)
    with ThreadPoolExecutor(1) as drones:
        flight = drones.submit(
            fly, packed, sender, has_time=lambda: True,
            on_answer=lambda sent: file.answered(sent.answer) if sent.answer else None,
        )  # fmt: skip
        while not flight.done():
            work()
    sent = flight.result()
    file.end(_now())
    least = sum(objects.least for one in sent for objects in one.objects.values())
    rounds = iter(range(MOST_ROUNDS))
    is_settled = settle(
        site,
        fleet.clients,
        least,
        has_time=lambda: next(rounds, None) is not None,
        sleep=lambda _: work(),
    )
    assert is_settled, f"the fleet is not done after {MOST_ROUNDS} rounds"
    return read_ledger(ledger)


def _now() -> datetime:
    return datetime.now(UTC)
