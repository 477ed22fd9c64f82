"""How fast rows go from a spool to Postgres and Parquet, beside the server's own COPY from a file.

    python -m logbox_pipeline_tests.benchmarks.loading postgresql://superuser@host/scratch

The last is the limit: the same rows in Postgres's own binary format, read by the server itself.
It needs a superuser and a server on this machine; schema `loading_benchmark` is made and dropped.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa

from logbox_pipeline.adapters import parquet, spool
from logbox_pipeline.adapters.copy import copy_batches
from logbox_pipeline.adapters.parquet import write_table_file
from logbox_pipeline.adapters.postgres import connect, transaction
from logbox_pipeline.adapters.spool import Spool, Spooled, event_batches, telemetry_batches
from logbox_pipeline.core import tables
from logbox_pipeline.core.tables import LogKey, TelemetryTable
from logbox_pipeline.formats.stream import EVENT_SCHEMA, Column, Events, Rows

ROWS = 1_000_000
BATCH = 65_536
SCHEMA = "loading_benchmark"
LOG = LogKey(UUID(int=7), "acme", "d1")
DAYS = (date(2026, 11, 24) - date(1970, 1, 1)).days

TELEMETRY_DDL = """
create table loading_benchmark.telemetry (
    log_id uuid not null, instance integer not null, received_on date not null,
    t_boot_us bigint, ts timestamptz,
    f0 real, f1 real, f2 real, f3 real, f4 real, f5 real, f6 real,
    d0 double precision, u0 integer, u1 smallint, counter bigint
);
create index on loading_benchmark.telemetry (log_id, t_boot_us);
"""
EVENTS_DDL = """
create table loading_benchmark.events (
    log_id uuid not null, seq bigint not null, ts timestamptz, t_boot_us bigint,
    level smallint check (level between 0 and 7), source text, message text, attributes jsonb,
    primary key (log_id, seq)
);
"""


def main(url: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="logbox-loading-"))
    try:
        with closing(connect(url)) as connection:
            run(connection, folder)
    finally:
        shutil.rmtree(folder)


def run(connection: Any, folder: Path) -> None:
    log = timed("spool both (typed, cleaned, to scratch)", 2 * ROWS, lambda: fill(folder))
    [topic] = log.topics
    table = tables.assign_names(tables.WantedTopic("bench", topic.topic, topic.columns), (), ())[0]
    for level in (1, 3):
        parquet.COMPRESSION_LEVEL = level
        for name, schema, read in shapes(folder, log, table):
            lake = tables.lake_schema(schema)
            file = timed(
                f"parquet {name}, zstd {level}",
                ROWS,
                lambda lake=lake, read=read, name=name: write_table_file(
                    folder / name, lake, (tables.lake_rows(batch, LOG, lake) for batch in read())
                ),
            )
            print(f"{'':44}{file.size_bytes / 1e6:10.1f} MB")  # noqa: T201
    with transaction(connection) as cursor:
        cursor.execute(f"drop schema if exists {SCHEMA} cascade; create schema {SCHEMA}")
    for name, schema, read in shapes(folder, log, table):
        compare(connection, name, schema, read)
    with transaction(connection) as cursor:
        cursor.execute(f"drop schema {SCHEMA} cascade")


def compare(
    connection: Any, name: str, schema: pa.Schema, read: Callable[[], Iterator[pa.RecordBatch]]
) -> None:
    """Our COPY and the server's, into the same empty table, each three times."""
    ddl = TELEMETRY_DDL if name == "telemetry" else EVENTS_DDL
    days = DAYS if name == "telemetry" else None
    shape = tables.postgres_schema(schema, has_received_on=days is not None)
    with transaction(connection) as cursor:
        cursor.execute("select setting from pg_settings where name = 'data_directory'")
        server_file = f"{cursor.fetchone()[0]}/loading_benchmark.bin"

    def ours(cursor: Any) -> None:
        rows = (tables.postgres_rows(batch, LOG.log_id, days, shape) for batch in read())
        copy_batches(cursor, (SCHEMA, name), shape, rows)

    def theirs(cursor: Any) -> None:
        cursor.execute(f"copy {SCHEMA}.{name} from %s (format binary)", (server_file,))

    best: dict[str, float] = {}
    try:
        for _ in range(3):
            for way, load in (("pgpq", ours), ("server", theirs)):
                with transaction(connection) as cursor:
                    cursor.execute(f"drop table if exists {SCHEMA}.{name};" + ddl)
                started = time.perf_counter()
                with transaction(connection) as cursor:
                    load(cursor)
                best[way] = min(best.get(way, 1e9), time.perf_counter() - started)
                if way == "pgpq":
                    with transaction(connection) as cursor:
                        cursor.execute(
                            f"copy {SCHEMA}.{name} to %s (format binary)", (server_file,)
                        )
    finally:
        Path(server_file).unlink(missing_ok=True)
    for way, took in best.items():
        show(f"COPY {name}, {way}", ROWS, took)
    print(f"{'':44}{best['server'] / best['pgpq']:10.2f} of the limit")  # noqa: T201


def shapes(
    folder: Path, log: Spooled, table: TelemetryTable
) -> Iterator[tuple[str, pa.Schema, Callable[[], Iterator[pa.RecordBatch]]]]:
    yield (
        "telemetry",
        tables.telemetry_schema(table),
        lambda: telemetry_batches(folder, log.topics[0], table),
    )
    yield "events", tables.EVENT_COLUMNS, lambda: event_batches(folder, log)


def fill(folder: Path) -> spool.Spooled:
    random = np.random.default_rng(1)
    with Spool(folder) as written:
        for start in range(0, ROWS, BATCH):
            written.write(telemetry(random, start, min(BATCH, ROWS - start)))
            written.write(events(start, min(BATCH, ROWS - start)))
        return written.close()


def telemetry(random: np.random.Generator, start: int, size: int) -> Rows:
    clock = np.arange(start, start + size) * 4_000
    columns = {
        **{f"f{n}": pa.array(walk(random, size)) for n in range(7)},
        "d0": pa.array(random.normal(size=size)),
        "u0": pa.array(random.integers(0, 5, size), pa.uint16()),
        "u1": pa.array(random.integers(0, 2, size), pa.uint8()),
        "counter": pa.array(clock, pa.uint64()),
    }
    arrays = [pa.array(clock), pa.array(clock + 1_700_000_000_000_000).cast(tables.TIMESTAMP)]
    batch = pa.record_batch([*arrays, *columns.values()], names=["t_boot_us", "ts", *columns])
    return Rows("bench", 0, batch, tuple(map(Column, columns)))


def walk(random: np.random.Generator, size: int) -> np.ndarray:
    return np.cumsum(random.normal(size=size)).astype(np.float32)


def events(start: int, size: int) -> Events:
    clock = np.arange(start, start + size) * 4_000
    arrays = [
        pa.array(clock + 1_700_000_000_000_000).cast(tables.TIMESTAMP),
        pa.array(clock),
        pa.array(np.full(size, 6), pa.int16()),
        pa.array([f"module_{n % 17}" for n in range(size)]),
        pa.array([f"waypoint {n} reached after {n % 977} s" for n in range(size)]),
        pa.array([f'{{"id":{n},"lat":47.{n:07d},"ok":true}}' for n in range(size)]),
    ]
    return Events(pa.record_batch(arrays, schema=EVENT_SCHEMA))


def timed(what: str, rows: int, work: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    done = work()
    show(what, rows, time.perf_counter() - started)
    return done


def show(what: str, rows: int, took: float) -> None:
    print(f"{what:44}{rows / took / 1e3:10.0f} krows/s")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
