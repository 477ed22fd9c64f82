"""Release: a person's word on refused files, to let them through or to take note. No deletion.

The journal is told of it as of any other change, so that a rebuild knows it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from logbox_pipeline.adapters import catalog_retry
from logbox_pipeline.adapters.catalog_retry import Choice, RefusedFile
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.core.verification import Refusal
from logbox_pipeline.steps.site import Site

LARGEST_PUT_BYTES = 5 * 1024**3
"""What S3 takes in one PUT, and so the largest log the archive can hold (Amazon S3 User Guide)."""


@dataclass(frozen=True)
class Held:
    """A delivery that was asked for and stays as it is, and why."""

    delivery_id: UUID
    why: str


@dataclass(frozen=True)
class Decided:
    """`files` were changed (or would be, in a dry run); `already` were so before."""

    files: tuple[RefusedFile, ...]
    already: tuple[UUID, ...]
    held: tuple[Held, ...]


def release(site: Site, choice: Choice, note: str, *, dry_run: bool = False) -> Decided:
    """Accept quarantined files whatever their digest says; the sensor batches them again.

    Raises UsageError when nothing narrows the choice or a delivery does not exist.
    """
    _require_choice(choice, note, "release")
    with site.transaction() as cursor:
        found = [one for one in catalog_retry.refused(cursor, choice) if one.state == "quarantined"]
        held = [Held(one.delivery_id, why) for one in found if (why := why_not(one))]
        names = {one.delivery_id for one in held}
        free = [one for one in found if one.delivery_id not in names]
        already, others = _elsewhere(cursor, choice, found)
        if not dry_run:
            free = _decide(site, cursor, free, note, catalog_retry.release)
    return Decided(tuple(free), tuple(already), (*held, *others))


def acknowledge(site: Site, choice: Choice, note: str, *, dry_run: bool = False) -> Decided:
    """Leave refused files where they are and let the checks be silent about them.

    Raises UsageError when nothing narrows the choice or a delivery does not exist.
    """
    _require_choice(choice, note, "acknowledge")
    with site.transaction() as cursor:
        found = catalog_retry.refused(cursor, choice)
        same = [one for one in found if one.acknowledged_at is not None and one.note == note]
        new = [one for one in found if one not in same]
        _, others = _elsewhere(cursor, choice, found)
        if not dry_run:
            new = _decide(site, cursor, new, note, catalog_retry.acknowledge)
    return Decided(tuple(new), tuple(one.delivery_id for one in same), tuple(others))


def why_not(file: RefusedFile) -> str | None:
    """Why a quarantined file cannot be released, and what to do instead; None when it can."""
    if file.reason == Refusal.UNSAFE_KEY:
        return (
            "its key is unsafe and would stay so; fetch it from its quarantine key, upload it "
            "again under a safe key of a known client, then `logbox quarantine acknowledge` it"
        )
    if file.size_bytes > LARGEST_PUT_BYTES:
        return (
            f"{file.size_bytes} bytes are more than the archive can hold in one object "
            f"({LARGEST_PUT_BYTES}); have it uploaded in parts"
        )
    if file.left_landing_at is None and file.quarantine_key is not None:
        return "its batch is still clearing it from landing; repeat this in a minute"
    return None


def _decide(
    site: Site,
    cursor: Any,
    files: list[RefusedFile],
    note: str,
    act: Callable[[Any, list[UUID], str, datetime], list[UUID]],
) -> list[RefusedFile]:
    changed = act(cursor, [one.delivery_id for one in files], note, site.now())
    return [one for one in files if one.delivery_id in set(changed)]


def _elsewhere(
    cursor: Any, choice: Choice, found: list[RefusedFile]
) -> tuple[list[UUID], list[Held]]:
    """Of the deliveries named one by one: those released before, and those in another state."""
    rest = set(choice.deliveries) - {one.delivery_id for one in found}
    known = catalog_retry.states(cursor, sorted(rest))
    if unknown := sorted(rest - known.keys()):
        raise UsageError(
            f"there is no delivery {', '.join(str(one) for one in unknown)}",
            hint="`logbox quarantine list` shows the ids",
        )
    already = [one for one, (_, released_at) in sorted(known.items()) if released_at is not None]
    held = [
        Held(one, f"it is {state}, or not what the options ask for")
        for one, (state, released_at) in sorted(known.items())
        if released_at is None
    ]
    return already, held


def _require_choice(choice: Choice, note: str, command: str) -> None:
    if choice.is_everything:
        raise UsageError(
            f"`logbox quarantine {command}` needs to know which files",
            hint="name deliveries, or use --client, --reason, --since or --batch",
        )
    if not note.strip():
        raise UsageError("the note is empty", hint="--note says why, for whoever asks later")
