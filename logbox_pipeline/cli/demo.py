"""`logbox demo`: the whole of Logbox once, on one machine, judged to the row.

What the drones send and what must come of it is simulator/fleet.py's. Here: the stack, the wait
for the real sensor and runs, a look at every store, the verdict.
"""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Lock
from types import FrameType
from typing import Annotated, Any
from uuid import UUID

import pyarrow.parquet as pq
import typer
from psycopg2 import sql
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from logbox_pipeline.adapters.catalog_agreement import live_files
from logbox_pipeline.adapters.journal import journal_in
from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.cli.clients import catalog_of, iam_of, public_endpoint
from logbox_pipeline.cli.say import print_table, say, stderr, stdout
from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import PermanentError, UsageError
from logbox_pipeline.core.tables import EVENTS, PARAMETERS
from logbox_pipeline.drone.uploader import Target, UploadError
from logbox_pipeline.local.dagster import DagsterProcesses
from logbox_pipeline.local.processes import free_port, port_is_free
from logbox_pipeline.local.site import running
from logbox_pipeline.local.stack import EmbeddedStack
from logbox_pipeline.settings import Settings, is_embedded, load_settings
from logbox_pipeline.simulator.fleet import REFUSED, Upload, fly, make_fleet, rows_by_log
from logbox_pipeline.steps.clients import add_client, list_clients
from logbox_pipeline.steps.site import Site, open_site

WAIT_S = 120
"""How long the fleet's last log may take from upload to its end; about 30 s are usual."""

CLIENTS = ("alpine", "harbour")
SHOWN_TABLES = 6

PINNED = {
    # A log without a digest is refused after the grace, not in five minutes.
    "LOGBOX_SIDECAR_GRACE_S": "5",
    "LOGBOX_DIGEST_POLICY": "require",
    "LOGBOX_POSTGRES_TOPICS": "*",
}
"""What the demo's outcome depends on, set in this process's environment and so in Dagster's: it
wins over .env and is gone with the demo."""

_DONE = ("quarantined", "duplicate", "vanished", "failed")

Rows = Mapping[tuple[str, str], int]
"""Rows by (log_id, table)."""


def demo(
    leave: Annotated[
        bool, typer.Option("--exit", help="Stop when all is judged, and say it in the exit status.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the UI; else LOGBOX_WEB_PORT.")
    ] = None,
) -> None:
    """Start everything, fly a small fleet, ingest its logs, show and judge what came out."""
    if not is_embedded():
        raise UsageError(
            "`logbox demo` runs the embedded stack, but .env names a store or database",
            hint="clear .env, or run it in another folder",
        )
    started = time.monotonic()
    os.environ.update(PINNED)
    os.environ["LOGBOX_WEB_PORT"] = str(port or _web_port(load_settings()))
    signal.signal(signal.SIGTERM, _interrupt)
    passed = None
    try:
        with running(load_settings().home, say) as (stack, dagster):
            passed = _fly_and_judge(stack, dagster)
            verdict = "all came out as it must" if passed else "not all came out as it must"
            say(f"{verdict}, after {time.monotonic() - started:.0f} s")
            if not leave:
                say(f"it stays up: {dagster.url} shows it; ctrl-c stops it")
            while not leave:
                stack.watch()
                dagster.watch()
                time.sleep(1)
    except KeyboardInterrupt:
        say("stopped")
        if passed is None:
            raise typer.Exit(130) from None
    if not passed:
        raise typer.Exit(1)


