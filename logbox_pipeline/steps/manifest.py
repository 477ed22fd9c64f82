"""Manifests: what the archive itself knows of each delivery and of what became of it.

Intake is written before anything leaves landing, outcome after the load committed. One line of
JSON per delivery, one file per client.
"""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from logbox_pipeline.adapters import catalog_deliveries, catalog_logs
from logbox_pipeline.adapters.catalog_batches import Claim, fence
from logbox_pipeline.adapters.catalog_deliveries import Delivery
from logbox_pipeline.core import keys
from logbox_pipeline.steps.site import Site

_INTAKE = (
    "delivery_id",
    "landing_key",
    "etag",
    "version_id",
    "received_at",
    "arrival",
    "client",
    "vehicle",
    "name",
    "size_bytes",
    "sensed_at",
    "state",
    "reason",
    "detail",
    "declared_sha256",
    "declared_by",
    "sha256",
    "verdict",
    "verified_at",
    "archived_at",
    "quarantine_key",
    "released_at",
)


def write_intake(site: Site, held: Claim, deliveries: Sequence[Delivery]) -> list[str]:
    """Write the intake manifest of each client in the batch. Returns their keys."""
    return _write(
        site,
        held,
        "intake",
        [
            (one.client, {"kind": "delivery", **{name: getattr(one, name) for name in _INTAKE}})
            for one in deliveries
        ],
    )


def write_outcome(site: Site, held: Claim) -> list[str]:
    """Write what became of each delivery of the batch, of its logs, and the names in use.

    Raises FenceLost unless the batch is this attempt's and loaded.
    """
    with site.transaction() as cursor:
        fence(cursor, held, "loaded")
        deliveries = catalog_deliveries.of_batch(cursor, held.batch_id)
        logs = catalog_logs.outcome_of_batch(cursor, held.batch_id)
    lines = [
        (
            one.client,
            {
                "kind": "delivery",
                "delivery_id": one.delivery_id,
                "state": one.state,
                "reason": one.reason,
                "sha256": one.sha256,
            },
        )
        for one in deliveries
    ]
    return _write(site, held, "outcome", lines + [(log["client"], log) for log in logs])


def _write(
    site: Site, held: Claim, kind: str, lines: Sequence[tuple[str, dict[str, Any]]]
) -> list[str]:
    written = []
    for client, group in groupby(sorted(lines, key=lambda line: line[0]), lambda line: line[0]):
        key = keys.manifest_key(client, held.received_on, held.batch_id, held.attempt, kind)
        body = b"".join(msgspec.json.encode(_plain(line)) + b"\n" for _, line in group)
        site.archive.put_bytes(key, body)
        written.append(key)
    return written


def _plain(line: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in line.items()
    }
