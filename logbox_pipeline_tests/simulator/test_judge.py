"""The verdict on a fleet: each thing that comes out wrong is found and named. No stack."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from logbox_pipeline.core.digest import log_id
from logbox_pipeline.core.tables import EVENTS, TRACK
from logbox_pipeline.drone.target import Target
from logbox_pipeline.simulator.fleet import flights_by_logs, make_fleet, packed, rows_by_log
from logbox_pipeline.simulator.fleet_judge import judge
from logbox_pipeline.simulator.fleet_ledger import Answer, Objects, Sent
from logbox_pipeline.simulator.fleet_logs import REFUSED, ExpectedFlight, Upload
from logbox_pipeline.simulator.fleet_look import Delivery, Flight, Found, Log, busy_seconds
from logbox_pipeline.simulator.fleet_send import Keys

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> list[Sent]:
    """The demo's uploads, each answered as it must be."""
    folder = tmp_path_factory.mktemp("fleet")
    keys = {name: Target(name, "landing", f"AK{name}", "s") for name in ("alpine", "harbour")}
    return [
        answered(one.sent)
        for one in packed(
            make_fleet(folder, ("alpine", "harbour"), NOW), Keys(keys, keys["alpine"])
        )
    ]


def answered(sent: Sent, least: int = 1, most: int = 1) -> Sent:
    if sent.upload.state == REFUSED:
        answer = Answer(sent.number, NOW, NOW, 403, "AccessDenied")
    else:
        objects = {sent.upload.landing_key: Objects(least, most)}
        answer = Answer(sent.number, NOW, NOW, 200, objects=objects)
    return replace(sent, answer=answer)


def delivered(fleet: Sequence[Sent], number: int) -> Delivery:
    upload = fleet[number].upload
    first = next(one.upload for one in fleet if one.upload.sha256 == upload.sha256)
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
        f"delivery {number}",
        upload.client,
        upload.landing_key,
        upload.sha256,
        upload.state,
        upload.reason,
        first.log_id_of(first.logs[0]) if upload.state == "duplicate" else None,
        upload.size_bytes,
        NOW,
        1,
        NOW,
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
def right(fleet: list[Sent]) -> Found:
    """What is found when all is well."""
    came = [delivered(fleet, one.number) for one in fleet if one.is_in]
    uploads = [one.upload for one in fleet]
    tracks = {(uploads[0].log_id_of(uploads[0].logs[0]), TRACK): 121}
    kept = {one.place: one.place[1] for one in came if one.state != "quarantined"}
    return Found(
        deliveries=came,
        postgres=rows_by_log(uploads) | tracks,
        parquet=rows_by_log(uploads) | tracks,
        archived=kept,
        replicated=kept,
        quarantined={
            one.delivery_id: one.sha256 or "" for one in came if one.state == "quarantined"
        },
        in_landing=[],
        stray_files=[],
        busy_s=5.0,
        flights=[flown(*one) for one in flights_by_logs(uploads).items()],
    )


def test_what_must_come_out_passes_every_check(fleet: list[Sent], right: Found) -> None:
    checks = judge(fleet, right)
    assert [check.sentence for check in checks if not check.passed] == []


def named(fleet: Sequence[Sent], name: str) -> Upload:
    return next(one.upload for one in fleet if one.upload.name == name)


def log_of(fleet: Sequence[Sent], name: str) -> str:
    upload = named(fleet, name)
    return upload.log_id_of(upload.logs[0])


def place_of(fleet: Sequence[Sent], name: str) -> tuple[str, str]:
    upload = named(fleet, name)
    return upload.client, upload.sha256


def with_changed(fleet: Sequence[Sent], found: Found, name: str, **changes: object) -> Found:
    """The delivery of one upload, changed."""
    key = named(fleet, name).landing_key
    return replace(
        found,
        deliveries=[
            replace(one, **changes) if one.landing_key == key else one  # type: ignore[arg-type]
            for one in found.deliveries
        ],
    )


def logs_of(fleet: Sequence[Sent], found: Found, name: str) -> tuple[Log, ...]:
    key = named(fleet, name).landing_key
    return next(one.logs for one in found.deliveries if one.landing_key == key)


def one_row_short(fleet: Sequence[Sent], found: Found) -> Found:
    place = (log_of(fleet, "gull/mission.jsonl"), EVENTS)
    return replace(found, postgres={**found.postgres, place: found.postgres[place] - 1})


def a_log_twice_in_parquet(fleet: Sequence[Sent], found: Found) -> Found:
    place = (log_of(fleet, "heron/log_12.ulg"), "ulog_vehicle_attitude")
    return replace(found, parquet={**found.parquet, place: found.parquet[place] * 2})


def rows_of_a_refused_log(fleet: Sequence[Sent], found: Found) -> Found:
    place = (str(log_id("harbour", named(fleet, "gull/no-digest.ulg").sha256)), "ulog_event")
    return replace(found, postgres={**found.postgres, place: 41})


def a_mismatch_let_through(fleet: Sequence[Sent], found: Found) -> Found:
    return with_changed(fleet, found, "kite/torn.jsonl", state="archived", reason=None)


