"""Hold one attempt of a batch: show that it lives while it works, record how it ended."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from pathlib import Path
from uuid import UUID

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from logbox_pipeline.adapters import catalog_batches as catalog
from logbox_pipeline.adapters.catalog_batches import Claim
from logbox_pipeline.core.errors import FenceLost, LogboxError, RequestFailed, TransientError
from logbox_pipeline.core.shown import printable
from logbox_pipeline.steps.budget import MACHINE_FAULTS
from logbox_pipeline.steps.scratch import left_over
from logbox_pipeline.steps.site import Site

HEARTBEAT_S = 5.0
_RECORDING_S = 60.0
"""How long to try to tell the catalog of a failure before leaving it to the sensor."""


class _Fault(Enum):
    """Whose fault it was that an attempt ended."""

    OF_BATCH = auto()
    OF_REQUEST = auto()
    """Of one to a store that answers others: another file may be held up by it."""
    OF_MACHINE = auto()


def claim(site: Site, batch_id: UUID, attempt: int, run_id: str) -> Claim:
    """Take an attempt for a run. Raises FenceLost when it is not to be had."""
    with site.transaction() as cursor:
        return catalog.claim(cursor, batch_id, attempt, run_id, site.now())


@contextmanager
def attempt(site: Site, held: Claim) -> Iterator[None]:
    """Work on a claimed attempt inside this block.

    A TransientError is told to the catalog as such and the batch is offered again later, in halves
    when it was often a request to stores that answer others; any other error counts against the
    batch, as long as the stores answer. It is raised again.
    """
    for left in site.settings.scratch.glob(f"{held.batch_id}-*"):
        shutil.rmtree(left, ignore_errors=True)
    # The sensor sweeps the disk of its own host; what died on another one, the next run there does.
    with suppress(LogboxError, OSError):
        sweep_scratch(site)
    over = threading.Event()
    heart = threading.Thread(target=_beat, args=(site, held, over), daemon=True)
    heart.start()
    try:
        yield
    except FenceLost:
        raise
    except RequestFailed as error:
        _record(site, held, error, _Fault.OF_REQUEST if _stores_answer(site) else _Fault.OF_MACHINE)
        raise
    except TransientError as error:
        _record(site, held, error, _Fault.OF_MACHINE)
        raise
    except Exception as error:
        is_blameless = _is_machines(error) or not _stores_answer(site)
        _record(site, held, error, _Fault.OF_MACHINE if is_blameless else _Fault.OF_BATCH)
        raise
    except GeneratorExit:
        # Whoever asked for the steps gave up between two of them: their fault, or a bug of ours.
        _record(site, held, RuntimeError("given up between two steps"), _Fault.OF_BATCH)
        raise
    except BaseException:
        # Stopped by a person or a shutdown: nobody's fault, so it is offered again uncounted.
        with suppress(LogboxError), site.transaction() as cursor:
            catalog.fence(cursor, held)
            catalog.renew(cursor, held.batch_id, held.attempt)
        raise
    finally:
        over.set()
        heart.join()
        shutil.rmtree(site.folder(held), ignore_errors=True)


def sweep_scratch(site: Site) -> int:
    """Remove the scratch of attempts that are over, and of other work that died, on this machine.
    Returns how many folders went."""
    with site.transaction() as cursor:
        working = catalog.working_attempts(cursor)
    before = site.now().timestamp() - site.settings.run_dead_after_s
    over = [
        folder
        for folder in site.settings.scratch.glob("*-*")
        if (held := _attempt_of(folder)) is not None
        and held not in working
        and folder.stat().st_mtime < before
    ]
    gone = [*over, *left_over(site)]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    return len(gone)


def _attempt_of(folder: Path) -> tuple[str, int] | None:
    """(batch, attempt) whose folder it is; None: it is other work's, which is not ours to end."""
    batch_id, _, number = folder.name.rpartition("-")
    try:
        return str(UUID(batch_id)), int(number)
    except ValueError:
        return None


def _beat(site: Site, held: Claim, over: threading.Event) -> None:
    while not over.wait(HEARTBEAT_S):
        with suppress(LogboxError), site.transaction() as cursor:
            catalog.heartbeat(cursor, held, site.now())


def _record(site: Site, held: Claim, error: Exception, fault: _Fault) -> None:
    """Tell the catalog how the attempt ended; when that cannot be told, the sensor finds out."""
    # What a store answered stands in it, and Postgres keeps no NUL.
    said = printable(f"{type(error).__name__}: {error}")
    patiently = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_delay(_RECORDING_S),
        wait=wait_exponential_jitter(multiplier=0.5, max=10),
        reraise=True,
    )
    with suppress(FenceLost, TransientError):
        patiently(_tell, site, held, said, fault)


def _tell(site: Site, held: Claim, said: str, fault: _Fault) -> None:
    with site.transaction() as cursor:
        catalog.fence(cursor, held)
        if fault is _Fault.OF_BATCH:
            catalog.count_failure(cursor, held.batch_id, held.attempt, said, site.now())
            return
        by_request = fault is _Fault.OF_REQUEST
        catalog.back_off(
            cursor, held.batch_id, held.attempt, said, site.now(), by_request=by_request
        )
        if by_request:
            catalog.split_held_up(cursor, held.batch_id, site.now())


def _is_machines(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in MACHINE_FAULTS


def _stores_answer(site: Site) -> bool:
    """Whether they let us in and answer: a wrong key or a missing bucket is no batch's fault."""
    try:
        with site.transaction() as cursor:
            cursor.execute("select 1")
        for bucket in (site.landing, site.archive, site.lake):
            bucket.list_page("", most=1)
    except LogboxError:
        return False
    return True
