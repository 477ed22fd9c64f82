"""What a tick of the sensor costs while many objects wait in landing, and the listing alone."""

import hashlib
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from logbox_pipeline.benchmark.bench import CLIENT, Bench, own_site
from logbox_pipeline.benchmark.measured import Measured, lower
from logbox_pipeline.benchmark.own_memory import peak_bytes, reset_peak
from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.sense import sense
from logbox_pipeline.steps.site import Site, open_site

_OF = "objects waiting in landing"
_PUTTERS = 16


def measure_waiting(bench: Bench) -> Iterator[Measured]:
    """Ticks at each size of `sizes.waiting`: those that find what is new, and those that do not.

    No run takes the objects away, as when the sensor is paused or runs are behind.
    """
    with (
        own_site(bench, "waiting") as site,
        ProcessPoolExecutor(1, get_context("spawn")) as process,
    ):
        there = 0
        for objects in bench.sizes.waiting:
            bench.say(f"{objects:,} objects in landing")
            _put(site, there, objects)
            there = objects
            found = process.submit(_find_all, site.settings, objects).result()
            idle = [
                process.submit(_tick, site.settings, {}).result()
                for _ in bench.turns(f"ticks with {objects:,} objects in landing")
            ]
            longest_s = max(one.seconds for one in found)
            peak = max(one.peak_bytes for one in [*found, *idle]) / 2**20
            for name, what, unit, values in (
                ("tick_s", "a tick, none new", "s", [one.seconds for one in idle]),
                ("longest_s", "the longest tick that first saw some", "s", [longest_s]),
                ("ticks", "ticks until all were seen", "", [len(found)]),
                ("listing_s", "listing alone", "s", [_listing_s(site, objects)]),
                ("mib", "most memory of a process that ticks", "MiB", [peak]),
            ):
                yield lower(f"waiting_{name}", what, unit, values, at=objects, of=_OF)


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
