"""What a parser yields, and the limits it keeps. No parsing here.

A parser is a pure function over mapped bytes that yields as it goes,

    parse(source: memoryview, limits: Limits) -> Iterator[Item]

so that memory does not grow with the file. Item order is the file's order within one topic;
`About` comes exactly once, last. A parser never raises on bad bytes: what it cannot read is
`Damage`. If nothing at all can be read it yields `Unreadable` once and ends.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum

import pyarrow as pa


class TimeSource(StrEnum):
    """Where a log's UTC comes from (`logs.time_source`)."""

    GPS = "gps"
    RTC = "rtc"
    GCS = "gcs"
    LOG = "log"
    NONE = "none"


class Likeness(IntEnum):
    """What a format says of a log's first bytes. SURE: a magic number, or lines that nothing else
    would write. MAYBE: plausible, to be settled by trying."""

    NO = 0
    MAYBE = 1
    SURE = 2


@dataclass(frozen=True)
class Limits:
    """Hard limits of one parse, so that no input can eat the machine.

    record_bytes: longest single record or line. nesting: deepest JSON value.
    columns: most columns of one topic. all_columns: of all topics of a log.
    rows: most rows out of one log, events included.
    batch_rows: rows per yielded `Rows` or `Events` (a soft limit on memory).
    received_at: when the object reached S3; fixes later than this plus one day are refused.
    """

    received_at: datetime
    record_bytes: int = 64 * 1024 * 1024
    nesting: int = 64
    columns: int = 5_000
    all_columns: int = 100_000
    rows: int = 200_000_000
    batch_rows: int = 65_536


@dataclass(frozen=True)
class Column:
    """One field as the source names it: `q[0]`, `esc[1].esc_rpm`; unit and scale where known."""

    source_name: str
    unit: str | None = None
    scale: float | None = None
    definition: str | None = None


@dataclass(frozen=True)
class Rows:
    """Telemetry rows of one topic and instance.

    batch: first columns `t_boot_us` (int64, nullable) and `ts` (timestamp[us, UTC], nullable),
    then one column per entry of `columns`, in the source's own width (arrays up to 16 entries
    flattened to `q[0]`..., longer ones one list column; text as string).
    """

    topic: str
    instance: int
    batch: pa.RecordBatch
    columns: tuple[Column, ...]


EVENT_SCHEMA = pa.schema(
    [
        pa.field("ts", pa.timestamp("us", tz="UTC")),
        pa.field("t_boot_us", pa.int64()),
        pa.field("level", pa.int16()),
        pa.field("source", pa.string()),
        pa.field("message", pa.string()),
        pa.field("attributes", pa.string()),
    ]
)
"""`level` is the syslog severity 0-7 (RFC 5424), null when the source gives none.
`attributes` is a JSON object as text, null when empty. Text never contains NUL."""


@dataclass(frozen=True)
class Events:
    """Text messages, mode changes, errors, dropouts, JSON lines... in the order of the file."""

    batch: pa.RecordBatch


PARAMETER_SCHEMA = pa.schema(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("t_boot_us", pa.int64()),
        pa.field("value", pa.float64()),
        pa.field("value_type", pa.string(), nullable=False),
    ]
)
"""`kind` is `initial`, `changed`, `default_system` or `default_airframe`; `value_type` the
source's type (`int32`, `float`)."""


@dataclass(frozen=True)
class Parameters:
    batch: pa.RecordBatch


@dataclass(frozen=True)
class Damage:
    """Bytes [start, end) that gave no rows, and why (`reason` is one lower-case word or two
    joined by an underscore: `truncated`, `bad_line`, `zeroed`, `bad_length`...).
    `line` is 1-based where the format has lines. `excerpt` is at most 200 characters, printable."""

    start: int
    end: int
    reason: str
    line: int | None = None
    excerpt: str | None = None


@dataclass(frozen=True)
class About:
    """What the log says of itself as a whole; times are UTC-aware."""

    time_source: TimeSource
    time_error_ms: int | None = None
    recorded_from: datetime | None = None
    recorded_to: datetime | None = None
    vehicle_uid: str | None = None
    firmware: str | None = None
    hardware: str | None = None
    info: dict[str, str | int | float] = field(default_factory=dict)


@dataclass(frozen=True)
class Unreadable:
    """Authentic bytes that cannot be read: the log becomes `unparsed` with this reason."""

    reason: str
    detail: str


Item = Rows | Events | Parameters | Damage | About | Unreadable
