"""Who a vehicle is by its AUTOPILOT_VERSION. The words match those of its other logs.

https://mavlink.io/en/messages/common.html#AUTOPILOT_VERSION
"""

import struct
from typing import Any

from logbox_pipeline.formats.mavlink_modes import AUTOPILOT_ARDUPILOT, AUTOPILOT_PX4
from logbox_pipeline.formats.ulog_definitions import release_name


def vehicle_uid(version: dict[str, Any] | None, autopilot: int) -> str | None:
    """PX4: the 18 bytes of its guid in hex, as ULog's `sys_uuid` has them. ArduPilot: the three
    words of the processor's id as its banner prints them, or the text of a Linux board's id."""
    if version is None:
        return None
    uid2, uid = version["uid2"], version["uid"]
    if any(uid2):
        text = uid2.rstrip(b"\0")
        if autopilot != AUTOPILOT_PX4 and text.isalnum() and len(text) >= 8:
            return str(text.decode("ascii"))
        if autopilot == AUTOPILOT_ARDUPILOT and not any(uid2[12:]):
            return "".join(f"{word:08x}" for word in struct.unpack("<3I", uid2[:12]))
        return str(uid2.hex())
    return f"{uid:016x}" if uid else None


def firmware(version: dict[str, Any] | None, autopilot: int) -> str | None:
    """`v1.14.0 b8c541dd72771d1f`: release and git hash."""
    if version is None or not version["flight_sw_version"]:
        return None
    name = release_name(version["flight_sw_version"])
    custom = version["flight_custom_version"]
    if not any(custom):
        return name
    if autopilot == AUTOPILOT_ARDUPILOT:
        return f"{name} {custom.rstrip(bytes(1)).decode('ascii', 'replace')}"
    # PX4 puts the first 8 bytes of the hash there as a number, so its end comes first.
    return f"{name} {custom[::-1].hex()}"


def hardware(version: dict[str, Any] | None) -> str | None:
    """Numbers only: which board they mean stands in each autopilot's own lists."""
    if version is None:
        return None
    found = [
        f"{name} {version[key]}"
        for name, key in (
            ("board", "board_version"),
            ("vendor", "vendor_id"),
            ("product", "product_id"),
        )
        if version[key]
    ]
    return ", ".join(found) or None
