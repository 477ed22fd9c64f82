"""`logbox status/quarantine/retry/pause/resume`: look at the pipeline and re-drive what stuck."""

import getpass
import re
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import typer

from logbox_pipeline.adapters import catalog_batches, catalog_retry
from logbox_pipeline.adapters.catalog_retry import Choice, RefusedFile
from logbox_pipeline.cli.say import print_json, print_table, say, stdout
from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.core.shown import one_line
from logbox_pipeline.settings import is_embedded, load_settings
from logbox_pipeline.steps import release as release_steps
from logbox_pipeline.steps import retry as retry_steps
from logbox_pipeline.steps import status as status_steps
from logbox_pipeline.steps.release import Decided
from logbox_pipeline.steps.setup import check
from logbox_pipeline.steps.site import Site, open_site
from logbox_pipeline.steps.status import Status

SHOWN = 50
"""Files listed without --all."""

quarantine_app = typer.Typer(
    no_args_is_help=True, help="What was refused or could not be read, and what to do about it."
)

Json = Annotated[bool, typer.Option("--json", help="JSON on stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")]
Client = Annotated[str | None, typer.Option("--client", help="Only this client's.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Only for this reason.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Only later than this: 2026-03-01, 36h or 7d.")
]
Batch = Annotated[str | None, typer.Option("--batch", metavar="ID", help="Only of this batch.")]
Deliveries = Annotated[
    list[str] | None, typer.Argument(metavar="[DELIVERY]...", help="Delivery ids, see list.")
]
Note = Annotated[str, typer.Option("--note", help="Why; it stays with the file.")]


def status(
    as_json: Json = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit 1 when the sensor, a log, the replica or a client is overdue."
        ),
    ] = False,
) -> None:
    """Backlog, freshness, states, refusals, drift, storage, clients; needs no daemon."""
    site = checked_site()
    # Only the embedded stack keeps everything on a disk that can be seen from here.
    found = status_steps.status(site, disk=site.settings.home if is_embedded() else None)
    if as_json:
        print_json(asdict(found))
    else:
        _show_status(found)
    for sentence in found.overdue:
        say(f"overdue: {sentence}")
    if strict and found.overdue:
        raise typer.Exit(1)


