"""The demo's verdict: each thing that comes out wrong is found and named. No stack."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.tables import EVENTS, TRACK
from logbox_pipeline.simulator.fleet import flights_by_logs, make_fleet, rows_by_log
from logbox_pipeline.simulator.fleet_judge import judge
from logbox_pipeline.simulator.fleet_logs import REFUSED, ExpectedFlight, Upload
from logbox_pipeline.simulator.fleet_look import Delivery, Flight, Found, Log, busy_seconds

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> list[Upload]:
    return make_fleet(tmp_path_factory.mktemp("fleet"), ("alpine", "harbour"), NOW)


def delivered(fleet: Sequence[Upload], upload: Upload) -> Delivery:
    first = next(one for one in fleet if one.sha256 == upload.sha256)
    logs = [
        Log(
            log.member,
            upload.log_id_of(log),
            log.state,
            log.format,
            log.reason,
            damaged_bytes=7 if log.is_damaged else 0,
        )
        for log in upload.logs
    ]
    logs += [Log(member, None, REFUSED, reason=reason) for member, reason in upload.refused_members]
    return Delivery(
        upload.landing_key,
        upload.state,
        upload.reason,
        first.log_id_of(first.logs[0]) if upload.state == "duplicate" else None,
        upload.size_bytes,
        tuple(logs),
    )


def flown(log_ids: frozenset[str], told: ExpectedFlight) -> Flight:
    return Flight(
        "any",
        NOW if told.has_time else None,
        told.duration_s,
        told.distance_m,
        told.max_alt_m,
        told.battery_used_pct,
        told.end_state,
        "any",
        log_ids,
    )


@pytest.fixture
def right(fleet: list[Upload]) -> Found:
    """What is found when all is well."""
    came = [one for one in fleet if one.state != REFUSED]
    tracks = {(came[0].log_id_of(came[0].logs[0]), TRACK): 121}
    return Found(
        deliveries={one.landing_key: delivered(fleet, one) for one in came},
        postgres=rows_by_log(fleet) | tracks,
        parquet=rows_by_log(fleet) | tracks,
        archived={o.landing_key: o.sha256 for o in came if o.state != "quarantined"},
        replicated={o.landing_key: o.sha256 for o in came if o.state != "quarantined"},
        quarantined={o.landing_key: o.sha256 for o in came if o.state == "quarantined"},
        in_landing=[],
        stray_files=[],
        busy_s=5.0,
        flights=[flown(*one) for one in flights_by_logs(fleet).items()],
    )


def refusals(fleet: Sequence[Upload]) -> dict[str, str]:
    return {one.landing_key: "AccessDenied" for one in fleet if one.state == REFUSED}


def test_what_must_come_out_passes_every_check(fleet: list[Upload], right: Found) -> None:
    checks = judge(fleet, right, refusals(fleet))
    assert [check.sentence for check in checks if not check.passed] == []


def named(fleet: Sequence[Upload], name: str) -> Upload:
    return next(one for one in fleet if one.name == name)


def log_of(fleet: Sequence[Upload], name: str) -> str:
    upload = named(fleet, name)
    return upload.log_id_of(upload.logs[0])


def one_row_short(fleet: Sequence[Upload], found: Found) -> Found:
    place = (log_of(fleet, "gull/mission.jsonl"), EVENTS)
    return replace(found, postgres={**found.postgres, place: found.postgres[place] - 1})


def a_log_twice_in_parquet(fleet: Sequence[Upload], found: Found) -> Found:
    place = (log_of(fleet, "heron/log_12.ulg"), "ulog_vehicle_attitude")
    return replace(found, parquet={**found.parquet, place: found.parquet[place] * 2})


def rows_of_a_refused_log(fleet: Sequence[Upload], found: Found) -> Found:
    place = (str(log_id("harbour", named(fleet, "gull/no-digest.ulg").sha256)), "ulog_event")
    return replace(found, postgres={**found.postgres, place: 41})


def a_mismatch_let_through(fleet: Sequence[Upload], found: Found) -> Found:
    key = named(fleet, "kite/torn.jsonl").landing_key
    let_through = replace(found.deliveries[key], state="archived", reason=None)
    return replace(found, deliveries={**found.deliveries, key: let_through})


def a_delivery_missing(fleet: Sequence[Upload], found: Found) -> Found:
    key = named(fleet, "tern/syslog").landing_key
    return replace(found, deliveries={k: v for k, v in found.deliveries.items() if k != key})


def a_duplicate_of_nothing(fleet: Sequence[Upload], found: Found) -> Found:
    key = named(fleet, "heron/log_12 (1).ulg").landing_key
    lost = replace(found.deliveries[key], repeats="00000000-0000-0000-0000-000000000000")
    return replace(found, deliveries={**found.deliveries, key: lost})


def a_flipped_bit_in_the_archive(fleet: Sequence[Upload], found: Found) -> Found:
    key = named(fleet, "kite/camera.raw").landing_key
    return replace(found, archived={**found.archived, key: "0" * 64})


def a_log_the_replica_lacks(fleet: Sequence[Upload], found: Found) -> Found:
    key = named(fleet, "kite/camera.raw").landing_key
    return replace(found, replicated={**found.replicated, key: "missing"})


def a_log_unread(fleet: Sequence[Upload], found: Found) -> Found:
    key = named(fleet, "tern/card.zip").landing_key
    delivery = found.deliveries[key]
    logs = tuple(replace(log, format="text") for log in delivery.logs)
    return replace(found, deliveries={**found.deliveries, key: replace(delivery, logs=logs)})


def damage_unseen(fleet: Sequence[Upload], found: Found) -> Found:
    key = named(fleet, "kite/log_7.ulg").landing_key
    delivery = found.deliveries[key]
    logs = tuple(replace(log, damaged_bytes=0) for log in delivery.logs)
    return replace(found, deliveries={**found.deliveries, key: replace(delivery, logs=logs)})


def a_flight_missing(fleet: Sequence[Upload], found: Found) -> Found:
    return replace(found, flights=found.flights[1:])


def a_flight_too_long(fleet: Sequence[Upload], found: Found) -> Found:
    first, *others = found.flights
    return replace(found, flights=[replace(first, duration_s=first.duration_s + 60), *others])


def a_track_only_in_postgres(fleet: Sequence[Upload], found: Found) -> Found:
    kept = {place: rows for place, rows in found.parquet.items() if place[1] != TRACK}
    return replace(found, parquet=kept)


def something_left_in_landing(fleet: Sequence[Upload], found: Found) -> Found:
    return replace(found, in_landing=[fleet[0].landing_key])


def a_stray_lake_file(fleet: Sequence[Upload], found: Found) -> Found:
    return replace(found, stray_files=["lake/log_events/received_on=2026-11-24/x.parquet"])


@pytest.mark.parametrize(
    ("spoil", "failed", "named_in_it"),
    [
        (one_row_short, "Postgres has", "found 7,999"),
        (a_log_twice_in_parquet, "Parquet has", "ulog_vehicle_attitude of log"),
        (rows_of_a_refused_log, "Postgres has", "expected 0 rows, found 41"),
        (a_mismatch_let_through, "deliveries ended", "expected quarantined mismatch"),
        (a_delivery_missing, "deliveries ended", "ended nothing"),
        (a_duplicate_of_nothing, "deliveries ended", "repeats no log"),
        (a_flipped_bit_in_the_archive, "the archive gives back", "camera.raw"),
        (a_log_the_replica_lacks, "so does the replica", "camera.raw"),
        (a_log_unread, "deliveries ended", "loaded text companion.jsonl"),
        (damage_unseen, "damage is seen", "log_7.ulg: no damage"),
        (a_flight_missing, "flights was found", "no flight"),
        (a_flight_too_long, "flights was found", "duration s"),
        (a_track_only_in_postgres, "Parquet has the tracks", "log_track"),
        (something_left_in_landing, "left in landing", "log_12.ulg"),
        (a_stray_lake_file, "the lake has no file", "x.parquet"),
    ],
)
def test_whatever_is_wrong_fails_one_check_that_names_it(
    fleet: list[Upload],
    right: Found,
    spoil: Callable[[Sequence[Upload], Found], Found],
    failed: str,
    named_in_it: str,
) -> None:
    wrong = [c for c in judge(fleet, spoil(fleet, right), refusals(fleet)) if not c.passed]
    assert len(wrong) == 1
    assert failed in wrong[0].sentence
    assert named_in_it in " ".join(wrong[0].wrong)


def test_a_write_below_the_other_client_that_the_store_takes_is_found(
    fleet: list[Upload], right: Found
) -> None:
    assert not judge(fleet, right, {})[0].passed


def test_an_upload_the_store_wrongly_refuses_is_found(fleet: list[Upload], right: Found) -> None:
    refused = refusals(fleet) | {fleet[0].landing_key: "AccessDenied"}
    assert fleet[0].landing_key in judge(fleet, right, refused)[0].wrong[0]


def test_time_in_which_two_runs_overlap_counts_once() -> None:
    def span(begin_s: int, end_s: int) -> tuple[datetime, datetime]:
        return NOW + timedelta(seconds=begin_s), NOW + timedelta(seconds=end_s)

    assert busy_seconds([]) == 0
    assert busy_seconds([span(20, 25), span(0, 10), span(5, 12), span(6, 7)]) == 17
