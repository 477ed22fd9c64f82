"""One log's rows between the parser's process and the load: Arrow messages in a scratch file.

The worker writes what a parser yields, already in storage types (`core.tables`), to one file per
log; the small `Spooled` that `Spool.close` returns says where each message stands. The main
process maps the file and reads topic by topic, as often as it likes. One file, because a log may
hold thousands of (topic, instance) pairs. Nothing is kept across runs; no names, no SQL here.
"""

import functools
import json
import mmap
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from logbox_pipeline.adapters.mapped import HELD_BYTES, let_go, map_file
from logbox_pipeline.core import tables
from logbox_pipeline.core.content import Content, ContentDigest
from logbox_pipeline.core.errors import TransientError
from logbox_pipeline.core.statistics import FieldMeter, FieldStatistics
from logbox_pipeline.core.tables import (
    EVENT_COLUMNS,
    PARAMETER_COLUMNS,
    StoredColumn,
    TelemetryTable,
)

MAX_DAMAGE_EVENTS = 10_000
"""Damage rows of one log in log_events; one last row counts the rest."""

DAMAGE_SOURCE = "logbox.damage"
"""log_events.source of a lost range."""

BATCH_ROWS = 65_536
_ALIGNMENT = 64
_DAMAGE_LEVEL = 4


@dataclass(frozen=True)
class Segment:
    """One Arrow record batch message in the file. `layout`: which of its topic's columns it has."""

    offset: int
    length: int
    rows: int
    layout: tuple[int, ...] = ()


@dataclass(frozen=True)
class SpooledInstance:
    """Rows of one instance of a topic; its span on the boot clock, and in UTC, both in µs (UTC
    since 1970), None without one.

    `timed_rows`: those with a boot clock, or with a time in UTC where no row has the clock.
    `is_ordered`: t_boot_us never steps back in the order written. `fields`: in the order of the
    topic's columns.
    """

    instance: int
    rows: int
    first_t_boot_us: int | None
    last_t_boot_us: int | None
    is_ordered: bool
    segments: tuple[Segment, ...]
    timed_rows: int
    first_ts_us: int | None
    last_ts_us: int | None
    fields: FieldStatistics

    @property
    def rate_hz(self) -> float | None:
        """Rows per second between the first and the last; None for fewer than two times."""
        first, last = self.first_t_boot_us, self.last_t_boot_us
        if first is None or last is None:
            first, last = self.first_ts_us, self.last_ts_us
        if first is None or last is None or last <= first:
            return None
        return (self.timed_rows - 1) * 1e6 / (last - first)


@dataclass(frozen=True)
class SpooledTopic:
    """A topic of one log: all columns it has in it, instances ascending."""

    topic: str
    columns: tuple[StoredColumn, ...]
    instances: tuple[SpooledInstance, ...]

    @functools.cached_property
    def segments(self) -> dict[int, tuple[Segment, ...]]:
        """By instance: a log may have thousands."""
        return {one.instance: one.segments for one in self.instances}

    @property
    def rows(self) -> int:
        return sum(instance.rows for instance in self.instances)


@dataclass(frozen=True)
class Spooled:
    """What one log holds. Small and picklable; the rows stay in the spool's file.

    damaged_ranges and damaged_bytes are exact, also past MAX_DAMAGE_EVENTS. `about` is the
    parser's About, `unreadable` its Unreadable; None when it yielded none. `events_content`: of the
    events as rows of a table; that of other rows depends on how their columns are named.
    """

    topics: tuple[SpooledTopic, ...]
    event_segments: tuple[Segment, ...]
    events_content: Content
    parameter_segments: tuple[Segment, ...]
    damaged_ranges: int
    damaged_bytes: int
    about: Any
    unreadable: Any

    @property
    def telemetry_rows(self) -> int:
        return sum(topic.rows for topic in self.topics)

    @property
    def events(self) -> int:
        return sum(segment.rows for segment in self.event_segments)

    @property
    def parameters(self) -> int:
        return sum(segment.rows for segment in self.parameter_segments)


