"""One JSON record to a row: what its columns say, and what is left of it.

Any record: nested, repeated, odd. What is usual goes through `json_columns`, which does the same
for a whole block and hands over what it cannot settle. No lines here.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from logbox_pipeline.formats.json_fields import (
    MONGO_MARK,
    MONGO_NAMES,
    NAMES,
    WRAPPERS,
    Levels,
    LevelScale,
    Role,
    names_within,
    numbers_in,
    scale_of,
    time_us,
)
from logbox_pipeline.formats.json_values import Record
from logbox_pipeline.formats.times import EARLIEST_LOG_US

_MOST_SHAPES = 10_000
_LEVEL_TEXTS = ("name", "level", "label", "levelname", "value")
_VALUES = msgspec.json.Decoder()
_RECORDS = msgspec.json.Decoder(Record)
_ENCODER = msgspec.json.Encoder()


class Row(NamedTuple):
    """One event; `attributes` is a JSON object as text, None when nothing is left."""

    ts_us: int | None
    t_boot_us: int | None
    level: int | None
    source: str | None
    message: str | None
    attributes: bytes | None


class _Plan(NamedTuple):
    """Of records with the same names: where to look for each role, the best place first."""

    names: tuple[tuple[str, ...], ...]
    wrappers: tuple[str, ...]
    numbers: LevelScale


class Mapper:
    """Maps records of one log.

    latest_us: times later than this are refused, as are those before EARLIEST_LOG_US.
    """

    def __init__(self, latest_us: int) -> None:
        self.latest_us = latest_us
        self.levels = tuple(Levels(scale) for scale in LevelScale)
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def row(self, record: Record) -> Row:
        """The row of `record`, which is used up."""
        plan = self._plan(record)
        found: list[object] = []
        inner: dict[str, Record] = {}
        for role in Role:
            value = self._taken(record, plan.names[role], role, plan.numbers)
            for wrapper in plan.wrappers if value is None else ():
                if wrapper not in inner:
                    inner[wrapper] = _members(record[wrapper])
                within = inner[wrapper]
                names = tuple(n for n in names_within(wrapper, role) if n in within)
                size = len(within)
                value = self._taken(within, names, role, numbers_in(within))
                if len(within) < size:
                    _put_back(record, wrapper, within)
                if value is not None:
                    break
            found.append(value)
        attributes = _ENCODER.encode(record) if record else None
        return Row._make([*found, attributes])

    def _plan(self, record: Record) -> _Plan:
        shape = tuple(record)
        plan = self._plans.get(shape)
        if plan is None:
            if len(self._plans) >= _MOST_SHAPES:
                self._plans.clear()
            plan = self._plans[shape] = _Plan(
                tuple(_names_in(record, role) for role in Role),
                tuple(n for n in WRAPPERS if n in record),
                numbers_in(record),
            )
        return plan

    def _taken(
        self, record: Record, names: tuple[str, ...], role: Role, numbers: LevelScale
    ) -> object:
        """What the first of `names` that means something says; it leaves when that is all."""
        for name in names:
            value = _VALUES.decode(record[name])
            found: object
            if role is Role.LEVEL:
                found, is_full = self._level(value, scale_of(name, numbers))
            elif role is Role.TIME:
                found, is_full = self._time(value)
            else:
                found, is_full = _READERS[role](value)
            if found is not None:
                if is_full:
                    del record[name]
                return found
        return None

    def _time(self, value: object) -> tuple[int | None, bool]:
        us, is_full = time_us(value)
        if us is None or not EARLIEST_LOG_US <= us <= self.latest_us:
            return None, False
        return us, is_full

    def _level(self, value: object, scale: LevelScale) -> tuple[int | None, bool]:
        if isinstance(value, dict):
            # loguru: {"name": "INFO", "no": 20, "icon": ...}
            text = next((value[n] for n in _LEVEL_TEXTS if isinstance(value.get(n), str)), None)
            return (self.levels[scale][text][0] if text is not None else None), False
        # A true is no 1, though it would be found as one.
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None, False
        return self.levels[scale][value]


def _names_in(record: Record, role: Role) -> tuple[str, ...]:
    names = NAMES[role]
    if MONGO_MARK in record and role in MONGO_NAMES:
        names = (*names, MONGO_NAMES[role])
    return tuple(name for name in names if name in record)


def _members(raw: msgspec.Raw) -> Record:
    """The members of an object; none of anything else."""
    return _RECORDS.decode(raw) if bytes(memoryview(raw)[:1]) == b"{" else {}


def _put_back(record: Record, name: str, members: Record) -> None:
    if members:
        record[name] = msgspec.Raw(_ENCODER.encode(members))
    else:
        del record[name]


def _boot(value: object) -> tuple[int | None, bool]:
    if isinstance(value, str) and value.isdecimal() and len(value) < 19:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        return None, False
    return value, True


def _text(value: object) -> tuple[str | None, bool]:
    if isinstance(value, str):
        return value, True
    # OpenTelemetry's AnyValue.
    if isinstance(value, dict) and len(value) == 1:
        inner = value.get("stringValue")
        return (inner, True) if isinstance(inner, str) else (None, False)
    # journald writes text that is no UTF-8, or holds control characters, as its bytes.
    if isinstance(value, list) and value and all(type(n) is int and 0 <= n < 256 for n in value):
        return _text_of(bytes(value))
    return None, False


def _text_of(raw: bytes) -> tuple[str, bool]:
    text = raw.decode("utf-8", "replace").replace("\0", "\ufffd")
    return text, "\ufffd" not in text


_READERS: dict[Role, Callable[[object], tuple[object, bool]]] = {
    Role.BOOT: _boot,
    Role.SOURCE: _text,
    Role.MESSAGE: _text,
}
