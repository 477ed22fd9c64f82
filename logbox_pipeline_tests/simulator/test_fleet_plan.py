"""A fleet's plan follows from its wishes, and has what they say. No stack."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest

from logbox_pipeline.formats.recognize import FORMATS
from logbox_pipeline.formats.unread import UNREAD
from logbox_pipeline.settings import Settings
from logbox_pipeline.simulator.fleet_logs import ABORTED, REFUSED, Declares, Upload
from logbox_pipeline.simulator.fleet_plan import (
    LARGEST_BYTES,
    PROPORTIONS,
    SMALLEST_BYTES,
    WEEK_S,
    Arrival,
    Fault,
    Kind,
    PlannedUpload,
    Wishes,
    duration_s,
    plan,
)
from logbox_pipeline.simulator.fleet_write import REVOKED, repeated, write_upload
from logbox_pipeline.steps.inspect import inspect
from logbox_pipeline_tests.simulator.test_fleet import compare

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
MANY = Wishes(clients=4, drones=25, logs=10)


def drones(uploads: list[PlannedUpload]) -> list[list[PlannedUpload]]:
    return [
        [one for one in uploads if one.drone == drone] for drone in {one.drone for one in uploads}
    ]


def test_the_same_seed_plans_the_same_and_another_does_not() -> None:
    assert plan(MANY) == plan(MANY)
    assert plan(MANY) != plan(replace(MANY, seed=2))


def test_every_client_drone_and_upload_is_there_once() -> None:
    uploads = plan(MANY)
    assert [one.number for one in uploads] == list(range(1_000))
    assert Counter(one.client for one in uploads) == dict.fromkeys(range(4), 250)
    assert Counter(one.drone for one in uploads) == dict.fromkeys(range(100), 10)
    assert all(len({one.name for one in own}) == 10 for own in drones(uploads))


def test_faults_come_in_their_proportions_to_within_one() -> None:
    counted = Counter(one.fault for one in plan(MANY))
    for fault, share in PROPORTIONS.items():
        assert abs(counted[fault] - 1_000 * share) <= 1, fault
    shares = dict.fromkeys(Fault, 0.0) | {Fault.TAMPERED: 0.5}
    counted = Counter(one.fault for one in plan(replace(MANY, faults=shares)))
    assert set(counted) == {None, Fault.TAMPERED}
    assert abs(counted[Fault.TAMPERED] - 500) <= 1


def test_sizes_are_spread_over_their_range_and_capped() -> None:
    own = [one for one in plan(MANY) if one.fault is None]
    sizes = sorted(one.size_bytes for one in own)
    assert sizes[0] >= SMALLEST_BYTES
    assert 30_000_000 < sizes[-1] <= LARGEST_BYTES
    assert 1_000_000 < median(sizes) < 2_000_000
    capped = plan(replace(MANY, largest_bytes=300_000))
    assert all(one.size_bytes <= 300_000 for one in capped if one.fault is not Fault.KILLED)


def test_all_formats_are_there_where_a_size_allows_it() -> None:
    kinds = Counter(one.kind for one in plan(Wishes(largest_bytes=700_000)))
    assert set(kinds) == set(Kind)
    assert {one.kind for one in plan(Wishes(largest_bytes=30_000)) if one.fault is None} == {
        Kind.JSONL, Kind.JSONL_GZ, Kind.JSON, Kind.JOURNAL, Kind.CSV, Kind.TSV, Kind.SYSLOG,
        Kind.LOGFMT, Kind.TEXT,
    }  # fmt: skip


def test_a_duplicate_repeats_a_whole_log_of_its_client() -> None:
    uploads = plan(MANY)
    for one in uploads:
        if one.fault is Fault.DUPLICATE:
            assert one.repeats is not None
            first = uploads[one.repeats]
            assert first.fault in (None, Fault.SLOW, Fault.CLOCK_OFF)
            assert first.client == one.client
            assert (first.seed, first.units) == (one.seed, one.units)
        else:
            assert one.repeats is None


def test_no_two_recordings_of_a_drone_overlap() -> None:
    for arrival in Arrival:
        for own in drones(plan(replace(MANY, arrival=arrival))):
            first_hand = [one for one in own if one.repeats is None]
            for before, after in pairwise(first_hand):
                assert before.began_s - duration_s(before) > after.began_s + 300
            assert first_hand[-1].began_s - duration_s(first_hand[-1]) >= 0


def test_the_shapes_of_arrival() -> None:
    steady = sorted(one.due_s for one in plan(replace(MANY, over_s=100)))
    assert all(0.09 < after - before < 0.11 for before, after in pairwise(steady))
    burst = plan(replace(MANY, arrival=Arrival.BURST))
    assert all(len({one.due_s for one in own}) == 1 for own in drones(burst))
    assert len({one.due_s for one in burst}) == 100
    week = plan(replace(MANY, arrival=Arrival.CATCH_UP, largest_bytes=2_000_000))
    assert {one.due_s for one in week} == {0}
    for own in drones(week):
        began = [one.began_s for one in own if one.repeats is None]
        assert began[0] == pytest.approx(WEEK_S, rel=0.01)
        assert began == sorted(began, reverse=True)


def test_what_the_ledger_says_of_a_planned_log_is_what_is_in_it(tmp_path: Path) -> None:
    """Also of those that end in the middle, in each format that can."""
    shares = dict.fromkeys(Fault, 0.0) | {Fault.TRUNCATED: 0.3, Fault.UNKNOWN_FORMAT: 0.05}
    settings = Settings(parse_workers=1)
    uploads = plan(Wishes(seed=3, drones=2, logs=10, largest_bytes=650_000, faults=shares))
    written = [
        write_upload(
            one, tmp_path / f"{one.number}", ["alpine", "harbour"], NOW, accepts_undeclared=False
        )
        for one in uploads
    ]
    assert len({one.sha256 for one in written}) == len(written)
    cut = {one.logs[0].format for one in written if any(log.is_damaged for log in one.logs)}
    assert cut == {"ulog", "jsonl", "json"}
    read = {known.name for known in FORMATS} - {known.name for known in UNREAD}
    assert {log.format for one in written for log in one.logs} - {None} == read
    for planned, upload in zip(uploads, written, strict=True):
        assert upload.size_bytes < 1.1 * planned.size_bytes
        with inspect(settings, upload.path, NOW) as found:
            members = {one.member: one for one in found.logs}
            assert set(members) == {log.member for log in upload.logs}
            for log in upload.logs:
                compare(upload, log, members[log.member])


def test_what_must_become_of_each_fault(tmp_path: Path) -> None:
    wishes = Wishes(logs=4, largest_bytes=30_000, faults=dict.fromkeys(Fault, 0.08))
    planned = {one.fault: one for one in plan(wishes) if one.fault is not Fault.KILLED}
    whole = planned[None]

    def written(fault: Fault, number: int = 0, *, accepts_undeclared: bool = False) -> Upload:
        return write_upload(
            replace(whole, fault=fault, number=number),
            tmp_path / f"{fault}{number}",
            ["alpine", "harbour"],
            NOW,
            accepts_undeclared=accepts_undeclared,
        )

    tampered = written(Fault.TAMPERED)
    assert (tampered.state, tampered.reason) == ("quarantined", "mismatch")
    assert (tampered.declares, tampered.logs) == (Declares.ANOTHER, ())
    undeclared = written(Fault.UNDECLARED)
    assert (undeclared.state, undeclared.reason) == ("quarantined", "undeclared")
    accepted = written(Fault.UNDECLARED, accepts_undeclared=True)
    assert (accepted.state, accepted.declares) == ("archived", Declares.NONE)
    assert accepted.logs
    assert written(Fault.WRONG_PREFIX).state == REFUSED
    assert written(Fault.WRONG_PREFIX).client != written(Fault.WRONG_PREFIX).key_of
    assert written(Fault.WRONG_KEY).key_of == REVOKED
    assert written(Fault.WRONG_KEY, 1).key_of not in (REVOKED, written(Fault.WRONG_KEY).client)
    assert written(Fault.ABORTED).state == ABORTED
    again = repeated(planned[Fault.DUPLICATE], tampered)
    assert again.sha256 == tampered.sha256
    assert again.landing_key != tampered.landing_key