class Spool:
    """Writes one log's items as they come; memory does not grow with the log.

    Raises TransientError when scratch is full or gone.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise _no_scratch(str(path), error) from error
        self._offset = 0
        self._topics: dict[str, _Topic] = {}
        self._events: list[Segment] = []
        self._events_digest = ContentDigest(tables.EVENTS)
        self._parameters: list[Segment] = []
        self._seq = 0
        self._parameter_seq = 0
        self._damage: list[Any] = []
        self._damaged_ranges = 0
        self._damaged_bytes = 0
        self._about: Any = None
        self._unreadable: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, item: Any) -> None:
        """Any `formats.stream.Item`. Told apart by their name: an adapter imports core only."""
        match type(item).__name__:
            case "Rows":
                self._write_rows(item)
            case "Events":
                self._write_damage()
                self._write_events(item.batch)
            case "Parameters":
                self._write_parameters(item.batch)
            case "Damage":
                self._take_damage(item)
            case "About":
                self._about = item
            case "Unreadable":
                self._unreadable = item
            case other:
                raise TypeError(f"a parser yields no {other}")

    def close(self) -> Spooled:
        """Write what is left. The file is complete when this returns, not necessarily on disk."""
        self._write_damage()
        if self._damaged_ranges > MAX_DAMAGE_EVENTS:
            self._write_events(_more_damage(self._damaged_ranges - MAX_DAMAGE_EVENTS))
        try:
            self._file.close()
        except OSError as error:
            raise _no_scratch(self._file.name, error) from error
        return Spooled(
            topics=tuple(topic.spooled() for topic in self._topics.values()),
            event_segments=tuple(self._events),
            events_content=self._events_digest.content,
            parameter_segments=tuple(self._parameters),
            damaged_ranges=self._damaged_ranges,
            damaged_bytes=self._damaged_bytes,
            about=self._about,
            unreadable=self._unreadable,
        )

    def _write_rows(self, item: Any) -> None:
        batch: pa.RecordBatch = item.batch
        if batch.num_rows == 0:
            return
        name = tables.clean_name(item.topic)
        topic = self._topics.setdefault(name, _Topic(name))
        arrays = [batch.column(0), tables.clean_times(batch.column(1))]
        layout: list[int] = []
        names = topic.names_of(item.columns)
        for source_name, column, values in zip(names, item.columns, batch.columns[2:], strict=True):
            for _, kind, array in tables.stored(source_name, values):
                place = topic.places.get((source_name, kind))
                layout.append(topic.place(source_name, kind, column) if place is None else place)
                arrays.append(array)
        written = self._append(
            pa.record_batch(arrays, names=[str(place) for place in range(len(arrays))]),
            tuple(layout),
        )
        topic.add(item.instance, written, arrays)

    def _write_events(self, batch: pa.RecordBatch) -> None:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            part = batch.slice(start, BATCH_ROWS)
            seq = np.arange(self._seq, self._seq + part.num_rows)
            self._seq += part.num_rows
            level = part.column("level").cast(pa.int16())
            named = pc.and_(pc.greater_equal(level, 0), pc.less_equal(level, 7))
            arrays = [
                pa.array(seq, pa.int64()),
                tables.clean_times(part.column("ts")),
                part.column("t_boot_us"),
                pc.if_else(named, level, pa.scalar(None, pa.int16())),
                tables.clean_texts(part.column("source")),
                tables.clean_texts(part.column("message")),
                tables.clean_json(part.column("attributes")),
            ]
            rows = pa.record_batch(arrays, schema=EVENT_COLUMNS)
            self._events_digest.add(rows)
            self._events.append(self._append(rows))

    def _write_parameters(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        seq = np.arange(self._parameter_seq, self._parameter_seq + batch.num_rows)
        self._parameter_seq += batch.num_rows
        arrays = [
            pa.array(seq, pa.int32()),
            batch.column("t_boot_us"),
            tables.clean_texts(batch.column("name")),
            batch.column("kind"),
            batch.column("value"),
            tables.clean_texts(batch.column("value_type")),
        ]
        self._parameters.append(self._append(pa.record_batch(arrays, schema=PARAMETER_COLUMNS)))

    def _take_damage(self, item: Any) -> None:
        self._damaged_ranges += 1
        self._damaged_bytes += item.end - item.start
        if self._damaged_ranges <= MAX_DAMAGE_EVENTS:
            self._damage.append(item)

    def _write_damage(self) -> None:
        """Damage stands among the events where the parser met it."""
        if self._damage:
            self._write_events(_damage_events(self._damage))
            self._damage = []

    def _append(self, batch: pa.RecordBatch, layout: tuple[int, ...] = ()) -> Segment:
        message = batch.serialize()
        segment = Segment(self._offset, message.size, batch.num_rows, layout)
        padding = -message.size % _ALIGNMENT
        try:
            self._file.write(message)
            self._file.write(bytes(padding))
        except OSError as error:
            raise _no_scratch(self._file.name, error) from error
        self._offset += message.size + padding
        return segment


@dataclass
class _Instance:
    rows: int = 0
    first: int | None = None
    last: int | None = None
    is_ordered: bool = True
    segments: list[Segment] = field(default_factory=list)
    clocked_rows: int = 0
    utc_rows: int = 0
    first_ts: int | None = None
    last_ts: int | None = None
    fields: FieldMeter = field(default_factory=FieldMeter)


class _Topic:
    """What is known of a topic while it is written."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.columns: dict[tuple[str, str], StoredColumn] = {}
        self.places: dict[tuple[str, str], int] = {}
        self.instances: dict[int, _Instance] = {}
        self._named: tuple[Any, tuple[str, ...]] = (None, ())

    def names_of(self, columns: Sequence[Any]) -> tuple[str, ...]:
        """Names that a store takes; a name that comes again gets a number."""
        # A parser hands the same tuple with every batch of a topic.
        if self._named[0] is not columns:
            seen: dict[str, int] = {}
            names = []
            for column in columns:
                name = tables.clean_name(column.source_name)
                seen[name] = seen.get(name, 0) + 1
                names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
            self._named = (columns, tuple(names))
        return self._named[1]

    def place(self, source_name: str, kind: str, column: Any) -> int:
        """The place of a column that is new."""
        place = self.places[source_name, kind] = len(self.places)
        self.columns[source_name, kind] = StoredColumn(
            source_name,
            kind,
            column.unit and tables.clean_name(column.unit),
            column.scale,
            column.definition and tables.clean_name(column.definition),
        )
        return place

    def add(self, number: int, segment: Segment, arrays: Sequence[pa.Array]) -> None:
        """`arrays`: t_boot_us, ts, then the columns of the segment's layout."""
        instance = self.instances.setdefault(number, _Instance())
        instance.rows += segment.rows
        instance.segments.append(segment)
        instance.fields.add(segment.layout, arrays[2:], segment.rows)
        if arrays[1].null_count < segment.rows:
            utc = _plain(arrays[1].view(pa.int64()))
            instance.utc_rows += len(utc)
            instance.first_ts = _least(instance.first_ts, int(utc.min()))
            instance.last_ts = _largest(instance.last_ts, int(utc.max()))
        times = _plain(arrays[0])
        if len(times) == 0:
            return
        instance.clocked_rows += len(times)
        newest = instance.last
        if (newest is not None and times[0] < newest) or bool((times[1:] < times[:-1]).any()):
            instance.is_ordered = False
        instance.first = _least(instance.first, int(times.min()))
        instance.last = _largest(newest, int(times.max()))

    def spooled(self) -> SpooledTopic:
        return SpooledTopic(
            self.name,
            tuple(self.columns.values()),
            tuple(
                SpooledInstance(
                    number,
                    one.rows,
                    one.first,
                    one.last,
                    one.is_ordered,
                    tuple(one.segments),
                    one.clocked_rows or one.utc_rows,
                    one.first_ts,
                    one.last_ts,
                    one.fields.statistics(len(self.columns)),
                )
                for number, one in sorted(self.instances.items())
            ),
        )


