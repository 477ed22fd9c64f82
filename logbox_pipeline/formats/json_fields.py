"""Which member of a JSON log line is its time, level, source, message; and what its value means.

The names are those that OpenTelemetry, bunyan, pino, ECS, journald, Caddy, python-json-logger,
structlog, zap, GELF and Docker write. No decoding here, and no lines.
"""

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from logbox_pipeline.formats.times import epoch_us

TIME_NAMES = (
    *("ts", "time", "timestamp", "@timestamp", "datetime", "asctime", "timeUnixNano"),
    *("time_unix_nano", "__REALTIME_TIMESTAMP", "eventTime", "event_time", "created_at"),
    *("Timestamp", "Time", "@t", "t", "date", "utc", "created", "observedTimeUnixNano"),
)
LEVEL_NAMES = (
    *("level", "lvl", "severity", "log.level", "levelname", "loglevel", "log_level"),
    *("severityText", "severity_text", "Level", "Severity", "SeverityText", "@l", "PRIORITY"),
    *("priority", "severityNumber", "severity_number", "SeverityNumber", "levelno"),
)
SOURCE_NAMES = (
    *("logger", "log.logger", "logger_name", "source", "component", "SYSLOG_IDENTIFIER"),
    *("module", "subsystem", "node", "service", "service.name", "app", "name", "unit"),
    *("_SYSTEMD_UNIT", "_COMM"),
)
MESSAGE_NAMES = (
    *("msg", "message", "MESSAGE", "Message", "short_message", "body", "Body", "@m"),
    *("event", "text", "log"),
)
BOOT_NAMES = (
    *("t_boot_us", "uptime_us", "timestamp_boot_us", "timestamp_boot", "time_boot_us"),
    *("boot_us", "__MONOTONIC_TIMESTAMP"),
)
_MOST_LEVELS = 10_000
_PYTHON_MARKS = frozenset(("levelname", "levelno", "asctime", "funcName", "lineno", "pathname"))


class LevelScale(StrEnum):
    """What a number means as a level."""

    SYSLOG = "syslog"
    OTEL = "otel"
    PYTHON = "python"
    PINO = "pino"


class Plan(NamedTuple):
    """The member of each role in lines of one shape, None where there is none."""

    time: str | None
    level: str | None
    source: str | None
    message: str | None
    boot: str | None
    levels: "Levels"


class Levels(dict[str | int | float, tuple[int | None, bool]]):
    """`level_of` for one scale, remembered: a log knows few levels."""

    def __init__(self, scale: LevelScale) -> None:
        super().__init__()
        self.scale = scale

    def __missing__(self, value: str | float) -> tuple[int | None, bool]:
        if len(self) >= _MOST_LEVELS:
            self.clear()
        found = self[value] = level_of(value, self.scale)
        return found


def plan_of(names: Collection[str], levels: Mapping[LevelScale, Levels]) -> Plan:
    present = frozenset(names)
    level = _first(LEVEL_NAMES, present)
    if level in ("PRIORITY", "priority"):
        scale = LevelScale.SYSLOG
    elif level in ("severityNumber", "severity_number", "SeverityNumber"):
        scale = LevelScale.OTEL
    elif present & _PYTHON_MARKS:
        scale = LevelScale.PYTHON
    else:
        scale = LevelScale.PINO
    return Plan(
        time=_first(TIME_NAMES, present),
        level=level,
        source=_first(SOURCE_NAMES, present),
        message=_first(MESSAGE_NAMES, present),
        boot=_first(BOOT_NAMES, present),
        levels=levels[scale],
    )


def _first(names: tuple[str, ...], present: frozenset[str]) -> str | None:
    return next((name for name in names if name in present), None)


_EXACT_LEVELS = {
    "emerg": 0,
    "emergency": 0,
    "alert": 1,
    "crit": 2,
    "critical": 2,
    "err": 3,
    "error": 3,
    "warn": 4,
    "warning": 4,
    "notice": 5,
    "info": 6,
    "debug": 7,
}
"""What a severity is called; anything else keeps its word in `attributes` too."""

_NAMES_BY_LEVEL = {
    0: ("panic",),
    2: ("fatal", "dpanic", "c", "f"),
    3: ("severe", "failure", "e"),
    4: ("wrn", "w"),
    5: ("n",),
    6: ("information", "informational", "inf", "i"),
    7: ("trace", "verbose", "fine", "finer", "finest", "silly", "dbg", "trc", "d", "t", "v"),
}
_OTHER_LEVELS = {name: level for level, names in _NAMES_BY_LEVEL.items() for name in names}


def level_of(value: object, scale: LevelScale) -> tuple[int | None, bool]:
    """The syslog severity (RFC 5424) of a level, and whether it says all that the value said."""
    if isinstance(value, str):
        name = value.strip().lower()
        if name in _EXACT_LEVELS:
            return _EXACT_LEVELS[name], True
        if not name.isdecimal():
            name = name.rstrip("0123456789")
            return _EXACT_LEVELS.get(name, _OTHER_LEVELS.get(name)), False
        value = int(name) if len(name) < 9 else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, False
    if scale == LevelScale.OTEL:
        return _otel_level(value), False
    if value in range(8):
        return int(value), True
    if scale == LevelScale.PYTHON and 10 <= value <= 50:
        return {1: 7, 2: 6, 3: 4, 4: 3, 5: 2}[int(value // 10)], False
    if scale == LevelScale.PINO and 10 <= value < 70:
        return {1: 7, 2: 7, 3: 6, 4: 4, 5: 3, 6: 2}[int(value // 10)], False
    return None, False


def _otel_level(number: float) -> int | None:
    """https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber"""
    if not 1 <= number <= 24:
        return None
    return (7, 7, 6, 4, 3, 2)[int(number - 1) // 4]


def time_us(value: object) -> tuple[int | None, bool]:
    """UTC as microseconds since 1970, and whether the value said its zone.

    Text is ISO 8601 (without a zone it is taken as UTC), or a number; a number is seconds,
    milliseconds, microseconds or nanoseconds by its magnitude.
    """
    if isinstance(value, str):
        return _text_us(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, False
    return _number_us(value), True


def _text_us(text: str) -> tuple[int | None, bool]:
    if len(text) > 10 and not text.isdecimal():
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            try:
                return epoch_us(instant if instant.tzinfo else instant.replace(tzinfo=UTC)), (
                    instant.tzinfo is not None
                )
            except OverflowError:
                return None, False
    try:
        return _number_us(int(text) if text.isdecimal() and len(text) < 20 else float(text)), True
    except ValueError:
        return None, False


def _number_us(number: float) -> int | None:
    if not math.isfinite(number) or abs(number) >= 1e20:
        return None
    size = abs(number)
    if size < 1e11:
        return round(number * 1_000_000)
    if size < 1e14:
        return round(number * 1_000)
    if size < 1e17:
        return round(number)
    return int(number) // 1_000