def _fly_and_judge(stack: EmbeddedStack, dagster: DagsterProcesses) -> bool:
    settings = load_settings()
    site = open_site(settings)
    with TemporaryDirectory(prefix="logbox-demo-") as folder, _progress() as progress:
        targets = _add_clients(settings, site)
        names = sorted(targets)
        fleet = make_fleet(Path(folder), (names[0], names[1]), datetime.now(UTC))
        refused = _upload(fleet, targets, progress)
        progress.begin("ingested", sum(one.state != REFUSED for one in fleet))
        in_time = _wait(site, names, progress, stack, dagster)
        if not in_time:
            say(f"given up after {WAIT_S} s: what follows is not finished")
            say(f"  next: read {settings.home / 'log'}/dagster-*.log, or {dagster.url}/runs")
        found = _look(site, names, Path(folder))
    checks = judge(fleet, found, refused)
    _print(fleet, found, refused, checks)
    stdout.print(f"Dagster's UI: {dagster.url}")
    return all(check.passed for check in checks)


# Flying


def _web_port(settings: Settings) -> int:
    """The port asked for; when nobody asked and the usual one is taken, a free one."""
    if "web_port" in settings.model_fields_set or port_is_free(settings.web_port):
        return settings.web_port
    other = free_port()
    say(f"port {settings.web_port} is taken: the UI gets {other}")
    return other


def _add_clients(settings: Settings, site: Site) -> dict[str, Target]:
    """Two clients that were never there before: nobody knows the keys of an earlier demo's."""
    targets = {}
    with catalog_of(settings) as connection:
        known = {client.client for client in list_clients(connection)}
        number = 1
        while known & set(_names(number)):
            number += 1
        for name in _names(number):
            key = add_client(
                connection,
                iam_of(settings),
                journal_in(site.archive),
                client=name,
                landing_bucket=settings.landing_bucket,
                now=site.now(),
            )
            targets[name] = Target(
                name,
                settings.landing_bucket,
                key.access_key_id,
                key.secret_access_key,
                public_endpoint(settings),
                settings.s3_region,
            )
            say(f"client {name} has key {key.access_key_id}")
    return targets


def _names(number: int) -> list[str]:
    return [name if number == 1 else f"{name}-{number}" for name in CLIENTS]


def _upload(
    fleet: Sequence[Upload], targets: Mapping[str, Target], progress: "_Progress"
) -> dict[str, str]:
    progress.begin("uploaded", len(fleet))

    def tell(upload: Upload, code: str | None) -> None:
        how = f"refused by S3: {code}" if code else f"{upload.size_bytes / 1e6:.1f} MB"
        progress.advance(f"{upload.key_of}'s {upload.name} -> {upload.landing_key}: {how}")

    try:
        return fly(fleet, targets, on_uploaded=tell, on_trouble=say)
    except UploadError as wrong:
        raise PermanentError(wrong.message, hint=wrong.hint) from None