def _plain(values: pa.Int64Array) -> NDArray[np.int64]:
    plain: NDArray[np.int64] = (values.drop_null() if values.null_count else values).to_numpy()
    return plain


def _least(known: int | None, found: int) -> int:
    return found if known is None else min(known, found)


def _largest(known: int | None, found: int) -> int:
    return found if known is None else max(known, found)


# Reading back


def telemetry_batches(
    path: Path, topic: SpooledTopic, table: TelemetryTable
) -> Iterator[pa.RecordBatch]:
    """The topic's rows in the shape of `tables.telemetry_schema(table)`, by instance and time.

    Streams from the mapped file. An instance whose clock steps back is sorted (stable, null clocks
    last), which holds that one instance in memory.
    """
    mapped = map_rows(path)
    for instance in topic.instances:
        read = (
            tables.telemetry_rows(
                rows,
                instance.instance,
                [topic.columns[place].key for place in segment.layout],
                table,
            )
            for segment, rows in _topic_segments(mapped, topic, instance.segments)
        )
        if instance.is_ordered:
            yield from read
        else:
            rows = pa.Table.from_batches(read).combine_chunks()
            order = pc.sort_indices(rows["t_boot_us"])
            for start in range(0, len(order), BATCH_ROWS):
                yield from rows.take(order.slice(start, BATCH_ROWS)).to_batches()


