"""The mappings as documentation: every line says what, how and from where, and is true."""

import re

import pytest
from pymavlink.dialects.v20 import ardupilotmega

from logbox_pipeline.core.track import TRACK_COLUMNS
from logbox_pipeline.formats import dataflash_track, dji_app_track, mavlink_track, ulog_track
from logbox_pipeline.formats.track import HIDDEN_COLUMNS
from logbox_pipeline.formats.track_mapping import TrackFormat

FORMATS = (ulog_track.TRACK, dataflash_track.TRACK, mavlink_track.TRACK, dji_app_track.TRACK)
by_format = pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.format)


@by_format
def test_every_line_says_the_column_the_way_and_the_source(known: TrackFormat) -> None:
    for one in known.mapping:
        assert one.column in (*TRACK_COLUMNS.names, *HIDDEN_COLUMNS)
        assert re.fullmatch(r"https://[a-z0-9.-]+/\S+", one.source), one
        assert one.scale is not None or one.meaning, one
        assert (one.value is None) or (one.scale is None), one


@by_format
def test_no_line_is_there_twice(known: TrackFormat) -> None:
    lines = [(one.column, one.topic, one.field, one.meaning) for one in known.mapping]
    assert len(lines) == len(set(lines))


@by_format
def test_every_column_has_a_source_or_is_known_to_have_none(known: TrackFormat) -> None:
    without = set(TRACK_COLUMNS.names) - {one.column for one in known.mapping}
    lacking = {"dji_app": {"alt_msl_m"}}.get(known.format, set())
    assert without == {"second", "t_boot_us", "ts"} | lacking


def test_mavlink_fields_are_those_of_the_dialect() -> None:
    messages = {
        message.msgname: set(message.fieldnames) for message in ardupilotmega.mavlink_map.values()
    }
    for one in mavlink_track.MAPPING:
        for name in (*one.fields, *(need.field for need in one.needs)):
            assert name.split("[")[0] in messages[one.topic], (one.topic, name)


def test_a_line_can_be_read_by_people() -> None:
    lines = {(one.column, one.topic, one.field): one.how for one in mavlink_track.MAPPING}
    assert lines["speed_m_s", "GPS_RAW_INT", "vel"] == ("x 0.01; fix_type from 3; 65535 is unknown")
    assert lines["climb_m_s", "VFR_HUD", "climb"] == "as it is"
    assert lines["is_armed", "HEARTBEAT", "base_mode"] == "bit 128, MAV_MODE_FLAG_SAFETY_ARMED"
    assert lines["lat_deg", "GLOBAL_POSITION_INT", "lat"].startswith(
        "x 1e-07; lat from -900000000 to 900000000 not 0"
    )
