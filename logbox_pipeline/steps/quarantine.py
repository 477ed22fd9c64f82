"""Quarantine: keep bytes that cannot be trusted, apart and with a reason. Deletes nothing."""

from pathlib import Path

from logbox_pipeline.adapters.catalog_deliveries import Delivery, Gone, Refused
from logbox_pipeline.core import keys
from logbox_pipeline.core.verification import Refusal, Verdict
from logbox_pipeline.steps.proof import proven
from logbox_pipeline.steps.site import Site


def quarantine_file(
    site: Site, delivery: Delivery, path: Path, sha256: str, reason: Refusal
) -> str:
    """Put bytes that were read into quarantine and prove that they are there. Returns the key."""
    key = delivery.quarantine_key or _key(delivery, reason)
    put = site.landing.put_file(key, path, sha256, metadata={"sha256": sha256})
    assert put is not None
    proven(site.landing, key, path, sha256, put)
    return key


def quarantine_unread(
    site: Site, delivery: Delivery, reason: Refusal, detail: str
) -> Refused | Gone:
    """Copy an object into quarantine on the server's side, without reading it.

    The copy counts only when size and etag prove it; otherwise the object stays in landing.
    """
    source = keys.from_text(delivery.landing_key)
    standing = site.landing.head(source)
    if standing is None or standing.etag != delivery.etag:
        return Gone(
            delivery.delivery_id,
            "deleted" if standing is None else "overwritten",
            "the object that was listed is not there any more",
        )
    key = _key(delivery, reason)
    copied = site.landing.copy_within(source, standing.version_id, key)
    is_proven = (copied.size_bytes, copied.etag) == (standing.size_bytes, standing.etag)
    return Refused(
        delivery.delivery_id,
        standing.version_id,
        None,
        None,
        None,
        Verdict.UNREADABLE,
        reason,
        detail if is_proven else f"{detail}; it stays in landing, since nothing proves the copy",
        key if is_proven else None,
    )


def _key(delivery: Delivery, reason: Refusal) -> str:
    is_name_safe = reason is not Refusal.UNSAFE_KEY
    return keys.quarantine_key(
        delivery.client, reason, delivery.delivery_id, delivery.name if is_name_safe else None
    )
