"""Trace: did we get it? Every hop of a log with its time and reason. Also hands out the original.

Read-only. What the catalog does not know is looked for in landing itself.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from logbox_pipeline.adapters import catalog_access, catalog_batches, catalog_trace
from logbox_pipeline.adapters.catalog_trace import Archived
from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import LogboxError, PermanentError, UsageError
from logbox_pipeline.core.ports import ListedObject
from logbox_pipeline.core.verification import declared_in_headers
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.unwrap_worker import UnwrapLimits, unwrap_object

MOST = 20
"""Deliveries told of in full; the newest ones."""

MOST_LISTED = 20_000
MOST_HEADS = 500

_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_DAY = re.compile(r"(.+)@(\d{4}-\d{2}-\d{2})")

Row = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """What was asked for, as each thing it may be. `key` has no `s3://bucket/` before it."""

    key: str
    id: UUID | None
    digest: str | None
    vehicle: str | None
    day: date | None


@dataclass(frozen=True)
class Hop:
    """One station of a delivery; `at` None: not yet, or nobody wrote down when."""

    hop: str
    at: datetime | None
    detail: str


@dataclass(frozen=True)
class Traced:
    """One delivery's way through the pipeline."""

    delivery_id: str
    client: str
    vehicle: str | None
    landing_key: str
    state: str
    reason: str | None
    sha256: str | None
    log_ids: list[str]
    hops: list[Hop]


@dataclass(frozen=True)
class Standing:
    """An object that stands in landing and that the sensor has not seen yet."""

    landing_key: str
    size_bytes: int
    received_at: datetime


@dataclass(frozen=True)
class Trace:
    """The answer; its fields are the keys of `--json`. `matches` counts deliveries, of which the
    newest are told. `is_landing_searched_whole` is False when landing held too much to look at."""

    what: str
    found: bool
    matches: int
    deliveries: list[Traced]
    standing: list[Standing]
    is_landing_searched_whole: bool
    vehicles: list[str]
    last_heard: list[Row]
    last_tick_at: datetime | None


def ask(what: str) -> Question:
    """Read NAME, KEY, DIGEST, LOG_ID or VEHICLE@DATE. Raises UsageError for what is none."""
    key = re.sub(r"^s3://[^/]+/", "", what.strip())
    if not key:
        raise UsageError(
            "nothing to look for",
            hint="give a file name, key, digest (8 or more hex digits), log id or VEHICLE@DATE",
        )
    vehicle = day = None
    if found := _DAY.fullmatch(key):
        vehicle = keys.to_text(found[1])
        try:
            day = date.fromisoformat(found[2])
        except ValueError:
            raise UsageError(
                f"{found[2]} is no date", hint="write VEHICLE@YYYY-MM-DD, a day in UTC"
            ) from None
    lower = key.lower().removeprefix("sha256:")
    return Question(key, _uuid(key), lower if _DIGEST.fullmatch(lower) else None, vehicle, day)


def trace(site: Site, what: str, client: str | None = None) -> Trace:
    """Find every delivery that `what` can mean, and tell its way."""
    question = ask(what)
    with site.transaction() as cursor:
        found = _find(cursor, site, question, client)
        _, _, last_tick_at = catalog_batches.paused(cursor)
    standing: list[ListedObject] = []
    is_whole = True
    if not found:
        standing, is_whole = _look_in_landing(site, question, client)
    with site.transaction() as cursor:
        for one in list(standing):
            if sensed := catalog_trace.of_key(cursor, site.landing.bucket, one.key, client):
                found = sorted({*found, *sensed})
                standing.remove(one)
        told = catalog_trace.deliveries(cursor, found, MOST)
        logs = catalog_trace.logs(cursor, [row["delivery_id"] for row in told])
        refused = catalog_trace.refused_members(cursor, [row["delivery_id"] for row in told])
        uploads = catalog_access.uploads(cursor, [row["delivery_id"] for row in told])
        vehicles = _vehicles(question)
        heard = [] if found or standing else _last_heard(cursor, question, vehicles, client)
    return Trace(
        what,
        bool(found or standing),
        len(found),
        [
            _tell(site, row, _asked(logs, row), _asked(refused, row), _asked(uploads, row))
            for row in told
        ],
        [Standing(keys.to_text(one.key), one.size_bytes, one.received_at) for one in standing],
        is_whole,
        vehicles,
        heard,
        last_tick_at,
    )


