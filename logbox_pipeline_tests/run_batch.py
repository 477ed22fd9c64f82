"""Ingest one offered batch in a process of its own, so that a test can lose it. No test here."""

import multiprocessing

from logbox_pipeline.settings import Settings
from logbox_pipeline.steps.ingest import ingest_offered
from logbox_pipeline.steps.site import open_site

_PROCESSES = multiprocessing.get_context("forkserver")
# The server imports this once; each run is a fresh fork of it, without any thread or connection.
_PROCESSES.set_forkserver_preload([__name__])


def start_run(settings: Settings, run_key: str, run_id: str) -> multiprocessing.process.BaseProcess:
    """Begin to ingest; with `journey.dying_at` the process kills itself there."""
    process = _PROCESSES.Process(target=_run, args=(settings, run_key, run_id))
    process.start()
    return process


def _run(settings: Settings, run_key: str, run_id: str) -> None:
    for _ in ingest_offered(open_site(settings), run_key, run_id):
        pass
