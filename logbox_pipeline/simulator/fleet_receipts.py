"""The receipts of a fleet's uploads: read back, believed only when signed, and judged.

At a key's name speaks its newest delivery; at a digest one that is archived, if any is.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from logbox_pipeline.core import keys
from logbox_pipeline.core.receipt import read_receipt
from logbox_pipeline.simulator.fleet_judge import Check
from logbox_pipeline.simulator.fleet_look import Delivery, Found, Place
from logbox_pipeline.steps.signing import believed_keys
from logbox_pipeline.steps.site import TRANSFERS, Site

Receipts = Mapping[str, Mapping[str, Any] | None]
"""What each says, by its key; None: nobody's signature that counts is under it."""

_SETTLED = ("archived", "duplicate", "quarantined", "vanished", "failed")


def look_at_receipts(site: Site, clients: Sequence[str]) -> Receipts:
    """Every receipt that stands below these clients' prefixes.

    Raises TransientError when the store is away, SettingError without a key to believe.
    """
    believed = believed_keys(site.settings)
    standing = [
        one.key for client in clients for one in site.landing.list_all(keys.receipts_prefix(client))
    ]

    def read(key: str) -> Mapping[str, Any] | None:
        stored = site.landing.read(key)
        return None if stored is None else read_receipt(stored[0], believed)

    with ThreadPoolExecutor(TRANSFERS) as threads:
        return dict(zip(standing, threads.map(read, standing), strict=True))


def judge_receipts(found: Found, receipts: Receipts, *, has_replica: bool) -> list[Check]:
    """The found deliveries are what receipts have to tell; whether those are right is judged
    elsewhere."""
    by_name: defaultdict[str, list[Delivery]] = defaultdict(list)
    by_digest: defaultdict[str, list[Delivery]] = defaultdict(list)
    for one in found.deliveries:
        if one.state in _SETTLED:
            by_name[keys.receipt_key(one.landing_key)].append(one)
            if one.sha256 is not None:
                by_digest[keys.digest_receipt_key(one.client, one.sha256)].append(one)
    logs = {one.place: one for one in found.deliveries if one.state == "archived"}
    must = {key: _newest(ones) for key, ones in by_name.items()} | {
        key: _kept(ones) or ones for key, ones in by_digest.items()
    }
    unsigned = sorted(key for key, told in receipts.items() if told is None)
    missing = sorted(must.keys() - receipts.keys())
    unexpected = sorted(receipts.keys() - must.keys())
    wrong = [
        f"{key}: {what}"
        for key in sorted(must.keys() & receipts.keys())
        if (told := receipts[key]) is not None
        for what in _differences(told, must[key], logs, has_replica=has_replica)
    ]
    return [
        Check(
            f"each of {len(must):,} receipts stands by its name or digest, and no other",
            (*(f"{key}: missing" for key in missing), *(f"{key}: whose?" for key in unexpected)),
        ),
        Check("each is signed by Logbox", tuple(unsigned)),
        Check("each says of its delivery what became of it", tuple(wrong)),
    ]


def _newest(deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Several when they came at the same time."""
    latest = max((one.received_at, one.arrival) for one in deliveries)
    return [one for one in deliveries if (one.received_at, one.arrival) == latest]


def _kept(deliveries: Sequence[Delivery]) -> list[Delivery]:
    return [one for one in deliveries if one.state in ("archived", "duplicate")]


def _differences(
    told: Mapping[str, Any],
    speakers: Sequence[Delivery],
    archived: Mapping[Place, Delivery],
    *,
    has_replica: bool,
) -> Iterator[str]:
    speaker = next((one for one in speakers if one.delivery_id == told["delivery_id"]), None)
    if speaker is None:
        yield f"tells of delivery {told['delivery_id']}, expected {speakers[0].delivery_id}"
        return
    is_kept = speaker.state in ("archived", "duplicate")
    first = archived.get(speaker.place) if is_kept else None
    logs = first.logs if first else ()
    must = {
        "client": speaker.client,
        "landing_key": speaker.landing_key,
        "sha256": speaker.sha256,
        "size_bytes": speaker.size_bytes,
        "state": speaker.state,
        "reason": speaker.reason,
        "duplicate_of": speaker.repeats,
        "logs": sorted((log.log_id or "", log.member, log.state) for log in logs),
        "archived": is_kept,
        "replicated": is_kept and has_replica,
    }
    has = {name: told[name] for name in must if name in told} | {
        "logs": sorted((log["log_id"] or "", log["member"], log["state"]) for log in told["logs"]),
        "archived": told["archived_at"] is not None,
        "replicated": told["replicated_at"] is not None,
    }
    # Of a log that gave way to a longer one it says when that was loaded.
    if (logs and all(log.state == "loaded" for log in logs)) or not is_kept:
        must["loaded"] = is_kept
        has["loaded"] = told["loaded_at"] is not None
    for name, expected in must.items():
        if has[name] != expected:
            yield f"{name}: expected {expected}, says {has[name]}"
