"""From the topics of one log to its track: 1 Hz, one vocabulary for every autopilot. Pure.

A `TrackFormat` says which field of which topic feeds which column (`Mapped`); the first source of a
column that knows a value in a second wins. Here is how: the last valid value in each second of the
log's own clock, held for FILL_S (mode, armed and what else only speaks when it changes: until it
does, while the clock runs on). A second in which nothing is known has no row.

numpy instead of pandas: a worker that imports pandas starts 0.4 s later, and as-of on whole
seconds is one searchsorted. Rows are read batch by batch and kept at one per second.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logbox_pipeline.core.flight_cutting import cut
from logbox_pipeline.core.flights import LogTrack
from logbox_pipeline.core.tables import clean_times
from logbox_pipeline.core.track import TRACK_COLUMNS
from logbox_pipeline.formats.stream import About
from logbox_pipeline.formats.track_clock import KEY_BITS, NONE, Clock, Timeline, timeline
from logbox_pipeline.formats.track_mapping import (
    Mapped,
    Topics,
    TrackFormat,
    Values,
    as_numbers,
)

FILL_S = 5
SLOW_FILL_S = 10
SLOW_COLUMNS = frozenset(("battery_v", "battery_a", "battery_pct", "satellites"))
"""Reported once in some seconds by slow links; held for SLOW_FILL_S."""

CARRIED_COLUMNS = frozenset(("mode", "is_armed", "is_airborne"))
"""Held until they change."""

HIDDEN_COLUMNS = frozenset(("home_alt_m", "mav_type", "mav_autopilot", "frame_class"))
"""Not in the track: alt_m = alt_msl_m - home_alt_m where both are known; the others say what
vehicle it is. All are carried."""

MAX_INSTANCES = 4
"""Of one topic, in their order: the next is asked where the one before says nothing."""


def track(known: TrackFormat, topics: Topics, about: About | None) -> LogTrack | None:
    """The log's track and flights; None when no mapped topic has a row with a time."""
    columns = _resampled(known, topics, known.clock)
    if columns is None:
        # An old app without a boot clock, a recording of the bare link without receive times.
        columns = _resampled(known, topics, "ts" if known.clock == "t_boot_us" else "t_boot_us")
    if columns is None:
        return None
    vehicle = known.vehicle(about, {name: _commonest(columns[name]) for name in HIDDEN_COLUMNS})
    if not vehicle.flies:
        columns["is_airborne"] = np.full(len(columns["is_airborne"]), np.nan)
    table = _table(columns, lambda code: known.mode_name(vehicle, code))
    return LogTrack(
        track=table,
        flights=tuple(cut(table, flies=vehicle.flies)),
        autopilot=vehicle.autopilot,
        airframe=vehicle.airframe,
    )


# Reading: one value per second and source


_Chunks = list[list[tuple[NDArray[np.int64], Values]]]


@dataclass
class _Series:
    """One source of one column, by key (see `track_clock`), ascending."""

    mapped: Mapped
    keys: NDArray[np.int64]
    values: Values

    @property
    def holds_s(self) -> int | None:
        """Seconds a value holds; None until it changes."""
        if self.mapped.holds_s is not None:
            return self.mapped.holds_s
        if self.mapped.column in CARRIED_COLUMNS | HIDDEN_COLUMNS:
            return None
        return SLOW_FILL_S if self.mapped.column in SLOW_COLUMNS else FILL_S


def _resampled(known: TrackFormat, topics: Topics, clock_name: str) -> dict[str, Values] | None:
    clocks: list[Clock] = []
    stamps: list[NDArray[np.int64]] = []
    found: list[tuple[int, Mapped, list[tuple[NDArray[np.int64], Values]]]] = []
    for (topic, instance), mapped in _sources(known, topics).items():
        clock, rows = Clock(), []
        chunks: _Chunks = [[] for _ in mapped]
        for batch in topics.read(topic, instance, _fields(mapped)):
            rows.append(_read(batch, clock_name, clock, mapped, chunks))
        if clock.ranges:
            found += [(len(clocks), *one) for one in zip(mapped, chunks, strict=True) if one[1]]
            clocks.append(clock)
            stamps.append(np.concatenate(rows))
    line = timeline(clocks, stamps)
    if line is None:
        return None
    order = {id(mapped): place for place, mapped in enumerate(known.mapping)}
    series = [
        one
        for number, mapped, parts in found
        if (one := _series(mapped, parts, line, number)) is not None
    ]
    series.sort(key=lambda one: order[id(one.mapped)])
    if not series:
        return None
    held = [one.keys for one in series if one.holds_s is not None]
    grid = line.grid(held, [one.keys for one in series], FILL_S, clock_name)
    columns: dict[str, Values] = {}
    for one in series:
        name, held_values = one.mapped.column, _held(one, grid.key)
        known_values = columns.get(name)
        columns[name] = (
            held_values if known_values is None else _first_known(known_values, held_values)
        )
    for name in (*TRACK_COLUMNS.names, *HIDDEN_COLUMNS):
        if name not in columns:
            columns[name] = np.full(len(grid.key), None if name == "mode" else np.nan)
    columns["alt_m"] = _first_known(_above_home(columns, grid.key), columns["alt_m"])
    return columns | {"second": grid.second, "t_boot_us": grid.t_boot_us, "ts": grid.ts_us}


