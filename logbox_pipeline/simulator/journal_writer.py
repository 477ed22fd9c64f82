"""Write the systemd journal as `journalctl -o export` does. No parsing here.

https://systemd.io/JOURNAL_EXPORT_FORMATS: a value with newlines is its name alone, eight bytes of
length (little-endian) and the bytes.
"""

import random
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

_STEP = timedelta(seconds=1)
_UNITS = ("nav.service", "link.service", "camera.service", "systemd")
_MESSAGES = (
    "Started the companion's navigation.",
    "link quality changed\n  before: 71 %\n  now: 64 %",
    "frame captured, queued for upload",
    "Out of memory: killed process 412\nTraceback:\n  File camera.py",
)
_PRIORITIES = (7, 6, 6, 6, 5, 4, 3)


def write_journal(
    out: BinaryIO,
    *,
    seed: int,
    entries: int,
    start: datetime = datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
) -> None:
    """Write `entries` entries, one second apart from `start` on; each is an event."""
    chance = random.Random(seed)
    boot = f"{chance.getrandbits(128):032x}"
    for number in range(entries):
        at_us = (start + number * _STEP - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
            microseconds=1
        )
        message = f"{chance.choice(_MESSAGES)} #{number}".encode()
        head = (
            f"__CURSOR=s={boot};i={number:x}\n"
            f"__REALTIME_TIMESTAMP={at_us}\n"
            f"__MONOTONIC_TIMESTAMP={27_200_938 + number * 1_000_000}\n"
            f"_BOOT_ID={boot}\n"
            f"PRIORITY={chance.choice(_PRIORITIES)}\n"
            f"SYSLOG_IDENTIFIER={chance.choice(_UNITS)}\n"
        ).encode()
        said = b"MESSAGE=" + message
        if b"\n" in message:
            said = b"MESSAGE\n" + len(message).to_bytes(8, "little") + message
        out.write(head + said + b"\n\n")
