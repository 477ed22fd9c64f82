"""What came of the fleet's uploads, as it stands in every store. Judged elsewhere.

Reads the catalog, Postgres, landing, quarantine, archive, replica and lake, and changes none. Few
questions to Postgres, whatever the number of logs; every stored byte is read back.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg2 import sql

from logbox_pipeline.adapters.catalog_agreement import live_files
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import keys
from logbox_pipeline.core.tables import EVENTS, PARAMETERS, TRACK
from logbox_pipeline.simulator.fleet_logs import REFUSED, SUPERSEDED
from logbox_pipeline.steps.site import TRANSFERS, Site

Rows = Mapping[tuple[str, str], int]
"""Rows by (log_id, table)."""

Place = tuple[str, str]
"""(client, digest of the bytes as they were uploaded)."""

MISSING = "missing"


@dataclass(frozen=True)
class Log:
    """What the catalog says of a log in an object, or of a member that was refused (no log_id).

    state: the catalog's, or SUPERSEDED. seconds: from received to loaded.
    """

    member: str
    log_id: str | None
    state: str
    format: str | None = None
    reason: str | None = None
    detail: str | None = None
    rows: int | None = None
    damaged_bytes: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class Delivery:
    """What the catalog says became of one object; `repeats` is the log_id of a duplicate. sha256
    None: nobody read it. ended_at: when it was
    loaded, refused, or archived for good; None: nothing of it."""

    delivery_id: str
    client: str
    landing_key: str
    sha256: str | None
    state: str
    reason: str | None
    repeats: str | None
    size_bytes: int
    received_at: datetime
    arrival: int
    ended_at: datetime | None
    logs: tuple[Log, ...] = ()

    @property
    def place(self) -> Place:
        return self.client, self.sha256 or ""


@dataclass(frozen=True)
class Flight:
    """A row of logbox.flights, and all logs that saw it."""

    vehicle: str | None
    takeoff_at: datetime | None
    duration_s: float
    distance_m: float | None
    max_alt_m: float | None
    battery_used_pct: float | None
    end_state: str
    autopilot: str | None
    log_ids: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Found:
    """What stands where. archived, replicated: digests of the bytes read back, by place.
    quarantined: the same by delivery_id. lake_only: what is meant to be missing in Postgres."""

    deliveries: Sequence[Delivery]
    postgres: Rows
    parquet: Rows
    archived: Mapping[Place, str]
    replicated: Mapping[Place, str]
    quarantined: Mapping[str, str]
    in_landing: Sequence[str]
    stray_files: Sequence[str]
    busy_s: float
    flights: Sequence[Flight] = ()
    lake_only: Collection[tuple[str, str]] = ()


def look(site: Site, clients: list[str], folder: Path) -> Found:
    """Read back all that these clients' uploads became; `folder` takes the downloads.

    Raises TransientError when a store is away.
    """
    with site.transaction() as cursor:
        deliveries = _deliveries(cursor, clients)
        flights = _flights(cursor, clients)
        log_ids = _log_ids(cursor, clients)
        batches = _batches(cursor, clients)
        batch_ids = [batch_id for batch_id, _, _ in batches]
        live = live_files(cursor, batch_ids, None)
        leaving = _leaving_files(cursor, batch_ids)
        lake_only = _lake_only(cursor, log_ids)
        postgres = _postgres_rows(cursor, log_ids)
        archived = _archive_keys(cursor, clients)
        quarantined = _quarantine_keys(cursor, clients)
    tables = {one.lake_key: one.table_name for one in live}
    ours = set(batch_ids)
    standing = {
        one.key
        for one in site.lake.list_all("lake/")
        # lake/<table>/received_on=<day>/<batch id>-<digest>.parquet
        if (one.key in tables or one.key.rpartition("/")[2][:36] in ours) and one.key not in leaving
    }
    files = {key: table for key, table in tables.items() if key in standing}
    return Found(
        deliveries=deliveries,
        postgres=postgres,
        parquet=_parquet_rows(site, files, set(log_ids), folder),
        archived=_digests(site.archive, archived, folder),
        replicated=_digests(site.replica, archived, folder) if site.replica else {},
        quarantined=_digests(site.landing, quarantined, folder),
        in_landing=[
            one.key
            for client in clients
            for one in site.landing.list_all(keys.landing_prefix(client))
        ],
        stray_files=sorted(standing ^ set(tables)),
        busy_s=busy_seconds([(begin, end) for _, begin, end in batches]),
        flights=flights,
        lake_only=lake_only,
    )


def _deliveries(cursor: Any, clients: list[str]) -> list[Delivery]:
    cursor.execute(
        """
        select o.client, o.sha256, o.member,
            l.log_id::text,
            case when l.log_id is null then %(refused)s
                when l.superseded_by is not null then %(superseded)s
                else l.state end,
            l.format, coalesce(o.reason, l.reason), coalesce(o.detail, l.detail), l.telemetry_rows,
            coalesce(l.damaged_bytes, 0),
            extract(epoch from l.loaded_at - l.received_at)::float
        from logbox.object_logs o
        left join logbox.logs l using (log_id)
        where o.client = any(%(clients)s)
        order by o.client, o.sha256, o.member
        """,
        {"clients": clients, "superseded": SUPERSEDED, "refused": REFUSED},
    )
    logs: dict[Place, list[Log]] = {}
    for client, sha256, *values in cursor.fetchall():
        logs.setdefault((client, sha256), []).append(Log(*values))
    cursor.execute(
        """
        select d.delivery_id::text, d.client, d.landing_key, d.sha256::text, d.state, d.reason,
            d.duplicate_of::text, d.size_bytes, d.received_at, d.arrival,
            case
                when d.state = 'quarantined' then d.quarantined_at
                when d.state in ('archived', 'duplicate') then coalesce(
                    (
                        select max(l.loaded_at)
                        from logbox.object_logs o
                        join logbox.logs l using (log_id)
                        where (o.client, o.sha256) = (d.client, d.sha256)
                    ),
                    d.archived_at
                )
            end
        from logbox.deliveries d
        where d.client = any(%s)
        order by d.landing_key, d.received_at, d.arrival, d.delivery_id
        """,
        (clients,),
    )
    found = [Delivery(*row) for row in cursor.fetchall()]
    return [
        replace(one, logs=tuple(logs.get(one.place, ()))) if one.state == "archived" else one
        for one in found
    ]


def _flights(cursor: Any, clients: list[str]) -> list[Flight]:
    cursor.execute(
        """
        select f.vehicle, f.takeoff_at, f.duration_s, f.distance_m, f.max_alt_m,
            f.battery_used_pct, f.end_state, f.autopilot, array_agg(s.log_id::text)
        from logbox.flights f
        join logbox.flight_logs s using (flight_id)
        where f.client = any(%s)
        group by f.flight_id
        order by f.client, f.vehicle, f.started_before
        """,
        (clients,),
    )
    return [replace(Flight(*row), log_ids=frozenset(ids)) for *row, ids in cursor.fetchall()]


def _leaving_files(cursor: Any, batch_ids: list[str]) -> set[str]:
    """Replaced by others, and still there for those who are reading them."""
    cursor.execute(
        """
        select lake_key
        from logbox.lake_files
        where state = 'replaced' and batch_ids && %s::uuid[]
        """,
        (batch_ids,),
    )
    return {lake_key for (lake_key,) in cursor.fetchall()}


def _log_ids(cursor: Any, clients: list[str]) -> list[str]:
    cursor.execute("select log_id::text from logbox.logs where client = any(%s)", (clients,))
    return [log_id for (log_id,) in cursor.fetchall()]


def _batches(cursor: Any, clients: list[str]) -> list[tuple[str, datetime, datetime]]:
    """(batch_id, when its run began, when it was done)."""
    cursor.execute(
        """
        select b.batch_id::text, b.started_at, b.finished_at
        from logbox.batches b
        where b.started_at is not null and b.finished_at is not null
            and exists (
                select
                from logbox.deliveries d
                where d.batch_id = b.batch_id and d.client = any(%s)
            )
        """,
        (clients,),
    )
    return list(cursor.fetchall())


def _archive_keys(cursor: Any, clients: list[str]) -> dict[Place, str]:
    """Where the bytes of each accepted object stand."""
    cursor.execute(
        "select client, sha256::text, archive_key from logbox.objects where client = any(%s)",
        (clients,),
    )
    return {(client, sha256): key for client, sha256, key in cursor.fetchall()}


def _quarantine_keys(cursor: Any, clients: list[str]) -> dict[str, str]:
    cursor.execute(
        """
        select delivery_id::text, quarantine_key
        from logbox.deliveries
        where client = any(%s) and quarantine_key is not null
        """,
        (clients,),
    )
    return dict(cursor.fetchall())


def _lake_only(cursor: Any, log_ids: list[str]) -> set[tuple[str, str]]:
    cursor.execute(
        """
        select distinct log_id::text, table_name
        from logbox.log_topics
        where lake_only_reason is not null and log_id = any(%s::uuid[])
        """,
        (log_ids,),
    )
    return set(cursor.fetchall())


def _postgres_rows(cursor: Any, log_ids: list[str]) -> Rows:
    """Counted, in every table there is."""
    cursor.execute(
        """
        select relname
        from pg_class
        where relnamespace = 'telemetry'::regnamespace and relkind = 'p'
        """
    )
    tables = [("telemetry", name) for (name,) in cursor.fetchall()]
    rows: dict[tuple[str, str], int] = {}
    for schema, table in [("logbox", EVENTS), ("logbox", PARAMETERS), ("logbox", TRACK), *tables]:
        cursor.execute(
            sql.SQL(
                """
                select log_id::text, count(*)
                from {}
                where log_id = any(%s::uuid[])
                group by log_id
                """
            ).format(sql.Identifier(schema, table)),
            (log_ids,),
        )
        rows |= {(log_id, table): count for log_id, count in cursor.fetchall()}
    return rows


def _parquet_rows(site: Site, files: Mapping[str, str], log_ids: set[str], folder: Path) -> Rows:
    """Counted in the files themselves, every column of them decoded."""

    def count(lake_key: str, path: Path) -> Rows:
        if site.lake.download(lake_key, path) is None:
            return {}
        file = pq.ParquetFile(path)
        counted: Counter[tuple[str, str]] = Counter()
        for group in range(file.num_row_groups):
            # What Arrow calls a UUID it cannot count.
            column = file.read_row_group(group).column("log_id").cast(pa.binary(16))
            for pair in pc.value_counts(column).to_pylist():
                log_id = str(UUID(bytes=pair["values"]))
                if log_id in log_ids:
                    counted[log_id, files[lake_key]] += pair["counts"]
        return counted

    rows: Counter[tuple[str, str]] = Counter()
    for counted in _in_threads(count, files, folder):
        rows.update(counted)
    return dict(rows)


def _digests(bucket: S3Bucket, places: Mapping[Any, str], folder: Path) -> dict[Any, str]:
    """Of the bytes as they are now, read back from the store."""

    def digest(key: str, path: Path) -> str:
        download = bucket.download(key, path)
        return MISSING if download is None else download.sha256

    found = _in_threads(digest, places.values(), folder)
    return dict(zip(places, found, strict=True))


def _in_threads(work: Callable[[str, Path], Any], keys: Iterable[str], folder: Path) -> list[Any]:
    """One file at a time for each thread, removed when done."""

    def one(numbered: tuple[int, str]) -> Any:
        number, key = numbered
        path = folder / f"look-{number}"
        try:
            return work(key, path)
        finally:
            path.unlink(missing_ok=True)

    with ThreadPoolExecutor(TRANSFERS) as threads:
        return list(threads.map(one, enumerate(keys)))


def busy_seconds(spans: Sequence[tuple[datetime, datetime]]) -> float:
    """Seconds in which at least one run was at work."""
    busy, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for begin, end in sorted(spans):
        busy += max(0.0, (end - max(begin, until)).total_seconds())
        until = max(until, end)
    return busy
