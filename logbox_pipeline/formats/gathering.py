"""Events of many small blocks to few batches. No parsing."""

from collections.abc import Iterator

import pyarrow as pa

from logbox_pipeline.formats.stream import Events, Item

_BATCH_BYTES = 32 * 1024 * 1024


def gathered(items: Iterator[Item], batch_rows: int) -> Iterator[Item]:
    """The same items, with the events of many blocks in one batch: of at least `batch_rows` rows
    or 32 MiB, but for the last."""
    batches: list[pa.RecordBatch] = []
    rows = size_bytes = 0
    for item in items:
        if not isinstance(item, Events):
            yield item
            continue
        batches.append(item.batch)
        rows += item.batch.num_rows
        size_bytes += item.batch.nbytes
        if rows >= batch_rows or size_bytes >= _BATCH_BYTES:
            yield Events(pa.concat_batches(batches))
            batches.clear()
            rows = size_bytes = 0
    if batches:
        yield Events(pa.concat_batches(batches))