def _wait(
    site: Site,
    clients: list[str],
    progress: "_Progress",
    stack: EmbeddedStack,
    dagster: DagsterProcesses,
) -> bool:
    """Whether everything came to an end in time. The sensor and Dagster's runs do the work."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        stack.watch()
        dagster.watch()
        with site.transaction() as cursor:
            cursor.execute(
                """
                select count(*)
                from logbox.deliveries d
                join logbox.batches b using (batch_id)
                left join logbox.logs l using (delivery_id)
                where d.client = any(%(clients)s)
                    and b.state in ('finished', 'failed')
                    and (d.state = any(%(done)s) or l.state in ('loaded', 'unparsed', 'failed'))
                """,
                {"done": list(_DONE), "clients": clients},
            )
            (done,) = cursor.fetchone()
        if progress.reach(done):
            return True
        time.sleep(0.5)
    return False


# Looking


@dataclass(frozen=True)
class Delivery:
    """What the catalog says became of one object; `repeats` is the log_id of a duplicate."""

    landing_key: str
    state: str
    log_state: str | None
    reason: str | None
    repeats: str | None
    size_bytes: int
    damaged_bytes: int
    seconds: float | None
    """From received to loaded."""


@dataclass(frozen=True)
class Found:
    """What stands where. archived, quarantined: digests of the bytes read back, by landing key."""

    deliveries: Mapping[str, Delivery]
    postgres: Rows
    parquet: Rows
    archived: Mapping[str, str]
    quarantined: Mapping[str, str]
    in_landing: Sequence[str]
    stray_files: Sequence[str]
    busy_s: float


def _look(site: Site, clients: list[str], folder: Path) -> Found:
    with site.transaction() as cursor:
        deliveries = _deliveries(cursor, clients)
        log_ids = _log_ids(cursor, clients)
        batches = _batches(cursor, clients)
        live = live_files(cursor, [batch_id for batch_id, _, _ in batches])
        postgres = _postgres_rows(cursor, log_ids)
        archived = _places(cursor, clients, "o.archive_key")
        quarantined = _places(cursor, clients, "d.quarantine_key")
    tables = {one.lake_key: one.table_name for one in live}
    standing = {
        one.key
        for one in site.lake.list_all("lake/")
        if any(batch_id in one.key for batch_id, _, _ in batches)
    }
    files = {key: table for key, table in tables.items() if key in standing}
    return Found(
        deliveries=deliveries,
        postgres=postgres,
        parquet=_parquet_rows(site, files, set(log_ids), folder),
        archived=_digests(site.archive, archived, folder),
        quarantined=_digests(site.landing, quarantined, folder),
        in_landing=[
            one.key
            for client in clients
            for one in site.landing.list_all(keys.landing_prefix(client))
        ],
        stray_files=sorted(standing ^ set(tables)),
        busy_s=busy_seconds([(begin, end) for _, begin, end in batches]),
    )


def _deliveries(cursor: Any, clients: list[str]) -> dict[str, Delivery]:
    cursor.execute(
        """
        select d.landing_key, d.state, l.state, coalesce(d.reason, l.reason), d.duplicate_of::text,
            d.size_bytes, coalesce(l.damaged_bytes, 0),
            extract(epoch from l.loaded_at - l.received_at)::float
        from logbox.deliveries d
        left join logbox.logs l using (delivery_id)
        where d.client = any(%s)
        order by d.landing_key
        """,
        (clients,),
    )
    return {row[0]: Delivery(*row) for row in cursor.fetchall()}


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


def _places(cursor: Any, clients: list[str], column: str) -> dict[str, str]:
    """Where the bytes of each delivery stand, by landing key."""
    cursor.execute(
        sql.SQL(
            """
            select d.landing_key, {place}
            from logbox.deliveries d
            left join logbox.objects o on (o.client, o.sha256) = (d.client, d.sha256)
            where d.client = any(%s) and {place} is not null
            """
        ).format(place=sql.SQL(column)),
        (clients,),
    )
    return dict(cursor.fetchall())


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
    for schema, table in [("logbox", EVENTS), ("logbox", PARAMETERS), *tables]:
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
    rows: Counter[tuple[str, str]] = Counter()
    for lake_key, table in files.items():
        path = folder / "lake.parquet"
        if site.lake.download(lake_key, path) is None:
            continue
        column = pq.ParquetFile(path).read().column("log_id")
        for log_id, count in Counter(column.to_pylist()).items():
            text = str(log_id if isinstance(log_id, UUID) else UUID(bytes=log_id))
            if text in log_ids:
                rows[text, table] += count
    return dict(rows)


def _digests(bucket: S3Bucket, places: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Of the bytes as they are now, read back from the store."""
    digests = {}
    for landing_key, place in places.items():
        download = bucket.download(place, folder / "object")
        digests[landing_key] = "missing" if download is None else download.sha256
    return digests


def busy_seconds(spans: Sequence[tuple[datetime, datetime]]) -> float:
    """Seconds in which at least one run was at work."""
    busy, until = 0.0, datetime.min.replace(tzinfo=UTC)
    for begin, end in sorted(spans):
        busy += max(0.0, (end - max(begin, until)).total_seconds())
        until = max(until, end)
    return busy


# Judging


@dataclass(frozen=True)
class Check:
    """One thing that must be so; `wrong` says what is not."""

    sentence: str
    wrong: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.wrong


