"""`logbox demo`: the whole of Logbox once, on one machine, judged to the row.

What the drones send and what must come of it is simulator/fleet.py's, the look at every store
fleet_look.py's, the verdict fleet_judge.py's. Here: the stack, the uploads, the wait for the real
sensor and runs, what is shown of it all.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from logbox_pipeline.cli.clients import catalog_of, iam_of, public_endpoint
from logbox_pipeline.cli.say import print_table, say, stderr, stdout
from logbox_pipeline.cli.stack import end_on_signals, require_embedded
from logbox_pipeline.core.tables import EVENTS, TRACK
from logbox_pipeline.drone.target import Target
from logbox_pipeline.local.dagster import DagsterProcesses
from logbox_pipeline.local.processes import free_port, port_is_free
from logbox_pipeline.local.site import running
from logbox_pipeline.local.stack import EmbeddedStack
from logbox_pipeline.settings import Settings, load_settings
from logbox_pipeline.simulator.fleet import make_fleet, packed, rows_by_log
from logbox_pipeline.simulator.fleet_judge import Check, judge
from logbox_pipeline.simulator.fleet_ledger import Sent
from logbox_pipeline.simulator.fleet_logs import REFUSED, Upload
from logbox_pipeline.simulator.fleet_look import Flight, Found, Log, Rows, look
from logbox_pipeline.simulator.fleet_run import fly
from logbox_pipeline.simulator.fleet_send import Keys, Sender
from logbox_pipeline.steps.clients import add_client, list_clients
from logbox_pipeline.steps.replicate import replicate
from logbox_pipeline.steps.site import Site, open_site

WAIT_S = 150
"""How long the fleet's last log may take from upload to its end; about 30 s are usual."""

REPLICATE_S = 20
"""How long the replica may take to be caught up; less than a second is usual."""

CLIENTS = ("alpine", "harbour")

PINNED = {
    # A log without a digest is refused after the grace, not in five minutes.
    "LOGBOX_SIDECAR_GRACE_S": "5",
    "LOGBOX_DIGEST_POLICY": "require",
    "LOGBOX_POSTGRES_TOPICS": "*",
    "LOGBOX_REPLICATION": "copy",
}
"""What the demo's outcome depends on, set in this process's environment and so in Dagster's: it
wins over .env and is gone with the demo."""

_DONE = ("quarantined", "duplicate", "vanished", "failed")


