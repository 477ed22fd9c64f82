"""The verdict on what came of the fleet's uploads: held against its ledger, to the row. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from logbox_pipeline.core.tables import TRACK
from logbox_pipeline.simulator.fleet import flights_by_logs, rows_by_log
from logbox_pipeline.simulator.fleet_logs import (
    REFUSED,
    SUPERSEDED,
    ExpectedFlight,
    ExpectedLog,
    Upload,
)
from logbox_pipeline.simulator.fleet_look import Delivery, Flight, Found, Log, Rows

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


def judge(fleet: Sequence[Upload], found: Found, refused: Mapping[str, str]) -> list[Check]:
    """Hold what was found against what the fleet knows must come out. Every finding is named."""
    sent = [upload for upload in fleet if upload.state != REFUSED]
    accepted = {one.landing_key: one.sha256 for one in sent if one.state != "quarantined"}
    rows = rows_by_log(fleet)
    total = f"{sum(rows.values()):,}"
    return [
        _judge_refusals(fleet, found, refused),
        _judge_deliveries(sent, found),
        _judge_damage(sent, found),
        _judge_flights(sent, found),
        _judge_bytes(
            "the archive gives back byte for byte each log that was accepted",
            accepted,
            found.archived,
        ),
        _judge_bytes(
            "so does the replica, another store under another key",
            accepted,
            found.replicated,
        ),
        _judge_bytes(
            "quarantine keeps byte for byte each log that was not",
            {one.landing_key: one.sha256 for one in sent if one.state == "quarantined"},
            found.quarantined,
        ),
        Check("nothing is left in landing", tuple(found.in_landing)),
        _judge_rows(
            f"Postgres has the {total} rows the drones wrote",
            rows,
            _written(found.postgres),
        ),
        _judge_rows(
            f"Parquet has the {total} rows the drones wrote", rows, _written(found.parquet)
        ),
        _judge_rows(
            "Parquet has the tracks that Postgres has",
            _tracks(found.postgres),
            _tracks(found.parquet),
        ),
        Check("the lake has no file too many and none too few", tuple(found.stray_files)),
    ]


def _written(rows: Rows) -> Rows:
    """Without what no drone wrote: the tracks made of it."""
    return {place: count for place, count in rows.items() if place[1] != TRACK}


def _tracks(rows: Rows) -> Rows:
    return {place: count for place, count in rows.items() if place[1] == TRACK}


def _judge_refusals(fleet: Sequence[Upload], found: Found, refused: Mapping[str, str]) -> Check:
    must = {one.landing_key: one.reason or "" for one in fleet if one.state == REFUSED}
    wrong = _differences(must, refused, "answered")
    wrong += [f"{key}: it came in" for key in must if key in found.deliveries]
    return Check("S3 refused to write below the other client's prefix", tuple(wrong))


def _judge_deliveries(sent: Sequence[Upload], found: Found) -> Check:
    log_ids = {one.log_id_of(log) for one in sent for log in one.logs if log.state == "loaded"}
    must = {one.landing_key: _expected_outcome(one) for one in sent}
    have = {key: _outcome(one) for key, one in found.deliveries.items()}
    wrong = _differences(must, have, "ended")
    wrong += [
        f"{key}: repeats no log of the fleet"
        for key, one in found.deliveries.items()
        if one.state == "duplicate" and one.repeats not in log_ids
    ]
    return Check(f"each of {len(sent)} deliveries ended as it must", tuple(wrong))


def _expected_outcome(upload: Upload) -> str:
    refused = [_words(REFUSED, reason, name) for name, reason in upload.refused_members]
    logs = [_log_outcome(log) for log in upload.logs]
    return ", ".join([_words(upload.state, upload.reason), *sorted(logs + refused)])


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
    damaged = {
        log.log_id for one in found.deliveries.values() for log in one.logs if log.damaged_bytes
    }
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


def _judge_bytes(sentence: str, must: Mapping[str, str], have: Mapping[str, str]) -> Check:
    return Check(sentence, tuple(_differences(must, have, "is")))


def _judge_rows(sentence: str, must: Rows, have: Rows) -> Check:
    wrong = [
        f"{table} of log {log_id}: expected {must.get((log_id, table), 0):,} rows, "
        f"found {have.get((log_id, table), 0):,}"
        for log_id, table in sorted(set(must) | set(have))
        if must.get((log_id, table), 0) != have.get((log_id, table), 0)
    ]
    return Check(sentence, tuple(wrong))


def _differences(must: Mapping[str, str], have: Mapping[str, str], verb: str) -> list[str]:
    return [
        f"{key}: expected {must.get(key, 'nothing')}, {verb} {have.get(key, 'nothing')}"
        for key in sorted(set(must) | set(have))
        if must.get(key) != have.get(key)
    ]
