"""One client's burst, however large, keeps no other client waiting: sensor and batches together."""

import os
import resource
import time
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, cast
from uuid import uuid4

from psycopg2.extras import execute_values

from logbox_pipeline.core.ports import ListedObject, Page
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests.journey import change, one, rows, tick, with_settings

if TYPE_CHECKING:
    from logbox_pipeline.adapters.s3 import S3Bucket

BURST = int(os.environ.get("LOGBOX_HOSTILE_BURST", "10000"))
"""Objects of one client. `LOGBOX_HOSTILE_BURST=100000 pytest -s -k burst hostile/test_fair.py`
takes some minutes and prints what it measured."""


class Landing:
    """A landing bucket as a listing shows it, in pages of 1,000: 100,000 real objects take an hour
    to put. The catalog they are written to is real."""

    def __init__(self, bucket: str, keys: Iterable[str], at: datetime) -> None:
        self.bucket = bucket
        self._at = at
        self._by_folder: dict[str, list[ListedObject]] = {}
        for key in sorted(keys):
            client = "/".join(key.split("/")[:2]) + "/"
            self._by_folder.setdefault(client, []).append(ListedObject(key, "e" * 32, 20, at))

    def list_page(
        self, prefix: str, *, after: str = "", folders: bool = False, most: int = 1000
    ) -> Page:
        if folders:
            return Page((), tuple(sorted(self._by_folder)), False)
        below = self._by_folder.get(prefix, [])
        first = bisect_right(below, after, key=lambda each: each.key)
        return Page(tuple(below[first : first + most]), (), first + most < len(below))


def seen_by(site: Site, keys: Iterable[str]) -> Site:
    return replace(site, landing=cast("S3Bucket", Landing("full", keys, site.now())))


def add_clients(site: Site, count: int) -> list[str]:
    names = [f"client-{number}" for number in range(count)]
    for name in names:
        change(site, "insert into logbox.clients values (%s, now(), null)", name)
    return names


def test_a_burst_is_sensed_within_a_tick_and_the_only_log_of_another_is_in_the_first_batch(
    site: Site,
) -> None:
    keys = [f"landing/acme/d1/{number:06}.jsonl" for number in range(BURST)]
    site = seen_by(site, [*keys, "landing/beta/d9/single.jsonl"])
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, started = time.monotonic(), time.process_time()
    seen = tick(site)
    first_s = time.process_time() - started
    again = tick(site)
    all_s = time.process_time() - started
    more_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    print(  # noqa: T201 - figures for whoever asks with -s
        f"{BURST} objects: {first_s:.1f} s of CPU, again {all_s - first_s:.1f} s, both within "
        f"{time.monotonic() - began:.1f} s; {more_mib:.0f} MiB more"
    )
    assert (seen.listed, seen.new, again.new) == (BURST + 1, BURST + 1, 0)
    first = seen.offered[0].batch_id
    where = "select client from logbox.deliveries where batch_id = %s and client <> 'acme'"
    assert rows(site, where, str(first)) == [("beta",)]
    assert first_s < 60 * BURST / 100_000 + 5
    assert more_mib < 500


def test_2000_files_of_one_client_delay_none_of_nine_others(site: Site) -> None:
    site = with_settings(site, batch_files=500)
    names = add_clients(site, 9)
    keys = [f"landing/acme/d1/{number:05}.jsonl" for number in range(2_000)]
    seen = tick(seen_by(site, [*keys, *(f"landing/{name}/d1/one.jsonl" for name in names)]))
    first = str(seen.offered[0].batch_id)
    in_first = "select distinct client from logbox.deliveries where batch_id = %s order by 1"
    assert [client for (client,) in rows(site, in_first, first)] == ["acme", *names]
    assert seen.formed == 5


def test_yesterdays_burst_stands_behind_todays_first_files_of_others(site: Site) -> None:
    """A burst of 100,000 just before midnight must not hold the next day up: deliveries of it
    stand in the catalog already, unbatched."""
    yesterday = site.now() - timedelta(days=1)
    write_deliveries(site, "acme", BURST, yesterday)
    seen = tick(seen_by(site, ["landing/beta/d1/today.jsonl"]))
    days = [batch.received_on for batch in seen.offered]
    assert days[:2] == [yesterday.date(), site.now().date()]
    assert set(days[2:]) <= {yesterday.date()}


def test_what_no_client_has_a_right_to_waits_its_turn_too(site: Site) -> None:
    """Folders of clients that do not exist are one client together: a thousand made-up names are
    no thousand turns."""
    site = with_settings(site, batch_files=500)
    keys = [f"landing/ghost-{number:04}/d1/x.jsonl" for number in range(1_000)]
    seen = tick(seen_by(site, [*keys, "landing/beta/d1/one.jsonl"]))
    where = "select count(*) from logbox.deliveries where client = 'beta' and batch_id = %s"
    assert one(site, where, str(seen.offered[0].batch_id)) == 1


def write_deliveries(site: Site, client: str, files: int, at: datetime) -> None:
    with site.transaction() as cursor:
        execute_values(
            cursor,
            """
            insert into logbox.deliveries (
                delivery_id, bucket, landing_key, etag, received_at, client, vehicle, name,
                size_bytes, sensed_at
            )
            values %s
            """,
            [
                (str(uuid4()), "full", f"landing/{client}/d0/{number}.jsonl", "e" * 32, at, client,
                 "d0", f"{number}.jsonl", 20, at)
                for number in range(files)
            ],
            page_size=2_000,
        )  # fmt: skip


def test_sidecars_without_logs_are_no_deliveries_and_hold_nobody_up(site: Site) -> None:
    keys = [f"landing/acme/d1/{number}.ulg.sha256" for number in range(BURST)]
    seen = tick(seen_by(site, [*keys, "landing/beta/d1/one.jsonl"]))
    assert (seen.listed, seen.new, len(seen.offered)) == (1, 1, 1)
