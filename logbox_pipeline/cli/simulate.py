"""`logbox simulate`: a fleet that uploads over real S3, and knows exactly what must come out.

What is sent and how, and the look at every store, are the simulator's fleet_* modules. Here: the
options, the clients, the wait for sensor and runs, what is shown of it all.
"""

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from logbox_pipeline.cli.clients import iam_of, public_endpoint
from logbox_pipeline.cli.say import print_json, print_table, say, stderr, stdout
from logbox_pipeline.cli.seals import receipt_keys
from logbox_pipeline.cli.stack import end_on_signals, require_stack
from logbox_pipeline.core.errors import (
    LogboxError,
    SettingError,
    StoreRefused,
    TransientError,
    UsageError,
)
from logbox_pipeline.settings import load_settings
from logbox_pipeline.simulator.fleet_check import check_fleet
from logbox_pipeline.simulator.fleet_clients import make_clients
from logbox_pipeline.simulator.fleet_judge import Check
from logbox_pipeline.simulator.fleet_ledger import (
    Fleet,
    LedgerFile,
    Sent,
    read_ledger,
    utc_now,
)
from logbox_pipeline.simulator.fleet_plan import (
    LARGEST_BYTES,
    PROPORTIONS,
    SMALLEST_BYTES,
    Arrival,
    Fault,
    Wishes,
    plan,
)
from logbox_pipeline.simulator.fleet_report import Summary, report, summarize
from logbox_pipeline.simulator.fleet_run import fly, pack
from logbox_pipeline.simulator.fleet_send import Keys, Sender
from logbox_pipeline.simulator.fleet_settle import progress, settle
from logbox_pipeline.simulator.page import render
from logbox_pipeline.steps.site import Site, open_site

FOUND_WRONG, NOT_CHECKED = 1, 3

_EVERY_S = 1.0
_SAID_EVERY_S = 10.0
_SHOWN_DIFFERENCES = 10
_UNITS = {"": 1, "K": 1_000, "M": 1_000_000, "G": 1_000_000_000}


def simulate(
    clients: Annotated[int, typer.Option(min=1, max=200, help="Clients, each with a key.")] = 2,
    drones: Annotated[int, typer.Option(min=1, help="Drones of each client.")] = 5,
    logs: Annotated[int, typer.Option(min=1, help="Uploads of each drone.")] = 8,
    seed: Annotated[int, typer.Option(help="The same seed plans the same fleet.")] = 1,
    arrival: Annotated[
        Arrival, typer.Option(help="Evenly; at landing; or a week's logs at once.")
    ] = Arrival.STEADY,
    over: Annotated[float, typer.Option(min=0, help="Seconds in which the uploads begin.")] = 60,
    largest: Annotated[str, typer.Option(help="Largest log: 500K, 20M; at most 100M.")] = "100M",
    fault: Annotated[
        list[str] | None,
        typer.Option("--fault", metavar="NAME=SHARE", help="Of all uploads; all=SHARE for each."),
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Where what must come out is written, or read from.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Upload nothing: compare what is there with --ledger.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds for all to settle once the last upload began.")
    ] = 600,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Also a page with plots; it opens without network.")
    ] = None,
) -> None:
    """Let a fleet upload, wait for all of it, compare every store with its ledger to the row.

    Exit 0 all came out as it must, 1 something did not, 3 could not check."""
    wishes = Wishes(
        seed, clients, drones, logs, arrival, over, _bytes(largest), _proportions(fault or [])
    )
    if check and ledger is None:
        raise UsageError("--check compares a ledger, and none is named", hint="add --ledger FILE")
    if check and fault:
        raise UsageError("--check uploads nothing: --fault has no meaning with it")
    if check:
        # Before the stack is asked for: what is no ledger is wrong use.
        read_ledger(ledger or Path())
    require_stack()
    site = open_site(load_settings())
    end_on_signals()
    is_settled = None
    if not check:
        ledger = ledger or _new_ledger(site)
        is_settled = _run(site, wishes, ledger, timeout)
    assert ledger is not None
    read = read_ledger(ledger)
    try:
        with TemporaryDirectory(prefix="logbox-fleet-") as folder:
            found, checks = check_fleet(site, read.fleet, read.sent, Path(folder))
    except (TransientError, StoreRefused) as error:
        say(f"could not check: {error}")
        say(f"  next: logbox simulate --check --ledger {shlex.quote(str(ledger))}")
        raise typer.Exit(NOT_CHECKED) from None
    summary = summarize(read.sent, found)
    passed = all(one.passed for one in checks)
    if html is not None:
        command = shlex.join(["logbox", *sys.argv[1:]])
        page = report(read.fleet, read.sent, found, checks, summary, command)
        html.write_text(render(page), encoding="utf-8")
    if as_json:
        print_json(_plain(ledger, read.fleet, is_settled, passed, summary, checks))
    else:
        _show(summary, checks)
    verdict = "all came out as it must" if passed else "not all came out as it must"
    say(f"{verdict}; the ledger is {ledger}")
    if not passed:
        raise typer.Exit(FOUND_WRONG)


