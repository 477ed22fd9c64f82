"""A parsed log's track and flights, made in the parse worker from its spool.

Reads back only the fields that a track is made of, batch by batch, so that memory does not grow
with the log. Imported by a bare interpreter: keep Dagster and boto3 out.
"""

import mmap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from logbox_pipeline.adapters.mapped import kept_small
from logbox_pipeline.adapters.spool import Spooled, SpooledTopic, field_batches, map_rows
from logbox_pipeline.core.flights import LogTrack
from logbox_pipeline.formats import dataflash_track, dji_app_track, mavlink_track, ulog_track
from logbox_pipeline.formats.stream import About
from logbox_pipeline.formats.track import track

FORMATS = {
    known.format: known
    for known in (
        ulog_track.TRACK,
        dataflash_track.TRACK,
        mavlink_track.TRACK,
        dji_app_track.TRACK,
    )
}


def track_of(rows: Path, format: str, spooled: Spooled, about: About | None) -> LogTrack | None:
    """The track of the log spooled to the file `rows`; None for a format without one, and for a log
    without a row that a track could be made of."""
    known = FORMATS.get(format)
    topics = {one.topic: one for one in spooled.topics}
    if known is None or not any(mapped.topic in topics for mapped in known.mapping):
        return None
    mapped = map_rows(rows)
    with kept_small(mapped):
        return track(known, _SpooledTopics(mapped, topics), about)


@dataclass(frozen=True)
class _SpooledTopics:
    mapped: mmap.mmap
    topics: dict[str, SpooledTopic]

    def instances(self, topic: str) -> tuple[int, ...]:
        known = self.topics.get(topic)
        return () if known is None else tuple(one.instance for one in known.instances)

    def read(self, topic: str, instance: int, fields: Collection[str]) -> Iterator[pa.RecordBatch]:
        return field_batches(self.mapped, self.topics[topic], instance, fields)