def retry(
    client: Client = None,
    reason: Reason = None,
    since: Since = None,
    batch: Batch = None,
    log: Annotated[
        str | None, typer.Option("--log", metavar="LOG_ID", help="Only this log.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Let what failed or could not be read go through once more; loaded logs are never touched."""
    choice = _choice(client, reason, since, batch, log=log)
    done = retry_steps.retry(checked_site(), choice, dry_run=dry_run)
    _show_changed(done.files, "retried", as_json=as_json, dry_run=dry_run)
    if done.busy:
        say(
            f"{len(done.busy)} belong to a batch that is still at work; repeat this when it is done"
        )


def pause(
    note: Annotated[str | None, typer.Option("--note", help="Why, for whoever asks.")] = None,
) -> None:
    """Offer no batch until `logbox resume`; runs at work finish, uploads are still seen."""
    site = checked_site()
    by = f"{_who()}: {note}" if note else _who()
    with site.transaction() as cursor:
        before, _, _ = catalog_batches.paused(cursor)
        catalog_batches.pause(cursor, by, site.now())
        since, since_by, _ = catalog_batches.paused(cursor)
    assert since is not None
    already = "already " if before is not None else ""
    say(f"{already}paused since {since:%Y-%m-%d %H:%M:%S} UTC by {since_by}")


def resume() -> None:
    """Offer batches again."""
    with checked_site().transaction() as cursor:
        before, _, _ = catalog_batches.paused(cursor)
        catalog_batches.resume(cursor)
    say("batches are offered again" if before is not None else "it was not paused")


@quarantine_app.command("list")
def list_(
    client: Client = None,
    reason: Reason = None,
    since: Since = None,
    batch: Batch = None,
    show_all: Annotated[
        bool, typer.Option("--all", help=f"Every file, not only the first {SHOWN}.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Refused, vanished, failed and unread files, open ones first."""
    choice = _choice(client, reason, since, batch)
    with checked_site().transaction() as cursor:
        files, is_open = catalog_retry.count_refused(cursor, choice)
        found = catalog_retry.refused(cursor, choice, None if show_all else SHOWN)
    if as_json:
        print_json({"files": files, "open": is_open, "refused": [_json(one) for one in found]})
    elif found:
        _show_files("Refused, vanished, failed or unread", found)
    say(
        f"{files} file(s), {is_open} open" + (f"; {len(found)} shown" if len(found) < files else "")
    )
    if is_open:
        say("next: `logbox quarantine show DELIVERY`, then release, acknowledge or `logbox retry`")


@quarantine_app.command("show")
def show(
    delivery: Annotated[str, typer.Argument(metavar="DELIVERY", help="A delivery id, see list.")],
    as_json: Json = False,
) -> None:
    """Everything known of one refused file, and what can be done with it."""
    wanted = _uuid(delivery, "delivery")
    with checked_site().transaction() as cursor:
        found = catalog_retry.refused(cursor, Choice(deliveries=(wanted,)))
    if not found:
        raise UsageError(
            f"{wanted} is no refused or unread file",
            hint=f"`logbox trace {wanted}` says what became of it",
        )
    if as_json:
        print_json([_json(one) for one in found])
        return
    for one in found:
        for name, value in _json(one).items():
            if value is not None:
                print_line(f"{name:<17} {value}")
        say(f"next: {_next(one)}")


@quarantine_app.command("release")
def release(
    note: Note,
    deliveries: Deliveries = None,
    client: Client = None,
    reason: Reason = None,
    since: Since = None,
    batch: Batch = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Accept quarantined bytes whatever their digest says; they are ingested within a tick."""
    choice = _choice(client, reason, since, batch, deliveries=deliveries)
    done = release_steps.release(checked_site(), choice, note, dry_run=dry_run)
    _show_decided(done, "released", as_json=as_json, dry_run=dry_run)
    if done.held and choice.deliveries:
        raise typer.Exit(1)


@quarantine_app.command("acknowledge")
def acknowledge(
    note: Note,
    deliveries: Deliveries = None,
    client: Client = None,
    reason: Reason = None,
    since: Since = None,
    batch: Batch = None,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> None:
    """Keep refused files where they are and let the checks be silent about them."""
    choice = _choice(client, reason, since, batch, deliveries=deliveries)
    done = release_steps.acknowledge(checked_site(), choice, note, dry_run=dry_run)
    _show_decided(done, "acknowledged", as_json=as_json, dry_run=dry_run)
    if done.held and choice.deliveries:
        raise typer.Exit(1)


def checked_site() -> Site:
    """The site of the settings, seen to be set up; SettingError for the first thing that is not."""
    site = open_site(load_settings())
    check(site)
    return site


def plain(text: str) -> str:
    """One line that cannot move the cursor, whoever wrote it."""
    return one_line(text)


def print_line(text: str) -> None:
    """One line on stdout, never folded: its ids, keys and digests are there to be copied."""
    stdout.print(plain(text), markup=False, emoji=False)


def print_time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at else " " * 19


def _show_status(found: Status) -> None:
    backlog, freshness, storage = found.backlog, found.freshness, found.storage
    _line(
        "sensor",
        f"paused since {found.paused_at:%Y-%m-%d %H:%M:%S} UTC by {found.paused_by}"
        if found.paused_at
        else f"last tick {_ago(found.sensor.last_tick_at, found.at)}"
        + (", overdue" if found.sensor.is_overdue else ""),
    )
    _line(
        "backlog",
        f"{backlog['files']:,} files, {_bytes(backlog['size_bytes'])}; "
        f"{backlog['waiting']:,} wait for a digest; "
        + (f"{backlog['unread']:,} could not be read yet; " if backlog["unread"] else "")
        + f"{backlog['open_batches']} batches open, {backlog['running_batches']} running",
    )
    _line(
        "freshness",
        (f"oldest unfinished {freshness.age_s:,} s" if freshness.age_s is not None else "all done")
        + f", promised {freshness.promise_s:,} s"
        + (", broken" if freshness.is_broken else ""),
    )
    _line(
        "storage",
        f"archive {_bytes(storage.archive_bytes)}, lake {_bytes(storage.lake_bytes)}, "
        f"Postgres {_bytes(storage.postgres_bytes)}; archive grows "
        f"{_bytes(storage.archive_bytes_per_day)} a day"
        + (
            f"; {_bytes(storage.disk_free_bytes)} free"
            if storage.disk_free_bytes is not None
            else ""
        )
        + (f", {storage.days_left:,.0f} days left" if storage.days_left is not None else ""),
    )
    replica = found.replica
    _line(
        "replica",
        "none: the archive is the only copy of each log"
        if replica.replication == "off"
        else f"{replica.bucket} has everything"
        if not replica.files
        else f"{replica.bucket} lacks {replica.files:,} files, {_bytes(replica.size_bytes or 0)}, "
        f"the oldest for {replica.lag_s:,} s, promised {replica.promise_s:,} s"
        + (", broken" if replica.is_late else ""),
    )
    for title, rows, columns in (
        ("Files", found.states, ("state", "log_state", "reason", "files", "size_bytes")),
        (
            "Refused or unread, open: `logbox quarantine list`",
            found.refused,
            ("client", "reason", "state", "files", "last_seen_at"),
        ),
        (
            "Long in landing",
            found.stale,
            ("client", "state", "files", "oldest_received_at"),
        ),
        (
            "Clients",
            [
                {
                    **row,
                    "files": row["deliveries"],
                    "silent": "revoked" if row["revoked_at"] else row["is_silent"],
                }
                for row in found.clients
            ],
            ("client", "files", "last_received_at", "last_loaded_at", "silent"),
        ),
    ):
        if rows:
            print_table(title, rows, columns)
    for row in found.batches:
        _line("batch", _batch(row))
    for row in found.drifts:
        _line(
            "drift",
            f"{row['kind']} in {row['place']} since {print_time(row['first_seen_at'])}: "
            f"{row['subject']}: expected {row['expected']}, found {row['found']}",
        )


def _batch(row: dict[str, Any]) -> str:
    said = f"{row['batch_id']} {row['state']}, attempt {row['attempt']}, {row['files']:,} files"
    if row["not_before"] is not None:
        said += f", backs off until {print_time(row['not_before'])} UTC"
    if row["last_error"] is not None:
        said += f"; the last attempt ended: {row['last_error']}"
    if row["state"] == "open" and row["request_failures"] and row["files"] <= 1:
        said += "; it stands apart, no other batch waits for it. To try at once all that is "
        said += f"unfinished of its day, materialize {row['received_on']} of loaded_logs"
    return said


def _line(name: str, value: str) -> None:
    print_line(f"{name:<10} {value}")


def _show_changed(files: Sequence[RefusedFile], done: str, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json({"is_dry_run": dry_run, done: [_json(one) for one in files]})
    elif files:
        _show_files(f"Would be {done}" if dry_run else done.title(), files[:SHOWN])
    more = f", {SHOWN} shown" if len(files) > SHOWN and not as_json else ""
    say(f"{len(files)} file(s) {'would be ' if dry_run else ''}{done}{more}")


def _show_decided(done: Decided, verb: str, *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        print_json(
            {
                "is_dry_run": dry_run,
                verb: [_json(one) for one in done.files],
                "already": list(done.already),
                "held": [asdict(one) for one in done.held],
            }
        )
    elif done.files:
        _show_files(f"Would be {verb}" if dry_run else verb.title(), done.files[:SHOWN])
    say(
        f"{len(done.files)} file(s) {'would be ' if dry_run else ''}{verb}"
        + (f", {len(done.already)} were before" if done.already else "")
    )
    for one in done.held[:SHOWN]:
        say(f"not {verb}: {one.delivery_id}: {one.why}")
    if len(done.held) > SHOWN:
        say(f"and {len(done.held) - SHOWN} more")


def _show_files(title: str, files: Sequence[RefusedFile]) -> None:
    print_line(f"{title}:")
    for one in files:
        seen = "" if one.acknowledged_at is None else ", acknowledged"
        print_line("")
        print_line(f"{one.delivery_id}  {print_time(one.seen_at)}  {one.state} {one.reason}{seen}")
        print_line(f"  {one.client}  {one.landing_key}")
        if one.detail:
            print_line(f"  {one.detail}")


def _json(one: RefusedFile) -> dict[str, Any]:
    return {**asdict(one), "is_open": one.acknowledged_at is None}


def _next(one: RefusedFile) -> str:
    if one.state == "quarantined":
        why = release_steps.why_not(one)
        if why is not None:
            return f"it cannot be released: {why}"
        return f"`logbox quarantine release {one.delivery_id} --note WHY`, or acknowledge"
    if one.state == "vanished":
        return (
            f"ask for it again, then `logbox quarantine acknowledge {one.delivery_id} --note WHY`"
        )
    log = f" --log {one.log_id}" if one.log_id else f" --batch {one.batch_id}"
    return f"`logbox retry{log}` once the cause is gone, or `logbox quarantine acknowledge`"


def _choice(
    client: str | None,
    reason: str | None,
    since: str | None,
    batch: str | None,
    *,
    log: str | None = None,
    deliveries: Sequence[str] | None = None,
) -> Choice:
    return Choice(
        client,
        reason,
        parse_since(since, datetime.now(UTC)) if since else None,
        _uuid(batch, "batch") if batch else None,
        _uuid(log, "log") if log else None,
        tuple(_uuid(one, "delivery") for one in deliveries or ()),
    )


def parse_since(text: str, now: datetime) -> datetime:
    """`36h`, `7d` before `now`, or an ISO date or time, UTC unless it names a zone."""
    if found := re.fullmatch(r"(\d{1,6})([smhdw])", text):
        seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}[found[2]]
        if int(found[1]) * seconds < now.timestamp():
            return now - timedelta(seconds=int(found[1]) * seconds)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {plain(text)!r} is no time", hint="write 2026-03-01, 36h or 7d"
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _uuid(text: str, of_what: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(
            f"{plain(text)!r} is no {of_what}'s id", hint="`logbox quarantine list` shows the ids"
        ) from None


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container the user may have a number and no name.
        return "someone"


def _ago(at: datetime | None, now: datetime) -> str:
    return "never" if at is None else f"{max(0, int((now - at).total_seconds())):,} s ago"


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
