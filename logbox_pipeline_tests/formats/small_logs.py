"""A small log of every format that is read, by the simulator's own writers."""

import io
from collections.abc import Callable
from dataclasses import dataclass

from logbox_pipeline.simulator import csv_writer, json_writer, text_writer
from logbox_pipeline.simulator.dataflash_writer import write_dataflash
from logbox_pipeline.simulator.dji_app_writer import write_dji_app
from logbox_pipeline.simulator.journal_writer import write_journal
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.tlog_writer import write_tlog
from logbox_pipeline.simulator.ulog_writer import write_ulog

Write = Callable[[int], bytes]
"""A log of some ten KB for a seed."""


@dataclass(frozen=True)
class SmallLog:
    """`writes`: a format in each of its ways; `samples`: folders of real ones."""

    writes: tuple[Write, ...]
    samples: tuple[str, ...] = ()

    def write(self, seed: int) -> bytes:
        """In its most usual way."""
        return self.writes[0](seed)


def _by(writer: Callable[..., object], **how: object) -> Write:
    def write(seed: int) -> bytes:
        out = io.BytesIO()
        writer(out, seed=seed, **how)
        return out.getvalue()

    return write


def _repeated(head: str, lines: str) -> Write:
    """What no writer of the simulator's writes."""
    return lambda seed: (head + lines * 40).encode()


_ZEEK = _repeated(
    "#separator \\x09\n#unset_field\t-\n#fields\tts\tuid\tn\n#types\ttime\tstring\tcount\n",
    "1795510800.123000\tCg9\t2\n1795510801.5\t-\t-\n#close\t2026-11-24-10-00-00\n",
)
_COMPOSE = _repeated(
    "",
    "nav-1   | 2026-11-24 09:00:00 ERROR boom\nnav-1   |   File x\n"
    'link-1  | {"level":"warn","ts":1795510800,"msg":"a\\u0000b","n":1}\n-- Reboot --\n',
)
_ROS_LAUNCH = _repeated(
    "",
    "[INFO] [launch]: up\n[nav-1] [ERROR] [1795510800.123] [nav.gps]: lost\n[nav-1]  more\n"
    "kern  :err   : [   12.000001] usb: Oops\nERROR:root:failed\nTraceback\n",
)


def _texts(format: str) -> tuple[Write, ...]:
    return tuple(
        _by(text_writer.write_text, lines=80, style=name)
        for name, style in text_writer.STYLES.items()
        if style.format == format
    )


SMALL_LOGS = {
    "ulog": SmallLog((_by(write_ulog, duration_s=1.0),), ("ulog",)),
    "dataflash": SmallLog(
        (
            _by(write_dataflash, duration_s=1.0),
            _by(write_dataflash, duration_s=1.0, is_old=True),
            _by(write_dataflash, duration_s=0.5, is_text=True),
        ),
        ("dataflash", "dataflash_text"),
    ),
    "mavlink": SmallLog(
        (
            _by(write_tlog, duration_s=4.0),
            _by(write_tlog, duration_s=4.0, protocol=1, autopilot="px4"),
            _by(write_tlog, duration_s=4.0, is_signed=True),
            _by(write_tlog, duration_s=4.0, has_times=False),
        ),
        ("tlog",),
    ),
    "dji_app": SmallLog((_by(write_dji_app, duration_s=5.0),), ("dji_app_tsv",)),
    "json": SmallLog(
        tuple(
            _by(json_writer.write_json, records=40, style=one)
            for one in ("indented", "documents", "array")
        )
    ),
    "jsonl": SmallLog((_by(write_jsonl, lines=100),), ("jsonl",)),
    "journal": SmallLog((_by(write_journal, entries=40),)),
    "logfmt": SmallLog(_texts("logfmt"), ("logfmt",)),
    "syslog": SmallLog(_texts("syslog"), ("text",)),
    "csv": SmallLog(
        (
            *(_by(csv_writer.write_csv, rows=100, style=one) for one in sorted(csv_writer.STYLES)),
            _ZEEK,
        ),
        ("csv",),
    ),
    "text": SmallLog((*_texts("text"), _COMPOSE, _ROS_LAUNCH), ("text",)),
}
