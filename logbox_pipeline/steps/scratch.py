"""A folder in scratch for work that is no batch's: rebuild, repair, reconciliation, a dry run.

Its name is never that of an attempt, whose folder the sensor removes once the attempt is over.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.steps.budget import MACHINE_FAULTS
from logbox_pipeline.steps.site import Site

LEFT_OVER = timedelta(days=1)
"""A folder in which nothing was made for so long is a dead process's."""

_KINDS = ("rebuild", "repair", "reconcile", "reparse")


@contextmanager
def scratch_folder(site: Site, kind: str) -> Iterator[Path]:
    """An empty folder of one's own, gone at the end. `kind`: one of those that are swept.

    Raises TransientError when scratch cannot be written, inside the block too.
    """
    folder = site.settings.scratch / f"{kind}_{uuid4().hex}"
    with scratch_errors(site):
        try:
            folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_errors(site: Site) -> Iterator[None]:
    """Raise TransientError for an OSError of scratch: unwritable, full, gone."""
    scratch = site.settings.scratch.absolute()
    try:
        yield
    except OSError as error:
        if not _is_of(scratch, error):
            raise
        raise TransientError(
            f"cannot write scratch below {scratch}: {error.strerror}",
            hint="free space in LOGBOX_WORK_DIR, or name another folder there",
        ) from error


def left_over(site: Site) -> list[Path]:
    """Folders of processes that died on this machine."""
    before = (site.now() - LEFT_OVER).timestamp()
    found = []
    for folder in (one for kind in _KINDS for one in site.settings.scratch.glob(f"{kind}_*")):
        # One that is at work may remove its own meanwhile.
        with suppress(FileNotFoundError):
            if folder.stat().st_mtime < before:
                found.append(folder)
    return found


def _is_of(scratch: Path, error: OSError) -> bool:
    """A full disk names no file; what names one elsewhere is somebody else's error."""
    if error.filename is None:
        return error.errno in MACHINE_FAULTS
    path = Path(os.fsdecode(error.filename)).absolute()
    return path.is_relative_to(scratch) or scratch.is_relative_to(path)