def _asked(found: list[Row], row: Row) -> list[Row]:
    return [one for one in found if one["asked_delivery_id"] == row["delivery_id"]]


def _find(cursor: Any, site: Site, question: Question, client: str | None) -> list[UUID]:
    found = catalog_trace.of_key(cursor, site.landing.bucket, question.key, client)
    if question.id is not None:
        found += catalog_trace.of_id(cursor, question.id, client)
    if question.digest is not None:
        found += catalog_trace.of_digest(cursor, question.digest, client)
    if question.vehicle is not None and question.day is not None:
        found += catalog_trace.of_day(cursor, question.vehicle, question.day, client)
    if not found:
        found = catalog_trace.of_name(cursor, question.key, client)
    return sorted(set(found))


def _look_in_landing(
    site: Site, question: Question, client: str | None
) -> tuple[list[ListedObject], bool]:
    """(objects that are what was asked for, whether all of landing was looked at)."""
    prefix = keys.landing_prefix(client) if client else keys.LANDING_PREFIX
    found: list[ListedObject] = []
    heads = 0
    for number, one in enumerate(site.landing.list_all(prefix)):
        if number >= MOST_LISTED or heads >= MOST_HEADS:
            return found, False
        if keys.is_sidecar(one.key):
            continue
        is_it = _is_called(one, question)
        if not is_it and question.digest is not None:
            heads += 1
            is_it = _declares(site, one.key, question.digest)
        if is_it:
            found.append(one)
    return found, True


def _is_called(one: ListedObject, question: Question) -> bool:
    if one.key == question.key or one.key.endswith("/" + question.key):
        return True
    parsed = keys.parse_landing_key(one.key)
    return (
        isinstance(parsed, keys.LandingKey)
        and question.vehicle is not None
        and parsed.vehicle == question.vehicle
        and one.received_at.date() == question.day
    )


def _declares(site: Site, key: str, digest: str) -> bool:
    stored = site.landing.head(key)
    if stored is None:
        return False
    declared = declared_in_headers(stored.metadata, stored.checksum_sha256)
    return declared is not None and (declared.sha256 or "").startswith(digest)


def _vehicles(question: Question) -> list[str]:
    """Vehicles that the question is about: named outright, or a folder in the key."""
    if question.vehicle is not None:
        return [question.vehicle]
    parsed = keys.parse_landing_key(question.key)
    if isinstance(parsed, keys.LandingKey):
        return [parsed.vehicle] if parsed.vehicle else []
    # `vehicle/name` or `client/vehicle/name`.
    *folders, _ = keys.to_text(question.key).split("/")
    return sorted(set(folders[:2]))


def _last_heard(
    cursor: Any, question: Question, vehicles: list[str], client: str | None
) -> list[Row]:
    # A bare word may be the vehicle's own name.
    asked = vehicles or [keys.to_text(question.key)]
    heard = catalog_trace.last_heard(cursor, asked, client, MOST)
    return heard or ([] if vehicles else catalog_trace.last_heard(cursor, [], client, MOST))


