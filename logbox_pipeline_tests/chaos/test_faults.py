"""The short form of `make chaos`: each fault of S3 and of Postgres meets a batch, and nothing of it
can be seen afterwards. Without Dagster; faults strike the very requests that steps make."""

import contextlib
import gzip
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from logbox_pipeline.adapters import catalog_batches
from logbox_pipeline.adapters.s3 import S3Bucket, s3_client
from logbox_pipeline.core.batching import RunSeen, RunState
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.local.processes import free_port
from logbox_pipeline.local.s3_server import S3Server
from logbox_pipeline.simulator.fleet_check import check_fleet
from logbox_pipeline.simulator.fleet_plan import Fault as FleetFault
from logbox_pipeline.simulator.fleet_plan import Wishes
from logbox_pipeline.steps.ingest import ingest_offered
from logbox_pipeline.steps.reconcile import Verdict, reconcile
from logbox_pipeline.steps.replicate import replicate
from logbox_pipeline.steps.setup import set_up_buckets
from logbox_pipeline.steps.site import Site, open_site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.chaos.postgres_proxy import PostgresFault, PostgresProxy
from logbox_pipeline_tests.chaos.s3_proxy import S3Fault, S3Proxy
from logbox_pipeline_tests.simulator.flown_fleet import fly_fleet

LATER = {S3Fault.STALE_LISTING, S3Fault.REPEATED_PAGE}
"""Lies about landing that need a past."""

STORMY_ROUNDS = 8
"""In which new faults are armed; so many of them are met at least."""

GOOD = journey.jsonl("armed", "disarmed")


@dataclass(frozen=True)
class Ailing:
    """A site, and the same site as it is seen past the proxies."""

    site: Site
    straight: Site
    s3: S3Proxy
    postgres: PostgresProxy


