"""Compact in a process of its own, so that a test can lose it. No test here."""

import multiprocessing
from datetime import UTC, datetime, timedelta

from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.compact import compact
from logbox_pipeline.steps.site import Site, open_site

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload([__name__])


def a_day_on(site: Site, days: int = 1) -> Site:
    """The same site when today's files are `days` old."""
    return Site(
        site.settings,
        site.landing,
        site.archive,
        site.lake,
        now=lambda: datetime.now(UTC) + timedelta(days=days),
    )


def start_compaction(settings: Settings) -> multiprocessing.process.BaseProcess:
    """Begin to compact, tomorrow; with `journey.dying_at` the process kills itself there."""
    process = _PROCESSES.Process(target=_run, args=(settings,))
    process.start()
    return process


def _run(settings: Settings) -> None:
    compact(a_day_on(open_site(settings)))