def _sources(known: TrackFormat, topics: Topics) -> dict[tuple[str, int], list[Mapped]]:
    """What to read of each (topic, instance)."""
    only = known.instances(topics)
    sources: dict[tuple[str, int], list[Mapped]] = {}
    for mapped in known.mapping:
        instances = [one for one in topics.instances(mapped.topic) if only is None or one in only]
        for instance in instances[:MAX_INSTANCES]:
            sources.setdefault((mapped.topic, instance), []).append(mapped)
    return sources


def _fields(mapped: Iterable[Mapped]) -> tuple[str, ...]:
    names = [name for one in mapped for name in one.fields]
    names += [need.field for one in mapped for need in one.needs]
    return tuple(dict.fromkeys(names))


def _read(
    batch: pa.RecordBatch, clock_name: str, clock: Clock, mapped: list[Mapped], chunks: _Chunks
) -> NDArray[np.int64]:
    """Append what each source says in each second to its chunks; return the seconds' stamps."""
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    times = {name: _times(columns.pop(name)) for name in ("t_boot_us", "ts")}
    keys, keep = clock.keys(times[clock_name])
    fields = {name: _values(column) for name, column in columns.items()}
    every = _last_rows(keys, keep)
    every_keys = keys[every]
    for one, parts in zip(mapped, chunks, strict=True):
        values = _mapped(one, fields)
        if values is None:
            continue
        counts = _is_known(values) & _is_needed(one, fields)
        if counts.all():
            rows, row_keys = every, every_keys
        else:
            rows = _last_rows(keys, keep & counts)
            row_keys = keys[rows]
        if len(rows):
            parts.append((row_keys, values[rows]))
    stamps = np.empty((len(every), 3), np.int64)
    stamps[:, 0] = every_keys
    stamps[:, 1] = times["t_boot_us"][every]
    stamps[:, 2] = times["ts"][every]
    return stamps


def _times(column: pa.Array) -> NDArray[np.int64]:
    if column.null_count == len(column):
        return np.full(len(column), NONE)
    plain = column.view(pa.int64())
    times: NDArray[np.int64] = (plain.fill_null(NONE) if plain.null_count else plain).to_numpy()
    return times


def _values(column: pa.Array) -> Values:
    if pa.types.is_string(column.type):
        return np.asarray(column.to_numpy(zero_copy_only=False), object)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        # A cast costs more than the few rows of most batches; nulls become NaN here too.
        numbers: Values = column.to_numpy(zero_copy_only=False).astype(float)
        return numbers
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), float)


def _mapped(one: Mapped, fields: Mapping[str, Values]) -> Values | None:
    """The source's values in the column's unit; None when the log lacks a field of it."""
    if any(name not in fields for name in one.fields):
        return None
    values = [fields[name] for name in one.fields]
    if one.value is not None:
        return one.value(*values)
    if one.scale is None:
        return values[0]
    numbers = as_numbers(values[0])
    for unknown in one.unknown:
        numbers = np.where(numbers == unknown, np.nan, numbers)
    return numbers * one.scale


def _is_known(values: Values) -> NDArray[np.bool_]:
    if values.dtype == object:
        return np.array([value is not None and value != "" for value in values], bool)
    return np.isfinite(values)


def _is_needed(one: Mapped, fields: Mapping[str, Values]) -> NDArray[np.bool_] | bool:
    needed: NDArray[np.bool_] | bool = True
    for need in one.needs:
        if need.field in fields:
            values = as_numbers(fields[need.field])
            # Also without a least value: what is NaN is not.
            needed &= values >= need.least
            if need.most < np.inf:
                needed &= values <= need.most
            if need.unlike is not None:
                needed &= values != need.unlike
    return needed


