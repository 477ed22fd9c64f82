"""Topics of a log by hand: rows of plain Python values, read as a track reads them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from logbox_pipeline.core.flights import LogTrack
from logbox_pipeline.formats.stream import About
from logbox_pipeline.formats.track import track
from logbox_pipeline.formats.track_mapping import TrackFormat

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


class HandTopics:
    """batch_rows: as small as a test wants, so that nothing hangs on where a batch ends."""

    def __init__(self, topics: Mapping[str, pa.Table | Mapping[int, pa.Table]], batch_rows: int):
        self._topics = {
            name: {0: tables} if isinstance(tables, pa.Table) else dict(tables)
            for name, tables in topics.items()
        }
        self._batch_rows = batch_rows

    def instances(self, topic: str) -> tuple[int, ...]:
        return tuple(sorted(self._topics.get(topic, ())))

    def read(self, topic: str, instance: int, fields: Collection[str]) -> Iterator[pa.RecordBatch]:
        table = self._topics[topic][instance]
        names = [n for n in table.column_names if n in ("t_boot_us", "ts") or n in fields]
        yield from table.select(names).to_batches(max_chunksize=self._batch_rows)


def rows(times_s: Sequence[float | None], **fields: Any) -> pa.Table:
    """A topic by its boot clock (s), 0 at START. A field is one value per row, or one for all."""
    count = len(times_s)
    boot = [None if t is None else round(t * 1e6) for t in times_s]
    stamps = [None if t is None else START + timedelta(seconds=t) for t in times_s]
    columns = {
        "t_boot_us": pa.array(boot, pa.int64()),
        "ts": pa.array(stamps, pa.timestamp("us", tz="UTC")),
    }
    for name, values in fields.items():
        columns[name] = pa.array(values if isinstance(values, list) else [values] * count)
    return pa.table(columns)


def track_of(
    known: TrackFormat,
    topics: Mapping[str, pa.Table | Mapping[int, pa.Table]],
    about: About | None = None,
    batch_rows: int = 1_000,
) -> LogTrack:
    found = track(known, HandTopics(topics, batch_rows), about)
    assert found is not None
    found.track.validate(full=True)
    return found


def column(found: LogTrack, name: str) -> list[Any]:
    values = found.track[name].to_pylist()
    return [round(value, 6) if isinstance(value, float) else value for value in values]
