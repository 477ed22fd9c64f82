"""The access log of a fleet's uploads: each request under whose key, and with what answer; judged.

A store that tells only hours later (AWS), or not at all, is not judged: that is said, and is
neither right nor wrong.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from logbox_pipeline.core import keys
from logbox_pipeline.simulator.fleet_judge import Check
from logbox_pipeline.simulator.fleet_ledger import Fleet, Objects, Sent
from logbox_pipeline.simulator.fleet_logs import ABORTED, REFUSED
from logbox_pipeline.simulator.fleet_plan import Fault
from logbox_pipeline.steps.access_log import load_access_log
from logbox_pipeline.steps.site import Site

_WRITES = ("PutObject", "CompleteMultipartUpload", "CopyObject", "PostObject")
_SKEWED = "RequestTimeTooSkewed"
_EARLIER = timedelta(minutes=5)
"""A store's clock and ours."""


@dataclass(frozen=True)
class Request:
    """Requests of one kind, counted. client: whose key it was, by the log."""

    client: str | None
    key_id: str | None
    operation: str
    object_key: str
    status: int
    error: str | None
    is_authenticated: bool


Requests = Mapping[Request, int]


def look_at_requests(site: Site, fleet: Fleet) -> Requests | None:
    """What the log says of everything below the fleet's landing prefixes, and of everything its
    keys asked for below landing; loads what is new of it first. None: there is no log to read now.

    Raises TransientError when the catalog or the log's bucket is away.
    """
    load_access_log(site)
    since = fleet.started_at - _EARLIER
    with site.transaction() as cursor:
        cursor.execute(
            """
            select count(*)
            from logbox.access_log_sources
            where store = 'embedded' and modified_at >= %s
            """,
            (since,),
        )
        (sources,) = cursor.fetchone()
        if not sources:
            return None
        cursor.execute(
            """
            select client, key_id, operation, object_key, status, error, is_authenticated,
                count(*)
            from logbox.access_log
            where day_on >= (%(since)s::timestamptz at time zone 'UTC')::date
                and at >= %(since)s
                and bucket = %(bucket)s
                and starts_with(object_key, 'landing/')
                and operation is not null and status is not null
                and (
                    split_part(object_key, '/', 2) = any(%(clients)s)
                    or key_id = any(%(keys)s)
                    or client = any(%(clients)s)
                )
            group by client, key_id, operation, object_key, status, error, is_authenticated
            """,
            {
                "since": since,
                "bucket": fleet.landing_bucket,
                "clients": fleet.clients,
                "keys": [*fleet.keys.values(), fleet.revoked_key_id],
            },
        )
        return {Request(*row): count for *row, count in cursor.fetchall()}


def judge_requests(fleet: Fleet, sent: Sequence[Sent], requests: Requests | None) -> list[Check]:
    """Every request that must be in the log is, under its client and with its answer, and nobody
    but a client wrote below its prefix."""
    if requests is None:
        return [Check("the access log is not judged: this store's comes hours later, if at all")]
    return [
        Check(
            "the access log has each upload, under its client's key",
            tuple(_writes_missing(fleet, sent, requests)),
        ),
        Check(
            "and nobody else wrote below a client's prefix",
            tuple(_strangers(fleet, requests)),
        ),
        Check(
            "it has each request that S3 refused, with 403 and the key that asked",
            tuple(_refusals_missing(sent, requests)),
        ),
    ]


def _writes_missing(fleet: Fleet, sent: Sequence[Sent], requests: Requests) -> Iterator[str]:
    written: Counter[tuple[str | None, str]] = Counter()
    aborted = set()
    for one, count in requests.items():
        if one.is_authenticated and one.status < 300:
            if one.operation in _WRITES:
                written[one.client, one.object_key] += count
            elif one.operation == "AbortMultipartUpload":
                aborted.add((one.client, one.object_key))
    must: dict[tuple[str, str], Objects] = {}
    for upload in sent:
        client = upload.upload.client
        for key, objects in upload.objects.items():
            before = must.get((client, key), Objects(0, 0))
            must[client, key] = Objects(before.least + objects.least, before.most + objects.most)
        if upload.upload.state == ABORTED and upload.answer is not None:
            key = upload.upload.landing_key
            if upload.answer.status == 204 and (client, key) not in aborted:
                yield f"{key}: no AbortMultipartUpload of {client}"
    for (client, key), objects in sorted(must.items()):
        count = written[client, key]
        if not objects.least <= count <= objects.most:
            yield f"{key}: expected {objects.least} writes of {client} or more, found {count}"


def _strangers(fleet: Fleet, requests: Requests) -> Iterator[str]:
    for one in requests:
        owner = one.object_key.removeprefix(keys.LANDING_PREFIX).split("/", 1)[0]
        is_ours = one.client == owner and one.key_id in (None, fleet.keys.get(owner))
        if one.operation in _WRITES and one.status < 300 and not is_ours:
            yield f"{one.object_key}: {one.operation} of {one.client or one.key_id}"


def _refusals_missing(sent: Sequence[Sent], requests: Requests) -> Iterator[str]:
    refused = {(one.key_id, one.object_key) for one in requests if one.status == 403}
    skewed = {(one.key_id, one.object_key) for one in requests if one.error == _SKEWED}
    for upload in sent:
        if upload.answer is None:
            continue
        place = (upload.key_id, upload.upload.landing_key)
        if upload.upload.state == REFUSED and place not in refused:
            yield f"{place[1]}: no 403 for key {place[0]}"
        if upload.fault is Fault.CLOCK_OFF and upload.answer.skewed and place not in skewed:
            yield f"{place[1]}: no {_SKEWED} for key {place[0]}"