def a_delivery_missing(fleet: Sequence[Sent], found: Found) -> Found:
    key = named(fleet, "tern/syslog").landing_key
    return replace(found, deliveries=[d for d in found.deliveries if d.landing_key != key])


def a_duplicate_of_nothing(fleet: Sequence[Sent], found: Found) -> Found:
    nothing = "00000000-0000-0000-0000-000000000000"
    return with_changed(fleet, found, "heron/log_12 (1).ulg", repeats=nothing)


def a_flipped_bit_in_the_archive(fleet: Sequence[Sent], found: Found) -> Found:
    place = place_of(fleet, "kite/camera.raw")
    return replace(found, archived={**found.archived, place: "0" * 64})


def a_log_the_replica_lacks(fleet: Sequence[Sent], found: Found) -> Found:
    place = place_of(fleet, "kite/camera.raw")
    return replace(found, replicated={**found.replicated, place: "missing"})


def a_log_unread(fleet: Sequence[Sent], found: Found) -> Found:
    logs = logs_of(fleet, found, "tern/card.zip")
    return with_changed(
        fleet, found, "tern/card.zip", logs=tuple(replace(log, format="text") for log in logs)
    )


def damage_unseen(fleet: Sequence[Sent], found: Found) -> Found:
    logs = logs_of(fleet, found, "kite/log_7.ulg")
    return with_changed(
        fleet, found, "kite/log_7.ulg", logs=tuple(replace(log, damaged_bytes=0) for log in logs)
    )


def archived_twice(fleet: Sequence[Sent], found: Found) -> Found:
    logs = logs_of(fleet, found, "heron/log_12.ulg")
    return with_changed(
        fleet, found, "heron/log_12 (1).ulg", state="archived", repeats=None, logs=logs
    )


def only_duplicates(fleet: Sequence[Sent], found: Found) -> Found:
    repeats = log_of(fleet, "heron/log_12.ulg")
    return with_changed(
        fleet, found, "heron/log_12.ulg", state="duplicate", repeats=repeats, logs=()
    )


def a_delivery_of_other_bytes(fleet: Sequence[Sent], found: Found) -> Found:
    return replace(
        found,
        deliveries=[
            *found.deliveries,
            replace(found.deliveries[0], delivery_id="other", sha256="0" * 64, logs=()),
        ],
    )


def a_flipped_bit_in_quarantine(fleet: Sequence[Sent], found: Found) -> Found:
    first = next(iter(found.quarantined))
    return replace(found, quarantined={**found.quarantined, first: "0" * 64})


def archived_bytes_of_nobody(fleet: Sequence[Sent], found: Found) -> Found:
    return replace(found, archived={**found.archived, ("alpine", "0" * 64): "0" * 64})


def a_flight_missing(fleet: Sequence[Sent], found: Found) -> Found:
    return replace(found, flights=found.flights[1:])


def a_flight_too_long(fleet: Sequence[Sent], found: Found) -> Found:
    first, *others = found.flights
    return replace(found, flights=[replace(first, duration_s=first.duration_s + 60), *others])


def a_track_only_in_postgres(fleet: Sequence[Sent], found: Found) -> Found:
    kept = {place: rows for place, rows in found.parquet.items() if place[1] != TRACK}
    return replace(found, parquet=kept)


def something_left_in_landing(fleet: Sequence[Sent], found: Found) -> Found:
    return replace(found, in_landing=[fleet[0].upload.landing_key])


def a_stray_lake_file(fleet: Sequence[Sent], found: Found) -> Found:
    return replace(found, stray_files=["lake/log_events/received_on=2026-11-24/x.parquet"])


