"""The columns of `flight_track`: one vocabulary for every autopilot, one row per second. No I/O.

Which field of which format feeds a column stands in `formats/*_track.py`; how flights are cut out
of a track in `core/flight_cutting.py`.
"""

import pyarrow as pa

from logbox_pipeline.core.tables import TIMESTAMP

TRACK_COLUMNS = pa.schema(
    [
        pa.field("second", pa.int64(), nullable=False),
        pa.field("t_boot_us", pa.int64()),
        pa.field("ts", TIMESTAMP),
        pa.field("lat_deg", pa.float64()),
        pa.field("lon_deg", pa.float64()),
        pa.field("alt_m", pa.float32()),
        pa.field("alt_msl_m", pa.float32()),
        pa.field("speed_m_s", pa.float32()),
        pa.field("climb_m_s", pa.float32()),
        pa.field("heading_deg", pa.float32()),
        pa.field("roll_deg", pa.float32()),
        pa.field("pitch_deg", pa.float32()),
        pa.field("yaw_deg", pa.float32()),
        pa.field("battery_v", pa.float32()),
        pa.field("battery_a", pa.float32()),
        pa.field("battery_pct", pa.float32()),
        pa.field("satellites", pa.int16()),
        pa.field("mode", pa.string()),
        pa.field("is_armed", pa.bool_()),
        pa.field("is_airborne", pa.bool_()),
    ]
)
"""A track without its log: unique by `second`, ascending."""

TRACK_COMMENTS = {
    "second": "whole seconds of the log's clock since the second of its first sample; segments of"
    " a clock that steps back are laid end to end",
    "t_boot_us": "time since the vehicle's start (us) of the newest sample in this second",
    "ts": "UTC of the newest sample in this second; null where nobody knows it",
    "lat_deg": "latitude, WGS 84 (deg, north positive)",
    "lon_deg": "longitude, WGS 84 (deg, east positive)",
    "alt_m": "altitude above home, or above where the log's altitude began (m)",
    "alt_msl_m": "altitude above mean sea level (m)",
    "speed_m_s": "speed over ground (m/s)",
    "climb_m_s": "vertical speed, up positive (m/s)",
    "heading_deg": "where the nose points, from true north, clockwise (deg, 0 to 360)",
    "roll_deg": "roll, right wing down positive (deg, -180 to 180)",
    "pitch_deg": "pitch, nose up positive (deg, -90 to 90)",
    "yaw_deg": "yaw from true north, clockwise (deg, -180 to 180)",
    "battery_v": "voltage of the first battery that reports one (V)",
    "battery_a": "current out of that battery, discharge positive (A)",
    "battery_pct": "charge left in that battery (percent)",
    "satellites": "navigation satellites in use (count)",
    "mode": "flight mode as the autopilot names it",
    "is_armed": "motors are armed",
    "is_airborne": "in the air by the autopilot's own judgement; null where it gives none",
}
"""Column -> its comment, in the lake and in Postgres alike."""
