"""What no pipeline of this kind can be faster than, on the same files and the same servers.

The server's own COPY of the same rows into tables with the same indexes, from a file of its own;
a plain GET and SHA-256 of the same bytes; only the S3 requests that the protocol needs.
"""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg2 import sql

from logbox_pipeline.adapters.databases import database_of, with_database
from logbox_pipeline.adapters.postgres import connect, transaction
from logbox_pipeline.adapters.telemetry_tables import partition_of
from logbox_pipeline.benchmark.workload import LogFile
from logbox_pipeline.core.digest import sha256_hex, to_base64
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.settings import required
from logbox_pipeline.steps.site import TRANSFERS, Site

_SCHEMA = "bench_limit"
_DELETED_TOGETHER = 250


@dataclass(frozen=True)
class ServerCopy:
    """Rows that the server's own COPY read from its own files, into so many tables."""

    tables: int
    rows: int
    seconds: float


def measure_server_copy(site: Site, prefix: str) -> ServerCopy:
    """COPY by the server of the rows that were loaded from below a prefix of landing.

    Files and empty tables (like those that hold the rows: indexes, constraints) are made before;
    what is timed is one transaction. Needs a superuser, and a server on this machine.
    Raises PermanentError when not as many rows come back as Logbox has loaded.
    """
    admin_url = required(site.settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    database_url = required(site.settings.database_url, "LOGBOX_DATABASE_URL")
    with site.transaction() as cursor:
        logs, wanted = _loaded(cursor, prefix)
    with closing(connect(with_database(admin_url, database_of(database_url)))) as connection:
        files: dict[str, Path] = {}
        try:
            with transaction(connection) as cursor:
                cursor.execute(f"drop schema if exists {_SCHEMA} cascade")
                cursor.execute(f"create schema {_SCHEMA}")
                cursor.execute("show data_directory")
                folder = Path(cursor.fetchone()[0])
                for number, (source, _) in enumerate(wanted):
                    name = f"t{number}"
                    files[name] = folder / f"{_SCHEMA}-{name}.bin"
                    _set_aside(cursor, source, name, files[name], logs)
            started = time.perf_counter()
            with transaction(connection) as cursor:
                rows = sum(_copy(cursor, name, path) for name, path in files.items())
            seconds = time.perf_counter() - started
        finally:
            for path in files.values():
                path.unlink(missing_ok=True)
            with transaction(connection) as cursor:
                cursor.execute(f"drop schema if exists {_SCHEMA} cascade")
    expected = sum(count for _, count in wanted)
    if rows != expected:
        raise PermanentError(f"{expected} rows were loaded, {rows} were copied again")
    return ServerCopy(len(files), rows, seconds)


def measure_bare_reads(site: Site, prefix: str) -> float:
    """Seconds of GET and SHA-256 of what was archived from below a prefix of landing.

    Raises PermanentError when a digest is not the one that was archived.
    """
    with site.transaction() as cursor:
        cursor.execute(
            """
            select o.archive_key, o.sha256
            from logbox.objects o
            where (o.client, o.sha256) in (
                select d.client, d.sha256
                from logbox.deliveries d
                where starts_with(d.landing_key, %s)
            )
            """,
            (prefix,),
        )
        wanted = dict(cursor.fetchall())

    def digest(key: str) -> str:
        answer = site.archive.client.get_object(Bucket=site.archive.bucket, Key=key)
        return hashlib.sha256(answer["Body"].read()).hexdigest()

    started = time.perf_counter()
    with ThreadPoolExecutor(TRANSFERS) as threads:
        found = dict(zip(wanted, threads.map(digest, wanted), strict=True))
    seconds = time.perf_counter() - started
    if found != wanted:
        raise PermanentError("the archive does not hold what it was given")
    return seconds


def measure_bare_requests(site: Site, files: list[LogFile], prefix: str) -> float:
    """Seconds of only the S3 requests that the protocol needs, by the client and with as many
    threads as a run has.

    Per file: GET from landing, to a file and SHA-256; PUT to the archive under If-None-Match with
    that checksum; PUT of a receipt. At the end the versions that were read are deleted, many by one
    request. The files stand below `prefix`; nothing waits for another file.
    """
    scratch = files[0].path.parent / "bare"
    scratch.mkdir(exist_ok=True)
    receipt = b"{}" * 400
    landing, archive = site.landing.bucket, site.archive.bucket
    s3 = site.landing.client

    def move(one: LogFile) -> dict[str, str]:
        path = scratch / one.path.name
        key = f"{prefix}{one.path.name}"
        answer = s3.get_object(Bucket=landing, Key=key)
        data = answer["Body"].read()
        path.write_bytes(data)
        checksum = to_base64(sha256_hex(data))
        s3.put_object(Bucket=archive, Key=key, Body=data, ChecksumSHA256=checksum, IfNoneMatch="*")
        s3.put_object(Bucket=landing, Key=f"{key}.json", Body=receipt)
        return {"Key": key, "VersionId": answer["VersionId"]}

    def delete(lot: Sequence[dict[str, str]]) -> None:
        s3.delete_objects(Bucket=landing, Delete={"Objects": lot, "Quiet": True})

    started = time.perf_counter()
    with ThreadPoolExecutor(TRANSFERS) as threads:
        gone = list(threads.map(move, files))
        lots = range(0, len(gone), _DELETED_TOGETHER)
        list(threads.map(delete, (gone[lot : lot + _DELETED_TOGETHER] for lot in lots)))
    return time.perf_counter() - started


Leaf = tuple[str, str]


def _loaded(cursor: Any, prefix: str) -> tuple[list[UUID], list[tuple[Leaf, int]]]:
    """(logs, the tables that hold their rows and how many). They were received on one day."""
    cursor.execute(
        """
        select l.log_id::text, l.received_on
        from logbox.logs l
        join logbox.deliveries d using (delivery_id)
        where starts_with(d.landing_key, %s) and l.state = 'loaded'
        """,
        (prefix,),
    )
    found = cursor.fetchall()
    logs = [log_id for log_id, _ in found]
    months = {(day.year, day.month): day for _, day in found}
    cursor.execute(
        """
        select t.table_name, sum(t.rows)::bigint
        from logbox.log_tables t
        where t.log_id = any(%s::uuid[]) and t.rows > 0
        group by t.table_name
        """,
        (logs,),
    )
    counts = dict(cursor.fetchall())
    cursor.execute("select distinct table_name from logbox.telemetry_columns")
    telemetry = {name for (name,) in cursor.fetchall()}
    if len(months) != 1:
        raise PermanentError(f"the logs below {prefix} are of {len(months)} months, not of one")
    (day,) = months.values()
    return logs, [
        (partition_of(name, day) if name in telemetry else ("logbox", name), rows)
        for name, rows in sorted(counts.items())
    ]


def _set_aside(cursor: Any, source: Leaf, name: str, path: Path, logs: list[UUID]) -> None:
    there, here = sql.Identifier(*source), sql.Identifier(_SCHEMA, name)
    cursor.execute(sql.SQL("create table {} (like {} including all)").format(here, there))
    cursor.execute(
        sql.SQL(
            "copy (select * from {} where log_id = any({}::uuid[])) to {} (format binary)"
        ).format(there, sql.Literal(logs), sql.Literal(str(path)))
    )


def _copy(cursor: Any, name: str, path: Path) -> int:
    cursor.execute(
        sql.SQL("copy {} from {} (format binary)").format(
            sql.Identifier(_SCHEMA, name), sql.Literal(str(path))
        )
    )
    return int(cursor.rowcount)
