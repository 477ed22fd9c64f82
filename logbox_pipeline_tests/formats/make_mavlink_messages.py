"""Make `formats/mavlink_messages.json` from pymavlink, a development dependency.

    .venv/bin/python -m logbox_pipeline_tests.formats.make_mavlink_messages

The union is pymavlink's `all` dialect, which holds ardupilotmega, common, development, storm32 and
the vendors' whole, and then matrixpilot and paparazzi for the ids that `all` leaves free. An id
that two dialects claim keeps the definition of `all`: what flies today is ArduPilot and PX4.
"""

import contextlib
import importlib
import io
import json
from pathlib import Path
from typing import Any

import pymavlink
from pymavlink.generator import mavparse

from logbox_pipeline.formats import mavlink_definitions

DIALECTS = Path(pymavlink.__file__).parent / "dialects" / "v20"
FURTHER = ("matrixpilot", "paparazzi")
ENUMS = (
    "FIRMWARE_VERSION_TYPE",
    "GPS_FIX_TYPE",
    "MAV_AUTOPILOT",
    "MAV_CMD",
    "MAV_COMPONENT",
    "MAV_LANDED_STATE",
    "MAV_MODE_FLAG",
    "MAV_PARAM_TYPE",
    "MAV_RESULT",
    "MAV_SEVERITY",
    "MAV_STATE",
    "MAV_TYPE",
    "MAV_VTOL_STATE",
)


def resource() -> str:
    """The whole file: one message a line, so that a difference shows what changed."""
    parsed = _parsed_messages()
    messages: dict[int, Any] = {}
    for dialect in ("all", *FURTHER):
        module = importlib.import_module(f"pymavlink.dialects.v20.{dialect}")
        for message_id, known in module.mavlink_map.items():
            if message_id not in messages:
                messages[message_id] = _message(known, parsed)
    enums = importlib.import_module("pymavlink.dialects.v20.all").enums
    lines = ",\n".join(f'"{number}":{_compact(messages[number])}' for number in sorted(messages))
    named = ",\n".join(f'"{name}":{_compact(_names(enums[name]))}' for name in ENUMS)
    return f'{{"messages":{{\n{lines}\n}},"enums":{{\n{named}\n}}}}\n'


def _parsed_messages() -> dict[tuple[str, int], tuple[str, Any]]:
    """(name, crc_extra) -> the dialect's file that defines it, and pymavlink's parsed XML."""
    found: dict[tuple[str, int], tuple[str, Any]] = {}
    for path in sorted(DIALECTS.glob("*.xml")):
        with contextlib.redirect_stdout(io.StringIO()):
            parsed = mavparse.MAVXML(str(path), "2.0")
        for message in parsed.message:
            found.setdefault((message.name, message.crc_extra), (path.stem, message))
    return found


def _message(known: Any, parsed: dict[tuple[str, int], tuple[str, Any]]) -> list[Any]:
    """[name, dialect, crc_extra, base length, length, fields in the order of the dialect]."""
    dialect, message = parsed[known.msgname, known.crc_extra]
    assert known.fieldnames == message.fieldnames
    assert known.unpacker.size == message.wire_length
    fields = [
        [
            field.name,
            field.type,
            field.array_length,
            field.wire_offset,
            field.units.strip("[]"),
            field.enum,
        ]
        for field in message.fields
    ]
    return [
        known.msgname,
        dialect,
        known.crc_extra,
        message.wire_min_length,
        message.wire_length,
        [_shortened(field) for field in fields],
    ]


def _shortened(field: list[Any]) -> list[Any]:
    while not field[-1]:
        field.pop()
    return field


def _names(enum: Any) -> dict[str, str]:
    return {
        str(value): entry.name
        for value, entry in sorted(enum.items())
        if not entry.name.endswith("_ENUM_END")
    }


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    mavlink_definitions.RESOURCE.write_text(resource())