def judge(fleet: Sequence[Upload], found: Found, refused: Mapping[str, str]) -> list[Check]:
    """Hold what was found against what the fleet knows must come out. Every finding is named."""
    sent = [upload for upload in fleet if upload.state != REFUSED]
    rows = rows_by_log(fleet)
    total = f"{sum(rows.values()):,}"
    return [
        _judge_refusals(fleet, found, refused),
        _judge_deliveries(sent, found),
        _judge_bytes(
            "the archive gives back byte for byte each log that was accepted",
            {one.landing_key: one.sha256 for one in sent if one.state != "quarantined"},
            found.archived,
        ),
        _judge_bytes(
            "quarantine keeps byte for byte each log that was not",
            {one.landing_key: one.sha256 for one in sent if one.state == "quarantined"},
            found.quarantined,
        ),
        Check("nothing is left in landing", tuple(found.in_landing)),
        _judge_rows(f"Postgres has the {total} rows the drones wrote", rows, found.postgres),
        _judge_rows(f"Parquet has the {total} rows the drones wrote", rows, found.parquet),
        Check("the lake has no file too many and none too few", tuple(found.stray_files)),
    ]


def _judge_refusals(fleet: Sequence[Upload], found: Found, refused: Mapping[str, str]) -> Check:
    must = {one.landing_key: one.reason or "" for one in fleet if one.state == REFUSED}
    wrong = _differences(must, refused, "answered")
    wrong += [f"{key}: it came in" for key in must if key in found.deliveries]
    return Check("S3 refused to write below the other client's prefix", tuple(wrong))


def _judge_deliveries(sent: Sequence[Upload], found: Found) -> Check:
    log_ids = {one.log_id for one in sent if one.log_state == "loaded"}
    must = {one.landing_key: _outcome(one.state, one.log_state, one.reason) for one in sent}
    have = {
        key: _outcome(one.state, one.log_state, one.reason) for key, one in found.deliveries.items()
    }
    wrong = _differences(must, have, "ended")
    wrong += [
        f"{key}: repeats no log of the fleet"
        for key, one in found.deliveries.items()
        if one.state == "duplicate" and one.repeats not in log_ids
    ]
    return Check(f"each of {len(sent)} deliveries ended as it must", tuple(wrong))


def _outcome(*words: str | None) -> str:
    return " ".join(word for word in words if word)


def _judge_bytes(sentence: str, must: Mapping[str, str], have: Mapping[str, str]) -> Check:
    return Check(sentence, tuple(_differences(must, have, "is")))


def _judge_rows(sentence: str, must: Rows, have: Rows) -> Check:
    wrong = [
        f"{table} of log {log_id}: expected {must.get((log_id, table), 0):,} rows, "
        f"found {have.get((log_id, table), 0):,}"
        for log_id, table in sorted(set(must) | set(have))
        if must.get((log_id, table), 0) != have.get((log_id, table), 0)
    ]
    return Check(sentence, tuple(wrong))


def _differences(must: Mapping[str, str], have: Mapping[str, str], verb: str) -> list[str]:
    return [
        f"{key}: expected {must.get(key, 'nothing')}, {verb} {have.get(key, 'nothing')}"
        for key in sorted(set(must) | set(have))
        if must.get(key) != have.get(key)
    ]


# Telling


def _print(
    fleet: Sequence[Upload],
    found: Found,
    refused: Mapping[str, str],
    checks: Sequence[Check],
) -> None:
    names = {one.log_id: one.path.name for one in fleet if one.log_state == "loaded"}
    print_table(
        "What became of each upload",
        [_outcome_row(one, found, refused, names) for one in fleet],
        ("client", "file", "state", "log", "reason"),
    )
    print_table(
        "Rows: what the drones wrote, what is in Postgres, what is in the Parquet files",
        _table_rows(rows_by_log(fleet), found),
        ("table", "written", "postgres", "parquet"),
    )
    for line in _speed(found):
        stdout.print(line)
    for check in checks:
        mark = "[green]✓[/]" if check.passed else "[red]✗[/]"
        stdout.print(f"{mark} ", end="")
        stdout.print(check.sentence, markup=False)
        for wrong in check.wrong[:10]:
            stdout.print(f"    {wrong}", markup=False)
        if len(check.wrong) > 10:
            stdout.print(f"    and {len(check.wrong) - 10} more")


