"""What the fleet says must come out is what the real parsers read in its files. No stack."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from logbox_pipeline.core.tables import EVENTS, PARAMETERS, table_name_of
from logbox_pipeline.settings import Settings
from logbox_pipeline.simulator.fleet import make_fleet
from logbox_pipeline.simulator.fleet_logs import SUPERSEDED, Declares, ExpectedLog, Upload
from logbox_pipeline.steps.inspect import InspectedLog, inspect
from logbox_pipeline.steps.parse_worker import ParsedLog

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> list[Upload]:
    return make_fleet(tmp_path_factory.mktemp("fleet"), ("alpine", "harbour"), NOW)


def test_every_file_holds_what_its_ledger_says(fleet: list[Upload]) -> None:
    settings = Settings(parse_workers=1)
    for upload in fleet:
        if not upload.logs:
            continue
        with inspect(settings, upload.path, NOW) as found:
            members = {one.member: one for one in found.logs}
            assert set(members) == {log.member for log in upload.logs}, upload.name
            assert (
                tuple((one.member, one.reason) for one in found.refused) == upload.refused_members
            )
            for log in upload.logs:
                if log.state != SUPERSEDED:
                    compare(upload, log, members[log.member])


def compare(upload: Upload, log: ExpectedLog, found: InspectedLog) -> None:
    result = found.result
    assert found.sha256 == log.sha256, upload.name
    assert result.format == log.format, upload.name
    if not isinstance(result, ParsedLog):
        assert (log.state, log.reason) == ("unparsed", result.reason), upload.name
        return
    spooled = result.spooled
    rows = Counter(
        {table_name_of(result.format, topic.topic, ()): topic.rows for topic in spooled.topics}
    )
    rows[EVENTS], rows[PARAMETERS] = len(found.events()), len(found.parameters())
    assert +rows == +Counter(log.tables), upload.name
    said = set(found.events()["source"])
    assert ("logbox.damage" in said) == log.is_damaged, upload.name
    flights = result.track.flights if result.track else ()
    assert len(flights) == (log.flight is not None), upload.name
    if log.flight is not None:
        (flight,) = flights
        told = log.flight
        assert flight.duration_s == pytest.approx(told.duration_s, abs=3), upload.name
        assert flight.end_state == told.end_state, upload.name
        assert (flight.takeoff_at is not None) == told.has_time, upload.name
        if told.max_alt_m is not None:
            assert flight.max_alt_m == pytest.approx(told.max_alt_m, abs=1), upload.name
        if told.distance_m is not None:
            assert flight.distance_m == pytest.approx(told.distance_m, rel=0.05), upload.name
        if told.battery_used_pct is not None:
            assert flight.battery_used_pct == pytest.approx(told.battery_used_pct, abs=2)


def test_every_format_that_is_read_and_every_fault_is_there(fleet: list[Upload]) -> None:
    logs = [log for upload in fleet for log in upload.logs]
    assert {log.format for log in logs} - {None, "mcap"} == {
        "ulog", "dataflash", "mavlink", "jsonl", "logfmt", "syslog", "text", "csv", "dji_app"
    }  # fmt: skip
    assert {(one.state, one.reason) for one in fleet} == {
        ("archived", None),
        ("duplicate", None),
        ("quarantined", "mismatch"),
        ("quarantined", "undeclared"),
        ("refused", "AccessDenied"),
    }
    assert {(log.state, log.reason) for log in logs} == {
        ("loaded", None),
        (SUPERSEDED, None),
        ("unparsed", "not_read"),
        ("unparsed", "unknown_format"),
    }
    assert any(log.is_damaged for log in logs)
    assert any(one.refused_members for one in fleet)
    assert {one.declares for one in fleet} == set(Declares)


def test_the_same_morning_gives_the_same_bytes(fleet: list[Upload], tmp_path: Path) -> None:
    again = make_fleet(tmp_path, ("alpine", "harbour"), NOW)
    assert [one.sha256 for one in again] == [one.sha256 for one in fleet]
    distinct = [one.sha256 for one in fleet if one.state != "duplicate"]
    assert len(set(distinct)) == len(distinct)