def _tell(site: Site, row: Row, logs: list[Row], refused: list[Row], uploads: list[Row]) -> Traced:
    hops = [
        *(Hop("uploaded", one["at"], _by_whom(one)) for one in uploads),
        Hop(
            "received",
            row["received_at"],
            f"s3://{row['bucket']}/{row['landing_key']}, {row['size_bytes']:,} bytes, "
            f"etag {row['etag']}",
        ),
        Hop("sensed", row["sensed_at"], f"delivery {row['delivery_id']}"),
        *_judged(site, row),
        *_batched(row),
    ]
    for log in logs:
        hops += _read(row, log) if log["is_owned"] else _repeats(log)
    hops += [
        Hop("not read", None, f"{one['member']}: {one['reason']}: {one['detail']}")
        for one in refused
    ]
    if row["left_landing_at"] is not None and row["state"] != "vanished":
        hops.append(Hop("left landing", row["left_landing_at"], ""))
    return Traced(
        row["delivery_id"],
        row["client"],
        row["vehicle"],
        row["landing_key"],
        row["state"],
        row["reason"],
        row["sha256"],
        [log["log_id"] for log in logs],
        _in_order(hops),
    )


def _by_whom(upload: Row) -> str:
    who = upload["client"] or upload["analyst"]
    key = f", key {upload['key_id']}" if upload["key_id"] else ""
    return (
        f"{upload['operation']} by {upload['actor']}{f' {who}' if who else ''}{key}, "
        f"from {upload['address']}"
    )


def _judged(site: Site, row: Row) -> Iterator[Hop]:
    if row["state"] == "waiting":
        until = f"{row['waiting_until']:%Y-%m-%d %H:%M:%S} UTC"
        yield Hop(
            "waiting",
            None,
            f"could not be read: {row['detail']}; tried again at {until}"
            if row["reason"] == "unread"
            else f"no digest is declared; waits until {until} for "
            f"{row['name']}{keys.SIDECAR_SUFFIX}",
        )
    if row["verified_at"] is not None:
        said = (
            f"{row['declared_by']} declares {row['declared_sha256']}"
            if row["declared_by"]
            else "nothing declared"
        )
        yield Hop(
            "verified", row["verified_at"], f"{row['verdict']}: {said}, bytes are {row['sha256']}"
        )
    if row["quarantined_at"] is not None:
        why = f"{row['reason']}: {row['detail']}; " if row["state"] == "quarantined" else ""
        where = (
            f"s3://{row['bucket']}/{row['quarantine_key']}"
            if row["quarantine_key"]
            else "it stands in landing"
        )
        yield Hop("quarantined", row["quarantined_at"], why + where)
    if row["released_at"] is not None:
        yield Hop("released", row["released_at"], row["note"] or "")
    if row["acknowledged_at"] is not None:
        yield Hop("acknowledged", row["acknowledged_at"], row["note"] or "")
    if row["archived_at"] is not None:
        version = f" version {row['archive_version_id']}" if row["archive_version_id"] else ""
        yield Hop(
            "archived",
            row["archived_at"],
            f"s3://{site.archive.bucket}/{row['archive_key']}{version}",
        )
    if row["replicated_at"] is not None:
        place = f"s3://{site.replica.bucket}/{row['archive_key']}" if site.replica else ""
        yield Hop("replicated", row["replicated_at"], place)


def _batched(row: Row) -> Iterator[Hop]:
    if row["state"] == "vanished":
        yield Hop("vanished", row["left_landing_at"], f"{row['reason']}: {row['detail']}")
    elif row["state"] == "failed":
        yield Hop(
            "failed",
            row["batch_finished_at"],
            f"{row['reason']}: {row['detail']}; next: `logbox retry`",
        )
    elif row["batch_id"] is None and row["state"] in ("received", "archived"):
        yield Hop("waits", None, "no batch has it yet; the sensor looks every 10 s")
    elif row["batch_state"] in ("open", "running"):
        error = f"; the last attempt ended: {row['last_error']}" if row["last_error"] else ""
        yield Hop(
            "in batch",
            None,
            f"{row['batch_id']} is {row['batch_state']}, attempt {row['attempt']}{error}",
        )


