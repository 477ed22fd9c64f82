"""Merge Parquet files of one table into one in order of log_id, in bounded memory.

No keys, no upload, no catalog. The order of a log's own rows stays as it is: by instance and time,
or by seq, as the load wrote them.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from logbox_pipeline.adapters.parquet import LakeFile, write_table_file
from logbox_pipeline.core.compaction import unified
from logbox_pipeline.core.errors import TransientError

HELD_BYTES = 128 * 1024**2
"""Memory of the rows of all inputs that wait for their turn."""


@dataclass(frozen=True)
class _Stretch:
    """Batches `first` up to `end` of a spool, in order of log_id."""

    path: Path
    first: int
    end: int


def merge_files(
    paths: Sequence[Path], to: Path, scratch: Path, see: Callable[[pa.RecordBatch], None]
) -> LakeFile:
    """Write the rows of all `paths` to `to`, with all their columns; `see` is shown every row read.

    A Parquet file gives its rows by the row group only, and one of each input may be more than
    there is memory: so each goes through scratch once as Arrow, in small batches. Scratch: the rows
    uncompressed. Memory: HELD_BYTES, one row group read and one written.
    Raises TransientError when scratch is full or gone.
    """
    schema = unified([pq.read_schema(path) for path in paths])
    share = max(1, HELD_BYTES // len(paths))
    stretches: list[_Stretch] = []
    for number, path in enumerate(paths):
        stretches += _spool(path, scratch / f"{number}.old.arrow", share, see)
    with ExitStack() as opened:
        runs = [_runs(opened, one, schema) for one in stretches]
        return write_table_file(to, schema, map(itemgetter(1), heapq.merge(*runs, key=_log_id)))


def batches_of(path: Path) -> Iterator[pa.RecordBatch]:
    """Rows of a file in their order. Memory: one row group."""
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).combine_chunks().to_batches()


_log_id: Callable[[tuple[bytes, pa.RecordBatch]], bytes] = itemgetter(0)


def _spool(
    path: Path, to: Path, most_bytes: int, see: Callable[[pa.RecordBatch], None]
) -> list[_Stretch]:
    """The file's rows as Arrow in batches of at most `most_bytes`.

    Its logs are in order, but for one that was read late since what it gave way to could not be
    read: there another stretch begins.
    """
    begins: list[int] = []
    written = 0
    last = b""
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    try:
        with pa.ipc.new_file(to, pq.read_schema(path), options=options) as spool:
            for batch in batches_of(path):
                see(batch)
                starts, ids = _logs(batch)
                behind = {
                    start
                    for start, log_id, before in zip(starts, ids, [last, *ids[:-1]], strict=True)
                    if log_id < before
                }
                last = ids[-1]
                at_once = max(1, batch.num_rows * most_bytes // max(1, batch.nbytes))
                cuts = {*range(0, batch.num_rows, at_once), *behind, batch.num_rows}
                for start, end in pairwise(sorted(cuts)):
                    if start in behind or not written:
                        begins.append(written)
                    spool.write_batch(batch.slice(start, end - start))
                    written += 1
    except OSError as error:
        raise TransientError(
            f"cannot write scratch file {to}: {error}", hint="free space in LOGBOX_WORK_DIR"
        ) from error
    return [_Stretch(to, first, end) for first, end in pairwise([*begins, written])]


def _runs(
    opened: ExitStack, stretch: _Stretch, schema: pa.Schema
) -> Iterator[tuple[bytes, pa.RecordBatch]]:
    """(log_id, its rows) of a stretch; one batch of it in memory."""
    spool = pa.ipc.open_file(opened.enter_context(pa.OSFile(str(stretch.path))))
    for number in range(stretch.first, stretch.end):
        batch = _with_columns(spool.get_batch(number), schema)
        starts, ids = _logs(batch)
        for start, end, log_id in zip(starts, [*starts[1:], batch.num_rows], ids, strict=True):
            yield log_id, batch.slice(start, end - start)


def _with_columns(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with every column of `schema`; those it lacks are null."""
    found = dict(zip(batch.schema.names, batch.columns, strict=True))
    return pa.record_batch(
        [
            found[field.name] if field.name in found else pa.nulls(batch.num_rows, field.type)
            for field in schema
        ],
        schema=schema,
    )


def _logs(batch: pa.RecordBatch) -> tuple[list[int], list[bytes]]:
    """Where each log's rows begin, and the ids."""
    stored = batch.column("log_id").storage
    ids = np.frombuffer(stored.buffers()[1], "V16", len(stored), stored.offset * 16)
    words = ids.view(np.uint64).reshape(-1, 2)
    is_new = np.ones(len(ids), np.bool_)
    is_new[1:] = (words[1:] != words[:-1]).any(axis=1)
    starts = np.flatnonzero(is_new).tolist()
    return starts, [ids[start].tobytes() for start in starts]
