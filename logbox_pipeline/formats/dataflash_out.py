"""What binary and text DataFlash logs yield alike: events, parameters, the log as a whole."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logbox_pipeline.formats.dataflash_clock import LARGEST_CLOCK_US, Clock, Offsets
from logbox_pipeline.formats.dataflash_definitions import Layout, Slot
from logbox_pipeline.formats.dataflash_events import (
    Fields,
    Identity,
    Settings,
    event,
)
from logbox_pipeline.formats.stream import (
    EVENT_SCHEMA,
    PARAMETER_SCHEMA,
    About,
    Events,
    Parameters,
    TimeSource,
)
from logbox_pipeline.formats.times import instant

Values = Sequence[str | int | float | None]

_GPS_TIME_FIELDS = (("GWk", "GMS"), ("Week", "TimeMS"), ("Wk", "TWk"))
"""Week, and milliseconds of it: since 2015, before, and as AvA's fork has it."""


def fix_fields(layout: Layout) -> tuple[Slot, Slot, Slot] | None:
    """Week, milliseconds of the week and status of a GPS message."""
    status = layout.field("Status")
    for week_name, ms_name in _GPS_TIME_FIELDS:
        week, week_ms = layout.field(week_name), layout.field(ms_name)
        if (
            status
            and week
            and week_ms
            and all(s.letter in "bBhHiI" for s in (status, week, week_ms))
        ):
            return week, week_ms, status
    return None


class Span:
    """First and last time of a log."""

    def __init__(self) -> None:
        self.boot_us: tuple[int, int] | None = None
        self.utc_us: tuple[int, int] | None = None

    def note(
        self,
        t_boot_us: NDArray[np.int64],
        missing: NDArray[np.bool_],
        utc_us: NDArray[np.int64],
        unknown: NDArray[np.bool_],
    ) -> None:
        sane = t_boot_us[~missing & (t_boot_us >= 0) & (t_boot_us < LARGEST_CLOCK_US)]
        self.boot_us = _widened(self.boot_us, sane)
        self.utc_us = _widened(self.utc_us, utc_us[~unknown])


def _widened(span: tuple[int, int] | None, values: NDArray[np.int64]) -> tuple[int, int] | None:
    if not len(values):
        return span
    low, high = int(values.min()), int(values.max())
    return (low, high) if span is None else (min(low, span[0]), max(high, span[1]))


class Told:
    """Events and parameters, yielded as their batches fill."""

    def __init__(self, identity: Identity, clock: Clock, batch_rows: int) -> None:
        self._identity = identity
        self._batch_rows = batch_rows
        self._settings = Settings()
        self._events: list[tuple[object, ...]] = []
        self._parameters: list[tuple[object, ...]] = []

    def take(
        self, topic: str, fields: Fields, t_boot_us: int | None, utc_us: int | None
    ) -> Iterator[Events | Parameters]:
        """A message of EVENT_TOPICS."""
        level, source, message, attributes = event(topic, fields, self._identity.vehicle)
        self._events.append((utc_us, t_boot_us, level, source, message, attributes or None))
        if len(self._events) >= self._batch_rows:
            yield from self.rest()

    def take_parameters(
        self, names: Values, values: Values, defaults: Values, times: Sequence[int | None]
    ) -> Iterator[Events | Parameters]:
        """PARM messages in the order of the log."""
        for name, value, default, t_boot_us in zip(names, values, defaults, times, strict=True):
            self._parameters += self._settings.take(name, value, default, t_boot_us)
        if len(self._parameters) >= self._batch_rows:
            yield from self.rest()

    def rest(self) -> Iterator[Events | Parameters]:
        for low in range(0, len(self._events), self._batch_rows):
            part = self._events[low : low + self._batch_rows]
            yield Events(_batch(part, EVENT_SCHEMA))
        for low in range(0, len(self._parameters), self._batch_rows):
            part = self._parameters[low : low + self._batch_rows]
            yield Parameters(_batch(part, PARAMETER_SCHEMA))
        self._events.clear()
        self._parameters.clear()


def _batch(rows: list[tuple[object, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.array(list(values), field.type)
        for values, field in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def about(identity: Identity, clock: Clock, offsets: Offsets, span: Span) -> About:
    info = dict(identity.info)
    if identity.vehicle:
        info["vehicle"] = identity.vehicle
    if span.boot_us is not None:
        info["first_t_boot_us"], info["last_t_boot_us"] = span.boot_us
    if len(offsets.us) > 1:
        info["clock_segments"] = len(offsets.us)
    hardware = identity.hardware
    if hardware is None:
        board = info.get("board_type")
        number = info.get("board_id")
        named = [str(board)] if board else []
        if isinstance(number, int) and number:
            named.append(f"board {number}")
        hardware = " ".join(named) or None
    return About(
        time_source=TimeSource.GPS if clock.is_known else TimeSource.NONE,
        time_error_ms=offsets.error_ms,
        recorded_from=None if span.utc_us is None else instant(span.utc_us[0]),
        recorded_to=None if span.utc_us is None else instant(span.utc_us[1]),
        vehicle_uid=identity.vehicle_uid,
        firmware=identity.firmware,
        hardware=hardware,
        info=info,
    )
