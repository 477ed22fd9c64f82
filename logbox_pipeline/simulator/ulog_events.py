"""The `event` topic of the simulated PX4 flight: who armed, takeoff, landing. No file format here.

Events are a number and packed arguments; what they mean stands in the log itself, as libevents
(https://github.com/mavlink/libevents) defines it, compressed with xz.
"""

import json
import lzma
import struct

from logbox_pipeline.simulator.flight_path import FlightPlan

FORMAT = (
    "event:uint64_t timestamp;uint32_t id;uint16_t event_sequence;uint8_t[25] arguments;"
    "uint8_t log_levels;"
)
_INFO = 6
_COMPONENT = 1
_ARMED, _DISARMED, _TAKEOFF, _LANDING = 4_098_771, 9_144_502, 2_718_281, 3_141_592
_BY_STICK, _BY_LANDING = 1, 6
_REASON = [{"name": "reason", "type": "arm_disarm_reason_t"}]
_DEFINITIONS = {
    "version": 1,
    "components": {
        str(_COMPONENT): {
            "namespace": "px4",
            "enums": {
                "arm_disarm_reason_t": {
                    "type": "uint8_t",
                    "entries": {
                        str(_BY_STICK): {"name": "rc_stick", "description": "RC stick gesture"},
                        str(_BY_LANDING): {"name": "auto_disarm_land", "description": "landing"},
                    },
                }
            },
            "event_groups": {
                "default": {
                    "events": {
                        str(_ARMED): {
                            "name": "commander_armed_by",
                            "message": "Armed by {1}",
                            "arguments": _REASON,
                        },
                        str(_DISARMED): {
                            "name": "commander_disarmed_by",
                            "message": "Disarmed by {1}",
                            "arguments": _REASON,
                        },
                        str(_TAKEOFF): {
                            "name": "commander_takeoff",
                            "message": "Takeoff detected",
                        },
                        str(_LANDING): {
                            "name": "commander_landing",
                            "message": "Landing detected",
                        },
                    }
                }
            },
        }
    },
}


def definitions() -> bytes:
    """What `metadata_events` holds."""
    return lzma.compress(json.dumps(_DEFINITIONS).encode())


def event_rows(plan: FlightPlan) -> list[tuple[int, bytes]]:
    """(t_boot_us, row of the topic), by time."""
    told = [
        (plan.armed_s, _ARMED, bytes([_BY_STICK])),
        (plan.takeoff_s, _TAKEOFF, b""),
        (plan.landing_s, _LANDING, b""),
        (plan.disarmed_s, _DISARMED, bytes([_BY_LANDING])),
    ]
    rows = []
    for number, (seconds, sub_id, arguments) in enumerate(told):
        us = plan.boot_us(seconds)
        event_id = _COMPONENT << 24 | sub_id
        levels = _INFO << 4 | _INFO
        rows.append((us, struct.pack("<QIH25sB", us, event_id, number, arguments, levels)))
    return rows


def events_said(plan: FlightPlan) -> tuple[tuple[int, int, str], ...]:
    """(t_boot_us, level, message) of what `event_rows` gives."""
    texts = (
        "Armed by RC stick gesture", "Takeoff detected", "Landing detected", "Disarmed by landing"
    )  # fmt: skip
    return tuple((us, _INFO, text) for (us, _), text in zip(event_rows(plan), texts, strict=True))