@dataclass(frozen=True)
class Store:
    """An S3 server over `folder`, and the proxy before it."""

    proxy: S3Proxy
    keys: dict[str, str]
    folder: Path
    port: int


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """An S3 of this module's own: the shared one's other name is one proxy's for all workers."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "log").mkdir()
    server, port = S3Server(folder, "the store"), free_port()
    keys = server.make_keys()
    server.begin(port)
    proxy = S3Proxy(port)
    proxy.hang_s = 3.0
    proxy.stuck_s = 3.0
    try:
        server.wait(port)
        proxy.served.start()
        yield Store(proxy, keys, folder, port)
    finally:
        proxy.served.stop()
        server.stop()


@pytest.fixture
def ailing(make_site: Any, store: Store, request: pytest.FixtureRequest) -> Iterator[Ailing]:
    proxy, keys = store.proxy, store.keys
    prefix = f"b{abs(hash(request.node.name)) % 10**9}-"
    with make_site() as made:
        settings = made.settings.model_copy(
            update={
                "s3_endpoint": f"http://127.0.0.1:{proxy.served.port}",
                "s3_access_key_id": keys["s3_access_key_id"],
                "s3_secret_access_key": keys["s3_secret_access_key"],
                **{f"{name}_bucket": f"{prefix}{name}" for name in ("landing", "archive", "lake")},
            }
        )
        straight = open_site(settings)
        set_up_buckets(straight, lambda _: None)
        url = settings.database_url
        server, _, _ = url.rpartition("@")[2].partition("/")
        postgres = PostgresProxy(int(server.rpartition(":")[2]), listen=free_port())
        postgres.served.start()
        led = url.replace(server, f"[::1]:{postgres.served.port}")
        site = _through(straight, proxy, led)
        try:
            yield Ailing(site, straight, proxy, postgres)
        finally:
            proxy.disarm()
            postgres.served.stop()


def _through(site: Site, proxy: S3Proxy, database_url: str) -> Site:
    settings = site.settings
    client = s3_client(
        endpoint=proxy.endpoint,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
        read_timeout_s=1.5,
    )
    return replace(
        site,
        settings=settings.model_copy(
            update={"s3_endpoint": proxy.endpoint, "database_url": database_url}
        ),
        landing=S3Bucket(client, settings.landing_bucket),
        archive=S3Bucket(client, settings.archive_bucket),
        lake=S3Bucket(client, settings.lake_bucket),
    )


def fly(site: Site) -> None:
    journey.upload(site, "landing/acme/d1/a.jsonl", GOOD)
    journey.upload(site, "landing/acme/d1/again.jsonl", GOOD)
    journey.upload(site, "landing/acme/d1/b.ulg", journey.ulog({"fix": ["x", "y"]}))
    journey.upload(site, "landing/acme/d1/bad.jsonl", journey.jsonl("cut"), sha256="0" * 64)
    journey.upload(site, "landing/beta/d1/a.jsonl.gz", gzip.compress(GOOD, mtime=0))
    journey.upload(site, "landing/beta/d2/what.bin", b"\x01\x02 nobody knows this format")


def everything(site: Site) -> dict[str, Any]:
    return journey.snapshot(site)


@pytest.fixture(scope="module")
def clean() -> dict[str, Any]:
    return {}


def work(ailing: Ailing) -> None:
    """Sensor and runs, over and over, as long as anything is left to do."""
    for _ in range(30):
        work_once(ailing)
        if not left(ailing.straight):
            return
    raise AssertionError(f"never done: {left(ailing.straight)}")


def work_once(ailing: Ailing) -> None:
    """One tick and its runs. What fails is tried again, and no time is lost by waiting for it."""
    with contextlib.suppress(LogboxError):
        tick = journey.tick(ailing.site, _runs(ailing.straight))
        for batch in tick.offered:
            with contextlib.suppress(LogboxError):
                for _ in ingest_offered(ailing.site, batch.run_key, f"run-{batch.run_key}"):
                    pass
    with contextlib.suppress(LogboxError):
        replicate(ailing.site)
    journey.change(
        ailing.straight,
        """
        update logbox.batches
        set not_before = least(not_before, now()), heartbeat_at = heartbeat_at - interval '2 min'
        """,
    )
    journey.change(
        ailing.straight,
        "update logbox.deliveries set waiting_until = now() where reason = 'unread'",
    )


def _runs(site: Site) -> dict[str, RunSeen]:
    """Nothing runs between two rounds: every run that was has ended."""
    with site.transaction() as cursor:
        return {
            batch.run_key: RunSeen(RunState.ENDED)
            for batch in catalog_batches.open_batches(cursor)
            if batch.state == "running"
        }


def left(site: Site) -> list[Any]:
    with site.transaction() as cursor:
        busy: list[Any] = catalog_batches.open_batches(cursor)
    waiting = "select landing_key, state from logbox.deliveries where left_landing_at is null"
    unseen = [key for key in journey.keys_in(site.landing) if key.startswith("landing/")]
    return [*busy, *journey.rows(site, waiting), *unseen]


def meets(ailing: Ailing, clean: dict[str, Any], arm: Callable[[], object]) -> None:
    """Everything once with the fault, held against everything without one."""
    if not clean:
        pytest.fail("no clean run")
    fly(ailing.straight)
    arm()
    work(ailing)
    is_as_clean(ailing, clean)


def is_as_clean(ailing: Ailing, clean: dict[str, Any]) -> None:
    found = everything(ailing.straight)
    for part in clean:
        assert found[part] == clean[part], part
    failed = journey.rows(
        ailing.straight, "select last_error from logbox.batches where failures > 0"
    )
    assert failed == [], "a machine's fault was held against a batch"
    assert reconcile(ailing.straight, deep=True).verdict is Verdict.CLEAN


@pytest.fixture
def unharmed(make_site: Any, clean: dict[str, Any]) -> dict[str, Any]:
    if not clean:
        with make_site() as other:
            fly(other)
            journey.ingest_all(other)
            clean.update(everything(other))
    return clean


@pytest.mark.parametrize(
    ("fault", "times"),
    # Once: boto3's next try, or a second look, meets none. Three times: the attempt ends.
    [*((one, 3) for one in sorted(set(S3Fault) - LATER)), (S3Fault.FLIPPED_ANSWER, 1)],
    ids=lambda one: str(one).replace(" ", "-"),
)
def test_a_fault_of_s3_leaves_no_trace(
    ailing: Ailing, unharmed: dict[str, Any], fault: S3Fault, times: int
) -> None:
    meets(ailing, unharmed, lambda: ailing.s3.arm(fault, times))
    assert ailing.s3.struck[fault]


@pytest.mark.parametrize("fault", sorted(LATER), ids=lambda one: one.name.lower())
def test_a_listing_of_what_was_there_before_makes_no_delivery(
    ailing: Ailing, fault: S3Fault
) -> None:
    fly(ailing.straight)
    ailing.s3.arm(S3Fault.SHORT_PAGE, 100)
    work(ailing)
    ailing.s3.disarm()
    # Landing is empty by now, and the store says that it is not.
    for number in range(4):
        journey.upload(ailing.straight, f"landing/acme/d1/{number}.jsonl", GOOD)
    before = ailing.s3.struck[fault]
    ailing.s3.arm(S3Fault.SHORT_PAGE, 3)
    ailing.s3.arm(fault, 3)
    work(ailing)
    for _ in range(3):
        journey.tick(ailing.site)
    work(ailing)
    assert ailing.s3.struck[fault] > before
    assert ("vanished", "deleted") not in journey.states(ailing.straight)
    assert journey.one(ailing.straight, "select count(*) from logbox.deliveries") == 10


@pytest.mark.parametrize("fault", list(PostgresFault), ids=lambda one: str(one).replace(" ", "-"))
def test_a_fault_of_postgres_leaves_no_trace(
    ailing: Ailing,
    unharmed: dict[str, Any],
    fault: PostgresFault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("logbox_pipeline.adapters.postgres.CONNECT_TIMEOUT_S", 2)
    meets(ailing, unharmed, lambda: ailing.postgres.arm(fault, 1))
    assert ailing.postgres.struck[fault] == 1


def arm_some(ailing: Ailing, chance: random.Random) -> None:
    for fault in chance.sample(sorted(set(S3Fault) - {S3Fault.HANG}), 5):
        ailing.s3.arm(fault, chance.randint(1, 3))
    drops = sorted(set(PostgresFault) - {PostgresFault.SILENT})
    ailing.postgres.arm(chance.choice(drops), chance.randint(1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_many_faults_at_a_time_leave_no_trace(
    ailing: Ailing, unharmed: dict[str, Any], seed: int
) -> None:
    """What a seed draws; one that fails is to stay in the list."""
    chance = random.Random(seed)
    meets(ailing, unharmed, lambda: arm_some(ailing, chance))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [6])
def test_a_fleet_flies_while_its_stores_fail_and_comes_out_as_its_ledger_says(
    ailing: Ailing, store: Store, tmp_path: Path, seed: int
) -> None:
    """With every fault of its own but the largest. A seed that fails is to stay in the list."""
    own = {"home": store.folder, "sidecar_grace_s": 0}
    ailing = replace(
        ailing,
        site=journey.with_settings(ailing.site, **own),
        straight=journey.with_settings(ailing.straight, **own),
    )
    chance = random.Random(seed)
    stormy = iter(range(STORMY_ROUNDS))

    def work_in_storm() -> None:
        if next(stormy, None) is not None:
            arm_some(ailing, chance)
        work_once(ailing)

    faults = dict.fromkeys(set(FleetFault) - {FleetFault.KILLED}, 0.06)
    ledger = fly_fleet(
        ailing.straight,
        Wishes(seed=seed, drones=1, logs=13, over_s=4, largest_bytes=300_000, faults=faults),
        tmp_path,
        endpoint=f"http://127.0.0.1:{store.port}",
        access_key_id=store.keys["s3_access_key_id"],
        secret_access_key=store.keys["s3_secret_access_key"],
        work=work_in_storm,
    )
    assert {one.fault for one in ledger.sent} == {None, *faults}
    ailing.s3.disarm()
    work(ailing)
    assert ailing.s3.struck.total() > STORMY_ROUNDS
    assert ailing.postgres.struck.total() > 0
    _, checks = check_fleet(ailing.straight, ledger.fleet, ledger.sent, tmp_path)
    assert [(one.sentence, one.wrong) for one in checks if not one.passed] == []
    assert reconcile(ailing.straight, deep=True).verdict is Verdict.CLEAN
