"""Flight logs of the DroneDeploy app for DJI aircraft: tab-separated text to topic `flight`.

A preamble of `key<TAB>value` lines in `#Sections` says who flew; one header line names 128 columns
and more; a row comes ten times a second; `#Flight Recorder Session End` closes the log. The
layout is that of https://github.com/dronedeploy/flight-log-parser (`testlog`, MIT).

`Date/Time (UTC)` is the tablet's clock in whole seconds, which is the ground station's; `Elapsed
Time (sec)` since the session began becomes `t_boot_us`. All columns stay, under their names.
No general CSV here.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from logbox_pipeline.formats.csv_columns import columns_of
from logbox_pipeline.formats.csv_rows import merged
from logbox_pipeline.formats.csv_stamps import DayOrder
from logbox_pipeline.formats.csv_times import (
    TS,
    UNKNOWN_ZONE_MS,
    TimePlan,
    boot_column,
    utc_column,
)
from logbox_pipeline.formats.csv_types import Types, fits, typed_batches
from logbox_pipeline.formats.stream import (
    EVENT_SCHEMA,
    About,
    Column,
    Damage,
    Events,
    Item,
    Likeness,
    Limits,
    Rows,
    TimeSource,
    Unreadable,
)
from logbox_pipeline.formats.text import clean_text, excerpt
from logbox_pipeline.formats.times import epoch_us, instant

PARSER_VERSION = 1
TOPIC = "flight"

_HEADER = re.compile(
    rb"(?m)^(?:\xef\xbb\xbf)?Date/Time[^\t\r\n]*\tElapsed Time \(sec\)\t[^\t\r\n]*\t"
)
_FIRST_LINES = re.compile(
    rb"(?:\xef\xbb\xbf)?#(?:DroneDeploy\t[^\r\n]*\r?\n#)?Flight Recorder\r?\n"
)
_DATE = re.compile(r"\d\d/\d\d/\d{4} \d\d:\d\d:\d\d")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]|\xff\xff")
_SESSION_END = "#Flight Recorder Session End"
_CELL_VOLTAGE = re.compile(r"Aircraft Battery Cell \d+ Voltage")
_SILENT = "No Data"
_TEXTS = re.compile(
    r"Date/Time.*|Info|.*Flight Mode|.*GPS Signal|.*No-fly|.*Mode|.*Landing Gear|.*Status|.*Type"
)
_WHOLE = re.compile(r".*\((?:ms|mAh|mA|mV)\)|.*Voltage|.* Value|.*Sat(?:el|tel)lites")
_STEP = 256 * 1024
_SHORTEST = 0.5
_BATCH_CELLS = 2_000_000
_INFO_CHARACTERS = 4_000
_INFO_ENTRIES = 200
_NOTICE = 5
_MOST_HELD = 10_000


def recognizes(head: memoryview, size: int) -> Likeness:
    raw = bytes(head)
    has_header = b"\tElapsed Time (sec)\t" in raw and _HEADER.search(raw)
    return Likeness.SURE if has_header or _FIRST_LINES.match(raw) else Likeness.NO


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    log = _Log(limits=limits, latest_us=epoch_us(limits.received_at + timedelta(days=1)))
    held: list[Item] = []
    for item in merged(_items(source, log)):
        if isinstance(item, Damage) and not log.rows and len(held) < _MOST_HELD:
            held.append(item)
            continue
        yield from held
        held.clear()
        yield item
    if not (log.rows or log.info or log.has_events):
        yield Unreadable("damaged", "neither a row nor a line of the preamble could be read")
        return
    yield from held
    yield _about(log)


@dataclass
class _Log:
    """What is known of the log so far. cells: rows that wait for their batch, as text."""

    limits: Limits
    latest_us: int
    info: dict[str, str | int | float] = field(default_factory=dict)
    section: str = ""
    is_over: bool = False
    columns: tuple[Column, ...] = ()
    types: Types = field(default_factory=list)
    cells: list[list[str]] = field(default_factory=list)
    rows: int = 0
    lines: int = 0
    repaired_rows: int = 0
    has_events: bool = False
    mode: str | None = None
    is_armed: int | None = None
    first_us: int | None = None
    last_us: int | None = None

    @property
    def names(self) -> list[str]:
        return [column.source_name for column in self.columns]


def _items(source: memoryview, log: _Log) -> Iterator[Item]:
    for start, raw in _lines(source):
        end = start + len(raw)
        log.lines += 1
        if log.rows + len(log.cells) >= log.limits.rows:
            yield Damage(start, len(source), "row_limit", line=log.lines)
            break
        bare = raw.strip(b"\r\n")
        if not bare.strip():
            continue
        if len(raw) > log.limits.record_bytes or _CONTROL.search(raw):
            reason = "zeroed" if raw.count(0) * 2 > len(raw) else "bad_line"
            yield _damage(start, end, reason, log.lines, raw)
            continue
        text = clean_text(bare.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))
        is_whole = raw.endswith(b"\n")
        if _HEADER.match(raw):
            yield from _take_header(log, text)
        elif log.columns and _DATE.match(text):
            yield from _take_row(log, text, start, end, is_whole)
        elif text.startswith("#"):
            yield from _take_section(log, text)
        elif not _take_key(log, text):
            yield _damage(start, end, "bad_line" if is_whole else "truncated", log.lines, raw)
        if len(log.cells) >= log.limits.batch_rows or (
            len(log.cells) * len(log.columns) >= _BATCH_CELLS
        ):
            yield from _batch(log)
    yield from _batch(log)


def _lines(source: memoryview) -> Iterator[tuple[int, bytes]]:
    """Each line with its newline, and where it begins. Only one window is held, and one line."""
    pos, rest, start = 0, b"", 0
    while pos < len(source):
        window = rest + bytes(source[pos : pos + _STEP])
        pos = min(pos + _STEP, len(source))
        lines = window.splitlines(keepends=True) if b"\r" not in window else _split(window)
        rest = b"" if window.endswith(b"\n") or pos == len(source) else lines.pop()
        for line in lines:
            yield start, line
            start += len(line)


def _split(window: bytes) -> list[bytes]:
    """At newlines only: a carriage return alone ends no line."""
    lines = [line + b"\n" for line in window.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _damage(start: int, end: int, reason: str, line: int, raw: bytes) -> Damage:
    return Damage(start, end, reason, line=line, excerpt=excerpt(raw[:800].strip()))


def _take_header(log: _Log, text: str) -> Iterator[Item]:
    header = [
        " ".join(cell.split()) if not cell.endswith(" ") else cell for cell in text.split("\t")
    ]
    while header and not header[-1].strip():
        header.pop()
    if header == log.names:
        return
    yield from _batch(log)
    header = header[: log.limits.columns]
    log.columns = tuple(
        Column(column.source_name, "mV" if _CELL_VOLTAGE.fullmatch(name) else column.unit)
        for column, name in zip(columns_of(header, None, len(header)), header, strict=True)
    )
    log.types = [_type_of(name) for name in header]


def _type_of(name: str) -> pa.DataType:
    """By name, so that a column has one type in all logs, whatever one flight put into it."""
    name = name.strip()
    if _TEXTS.fullmatch(name):
        return pa.int64() if name == "RC State" else pa.string()
    if _WHOLE.fullmatch(name):
        return pa.int64()
    return pa.float64() if "(" in name or " at Stop" in name else pa.int64()


def _take_section(log: _Log, text: str) -> Iterator[Item]:
    key, _, value = text.lstrip("#").partition("\t")
    if text.startswith(_SESSION_END):
        log.is_over = True
        yield from _batch(log)
        yield _event(log, "app", "Flight Recorder Session End")
    elif value:
        _keep(log, key, value)
    elif log.columns:
        yield _event(log, "app", key.strip())
    log.section = key.strip()


def _take_key(log: _Log, text: str) -> bool:
    """`key<TAB>value...`; a key alone has no value. False when it is neither."""
    if log.columns and not log.is_over:
        return False
    key, _, value = text.partition("\t")
    if not re.match(r"[A-Za-z]", key) or value.count("\t") > 8:
        return False
    if value.strip():
        _keep(log, f"session end {key}" if log.is_over else key, value)
    return True


def _keep(log: _Log, key: str, value: str) -> None:
    """`Aircraft Firmware` as `aircraft_firmware`; several values of one key joined by spaces."""
    name = re.sub(r"[^a-z0-9]+", "_", key.lower().replace("%", "pct")).strip("_")[:80]
    if name in log.info:
        name = f"{re.sub('[^a-z0-9]+', '_', log.section.lower()).strip('_')}_{name}"
    if len(log.info) < _INFO_ENTRIES:
        log.info[name] = " ".join(value.split())[:_INFO_CHARACTERS]


def _take_row(log: _Log, text: str, start: int, end: int, is_whole: bool) -> Iterator[Item]:
    cells, width = text.split("\t"), len(log.columns)
    extra = "\t".join(cells[width:])
    if len(cells) < width:
        if not is_whole or len(cells) < _SHORTEST * width:
            reason = "bad_line" if is_whole else "truncated"
            yield _damage(start, end, reason, log.lines, text.encode())
            return
        cells = _widened(log, cells)
        log.repaired_rows += 1
    elif _DATE.search(extra) or len(cells) >= 2 * width:
        yield _damage(start, end, "bad_line", log.lines, text.encode())
        return
    elif extra.strip():
        low = max(start, end - len(extra.encode()) - 2)
        yield _damage(low, end, "extra_fields", log.lines, extra.encode())
    log.cells.append(cells[:width])


def _widened(log: _Log, cells: list[str]) -> list[str]:
    """A row that is too short: one of a battery with fewer cells than the header has, as the app
    writes while no battery is heard, where that explains it; else one that ends early."""
    names, missing = log.names, len(log.columns) - len(cells)
    voltages = [place for place, name in enumerate(names) if _CELL_VOLTAGE.fullmatch(name)]
    if missing < len(voltages):
        place = voltages[-1] + 1 - missing
        moved = [*cells[:place], *[""] * missing, *cells[place:]]
        if all(
            cell == _SILENT or fits(cell, kind, False)
            for cell, kind in zip(moved, log.types, strict=True)
        ):
            return moved
    return [*cells, *[""] * missing]


# Batches


def _batch(log: _Log) -> Iterator[Item]:
    """The waiting rows, and the events in them."""
    if not log.cells:
        return
    columns = [pa.array(column, pa.string()) for column in zip(*log.cells, strict=True)]
    log.cells = []
    for place, kind in enumerate(log.types):
        if kind != pa.string():
            silent = pc.equal(columns[place], _SILENT)
            columns[place] = pc.if_else(silent, "", columns[place])
    for arrays in typed_batches(columns, log.types, False):
        ts, t_boot_us = _times(log, arrays)
        log.rows += len(ts)
        schema_names = ["t_boot_us", "ts", *log.names]
        batch = pa.RecordBatch.from_arrays([t_boot_us, ts, *arrays], names=schema_names)
        yield Rows(TOPIC, 0, batch, log.columns)
        yield from _events(log, arrays, ts, t_boot_us)


def _times(log: _Log, arrays: Sequence[pa.Array]) -> tuple[pa.Array, pa.Array]:
    plan = TimePlan((0,), DayOrder.MDY, boot=1, boot_us=1e6)
    ts, t_boot_us = utc_column(plan, arrays, log.latest_us), boot_column(plan, arrays)
    if ts.null_count < len(ts):
        span = pc.min_max(ts.cast(pa.int64())).as_py()
        log.first_us = min(span["min"], span["min"] if log.first_us is None else log.first_us)
        log.last_us = max(span["max"], span["max"] if log.last_us is None else log.last_us)
    return ts, t_boot_us


def _events(
    log: _Log, arrays: Sequence[pa.Array], ts: pa.Array, t_boot_us: pa.Array
) -> Iterator[Events]:
    """What the app said (`Info`), and where the flight mode or the motors changed."""
    places = {name: place for place, name in enumerate(log.names)}
    columns = [
        arrays[places[name]].to_pylist() if name in places else [None] * len(ts)
        for name in ("Info", "Aircraft Flight Mode", "Aircraft Motors On")
    ]
    heard = places.get("Aircraft System State Last Updated (ms)")
    is_heard = [True] * len(ts) if heard is None else arrays[heard].is_valid().to_pylist()
    found: list[tuple[int, int | None, str, str, dict[str, object]]] = []
    for row, (info, mode, is_armed) in enumerate(zip(*columns, strict=True)):
        if info is not None and str(info).strip():
            found.append((row, None, "app", str(info), {}))
        if not is_heard[row]:
            continue
        if isinstance(mode, str) and mode != log.mode:
            attributes: dict[str, object] = {"mode": mode, "before": log.mode}
            found.append((row, _NOTICE, "logbox.mode", mode, attributes))
            log.mode = mode
        if is_armed in (0, 1) and is_armed != log.is_armed:
            word = "armed" if is_armed else "disarmed"
            found.append((row, _NOTICE, "logbox.arm", word, {"is_armed": bool(is_armed)}))
            log.is_armed = is_armed
    if not found:
        return
    log.has_events = True
    rows, levels, sources, messages, said = zip(*found, strict=True)
    taken = pa.array(rows)
    texts = [msgspec.json.encode(each).decode() if each else None for each in said]
    batch = [
        *(ts.take(taken), t_boot_us.take(taken), pa.array(levels, pa.int16())),
        *(pa.array(column, pa.string()) for column in (sources, messages, texts)),
    ]
    yield Events(pa.record_batch(batch, schema=EVENT_SCHEMA))


def _event(log: _Log, source: str, message: str) -> Events:
    """One that stands between the rows; it happened after the last of them."""
    log.has_events = True
    ts = pa.array([log.last_us], pa.int64()).cast(TS)
    values = [ts, pa.nulls(1, pa.int64()), pa.nulls(1, pa.int16())]
    texts = [pa.array([text], pa.string()) for text in (source, message, None)]
    return Events(pa.record_batch([*values, *texts], schema=EVENT_SCHEMA))


def _about(log: _Log) -> About:
    info = dict(log.info)
    if log.repaired_rows:
        info["short_rows"] = log.repaired_rows
    says_utc = bool(log.columns) and "utc" in log.columns[0].source_name.lower()
    is_timed = log.first_us is not None
    return About(
        time_source=TimeSource.GCS if is_timed else TimeSource.NONE,
        time_error_ms=(1_000 if says_utc else UNKNOWN_ZONE_MS) if is_timed else None,
        recorded_from=None if log.first_us is None else instant(log.first_us),
        recorded_to=None if log.last_us is None else instant(log.last_us),
        vehicle_uid=_said(info, "flight_controller_serial_number", "aircraft_serial_number"),
        firmware=_said(info, "aircraft_firmware", "flight_controller_firmware"),
        hardware=_said(info, "aircraft_model"),
        info=info,
    )


def _said(info: dict[str, str | int | float], *keys: str) -> str | None:
    return next((str(info[key]) for key in keys if info.get(key)), None)
