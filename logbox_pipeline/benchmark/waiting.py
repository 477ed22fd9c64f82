"""What a tick of the sensor, a batch and a reconciliation cost while many objects wait in landing.

The listing alone stands beside them.
"""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from uuid import uuid4

from logbox_pipeline.benchmark.bench import CLIENT, Bench, own_site
from logbox_pipeline.benchmark.measured import Measured, higher, lower
from logbox_pipeline.benchmark.own_memory import Spent, peak_bytes, reset_peak
from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.ingest import ingest_offered
from logbox_pipeline.steps.reconcile import reconcile
from logbox_pipeline.steps.sense import sense
from logbox_pipeline.steps.site import Site, open_site

_OF = "objects waiting in landing"
_PUTTERS = 16


def measure_waiting(bench: Bench) -> Iterator[Measured]:
    """Ticks at each size of `sizes.waiting`: those that find what is new, and those that do not;
    then a batch in each turn, with all others still waiting, and a reconciliation by count.

    No run takes the objects away but those batches, as when runs are behind.
    """
    with (
        own_site(bench, "waiting") as whole,
        ProcessPoolExecutor(1, get_context("spawn")) as process,
    ):
        files = bench.sizes.batch_files
        site = replace(whole, settings=whole.settings.model_copy(update={"batch_files": files}))
        there = done = 0
        for objects in bench.sizes.waiting:
            bench.say(f"{objects:,} objects in landing")
            _put(site, there, objects + done)
            there = objects + done
            found = process.submit(_find_all, site.settings, there).result()
            idle = [
                process.submit(_tick, site.settings, {}).result()
                for _ in bench.turns(f"ticks with {objects:,} objects in landing")
            ]
            listing_s = _listing_s(site, objects)
            batches = [
                process.submit(_batch, site.settings, files).result()
                for _ in bench.turns(f"batches of {files}, with {objects:,} objects in landing")
            ]
            done += files * len(batches)
            compared = process.submit(_reconcile, site.settings).result()
            longest_s = max(one.seconds for one in found)
            peak = max(one.peak_bytes for one in [*found, *idle]) / 2**20
            peaks = [one.peak_bytes / 2**20 for one in batches]
            batch = f"a batch of {files} small files, the others waiting"
            for name, what, unit, values in (
                ("tick_s", "a tick, none new", "s", [one.seconds for one in idle]),
                ("longest_s", "the longest tick that first saw some", "s", [longest_s]),
                ("ticks", "ticks until all were seen", "", [len(found)]),
                ("listing_s", "listing alone", "s", [listing_s]),
                ("mib", "most memory of a process that ticks", "MiB", [peak]),
                ("batch_mib", "most memory of a process that ingests a batch", "MiB", peaks),
                ("reconcile_s", "reconciliation by count", "s", [compared.seconds]),
                (
                    "reconcile_mib", "most memory of a process that reconciles", "MiB",
                    [compared.peak_bytes / 2**20],
                ),
            ):  # fmt: skip
                yield lower(f"waiting_{name}", what, unit, values, at=objects, of=_OF)
            rates = [files / one.seconds for one in batches]
            yield higher("waiting_batch_files_per_s", batch, "files/s", rates, at=objects, of=_OF)


def _put(site: Site, start: int, end: int) -> None:
    def put(number: int) -> None:
        data = b'{"msg":"log %d waits","level":"info"}\n' % number
        site.landing.client.put_object(
            Bucket=site.landing.bucket,
            Key=f"{keys.landing_prefix(CLIENT)}heron/{number:06d}.jsonl",
            Body=data,
            Metadata={"sha256": hashlib.sha256(data).hexdigest()},
        )

    with ThreadPoolExecutor(_PUTTERS) as threads:
        list(threads.map(put, range(start, end)))


def _listing_s(site: Site, objects: int) -> float:
    began = time.perf_counter()
    listed = sum(1 for _ in site.landing.list_all(keys.landing_prefix(CLIENT)))
    seconds = time.perf_counter() - began
    if listed != objects:
        raise LogboxError(f"{listed} of {objects} keys were listed")
    return seconds


# In a process of its own: its memory is the sensor's alone.


@dataclass(frozen=True)
class _Ticked:
    """hint: where the next tick goes on."""

    seconds: float
    peak_bytes: int
    hint: dict[str, str]


def _find_all(settings: Settings, objects: int) -> list[_Ticked]:
    """Ticks until the catalog knows every object; each goes on where the one before broke off."""
    site = open_site(settings)
    ticked: list[_Ticked] = []
    while _known(site) < objects:
        ticked.append(_tick(settings, ticked[-1].hint if ticked else {}))
    return ticked


def _tick(settings: Settings, hint: dict[str, str]) -> _Ticked:
    site = open_site(settings)
    reset_peak()
    started = time.perf_counter()
    tick = sense(site, hint=hint, run_states=lambda _: {})
    return _Ticked(time.perf_counter() - started, peak_bytes(), tick.hint)


def _known(site: Site) -> int:
    with site.transaction() as cursor:
        cursor.execute("select count(*) from logbox.deliveries")
        return int(cursor.fetchone()[0])


def _batch(settings: Settings, files: int) -> Spent:
    """One batch of what waits, from its claim until its files have left landing."""
    site = open_site(settings)
    offered = sense(site, hint={}, run_states=lambda _: {}).offered
    batch = next(one for one in offered if one.files == files)
    reset_peak()
    started = time.perf_counter()
    for _ in ingest_offered(site, batch.run_key, f"bench-{uuid4()}"):
        pass
    return Spent(time.perf_counter() - started, peak_bytes())


def _reconcile(settings: Settings) -> Spent:
    site = open_site(settings)
    reset_peak()
    # The benchmark's own replica has nothing of it.
    found = reconcile(replace(site, replica=None))
    if found.drifts:
        raise LogboxError(f"{len(found.drifts)} drifts, where there are none: {found.drifts[0]}")
    return Spent((found.finished_at - found.started_at).total_seconds(), peak_bytes())
