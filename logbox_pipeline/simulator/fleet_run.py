"""One run of a simulated fleet: its files are written, its drones let loose.

Who may upload is the caller's to arrange, and what came of it all is looked at elsewhere.
"""

import multiprocessing
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import groupby
from pathlib import Path

from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.simulator.fleet_ledger import Fleet, Sent
from logbox_pipeline.simulator.fleet_logs import Upload
from logbox_pipeline.simulator.fleet_plan import PlannedUpload
from logbox_pipeline.simulator.fleet_send import Keys, Sender
from logbox_pipeline.simulator.fleet_write import repeated, write_upload

WRITERS = 2
_MOST_AT_ONCE = 128
_LOOK_S = 0.2


@dataclass(frozen=True)
class Packed:
    """An upload that is ready to go, and when, in seconds after the start."""

    sent: Sent
    path: Path
    due_s: float


def pack(
    planned: Sequence[PlannedUpload],
    fleet: Fleet,
    keys: Keys,
    clients: Sequence[str],
    folder: Path,
    *,
    on_written: Callable[[int], None] = lambda size_bytes: None,
) -> list[Packed]:
    """Write every file below `folder`. clients: in the plan's order.

    Raises UsageError when there is no room for them.
    """
    size_bytes = sum(one.size_bytes for one in planned)
    free_bytes = shutil.disk_usage(folder).free
    if size_bytes > 0.8 * free_bytes:
        raise UsageError(
            f"the fleet's logs are {size_bytes / 1e9:.1f} GB, and {folder} has room for "
            f"{free_bytes / 1e9:.1f} GB",
            hint="fewer logs, or a smaller --largest; TMPDIR says where they are written",
        )
    write = partial(
        _write,
        folder=folder,
        clients=list(clients),
        started_at=fleet.started_at,
        accepts_undeclared=fleet.accepts_undeclared,
    )
    originals = [one for one in planned if one.repeats is None]
    uploads: dict[int, Upload] = {}
    with ProcessPoolExecutor(WRITERS, multiprocessing.get_context("spawn")) as writers:
        for one, upload in zip(originals, writers.map(write, originals), strict=True):
            uploads[one.number] = upload
            on_written(upload.size_bytes)
    for one in planned:
        if one.repeats is not None:
            uploads[one.number] = repeated(one, uploads[one.repeats])
    written = {one.number: uploads[one.number].path for one in originals}
    return [
        Packed(
            Sent(
                one.number,
                uploads[one.number],
                keys.of(uploads[one.number]).access_key_id,
                one.fault,
            ),
            written[one.number if one.repeats is None else one.repeats],
            one.due_s,
        )
        for one in planned
    ]


def fly(
    packed: Sequence[Packed],
    sender: Sender,
    *,
    has_time: Callable[[], bool],
    on_answer: Callable[[Sent], None] = lambda sent: None,
) -> list[Sent]:
    """Let every drone send what it has when it is due, one after the other. Returns all of them,
    with their answers as far as time allowed. `on_answer` is called in the drones' threads."""
    began = time.monotonic()

    def send_all(own: list[Packed]) -> list[Sent]:
        return [send(one) for one in own]

    def send(one: Packed) -> Sent:
        while (wait_s := one.due_s - (time.monotonic() - began)) > 0 and has_time():
            time.sleep(min(wait_s, _LOOK_S))
        answer = sender.send(one.sent, one.path) if has_time() else None
        sent = replace(one.sent, answer=answer)
        on_answer(sent)
        return sent

    drones = [list(own) for _, own in groupby(packed, lambda one: one.sent.upload.vehicle)]
    with ThreadPoolExecutor(min(len(drones), _MOST_AT_ONCE)) as threads:
        return [sent for own in threads.map(send_all, drones) for sent in own]


def _write(
    planned: PlannedUpload,
    *,
    folder: Path,
    clients: list[str],
    started_at: datetime,
    accepts_undeclared: bool,
) -> Upload:
    return write_upload(
        planned,
        # A drone that watches a folder sends all that is in it.
        folder / f"{planned.number}",
        clients,
        started_at,
        accepts_undeclared=accepts_undeclared,
    )
