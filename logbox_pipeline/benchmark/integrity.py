"""What integrity costs: reconciliation of a large catalog, listing, the scrub, receipts."""

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from logbox_pipeline.adapters import databases
from logbox_pipeline.adapters.databases import database_of
from logbox_pipeline.benchmark.receipts import ReceiptTimes, measure_receipts
from logbox_pipeline.benchmark.reconcile import CountedTimes, measure_counted, measure_scrub
from logbox_pipeline.settings import Settings, required
from logbox_pipeline.steps.rebuild import make_target
from logbox_pipeline.steps.site import Site, open_site

LOGS = 1_000_000
LISTED_KEYS = 100_000
_PUTTERS = 16

Say = Callable[[str], None]


def measure_integrity(site: Site, scratch: Path, prefix: str, say: Say) -> dict[str, Any]:
    """Everything but reconciliation on what the site holds; that on a made-up catalog beside it.

    prefix: below landing, for what is uploaded.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    say("scrub, and bare reads of the same bytes")
    scrubbed = measure_scrub(site)
    results: dict[str, Any] = {
        "scrub_mb_per_s": round(scrubbed.scrub_bytes_per_s / 1e6, 1),
        "scrub_of_bare_reads": round(scrubbed.share, 2),
    }
    for name, files, size_bytes in (("1_mb", 24, 1_500_000), ("20_kb", 200, 20_000)):
        say(f"receipts of {files} logs of {size_bytes / 1e6:g} MB")
        times = measure_receipts(
            site, scratch / name, f"{prefix}receipts-{name}/", files=files, size_bytes=size_bytes
        )
        results[f"receipts_{name}_times_without"] = _said(times)
    say(f"reconciliation of {LOGS:,} logs by count")
    results |= _counted(site, scratch)
    say(f"listing {LISTED_KEYS:,} keys")
    results["listing_100k_keys_s"] = round(_listing_s(site, f"bench/{prefix}"), 1)
    return results


def _said(times: ReceiptTimes) -> str:
    return f"{times.ratio:.2f} ({times.lowest:.2f}-{times.highest:.2f})"


def _counted(site: Site, scratch: Path) -> dict[str, Any]:
    admin_url = required(site.settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    name = database_of(required(site.settings.database_url, "LOGBOX_DATABASE_URL")) + "_bench"
    with databases.administrator(admin_url) as cursor:
        databases.drop(cursor, name)
    target = make_target(site, name)
    try:
        # In a process of its own: its peak is of reconciliation alone.
        with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
            counted = fresh.submit(_count, target.settings, scratch).result()
    finally:
        with databases.administrator(admin_url) as cursor:
            databases.drop(cursor, name)
    return {
        "reconcile_1m_logs_s": round(counted.seconds, 1),
        "reconcile_1m_logs_peak_mib": counted.peak_bytes // 2**20,
    }


def _count(settings: Settings, scratch: Path) -> CountedTimes:
    return measure_counted(open_site(settings), scratch, LOGS)


def _listing_s(site: Site, prefix: str) -> float:
    """How long the store takes to list so many keys; they are put first and removed at the end."""
    keys = [f"{prefix}{number:06d}" for number in range(LISTED_KEYS)]
    with ThreadPoolExecutor(_PUTTERS) as threads:
        list(threads.map(lambda key: site.lake.put_bytes(key, b"1"), keys))
        began = time.perf_counter()
        listed = sum(1 for _ in site.lake.list_all(prefix))
        seconds = time.perf_counter() - began
        list(threads.map(site.lake.delete, keys))
    if listed != LISTED_KEYS:
        raise RuntimeError(f"{listed} of {LISTED_KEYS} keys were listed")
    return seconds
