"""The catalog's record of what each log holds, topic by topic: rows, times, rates, fields."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import pyarrow as pa

from logbox_pipeline.adapters.copy import copy_batches
from logbox_pipeline.core.tables import TIMESTAMP

_FIELDS = uuid5(NAMESPACE_URL, "https://logbox.invalid/fields")
_ROWS = 1_000

_SCHEMA = pa.schema(
    [
        pa.field("log_id", pa.binary(16), nullable=False),
        pa.field("topic", pa.string(), nullable=False),
        pa.field("instance", pa.int32(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("first_t_boot_us", pa.int64()),
        pa.field("last_t_boot_us", pa.int64()),
        pa.field("first_at", TIMESTAMP),
        pa.field("last_at", TIMESTAMP),
        pa.field("rate_hz", pa.float64()),
        pa.field("table_name", pa.string(), nullable=False),
        pa.field("lake_only_reason", pa.string()),
        pa.field("fields", pa.string(), metadata={"postgres_type": "jsonb"}),
        pa.field("fields_id", pa.binary(16)),
    ]
)


@dataclass(frozen=True)
class TopicResult:
    """One (topic, instance) of one log. Times in µs, UTC since 1970; `fields`: JSON by column."""

    log_id: UUID
    topic: str
    instance: int
    rows: int
    first_t_boot_us: int | None
    last_t_boot_us: int | None
    first_ts_us: int | None
    last_ts_us: int | None
    rate_hz: float | None
    table_name: str
    lake_only_reason: str | None
    fields: str
    fields_id: UUID


def fields_id(column_names: Sequence[str]) -> UUID:
    """Equal for equal sets of names, whatever their order."""
    return uuid5(_FIELDS, "\n".join(sorted(column_names)))


def record_topics(cursor: Any, topics: Sequence[TopicResult]) -> None:
    """Part of the load transaction. By COPY: a batch may hold tens of thousands."""
    copy_batches(cursor, ("logbox", "log_topics"), _SCHEMA, _batches(topics))


def _batches(topics: Sequence[TopicResult]) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(topics), _ROWS):
        rows = [_row(one) for one in topics[start : start + _ROWS]]
        columns = zip(*rows, strict=True)
        yield pa.record_batch(
            [
                pa.array(values, field.type)
                for values, field in zip(columns, _SCHEMA, strict=True)
            ],
            schema=_SCHEMA,
        )  # fmt: skip


def _row(one: TopicResult) -> tuple[Any, ...]:
    return (
        one.log_id.bytes,
        one.topic,
        one.instance,
        one.rows,
        one.first_t_boot_us,
        one.last_t_boot_us,
        one.first_ts_us,
        one.last_ts_us,
        one.rate_hz,
        one.table_name,
        one.lake_only_reason,
        one.fields,
        one.fields_id.bytes,
    )


@dataclass(frozen=True)
class LiveFile:
    """A Parquet file that counts, with the digest of its bytes."""

    lake_key: str
    sha256: str


@dataclass(frozen=True)
class LoadedTopic:
    """One (topic, instance) of a loaded log and where its rows stand in the lake.

    name: as people write it, `/<instance>` behind those above 0. columns: those the log has.
    """

    name: str
    instance: int
    columns: tuple[str, ...]
    files: tuple[LiveFile, ...]


def loaded_topics(cursor: Any, log_id: UUID) -> list[LoadedTopic]:
    """Every topic of a log, by name; none for a log that is not loaded."""
    cursor.execute(
        """
        select t.topic, t.instance, array(select jsonb_object_keys(t.fields)),
            array_agg(f.lake_key order by f.lake_key), array_agg(f.sha256::text order by f.lake_key)
        from logbox.logs l
        join logbox.log_topics t using (log_id)
        join logbox.lake_files f
            on f.table_name = t.table_name
            and f.received_on = l.received_on
            and f.batch_ids @> array[l.batch_id]
            and f.state = 'live'
        where l.log_id = %s and l.state = 'loaded'
        group by t.log_id, t.topic, t.instance
        order by t.topic, t.instance
        """,
        (str(log_id),),
    )
    return [
        LoadedTopic(
            f"{topic}/{instance}" if instance else topic,
            instance,
            tuple(columns),
            tuple(map(LiveFile, lake_keys, digests)),
        )
        for topic, instance, columns, lake_keys, digests in cursor.fetchall()
    ]
