"""Which member of a JSON log line is its time, level, source, message; and what its value means.

The names are those that OpenTelemetry, bunyan, pino, winston, ECS, journald, Caddy, zap, logrus,
slog, python-json-logger, structlog, loguru, Serilog, log4j2, logback, tracing (Rust), MongoDB,
GELF, Docker, Google Cloud and CloudWatch write. No decoding here, and no lines.
"""

import math
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from enum import IntEnum

from logbox_pipeline.formats.times import epoch_us

TIME_NAMES = (
    *("ts", "time", "timestamp", "@timestamp", "datetime", "asctime", "timeUnixNano"),
    *("time_unix_nano", "__REALTIME_TIMESTAMP", "eventTime", "event_time", "created_at"),
    *("Timestamp", "Time", "@t", "instant", "timeMillis", "epochMillis", "time_local"),
    *("time_iso8601", "t", "date", "utc", "created", "receiveTimestamp", "ingestionTime"),
    *("observedTimeUnixNano", "observed_time_unix_nano", "_SOURCE_REALTIME_TIMESTAMP"),
)
LEVEL_NAMES = (
    *("level", "lvl", "severity", "log.level", "levelname", "loglevel", "log_level", "logLevel"),
    *("severityText", "severity_text", "Level", "LEVEL", "Severity", "SeverityText", "@l"),
    *("PRIORITY", "priority", "severityNumber", "severity_number", "SeverityNumber", "levelno"),
    "level_name",
)
SOURCE_NAMES = (
    *("logger", "log.logger", "logger_name", "loggerName", "Logger", "source", "component"),
    *("SYSLOG_IDENTIFIER", "module", "subsystem", "node", "target", "SourceContext", "category"),
    *("service", "service.name", "app", "name", "unit", "_SYSTEMD_UNIT", "_COMM", "logName"),
    *("logStream", "log_stream", "stream"),
)
MESSAGE_NAMES = (
    *("msg", "message", "MESSAGE", "Message", "short_message", "body", "Body", "@m"),
    *("textPayload", "event", "text", "log", "@mt", "MessageTemplate", "error.message"),
)
BOOT_NAMES = (
    *("t_boot_us", "uptime_us", "timestamp_boot_us", "timestamp_boot", "time_boot_us"),
    *("boot_us", "__MONOTONIC_TIMESTAMP"),
)
PYTHON_MARKS = ("levelname", "levelno", "asctime", "funcName", "lineno", "pathname")
"""Members that only Python's logging writes: with one of them, numbers are its levels."""

_PYTHON_MARKS = frozenset(PYTHON_MARKS)

WRAPPERS = (
    *("log", "record", "event", "fields", "jsonPayload", "protoPayload", "entry", "logEntry"),
    *("data", "payload", "body", "meta", "metadata", "header", "envelope", "context"),
    *("properties", "Properties", "attributes", "detail", "details", "info", "error", "err"),
    *("exception", "scope", "service", "container", "resource"),
)
"""Objects in which loggers put what is not found beside them, in the order of looking."""

SEVERAL_NAMES = ("resourceLogs", "scopeLogs", "logEvents")
"""Arrays of records of their own (`json_several`)."""

_NOT_IN_WRAPPERS = frozenset(
    ("t", "date", "utc", "created", "name", "unit", "event", "text", "body", "Body", "log")
)
"""Too common in payloads to mean time, source or message there."""

_MOST_LEVELS = 10_000


class Role(IntEnum):
    """What a member says; the order is that of the columns that it fills."""

    TIME = 0
    BOOT = 1
    LEVEL = 2
    SOURCE = 3
    MESSAGE = 4


NAMES: Mapping[Role, tuple[str, ...]] = {
    Role.TIME: TIME_NAMES,
    Role.BOOT: BOOT_NAMES,
    Role.LEVEL: LEVEL_NAMES,
    Role.SOURCE: SOURCE_NAMES,
    Role.MESSAGE: MESSAGE_NAMES,
}
"""The usual names of each role, the better one first."""


MONGO_MARK = "ctx"
MONGO_NAMES = {Role.LEVEL: "s", Role.SOURCE: "c"}
"""What only means something where MongoDB's mark stands beside it:
https://www.mongodb.com/docs/manual/reference/log-messages/"""

_FEW_NAMES: Mapping[str, tuple[Role, tuple[str, ...]]] = {
    "scope": (Role.SOURCE, ("name",)),
    "service": (Role.SOURCE, ("name",)),
    "container": (Role.SOURCE, ("name",)),
    "resource": (Role.SOURCE, ("service.name",)),
    "error": (Role.MESSAGE, ("message",)),
    "err": (Role.MESSAGE, ("message",)),
    "exception": (Role.MESSAGE, ("message",)),
}
"""Wrappers that speak of something else but for these members."""