def _last_rows(keys: NDArray[np.int64], counts: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The last row that counts of each run of equal keys."""
    rows = counts.nonzero()[0]
    return rows[_is_last(keys[rows])]


def _is_last(keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which are the last of a run of equal keys."""
    is_last = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=is_last[:-1])
    return is_last


# On one line: seconds without a value of their own get the newest one that still holds


def _series(
    mapped: Mapped,
    parts: list[tuple[NDArray[np.int64], Values]],
    line: Timeline,
    number: int,
) -> _Series | None:
    keys, values = parts[0]
    if len(parts) > 1:
        keys = np.concatenate([part[0] for part in parts])
        values = np.concatenate([part[1] for part in parts])
    keys = line.keys(number, keys)
    if mapped.must_show is not None and not (values == mapped.must_show).any():
        return None
    if (keys[1:] > keys[:-1]).all():
        return _Series(mapped, keys, values)
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    last = _is_last(keys)
    return _Series(mapped, keys[last], values[last])


def _held(one: _Series, key: NDArray[np.int64]) -> Values:
    place = np.searchsorted(one.keys, key, "right") - 1
    source = np.maximum(place, 0)
    from_key = one.keys[source]
    holds = (place >= 0) & (from_key >> KEY_BITS == key >> KEY_BITS)
    if one.holds_s is not None:
        holds &= key - from_key <= one.holds_s
    if one.values.dtype == object or one.mapped.column == "mode":
        held = one.values.astype(object)[source]
        held[~holds] = None
        return held
    held = np.where(holds, one.values[source], np.nan)
    if one.mapped.tells_before:
        is_before = (place < 0) & (from_key >> KEY_BITS == key >> KEY_BITS)
        held = np.where(is_before, 1 - one.values[0], held)
    return held


def _first_known(values: Values, others: Values) -> Values:
    return np.where(_is_known(values), values, others)


def _above_home(columns: Mapping[str, Values], key: NDArray[np.int64]) -> Values:
    """alt_msl_m - home_alt_m; a home that was set later was home from the start."""
    home = columns["home_alt_m"]
    known = np.flatnonzero(np.isfinite(home))
    if not len(known):
        return np.full(len(home), np.nan)
    following = known[np.minimum(np.searchsorted(known, np.arange(len(home))), len(known) - 1)]
    is_same = key[following] >> KEY_BITS == key >> KEY_BITS
    home = np.where(np.isfinite(home) | ~is_same, home, home[following])
    return columns["alt_msl_m"] - home


def _commonest(values: Values) -> Any:
    known = values[_is_known(values)]
    if not len(known):
        return None
    found, counts = np.unique(known, return_counts=True)
    return found[counts.argmax()]


# The table


def _table(columns: Mapping[str, Values], mode_name: Callable[[Any], str | None]) -> pa.Table:
    turned = dict(columns)
    turned["heading_deg"] = np.mod(columns["heading_deg"], 360)
    turned["yaw_deg"] = 180 - np.mod(180 - columns["yaw_deg"], 360)
    names = {code: mode_name(code) for code in set(columns["mode"]) - {None}}
    arrays = []
    for field in TRACK_COLUMNS:
        values = turned[field.name]
        if field.name == "mode":
            arrays.append(pa.array([names.get(code) for code in values], pa.string()))
        elif values.dtype == np.int64:
            times = pa.array(values, pa.int64(), mask=values == NONE).cast(field.type)
            arrays.append(clean_times(times) if field.name == "ts" else times)
        else:
            most, stored_as = _NUMBERS[field.type]
            with np.errstate(invalid="ignore"):
                missing = ~(np.abs(values) <= most)
            if missing.all():
                arrays.append(pa.nulls(len(values), field.type))
                continue
            # Plus zero: minus zero becomes zero.
            plain = np.where(missing, 0, values) + 0.0
            arrays.append(pa.array(plain.astype(stored_as), field.type, mask=missing))
    return pa.Table.from_arrays(arrays, schema=TRACK_COLUMNS)


_NUMBERS: dict[pa.DataType, tuple[float, type[np.generic]]] = {
    pa.float32(): (float(np.finfo(np.float32).max), np.float32),
    pa.float64(): (float(np.finfo(np.float64).max), np.float64),
    pa.int16(): (32_767.0, np.int16),
    pa.bool_(): (np.inf, np.bool_),
}
"""The largest number of each type of the track's columns, and what numpy calls the type."""