# The run


def _run(site: Site, wishes: Wishes, ledger: Path, timeout_s: float) -> bool:
    """Whether all settled in time."""
    planned = plan(wishes)
    with (
        TemporaryDirectory(prefix="logbox-fleet-") as folder,
        _display(site) as display,
    ):
        deadline = _Deadline(timeout_s)
        keys = _clients(site, wishes.clients, deadline)
        names = list(keys.clients)
        say(f"clients {names[0]} to {names[-1]}" if len(names) > 1 else f"client {names[0]}")
        fleet = Fleet(
            wishes.seed,
            utc_now(),
            site.settings.landing_bucket,
            {name: target.access_key_id for name, target in keys.clients.items()},
            keys.revoked.access_key_id,
            site.settings.digest_policy == "accept",
        )
        display.begin("written", len(planned))
        packed = pack(
            planned, fleet, keys, names, Path(folder), on_written=lambda size: display.add(size)
        )
        file = LedgerFile(ledger, fleet, [one.sent for one in packed])
        say(f"the ledger is {ledger}")
        deadline.begin(wishes.over_s + timeout_s)
        sender = Sender(
            keys, Path(folder), has_time=deadline.has_time, now=utc_now, on_trouble=display.trouble
        )

        def answered(one: Sent) -> None:
            if one.answer is not None:
                file.answered(one.answer)
            display.add(one.upload.size_bytes)

        display.begin("uploaded", len(packed))
        display.watch(fleet.clients, sum(one.sent.planned_objects for one in packed))
        try:
            sent = fly(packed, sender, has_time=deadline.has_time, on_answer=answered)
        except KeyboardInterrupt:
            deadline.end()
            raise
        file.end(utc_now())
        least = sum(objects.least for one in sent for objects in one.objects.values())
        is_settled = settle(site, fleet.clients, least, has_time=deadline.has_time)
    if not is_settled:
        say(f"not settled within {timeout_s:.0f} s: what follows is not finished")
    return is_settled


def _clients(site: Site, count: int, deadline: "_Deadline") -> Keys:
    try:
        public = receipt_keys(site.settings)
    except SettingError:
        public = ""

    def endure(seconds: float) -> None:
        if not deadline.has_time():
            raise TransientError("the stores did not answer in time", hint="see `logbox status`")
        time.sleep(seconds)

    return make_clients(
        site,
        iam_of(site.settings),
        count,
        endpoint=public_endpoint(site.settings),
        receipt_keys=public,
        endure=endure,
    )


def _new_ledger(site: Site) -> Path:
    return site.settings.home / "simulate" / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.jsonl"