def named_batches(
    path: Path, topic: SpooledTopic, instance: int, names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Rows of one instance as they were written: `t_boot_us`, `ts`, then the columns that a batch
    has, called by `names`, one per column of the topic."""
    mapped = map_rows(path)
    for segment, rows in _topic_segments(mapped, topic, _segments_of(topic, instance)):
        yield rows.rename_columns(["t_boot_us", "ts", *(names[place] for place in segment.layout)])


def map_rows(path: Path) -> mmap.mmap:
    """The spool's file, for `field_batches`; mapped as long as something looks at it."""
    return map_file(path)


def field_batches(
    mapped: mmap.mmap, topic: SpooledTopic, instance: int, fields: Collection[str]
) -> Iterator[pa.RecordBatch]:
    """Rows of one instance as they were written: `t_boot_us`, `ts`, then those of `fields` that a
    batch has, by source name. Only these columns are read from the mapped file."""
    for segment, rows in _topic_segments(mapped, topic, _segments_of(topic, instance)):
        found = {"t_boot_us": rows.column(0), "ts": rows.column(1)}
        for place, column in enumerate(segment.layout, len(found)):
            name = topic.columns[column].source_name
            # A value that needs a second column is none that fits the first.
            if name in fields and name not in found:
                found[name] = rows.column(place)
        yield pa.RecordBatch.from_arrays(list(found.values()), list(found))


def event_batches(path: Path, spooled: Spooled) -> Iterator[pa.RecordBatch]:
    """`tables.EVENT_COLUMNS`, in the order of the log."""
    return _batches(path, spooled.event_segments, EVENT_COLUMNS)


def parameter_batches(path: Path, spooled: Spooled) -> Iterator[pa.RecordBatch]:
    """`tables.PARAMETER_COLUMNS`, in the order of the log."""
    return _batches(path, spooled.parameter_segments, PARAMETER_COLUMNS)


def _batches(
    path: Path, segments: Sequence[Segment], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    if segments:
        for _, rows in _read(map_rows(path), ((segment, schema) for segment in segments)):
            yield rows


def _segments_of(topic: SpooledTopic, instance: int) -> tuple[Segment, ...]:
    return topic.segments.get(instance, ())


def _topic_segments(
    mapped: mmap.mmap, topic: SpooledTopic, segments: Iterable[Segment]
) -> Iterator[tuple[Segment, pa.RecordBatch]]:
    return _read(mapped, ((segment, _layout_schema(topic, segment)) for segment in segments))


def _read(
    mapped: mmap.mmap, segments: Iterable[tuple[Segment, pa.Schema]]
) -> Iterator[tuple[Segment, pa.RecordBatch]]:
    """Each segment's rows, still in the mapped file; who keeps them keeps them readable."""
    whole = pa.py_buffer(mapped)
    held_bytes = 0
    for segment, schema in segments:
        yield (
            segment,
            pa.ipc.read_record_batch(whole.slice(segment.offset, segment.length), schema),
        )
        held_bytes += segment.length
        if held_bytes > HELD_BYTES:
            let_go(mapped)
            held_bytes = 0
    let_go(mapped)


def _layout_schema(topic: SpooledTopic, segment: Segment) -> pa.Schema:
    return _schema(tuple([topic.columns[place].type for place in segment.layout]))


@functools.lru_cache(1_000)
def _schema(types: tuple[str, ...]) -> pa.Schema:
    """Most batches of a log have the columns of one before them."""
    arrow = [pa.int64(), tables.TIMESTAMP, *map(tables.arrow_type, types)]
    return pa.schema([pa.field(str(place), kind) for place, kind in enumerate(arrow)])


# Damage as events


def _damage_events(items: Sequence[Any]) -> pa.RecordBatch:
    return _own_events(
        [DAMAGE_SOURCE] * len(items),
        [_message(item) for item in items],
        [_attributes(item) for item in items],
    )


def _message(item: Any) -> str:
    at = f"{item.start}" if item.line is None else f"{item.start} (line {item.line})"
    return f"{item.end - item.start} bytes lost at {at}: {item.reason}"


def _attributes(item: Any) -> dict[str, Any]:
    said = {
        "start": item.start,
        "end": item.end,
        "reason": item.reason,
        "line": item.line,
        "excerpt": item.excerpt and tables.clean_text(item.excerpt),
    }
    return {name: value for name, value in said.items() if value is not None}


def _more_damage(more: int) -> pa.RecordBatch:
    message = f"{more} more ranges were lost; only the first {MAX_DAMAGE_EVENTS} are listed"
    return _own_events([DAMAGE_SOURCE], [message], [{"more": more}])


def _own_events(
    sources: list[str], messages: list[str], attributes: list[dict[str, Any]]
) -> pa.RecordBatch:
    rows = len(sources)
    return pa.record_batch(
        {
            "ts": pa.nulls(rows, tables.TIMESTAMP),
            "t_boot_us": pa.nulls(rows, pa.int64()),
            "level": pa.repeat(pa.scalar(_DAMAGE_LEVEL, pa.int16()), rows),
            "source": pa.array(sources, pa.string()),
            "message": pa.array(messages, pa.string()),
            "attributes": pa.array(
                [json.dumps(one, ensure_ascii=False) for one in attributes], pa.string()
            ),
        }
    )


def _no_scratch(path: str, error: OSError) -> TransientError:
    return TransientError(
        f"cannot write scratch file {path}: {error.strerror}",
        hint="free space in LOGBOX_WORK_DIR",
    )