def demo(
    leave: Annotated[
        bool, typer.Option("--exit", help="Stop when all is judged, and say it in the exit status.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the UI; else LOGBOX_WEB_PORT.")
    ] = None,
) -> None:
    """Start everything, fly a small fleet, ingest its logs, show and judge what came out."""
    require_embedded("demo", hint="clear .env, or run it in another folder")
    started = time.monotonic()
    os.environ.update(PINNED)
    os.environ["LOGBOX_WEB_PORT"] = str(port or _web_port(load_settings()))
    end_on_signals()
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
        sent = _upload(fleet, targets, Path(folder), progress)
        progress.begin("ingested", sum(one.state != REFUSED for one in fleet))
        in_time = _wait(site, names, progress, stack, dagster)
        if not in_time:
            say(f"given up after {WAIT_S} s: what follows is not finished")
            say(f"  next: read {settings.home / 'log'}/dagster-*.log, or {dagster.url}/runs")
        elif not _replicate(site):
            say(f"the replica is not caught up after {REPLICATE_S} s")
        found = look(site, names, Path(folder))
    checks = judge(sent, found)
    _print(sent, found, checks)
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
    fleet: Sequence[Upload],
    targets: Mapping[str, Target],
    folder: Path,
    progress: "_Progress",
) -> list[Sent]:
    progress.begin("uploaded", len(fleet))
    deadline = time.monotonic() + WAIT_S

    def has_time() -> bool:
        return time.monotonic() < deadline

    def tell(one: Sent) -> None:
        upload, code = one.upload, one.answer and one.answer.code
        how = f"refused by S3: {code}" if code else f"{upload.size_bytes / 1e6:.1f} MB"
        progress.advance(f"{upload.key_of}'s {upload.name} -> {upload.landing_key}: {how}")

    # Nobody in the demo uses a key that was taken away.
    keys = Keys(targets, revoked=next(iter(targets.values())))
    sender = Sender(keys, folder, has_time=has_time, now=lambda: datetime.now(UTC), on_trouble=say)
    return fly(packed(fleet, keys), sender, has_time=has_time, on_answer=tell)


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
                cross join lateral (
                    select count(*) as logs,
                        count(*) filter (
                            where l.state in ('loaded', 'unparsed', 'failed')
                                or l.superseded_by is not null
                        ) as done
                    from logbox.logs l
                    where l.delivery_id = d.delivery_id
                ) of_it
                where d.client = any(%(clients)s)
                    and b.state in ('finished', 'failed')
                    and (d.state = any(%(done)s) or (of_it.logs > 0 and of_it.done = of_it.logs))
                """,
                {"done": list(_DONE), "clients": clients},
            )
            (done,) = cursor.fetchone()
        if progress.reach(done):
            return True
        time.sleep(0.5)
    return False


def _replicate(site: Site) -> bool:
    """Whether the replica has everything now. Dagster's job would bring that about within a minute;
    this is the same step, without the wait for its turn."""
    deadline = time.monotonic() + REPLICATE_S
    while site.replica and replicate(site).lag.files:
        if time.monotonic() > deadline:
            return False
        # A run of Dagster's is at it.
        time.sleep(0.5)
    return True


# Telling


def _print(sent: Sequence[Sent], found: Found, checks: Sequence[Check]) -> None:
    fleet = [one.upload for one in sent]
    names = {one.log_id_of(log): one.path.name for one in fleet for log in one.logs}
    print_table(
        "What became of each upload",
        [row for one in sent for row in _outcome_rows(one, found, names)],
        ("client", "file", "state", "format", "rows", "reason"),
    )
    not_whole = list(_losses(found))
    print_table("What could not be read, and why", not_whole, ("log", "reason", "detail"))
    print_table(
        "Rows by format: what the drones wrote, what is in Postgres, what is in the Parquet files",
        _format_rows(rows_by_log(fleet), found),
        ("format", "logs", "written", "postgres", "parquet", "of them events"),
    )
    print_table(
        "Flights, from logbox.flights",
        [_flight_row(one) for one in found.flights],
        ("vehicle", "autopilot", "takeoff_at", "s", "m", "max_alt_m", "used_pct", "end", "logs"),
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


def _outcome_rows(one: Sent, found: Found, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """One row for the upload, and one for each member of an archive."""
    upload = one.upload
    row: dict[str, Any] = {"client": upload.client, "file": upload.name}
    # What was sent again after a lost answer may have come twice: the last tells.
    standing = {each.landing_key: each for each in found.deliveries}
    delivery = next((standing[key] for key in one.objects if key in standing), None)
    if delivery is None:
        code = one.answer.code if one.answer else None
        yield row | {"state": REFUSED if code else "not seen", "reason": code}
        return
    reason = delivery.reason
    if delivery.repeats is not None:
        reason = f"= {names.get(delivery.repeats, delivery.repeats)}"
    is_archive = any(log.member for log in delivery.logs)
    if is_archive or not delivery.logs:
        yield row | {"state": delivery.state, "reason": reason}
    for log in delivery.logs:
        yield row | {
            "file": f"  {log.member}" if is_archive else upload.name,
            "state": log.state,
            "format": log.format,
            "rows": _rows_of(log, found.postgres),
            "reason": f"{log.damaged_bytes} bytes lost" if log.damaged_bytes else log.reason,
        }


def _rows_of(log: Log, rows: Rows) -> int | None:
    """Everything the log wrote; None for a log without rows."""
    counts = [
        count for (log_id, table), count in rows.items() if log_id == log.log_id and table != TRACK
    ]
    return sum(counts) if counts else None


def _losses(found: Found) -> Iterator[dict[str, Any]]:
    for delivery in found.deliveries:
        name = delivery.landing_key.split("/", 2)[-1]
        for log in delivery.logs:
            label = f"{name}: {log.member}" if log.member else name
            if log.reason:
                yield {"log": label, "reason": log.reason, "detail": log.detail}
            elif log.damaged_bytes:
                lost = f"{log.damaged_bytes} bytes could not be read; all other rows are there"
                yield {"log": label, "reason": "damaged", "detail": lost}


def _format_rows(written: Rows, found: Found) -> list[dict[str, Any]]:
    """Rows of the logs of each format, and all together."""
    formats = {
        log.log_id: log.format or ""
        for delivery in found.deliveries
        for log in delivery.logs
        if log.log_id and log.state == "loaded"
    }
    sides = {"written": written, "postgres": found.postgres, "parquet": found.parquet}
    labels = [*sorted(set(formats.values())), ""]
    lines = []
    for label in labels:
        log_ids = {log_id for log_id, known in formats.items() if label in ("", known)}
        line: dict[str, Any] = {"format": label or "all", "logs": len(log_ids)}
        for name, side in sides.items():
            line[name] = sum(
                count
                for (log_id, table), count in side.items()
                if table != TRACK and (not label or log_id in log_ids)
            )
        line["of them events"] = sum(
            count
            for (log_id, table), count in found.postgres.items()
            if table == EVENTS and log_id in log_ids
        )
        lines.append(line)
    return lines


def _flight_row(flight: Flight) -> dict[str, Any]:
    takeoff = flight.takeoff_at
    return {
        "vehicle": flight.vehicle,
        "autopilot": flight.autopilot,
        "takeoff_at": takeoff or "not known",
        "s": round(flight.duration_s),
        "m": _rounded(flight.distance_m),
        "max_alt_m": _rounded(flight.max_alt_m),
        "used_pct": _rounded(flight.battery_used_pct),
        "end": flight.end_state,
        "logs": len(flight.log_ids),
    }


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _speed(found: Found) -> Iterator[str]:
    seconds = [
        log.seconds for one in found.deliveries for log in one.logs if log.seconds is not None
    ]
    if seconds:
        yield (
            f"received to loaded: {min(seconds):.1f} s at best, {median(seconds):.1f} s in the "
            f"middle, {max(seconds):.1f} s at worst"
        )
    if found.busy_s:
        size_mb = sum(one.size_bytes for one in found.deliveries) / 1e6
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