class _Deadline:
    def __init__(self, seconds: float) -> None:
        self.begin(seconds)

    def begin(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def end(self) -> None:
        self._at = 0.0

    def has_time(self) -> bool:
        return time.monotonic() < self._at


# The options


def _bytes(text: str) -> int:
    unit = text.strip().upper().removesuffix("B")[-1:]
    number = text.strip().upper().removesuffix("B").removesuffix(unit if unit.isalpha() else "")
    try:
        size_bytes = round(float(number) * _UNITS[unit if unit.isalpha() else ""])
    except (ValueError, KeyError):
        raise UsageError(f"--largest {text} is no size", hint="such as 500K, 20M") from None
    if not SMALLEST_BYTES < size_bytes <= LARGEST_BYTES:
        raise UsageError(f"--largest {text}: expected more than 20K and at most 100M")
    return size_bytes


def _proportions(asked: Sequence[str]) -> dict[Fault, float]:
    shares = dict(PROPORTIONS)
    for one in asked:
        name, _, number = one.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = -1
        names = list(Fault) if name == "all" else [each for each in Fault if each == name]
        if not names or not 0 <= share <= 1:
            raise UsageError(
                f"--fault {one}: expected NAME=SHARE, a share of all uploads from 0 to 1",
                hint=f"names are all, {', '.join(Fault)}",
            )
        shares |= dict.fromkeys(names, share)
    if sum(shares.values()) > 1 + 1e-9:
        raise UsageError(
            f"the faults' shares come to {sum(shares.values()):.2f}: at most 1",
            hint="--fault all=0 first, then those that are wanted",
        )
    return shares


# Telling


def _plain(
    ledger: Path,
    fleet: Fleet,
    is_settled: bool | None,
    passed: bool,
    summary: Summary,
    checks: Sequence[Check],
) -> dict[str, Any]:
    return {
        "passed": passed,
        "is_settled": is_settled,
        "ledger": str(ledger),
        "seed": fleet.seed,
        "started_at": fleet.started_at,
        "clients": fleet.clients,
        **asdict(summary),
        "checks": [
            {"check": one.sentence, "passed": one.passed, "differences": one.wrong}
            for one in checks
        ],
    }


def _show(summary: Summary, checks: Sequence[Check]) -> None:
    print_table(
        "What was sent, and what it became",
        summary.faults,
        ("uploads", "count", "mb", "answered", "sent again", "became"),
    )
    print_table("How fast", list(_speeds(summary)), ("what", "value"))
    for check in checks:
        mark = "[green]✓[/]" if check.passed else "[red]✗[/]"
        stdout.print(f"{mark} ", end="")
        stdout.print(check.sentence, markup=False)
        for wrong in check.wrong[:_SHOWN_DIFFERENCES]:
            stdout.print(f"    {wrong}", markup=False)
        if len(check.wrong) > _SHOWN_DIFFERENCES:
            stdout.print(f"    and {len(check.wrong) - _SHOWN_DIFFERENCES} more")


def _speeds(summary: Summary) -> Iterator[dict[str, str]]:
    def row(what: str, value: str) -> dict[str, str]:
        return {"what": what, "value": value}

    yield row(
        "uploaded",
        f"{summary.uploads:,} files, {summary.uploaded_bytes / 1e6:,.1f} MB in "
        f"{summary.uploading_s:.0f} s: {summary.uploads_per_s} per s, "
        f"{summary.uploaded_mb_per_s} MB/s",
    )
    if summary.loaded:
        yield row(
            "loaded",
            f"{summary.loaded:,} logs, {summary.rows:,} rows in {summary.loading_s:.0f} s: "
            f"{summary.loads_per_s} logs per s",
        )
        yield row(
            "in runs", f"{summary.busy_s:.0f} s of them: {summary.rows_per_busy_s:,.0f} rows per s"
        )
        said = ", ".join(f"{name} {value:.1f} s" for name, value in summary.latency_s.items())
        yield row("received to loaded", said)
    yield row("deliveries", ", ".join(f"{n} {state}" for state, n in summary.states.items()))


class _Display:
    """What is under way and how fast: bars on a terminal, a line now and then elsewhere."""

    def __init__(self, site: Site, bars: Progress | None) -> None:
        self._site = site
        self._bars = bars
        self._tasks: dict[str, Any] = {}
        self._what, self._total, self._done, self._bytes = "", 0, 0, 0
        self._began = self._said_at = time.monotonic()
        self._ended = Event()
        self._watcher: Thread | None = None

    def begin(self, what: str, total: int) -> None:
        self._what, self._total, self._done, self._bytes = what, total, 0, 0
        self._began = self._said_at = time.monotonic()
        self._draw(what, 0, total, "")

    def add(self, size_bytes: int) -> None:
        """One more file; may be called by any thread."""
        self._done += 1
        self._bytes += size_bytes
        seconds = max(0.001, time.monotonic() - self._began)
        rate = f"{self._done / seconds:.1f}/s, {self._bytes / 1e6 / seconds:.1f} MB/s"
        self._draw(self._what, self._done, self._total, rate)

    def trouble(self, sentence: str) -> None:
        if self._bars is None and time.monotonic() - self._said_at > _SAID_EVERY_S:
            say(sentence)

    def watch(self, clients: list[str], total: int) -> None:
        """Also show how far Logbox is, until the display ends."""

        def look_on() -> None:
            began, before, rates = time.monotonic(), 0, 0.0
            while not self._ended.wait(_EVERY_S):
                with suppress(LogboxError):
                    now = progress(self._site, clients)
                    rates = 0.8 * rates + 0.2 * max(0, now.ended - before) / _EVERY_S
                    before = now.ended
                    seconds = time.monotonic() - began
                    self._draw(
                        "ended",
                        now.ended,
                        total,
                        f"{rates:.1f}/s, {now.ended_bytes / 1e6 / seconds:.1f} MB/s, "
                        f"backlog {now.seen - now.ended}",
                    )

        self._watcher = Thread(target=look_on, daemon=True)
        self._watcher.start()

    def end(self) -> None:
        self._ended.set()
        if self._watcher is not None:
            self._watcher.join()

    def _draw(self, what: str, done: int, total: int, rate: str) -> None:
        if self._bars is not None:
            if what not in self._tasks:
                self._tasks[what] = self._bars.add_task(what, total=total, rate="")
            self._bars.update(self._tasks[what], completed=done, total=max(total, done), rate=rate)
        elif done == total or time.monotonic() - self._said_at > _SAID_EVERY_S:
            self._said_at = time.monotonic()
            say(f"{what} {done} of {total} {rate}".rstrip())


@contextmanager
def _display(site: Site) -> Iterator[_Display]:
    if not stderr.is_terminal:
        display = _Display(site, None)
        try:
            yield display
        finally:
            display.end()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as bars:
        display = _Display(site, bars)
        try:
            yield display
        finally:
            display.end()
