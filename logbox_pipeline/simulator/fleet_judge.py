"""The verdict on what came of the fleet's uploads: held against its ledger, to the row. Pure.

Bytes of one client that were sent more than once have one fate: of their deliveries one is
archived, whichever came first, and the others repeat it. Receipts and the access log are judged
beside where they are looked at.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from logbox_pipeline.core.tables import TRACK
from logbox_pipeline.simulator.fleet import flights_by_logs, rows_by_log
from logbox_pipeline.simulator.fleet_ledger import Objects, Sent
from logbox_pipeline.simulator.fleet_logs import (
    ABORTED,
    REFUSED,
    SUPERSEDED,
    ExpectedFlight,
    ExpectedLog,
    Upload,
)
from logbox_pipeline.simulator.fleet_look import Delivery, Flight, Found, Log, Place, Rows

_TOLERANCE_S, _TOLERANCE_M, _TOLERANCE_PCT = 3.0, 1.0, 2.0
"""A track has one row per second."""


@dataclass(frozen=True)
class Check:
    """One thing that must be so; `wrong` says what is not."""

    sentence: str
    wrong: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.wrong


def judge(sent: Sequence[Sent], found: Found, *, has_replica: bool = True) -> list[Check]:
    """Hold what was found against what the ledger says must come out. Every finding is named."""
    came = _came(sent, found)
    accepted = {place: place[1] for place, upload in came.items() if upload.state != "quarantined"}
    uploads = [upload for upload in came.values() if upload.state != "quarantined"]
    keys = {place: upload.landing_key for place, upload in came.items()} | {
        one.delivery_id: one.landing_key for one in found.deliveries
    }
    names = {upload.log_id_of(log): upload.landing_key for upload in uploads for log in upload.logs}
    rows = rows_by_log(uploads)
    total = f"{sum(rows.values()):,}"
    checks = [
        _judge_answers(sent),
        _judge_refusals(sent, found),
        _judge_counts(sent, found),
        _judge_fates(sent, came, found),
        _judge_damage(uploads, found),
        _judge_flights(uploads, found),
        _judge_bytes(
            "the archive gives back byte for byte each log that was accepted",
            accepted,
            found.archived,
            keys,
        ),
        _judge_bytes(
            "quarantine keeps byte for byte each log that was not",
            {
                one.delivery_id: one.sha256 or "never read"
                for one in found.deliveries
                if one.place in came and came[one.place].state == "quarantined"
            },
            found.quarantined,
            keys,
        ),
        Check("nothing is left in landing", tuple(found.in_landing)),
        _judge_rows(
            f"Postgres has the {total} rows the drones wrote",
            {place: count for place, count in rows.items() if place not in found.lake_only},
            _written(found.postgres),
            names,
        ),
        _judge_rows(
            f"Parquet has the {total} rows the drones wrote", rows, _written(found.parquet), names
        ),
        _judge_rows(
            "Parquet has the tracks that Postgres has",
            _tracks(found.postgres),
            _tracks(found.parquet),
            names,
        ),
        Check("the lake has no file too many and none too few", tuple(found.stray_files)),
    ]
    if has_replica:
        so_too = "so does the replica, another store under another key"
        checks.insert(7, _judge_bytes(so_too, accepted, found.replicated, keys))
    return checks


def _came(sent: Sequence[Sent], found: Found) -> dict[Place, Upload]:
    """What must have come of all bytes that were taken, one upload for each place.

    Bytes whose upload nobody heard the end of must be there only if they are.
    """
    seen = {one.place for one in found.deliveries}
    came: dict[Place, Upload] = {}
    for one in sent:
        place = _place(one)
        least = sum(objects.least for objects in one.objects.values())
        if one.is_in and (least or place in seen):
            known = came.get(place)
            # Of the same bytes, the one that says what is in them.
            if known is None or (one.upload.logs and not known.logs):
                came[place] = one.upload
    return came


def _read(sent: Sequence[Sent], found: Found) -> list[Delivery]:
    """Without those that a listing told of which came late: what it names had been taken already,
    and so it vanished. Each object must be a delivery all the same."""
    keys = {key for one in sent for key in one.objects}
    return [
        one
        for one in found.deliveries
        if one.state != "vanished" or one.sha256 is not None or one.landing_key not in keys
    ]


def _place(one: Sent) -> Place:
    return one.upload.client, one.upload.sha256


def _written(rows: Rows) -> Rows:
    """Without what no drone wrote: the tracks made of it."""
    return {place: count for place, count in rows.items() if place[1] != TRACK}


def _tracks(rows: Rows) -> Rows:
    return {place: count for place, count in rows.items() if place[1] == TRACK}


def _judge_answers(sent: Sequence[Sent]) -> Check:
    wrong = []
    for one in sent:
        answer = one.answer
        if answer is None:
            wrong.append(f"{one.upload.landing_key}: no answer")
        elif one.is_in and answer.status >= 300:
            wrong.append(f"{one.upload.landing_key}: {answer.status} {answer.code}")
    return Check("every upload got its answer, and what is in order was taken", tuple(wrong))


def _judge_refusals(sent: Sequence[Sent], found: Found) -> Check:
    refused = [one for one in sent if one.upload.state == REFUSED and one.answer is not None]
    came = {(one.landing_key, one.sha256) for one in found.deliveries}
    wrong = []
    for one in refused:
        assert one.answer is not None
        key, must = one.upload.landing_key, one.upload.reason
        if one.answer.status != 403 or (must or one.answer.code) != one.answer.code:
            said = f"{one.answer.status} {one.answer.code}".strip()
            wrong.append(f"{key}: expected 403 {must or ''}, answered {said}")
    wrong += [
        f"{one.upload.landing_key}: it came in"
        for one in sent
        if one.upload.state in (REFUSED, ABORTED)
        and (one.upload.landing_key, one.upload.sha256) in came
    ]
    sentence = "S3 refused each write below another client's prefix, or with a key not its own"
    return Check(sentence, tuple(wrong))


def _judge_counts(sent: Sequence[Sent], found: Found) -> Check:
    """Each object that was put is one delivery, and there is no other."""
    must: dict[tuple[str, str], Objects] = {}
    for one in sent:
        for key, objects in one.objects.items():
            before = must.get((key, one.upload.sha256), Objects(0, 0))
            must[key, one.upload.sha256] = Objects(
                before.least + objects.least, before.most + objects.most
            )
    have = Counter((one.landing_key, one.sha256 or "never read") for one in _read(sent, found))
    wrong = []
    for place in sorted(must.keys() | have.keys()):
        key, sha256 = place
        objects, count = must.get(place, Objects(0, 0)), have[place]
        if not objects.least <= count <= objects.most:
            expected = (
                f"{objects.least}"
                if objects.least == objects.most
                else f"{objects.least} to {objects.most}"
            )
            wrong.append(f"{key}: expected {expected} deliveries of {sha256[:12]}, found {count}")
    least = sum(objects.least for objects in must.values())
    return Check(f"each of {least:,} objects is one delivery, and nothing else is", tuple(wrong))


def _judge_fates(sent: Sequence[Sent], came: Mapping[Place, Upload], found: Found) -> Check:
    by_place: defaultdict[Place, list[Delivery]] = defaultdict(list)
    for one in _read(sent, found):
        by_place[one.place].append(one)
    log_ids = {
        upload.log_id_of(log)
        for upload in came.values()
        for log in upload.logs
        if log.state in ("loaded", "unparsed")
    }
    wrong = [
        difference
        for place in sorted(came.keys() | by_place.keys())
        for difference in _fate_differences(came.get(place), by_place[place], log_ids)
    ]
    sentence = f"each of the {len(found.deliveries):,} deliveries ended as it must"
    return Check(sentence, tuple(wrong))


def _fate_differences(
    upload: Upload | None, deliveries: Sequence[Delivery], log_ids: set[str]
) -> Iterator[str]:
    if upload is None:
        for one in deliveries:
            yield f"{one.landing_key}: expected nothing, ended {_outcome(one)}"
        return
    if not deliveries:
        yield f"{upload.landing_key}: expected {_expected_outcome(upload)}, ended nothing"
        return
    is_kept = upload.state != "quarantined"
    repeats = [one for one in deliveries if is_kept and one.state == "duplicate"]
    first = [one for one in deliveries if one not in repeats]
    must = _expected_outcome(upload)
    for one in first:
        if _outcome(one) != must:
            yield f"{one.landing_key}: expected {must}, ended {_outcome(one)}"
    if is_kept and len(first) != 1:
        keys = ", ".join(one.landing_key for one in deliveries)
        yield f"{keys}: {len(first)} of them were archived, expected 1"
    for one in repeats:
        if one.repeats not in log_ids:
            yield f"{one.landing_key}: repeats no log of the fleet"


def _expected_outcome(upload: Upload) -> str:
    refused = [_words(REFUSED, reason, name) for name, reason in upload.refused_members]
    logs = [_log_outcome(log) for log in upload.logs]
    state = "archived" if upload.state == "duplicate" else upload.state
    return ", ".join([_words(state, upload.reason), *sorted(logs + refused)])


def _outcome(delivery: Delivery) -> str:
    logs = [_log_outcome(log) for log in delivery.logs]
    return ", ".join([_words(delivery.state, delivery.reason), *sorted(logs)])


def _log_outcome(log: ExpectedLog | Log) -> str:
    # A log that gave way to a longer one may never have been looked into.
    format = None if log.state == SUPERSEDED else log.format
    return _words(log.state, format, log.reason, log.member)


def _words(*words: str | None) -> str:
    return " ".join(word for word in words if word)


def _judge_damage(sent: Sequence[Upload], found: Found) -> Check:
    damaged = {log.log_id for one in found.deliveries for log in one.logs if log.damaged_bytes}
    must = {one.log_id_of(log): one for one in sent for log in one.logs if log.is_damaged}
    wrong = [f"{must[log_id].name}: no damage was seen" for log_id in must.keys() - damaged]
    wrong += [f"log {log_id}: is not damaged" for log_id in damaged - must.keys()]
    return Check("damage is seen where it was done, and nowhere else", tuple(sorted(wrong)))


def _judge_flights(fleet: Sequence[Upload], found: Found) -> Check:
    must = flights_by_logs(fleet)
    have = {flight.log_ids: flight for flight in found.flights}
    names = {one.log_id_of(log): one.name for one in fleet for log in one.logs}
    wrong = []
    for log_ids in must.keys() | have.keys():
        seen_by = " and ".join(sorted(names.get(log_id, log_id) for log_id in log_ids))
        if log_ids not in have or log_ids not in must:
            wrong.append(f"{seen_by}: {'no' if log_ids in must else 'an unexpected'} flight")
            continue
        wrong += [
            f"{seen_by}: {what}" for what in _flight_differences(must[log_ids], have[log_ids])
        ]
    return Check(f"each of the {len(must)} flights was found, once", tuple(sorted(wrong)))


def _flight_differences(must: ExpectedFlight, have: Flight) -> list[str]:
    wrong = []
    told = (
        ("duration s", must.duration_s, have.duration_s, _TOLERANCE_S),
        ("max alt m", must.max_alt_m, have.max_alt_m, _TOLERANCE_M),
        ("distance m", must.distance_m, have.distance_m, 0.05 * (must.distance_m or 0)),
        ("battery used pct", must.battery_used_pct, have.battery_used_pct, _TOLERANCE_PCT),
    )
    for name, expected, value, tolerance in told:
        if expected is not None and (value is None or abs(value - expected) > tolerance):
            wrong.append(f"{name}: expected {expected:.1f}, found {value}")
    if have.end_state != must.end_state:
        wrong.append(f"expected {must.end_state}, found {have.end_state}")
    if (have.takeoff_at is not None) != must.has_time:
        wrong.append(f"takeoff at {have.takeoff_at}")
    return wrong


def _judge_bytes(
    sentence: str,
    must: Mapping[Any, str],
    have: Mapping[Any, str],
    keys: Mapping[Any, str],
) -> Check:
    """keys: the landing key of each place, to tell them by."""
    wrong = [
        f"{keys.get(place, place)}: expected {must.get(place, 'nothing')}, "
        f"is {have.get(place, 'nothing')}"
        for place in sorted(must.keys() | have.keys())
        if must.get(place) != have.get(place)
    ]
    return Check(sentence, tuple(wrong))


def _judge_rows(sentence: str, must: Rows, have: Rows, names: Mapping[str, str]) -> Check:
    """names: the landing key of each log, to tell them by."""
    wrong = [
        f"{table} of log {log_id} ({names.get(log_id, 'whose?')}): "
        f"expected {must.get((log_id, table), 0):,} rows, found {have.get((log_id, table), 0):,}"
        for log_id, table in sorted(set(must) | set(have))
        if must.get((log_id, table), 0) != have.get((log_id, table), 0)
    ]
    return Check(sentence, tuple(wrong))
