"""Clients for a simulated fleet: new ones, with keys of their own, and one key that was revoked."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from itertools import count as count_from
from typing import Any

from logbox_pipeline.adapters.iam import AccessKey, Iam
from logbox_pipeline.core.errors import TransientError, UsageError
from logbox_pipeline.drone.target import Target
from logbox_pipeline.simulator.fleet_send import Keys
from logbox_pipeline.steps.clients import add_client, list_clients, revoke_client
from logbox_pipeline.steps.site import Site

_AGAIN_S = 2.0


def make_clients(
    site: Site,
    iam: Iam,
    count: int,
    *,
    endpoint: str | None,
    receipt_keys: str,
    endure: Callable[[float], None],
) -> Keys:
    """So many clients that were never there before: nobody knows the secrets of those that were.

    endpoint: of the store as drones reach it. endure: waits so many seconds for what is away, or
    raises.
    """

    def target(client: str, key: AccessKey) -> Target:
        return Target(
            client,
            site.settings.landing_bucket,
            key.access_key_id,
            key.secret_access_key,
            endpoint or None,
            site.settings.s3_region,
        )

    def again(work: Callable[[Any], Any]) -> Any:
        while True:
            try:
                with site.connection() as connection:
                    return work(connection)
            except TransientError:
                endure(_AGAIN_S)

    def add(name: str, vehicle: str | None = None) -> AccessKey:
        key: AccessKey = again(
            lambda connection: add_client(
                connection,
                iam,
                client=name,
                vehicle=vehicle,
                landing_bucket=site.settings.landing_bucket,
                now=site.now(),
            )
        )
        return key

    known = {one.client for one in again(list_clients)}
    number = 0
    clients: dict[str, Target] = {}
    while len(clients) < count:
        number += 1
        name = f"sim-{number:03}"
        if name in known:
            continue
        try:
            clients[name] = target(name, add(name))
        except UsageError:
            # Another fleet took the name meanwhile, or the answer that we did was lost.
            continue
    first = next(iter(clients))
    for number in count_from(1):
        vehicle = f"stolen-{number}"
        try:
            revoked = target(first, add(first, vehicle))
        except UsageError:
            continue
        again(partial(_revoke, iam=iam, client=first, vehicle=vehicle, now=site.now()))
        return Keys(clients, revoked, receipt_keys)
    raise AssertionError


def _revoke(connection: Any, *, iam: Iam, client: str, vehicle: str, now: datetime) -> None:
    revoke_client(connection, iam, client=client, vehicle=vehicle, now=now)
