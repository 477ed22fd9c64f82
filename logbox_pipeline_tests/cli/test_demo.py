"""The demo's verdict: each thing that comes out wrong is found and named. No stack."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from logbox_pipeline.core.tables import EVENTS
from logbox_pipeline.simulator.fleet import REFUSED, Upload, make_fleet, rows_by_log
from logbox_pipeline.simulator.fleet_judge import Delivery, Found, busy_seconds, judge

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> list[Upload]:
    return make_fleet(tmp_path_factory.mktemp("fleet"), ("alpine", "harbour"), NOW)


def delivered(fleet: Sequence[Upload], upload: Upload) -> Delivery:
    first = next(one for one in fleet if one.sha256 == upload.sha256)
    return Delivery(
        upload.landing_key,
        upload.state,
        upload.log_state,
        upload.reason,
        first.log_id if upload.state == "duplicate" else None,
        upload.size_bytes,
        0,
        12.0 if upload.log_state == "loaded" else None,
    )


@pytest.fixture
def right(fleet: list[Upload]) -> Found:
    """What is found when all is well."""
    came = [one for one in fleet if one.state != REFUSED]
    return Found(
        deliveries={one.landing_key: delivered(fleet, one) for one in came},
        postgres=rows_by_log(fleet),
        parquet=rows_by_log(fleet),
        archived={o.landing_key: o.sha256 for o in came if o.state != "quarantined"},
        quarantined={o.landing_key: o.sha256 for o in came if o.state == "quarantined"},
        in_landing=[],
        stray_files=[],
        busy_s=5.0,
    )


def refusals(fleet: Sequence[Upload]) -> dict[str, str]:
    return {one.landing_key: "AccessDenied" for one in fleet if one.state == REFUSED}


def test_what_must_come_out_passes_every_check(fleet: list[Upload], right: Found) -> None:
    checks = judge(fleet, right, refusals(fleet))
    assert [check.sentence for check in checks if not check.passed] == []


def named(fleet: Sequence[Upload], name: str) -> Upload:
    return next(one for one in fleet if one.name == name)


def one_row_short(fleet: Sequence[Upload], found: Found) -> Found:
    place = (named(fleet, "kite/mission.jsonl").log_id, EVENTS)
    return replace(found, postgres={**found.postgres, place: found.postgres[place] - 1})


def a_log_twice_in_parquet(fleet: Sequence[Upload], found: Found) -> Found:
    place = (named(fleet, "heron/flight-1.ulg").log_id, "ulog_vehicle_attitude")
    return replace(found, parquet={**found.parquet, place: found.parquet[place] * 2})


def rows_of_a_refused_log(fleet: Sequence[Upload], found: Found) -> Found:
    place = (named(fleet, "gull/no-digest.ulg").log_id, "ulog_vehicle_status")
    return replace(found, postgres={**found.postgres, place: 41})


def a_mismatch_let_through(fleet: Sequence[Upload], found: Found) -> Found:
    key = named(fleet, "kite/torn.jsonl").landing_key
    let_through = replace(found.deliveries[key], state="archived", log_state="loaded", reason=None)
    return replace(found, deliveries={**found.deliveries, key: let_through})


def a_delivery_missing(fleet: Sequence[Upload], found: Found) -> Found:
    key = named(fleet, "tern/indoor.ulg").landing_key
    return replace(found, deliveries={k: v for k, v in found.deliveries.items() if k != key})


def a_duplicate_of_nothing(fleet: Sequence[Upload], found: Found) -> Found:
    key = named(fleet, "heron/flight-1b.ulg").landing_key
    lost = replace(found.deliveries[key], repeats="00000000-0000-0000-0000-000000000000")
    return replace(found, deliveries={**found.deliveries, key: lost})


def a_flipped_bit_in_the_archive(fleet: Sequence[Upload], found: Found) -> Found:
    key = named(fleet, "kite/camera.raw").landing_key
    return replace(found, archived={**found.archived, key: "0" * 64})


def something_left_in_landing(fleet: Sequence[Upload], found: Found) -> Found:
    return replace(found, in_landing=[fleet[0].landing_key])


def a_stray_lake_file(fleet: Sequence[Upload], found: Found) -> Found:
    return replace(found, stray_files=["lake/log_events/received_on=2026-11-24/x.parquet"])


@pytest.mark.parametrize(
    ("spoil", "failed", "named_in_it"),
    [
        (one_row_short, "Postgres has", "found 11,999"),
        (a_log_twice_in_parquet, "Parquet has", "ulog_vehicle_attitude of log"),
        (rows_of_a_refused_log, "Postgres has", "expected 0 rows, found 41"),
        (a_mismatch_let_through, "deliveries ended", "expected quarantined mismatch"),
        (a_delivery_missing, "deliveries ended", "ended nothing"),
        (a_duplicate_of_nothing, "deliveries ended", "repeats no log"),
        (a_flipped_bit_in_the_archive, "the archive gives back", "camera.raw"),
        (something_left_in_landing, "left in landing", "flight-1.ulg"),
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


def test_every_drone_has_its_own_bytes_and_every_kind_of_upload_is_there(
    fleet: list[Upload], tmp_path: Path
) -> None:
    outcomes = {(one.state, one.log_state, one.reason) for one in fleet}
    assert outcomes == {
        ("archived", "loaded", None),
        ("archived", "unparsed", "unknown_format"),
        ("duplicate", None, None),
        ("quarantined", None, "mismatch"),
        ("quarantined", None, "undeclared"),
        (REFUSED, None, "AccessDenied"),
    }
    distinct = [one.sha256 for one in fleet if one.state != "duplicate"]
    assert len(set(distinct)) == len(distinct)
    again = make_fleet(tmp_path, ("alpine", "harbour"), NOW)
    assert [one.sha256 for one in again] == [one.sha256 for one in fleet]


def test_time_in_which_two_runs_overlap_counts_once() -> None:
    def span(begin_s: int, end_s: int) -> tuple[datetime, datetime]:
        return NOW + timedelta(seconds=begin_s), NOW + timedelta(seconds=end_s)

    assert busy_seconds([]) == 0
    assert busy_seconds([span(20, 25), span(0, 10), span(5, 12), span(6, 7)]) == 17