def _read(row: Row, log: Row) -> Iterator[Hop]:
    named = _named(log)
    if log["state"] == "loaded":
        damage = f", {log['damaged_bytes']:,} bytes damaged" if log["is_damaged"] else ""
        yield Hop("parsed", None, f"{named}: {_by(log)}{damage}")
        yield Hop("loaded", log["loaded_at"], _table_rows(log))
    elif log["superseded_by"] is not None:
        yield Hop(
            "superseded",
            log["superseded_at"],
            f"{named}: log {log['superseded_by']} begins with it and has its rows",
        )
    elif log["state"] == "unparsed":
        yield Hop(
            "unparsed",
            row["batch_loaded_at"],
            f"{named}: {log['reason']}: {log['detail']}; it is archived, see `logbox retry`",
        )
    elif log["state"] == "failed" and row["state"] != "failed":
        yield Hop("failed", row["batch_finished_at"], f"{named}: {log['reason']}: {log['detail']}")


def _repeats(log: Row) -> Iterator[Hop]:
    loaded = f"; its rows: {_table_rows(log)}" if log["state"] == "loaded" else ""
    yield Hop(
        "duplicate",
        None,
        f"of {_named(log)}, first delivered as {log['first_landing_key']}, which is "
        f"{log['state']}{loaded}",
    )


def _named(log: Row) -> str:
    members = ", ".join(log["members"])
    return f"log {log['log_id']}" + (f" ({members})" if members else "")


def _by(log: Row) -> str:
    return f"{log['format']} by parser version {log['parser_version']}"


def _table_rows(log: Row) -> str:
    counted = sorted(log["tables"].items())
    return ", ".join(f"{table} {rows:,}" for table, rows in counted) or "no rows"


def _in_order(hops: list[Hop]) -> list[Hop]:
    """By time; a hop without one stays behind the hop that was told before it."""
    ordered = []
    last_at = None
    for number, hop in enumerate(hops):
        last_at = hop.at or last_at
        ordered.append((last_at, number, hop))
    return [hop for _, _, hop in sorted(ordered, key=lambda one: (one[0], one[1]))]


@contextmanager
def original(
    site: Site, log_id: UUID, folder: Path | None = None, *, as_uploaded: bool = False
) -> Iterator[tuple[Path, Archived]]:
    """A log's bytes in a file of `folder`, proven by their digest; gone afterwards unless it was
    moved. The log itself, out of its wrapper, or with `as_uploaded` the object that holds it.

    Raises LogboxError when there is no such log, PermanentError when the archive's bytes differ.
    """
    with site.transaction() as cursor:
        held = catalog_trace.archived(cursor, log_id)
    if not held:
        raise LogboxError(
            f"no log has the id {log_id}", hint="`logbox trace NAME` shows the ids of what came"
        )
    proven = [one for one in held if one.archived_at is not None]
    if not proven:
        raise LogboxError(
            f"log {log_id} is not archived yet", hint=f"`logbox trace {log_id}` shows where it is"
        )
    one = proven[0]
    scratch = Path(tempfile.mkdtemp(prefix=".logbox-", dir=folder))
    try:
        path = scratch / "original"
        download = site.archive.download(one.archive_key, path, version_id=one.version_id)
        if download is None or download.sha256 != one.sha256:
            found = "nothing" if download is None else download.sha256
            raise PermanentError(
                f"s3://{site.archive.bucket}/{one.archive_key} version {one.version_id}: "
                f"expected {one.sha256}, found {found}",
                hint="this is drift in the archive; nothing was written; see `logbox status`",
            )
        if not as_uploaded and one.content_sha256 != one.sha256:
            path = _inner(path, one, scratch / "inner")
        yield path, one
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _inner(path: Path, held: Archived, folder: Path) -> Path:
    """The log out of its proven object. It was let through once, so no limit stands in its way."""
    boundless = 2**62
    unwrapped = unwrap_object(
        path,
        held.sha256,
        folder,
        UnwrapLimits(boundless, boundless, boundless, boundless),
        only=held.member or None,
    )
    for log in unwrapped.logs:
        if log.sha256 == held.content_sha256:
            return log.path
    raise PermanentError(
        f"log {held.log_id} is not found in its object {held.archive_key} any more: expected "
        f"{held.content_sha256} in {held.member or 'it'}",
        hint="--as-uploaded writes the object; report this, it is a bug in Logbox",
    )


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