def _outcome_row(
    upload: Upload, found: Found, refused: Mapping[str, str], names: Mapping[str, str]
) -> dict[str, Any]:
    row: dict[str, Any] = {"client": upload.client, "file": upload.name}
    delivery = found.deliveries.get(upload.landing_key)
    if delivery is None:
        code = refused.get(upload.landing_key)
        return row | {"state": "not seen" if code is None else REFUSED, "reason": code}
    reason = delivery.reason
    if delivery.repeats is not None:
        reason = f"= {names.get(delivery.repeats, delivery.repeats)}"
    elif delivery.damaged_bytes:
        reason = f"{delivery.damaged_bytes} bytes lost"
    return row | {"state": delivery.state, "log": delivery.log_state, "reason": reason}


def _table_rows(written: Rows, found: Found) -> list[dict[str, Any]]:
    """Events, parameters, the largest telemetry tables, and all together."""
    sides = {
        name: _by_table(rows)
        for name, rows in (
            ("written", written),
            ("postgres", found.postgres),
            ("parquet", found.parquet),
        )
    }
    tables = sorted(set().union(*sides.values()) - {EVENTS, PARAMETERS})
    largest = sorted(tables, key=lambda table: -max(side[table] for side in sides.values()))
    others = largest[SHOWN_TABLES:]
    lines: list[tuple[str, Sequence[str]]] = [
        (table, [table]) for table in (EVENTS, PARAMETERS, *largest[:SHOWN_TABLES])
    ]
    if others:
        lines.append((f"{len(others)} more", others))
    lines.append(("all", [EVENTS, PARAMETERS, *tables]))
    return [
        {"table": label}
        | {name: sum(side[table] for table in members) for name, side in sides.items()}
        for label, members in lines
    ]


def _by_table(rows: Rows) -> Counter[str]:
    counts: Counter[str] = Counter()
    for (_, table), count in rows.items():
        counts[table] += count
    return counts


def _speed(found: Found) -> Iterator[str]:
    seconds = [one.seconds for one in found.deliveries.values() if one.seconds is not None]
    if seconds:
        yield (
            f"received to loaded: {min(seconds):.1f} s at best, {median(seconds):.1f} s in the "
            f"middle, {max(seconds):.1f} s at worst"
        )
    if found.busy_s:
        size_mb = sum(one.size_bytes for one in found.deliveries.values()) / 1e6
        rows = sum(found.postgres.values())
        yield (
            f"ingest: {size_mb:.1f} MB, {rows:,} rows in {found.busy_s:.1f} s of runs: "
            f"{size_mb / found.busy_s:.1f} MB/s, {rows / found.busy_s:,.0f} rows/s"
        )


class _Progress:
    """A bar for what is under way on a terminal, a line for each change elsewhere."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._task: Any = None
        self._what, self._total, self._done = "", 0, 0
        self._lock = Lock()

    def begin(self, what: str, total: int) -> None:
        self._what, self._total, self._done = what, total, 0
        if self._bars:
            self._task = self._bars.add_task(what, total=total)

    def advance(self, sentence: str) -> None:
        with self._lock:
            say(sentence)
            self.reach(self._done + 1, quietly=True)

    def reach(self, done: int, *, quietly: bool = False) -> bool:
        """Whether that is all of it."""
        if self._bars:
            self._bars.update(self._task, completed=done)
        elif done != self._done and not quietly:
            say(f"{self._what} {done} of {self._total}")
        self._done = done
        return done >= self._total


@contextmanager
def _progress() -> Iterator[_Progress]:
    if not stderr.is_terminal:
        yield _Progress(None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as bars:
        yield _Progress(bars)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    if sys.is_finalizing():
        return
    raise KeyboardInterrupt