@pytest.mark.parametrize(
    ("spoil", "failed", "named_in_it"),
    [
        (archived_twice, "deliveries ended", "2 of them were archived"),
        (only_duplicates, "deliveries ended", "0 of them were archived"),
        (a_flipped_bit_in_quarantine, "quarantine keeps", "0000"),
        (archived_bytes_of_nobody, "the archive gives back", "expected nothing"),
        (one_row_short, "Postgres has", "found 7,999"),
        (a_log_twice_in_parquet, "Parquet has", "ulog_vehicle_attitude of log"),
        (rows_of_a_refused_log, "Postgres has", "expected 0 rows, found 41"),
        (a_mismatch_let_through, "deliveries ended", "expected quarantined mismatch"),
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
    fleet: list[Sent],
    right: Found,
    spoil: Callable[[Sequence[Sent], Found], Found],
    failed: str,
    named_in_it: str,
) -> None:
    wrong = [check for check in judge(fleet, spoil(fleet, right)) if not check.passed]
    assert len(wrong) == 1
    assert failed in wrong[0].sentence
    assert named_in_it in " ".join(wrong[0].wrong)


def failed_checks(fleet: Sequence[Sent], found: Found) -> dict[str, str]:
    return {one.sentence: " ".join(one.wrong) for one in judge(fleet, found) if not one.passed}


def test_a_missing_delivery_is_missed_by_count_and_by_fate(fleet: list[Sent], right: Found) -> None:
    wrong = failed_checks(fleet, a_delivery_missing(fleet, right))
    assert len(wrong) == 2
    assert all("tern/syslog" in said for said in wrong.values())
    assert any("ended nothing" in said for said in wrong.values())


def test_a_delivery_of_bytes_that_nobody_sent_is_found(fleet: list[Sent], right: Found) -> None:
    wrong = failed_checks(fleet, a_delivery_of_other_bytes(fleet, right))
    assert len(wrong) == 2
    assert any("expected 0 deliveries of 000000000000, found 1" in one for one in wrong.values())


def test_a_write_below_the_other_client_that_the_store_takes_is_found(
    fleet: list[Sent], right: Found
) -> None:
    intruder = next(one for one in fleet if one.upload.state == REFUSED)
    taken = replace(intruder, answer=Answer(intruder.number, NOW, NOW, 200))
    said = failed_checks([taken if one is intruder else one for one in fleet], right)
    assert "expected 403 AccessDenied, answered 200" in next(iter(said.values()))


def test_an_upload_the_store_wrongly_refuses_is_found(fleet: list[Sent], right: Found) -> None:
    first = replace(fleet[0], answer=Answer(0, NOW, NOW, 403, "AccessDenied"))
    said = failed_checks([first, *fleet[1:]], right)
    assert f"{first.upload.landing_key}: 403 AccessDenied" in said.values()


def test_an_upload_without_an_answer_may_be_there_or_not(fleet: list[Sent], right: Found) -> None:
    """The simulator was killed: what is there must be right, and that it had no answer is said."""
    lost = named(fleet, "tern/battery.csv")
    unheard = [replace(one, answer=None) if one.upload is lost else one for one in fleet]
    no_answer = {"every upload got its answer, and what is in order was taken"}
    assert failed_checks(unheard, right).keys() == no_answer

    def without(rows: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
        return {place: count for place, count in rows.items() if place[0] != log_id_of_lost}

    log_id_of_lost = lost.log_id_of(lost.logs[0])
    place = (lost.client, lost.sha256)
    never_came = replace(
        right,
        deliveries=[one for one in right.deliveries if one.place != place],
        postgres=without(right.postgres),
        parquet=without(right.parquet),
        archived={key: sha256 for key, sha256 in right.archived.items() if key != place},
        replicated={key: sha256 for key, sha256 in right.replicated.items() if key != place},
    )
    assert failed_checks(unheard, never_came).keys() == no_answer
    half = replace(never_came, archived=right.archived)
    assert len(failed_checks(unheard, half)) == 2


def test_what_was_sent_again_after_a_lost_answer_may_come_twice_but_not_thrice(
    fleet: list[Sent], right: Found
) -> None:
    first = right.deliveries[0]
    again = replace(
        first,
        delivery_id="again",
        arrival=2,
        state="duplicate",
        repeats=log_of(fleet, "heron/log_12.ulg"),
        logs=(),
    )
    repeated = [answered(fleet[0], 1, 2), *fleet[1:]]
    twice = replace(right, deliveries=[*right.deliveries, again])
    assert failed_checks(repeated, twice) == {}
    thrice = replace(right, deliveries=[*right.deliveries, again, replace(again, arrival=3)])
    assert "expected 1 to 2 deliveries" in " ".join(failed_checks(repeated, thrice).values())
    assert "expected 1 deliveries" in " ".join(failed_checks(fleet, twice).values())


def test_a_late_listing_makes_a_vanished_delivery_and_nothing_wrong(
    fleet: list[Sent], right: Found
) -> None:
    ghost = replace(
        right.deliveries[0], delivery_id="ghost", state="vanished", reason="deleted",
        sha256=None, arrival=2, logs=(),
    )  # fmt: skip
    assert failed_checks(fleet, replace(right, deliveries=[*right.deliveries, ghost])) == {}
    # Not in place of the real one.
    instead = replace(right, deliveries=[ghost, *right.deliveries[1:]])
    assert failed_checks(fleet, instead)
    # Nor where nobody uploaded anything.
    elsewhere = replace(ghost, landing_key="landing/alpine/heron/unknown")
    assert failed_checks(fleet, replace(right, deliveries=[*right.deliveries, elsewhere]))


def test_rows_meant_for_the_lake_alone_are_not_missed_in_postgres(
    fleet: list[Sent], right: Found
) -> None:
    place = (log_of(fleet, "heron/log_12.ulg"), "ulog_vehicle_attitude")
    kept = {where: rows for where, rows in right.postgres.items() if where != place}
    assert failed_checks(fleet, replace(right, postgres=kept))
    assert failed_checks(fleet, replace(right, postgres=kept, lake_only={place})) == {}


def test_time_in_which_two_runs_overlap_counts_once() -> None:
    def span(begin_s: int, end_s: int) -> tuple[datetime, datetime]:
        return NOW + timedelta(seconds=begin_s), NOW + timedelta(seconds=end_s)

    assert busy_seconds([]) == 0
    assert busy_seconds([span(20, 25), span(0, 10), span(5, 12), span(6, 7)]) == 17