def names_within(wrapper: str, role: Role) -> tuple[str, ...]:
    """The names that mean `role` inside the object `wrapper`."""
    if wrapper in _FEW_NAMES:
        meant, names = _FEW_NAMES[wrapper]
        return names if role is meant else ()
    return tuple(name for name in NAMES[role] if name not in _NOT_IN_WRAPPERS)


NEXTCLOUD_MARK = "reqId"
NEXTCLOUD_MARKS = frozenset((NEXTCLOUD_MARK, "app", "level"))
"""With all of them, numbers are Nextcloud's levels: https://docs.nextcloud.com/server/latest/
admin_manual/configuration_server/logging_configuration.html"""


class LevelScale(IntEnum):
    """What a number means as a level."""

    SYSLOG = 0
    OTEL = 1
    PYTHON = 2
    PINO = 3
    NEXTCLOUD = 4


def numbers_in(names: Collection[str]) -> LevelScale:
    """What numbers mean as levels in a record with these names, when the level's name says
    nothing."""
    if NEXTCLOUD_MARKS.issubset(names):
        return LevelScale.NEXTCLOUD
    return LevelScale.PINO if _PYTHON_MARKS.isdisjoint(names) else LevelScale.PYTHON


def scale_of(name: str, numbers: LevelScale) -> LevelScale:
    """The scale of numbers under the level name `name`, in a record where they mean `numbers`."""
    if name in ("PRIORITY", "priority"):
        return LevelScale.SYSLOG
    if name in ("severityNumber", "severity_number", "SeverityNumber"):
        return LevelScale.OTEL
    return numbers


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
    if scale == LevelScale.NEXTCLOUD and value in range(5):
        return (7, 6, 4, 3, 2)[int(value)], False
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
    """UTC as microseconds since 1970, and whether that is all that the value said.

    Text is ISO 8601 or one of `_TIME_FORMS` (without a zone it is taken as UTC), or a number; a
    number is seconds, milliseconds, microseconds or nanoseconds by its magnitude. Objects are
    those of `_object_us`. What is finer than a microsecond is cut off.
    """
    if isinstance(value, str):
        return _text_us(value.strip())
    if isinstance(value, dict):
        return _object_us(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None, False
    return _number_us(value), True


def _object_us(value: dict[str, object]) -> tuple[int | None, bool]:
    """MongoDB (`$date`), protobuf (`seconds`, `nanos`), log4j2 (`epochSecond`, `nanoOfSecond`),
    loguru (`timestamp`)."""
    if "$date" in value:
        inner = value["$date"]
        if isinstance(inner, dict):
            inner = inner.get("$numberLong")
        us, is_full = (None, False) if isinstance(inner, dict) else time_us(inner)
        return us, is_full and len(value) == 1
    for whole, part in (("seconds", "nanos"), ("epochSecond", "nanoOfSecond")):
        try:
            seconds, nanos = int(value[whole]), int(value.get(part, 0))  # type: ignore[call-overload]
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        if abs(seconds) < 1e12 and 0 <= nanos < 1_000_000_000:
            return seconds * 1_000_000 + nanos // 1_000, value.keys() <= {whole, part}
    stamp = value.get("timestamp")
    return (time_us(stamp)[0], False) if isinstance(stamp, int | float) else (None, False)


_TIME_FORMS = (
    "%d/%b/%Y:%H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S GMT",
    "%Y-%m-%d %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S.%f %z",
    "%Y-%m-%d %H:%M:%S UTC",
    "%Y-%m-%d %H:%M:%S.%f UTC",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M:%S.%f",
)
"""nginx and Apache; e-mail and HTTP; Go, Ruby and BigQuery; nginx's error log."""


def _text_us(text: str) -> tuple[int | None, bool]:
    if len(text) > 10 and not text.isdecimal():
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return _instant_us(instant)
    try:
        return _number_us(int(text) if text.isdecimal() and len(text) < 20 else float(text)), True
    except ValueError:
        pass
    if 18 < len(text) < 50:
        for form in _TIME_FORMS:
            try:
                instant = datetime.strptime(text, form)  # noqa: DTZ007  # some have no zone
            except ValueError:
                continue
            us, has_zone = _instant_us(instant)
            return us, has_zone or form.endswith(("GMT", "UTC"))
    return None, False


def _instant_us(instant: datetime) -> tuple[int | None, bool]:
    try:
        return epoch_us(instant if instant.tzinfo else instant.replace(tzinfo=UTC)), (
            instant.tzinfo is not None
        )
    except OverflowError:
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
