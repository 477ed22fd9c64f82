"""Rebuild: make Postgres again from the archive bucket alone.

Manifests and journal give the catalog's rows back as they were; each loaded log is then parsed and
loaded again as at the first time. The lake is left alone: its files are known by their rows.
What dies in the middle goes on where it was.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from uuid import UUID

from logbox_pipeline.adapters import (
    catalog_batches,
    catalog_content,
    catalog_restore,
    databases,
    postgres,
)
from logbox_pipeline.adapters.catalog_drifts import record_drift
from logbox_pipeline.adapters.catalog_flights import record_flights
from logbox_pipeline.adapters.catalog_restore import Finding, Progress, Scope, Unit
from logbox_pipeline.adapters.catalog_topics import record_topics
from logbox_pipeline.adapters.catalog_vehicles import record_aliases
from logbox_pipeline.adapters.databases import database_of, with_database
from logbox_pipeline.adapters.turns import Turn, turn
from logbox_pipeline.core import keys
from logbox_pipeline.core.errors import (
    LogboxError,
    PermanentError,
    SettingError,
    StoreRefused,
    UsageError,
)
from logbox_pipeline.core.retention import telemetry_window
from logbox_pipeline.settings import required
from logbox_pipeline.steps import lake
from logbox_pipeline.steps.copy_rows import copy_rows
from logbox_pipeline.steps.load import flights_of, topics_of
from logbox_pipeline.steps.manifest import tell_all
from logbox_pipeline.steps.receipts import owe_missing_receipts
from logbox_pipeline.steps.reread import Reread, reread
from logbox_pipeline.steps.scratch import scratch_folder
from logbox_pipeline.steps.seal import adopt_seals
from logbox_pipeline.steps.setup import make_database, migrate
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.told_files import Sealed, ToldFile, sealed_files, told_files

BUILDING = "_rebuilding"
"""Behind the name of a database that is not whole yet."""

ASIDE = "_empty"
"""Behind the name of the empty one that it takes the place of."""

_LOOK_AT = 1_000
_NAME_MOST = 20

Say = Callable[[Progress], None]


@dataclass(frozen=True)
class RebuildReport:
    """What was made. `progress.different`: logs whose rows are not those that were loaded once:
    another parser read them. `lost`: logs whose bytes are not in the archive, and why.
    `lost_files`: manifests of which no copy is right; `odd_files`: files of the archive that are
    not what or where they should be, and what was done, both by key. `unknown`: objects of the
    archive that no manifest tells of; the keys of the first are `unknown_keys`."""

    progress: Progress
    lost: dict[str, str]
    lost_files: dict[str, str]
    odd_files: dict[str, str]
    unknown: int
    unknown_keys: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is for a person to look at."""
        return not (
            self.progress.different
            or self.lost
            or self.lost_files
            or self.odd_files
            or self.unknown
        )


def site_on(site: Site, database: str) -> Site:
    """The same site with another database of the cluster."""
    writer_url = required(site.settings.database_url, "LOGBOX_DATABASE_URL")
    owner_url = required(site.settings.owner_database_url, "LOGBOX_OWNER_DATABASE_URL")
    urls = {
        "database_url": with_database(writer_url, database),
        "owner_database_url": with_database(owner_url, database),
    }
    return replace(site, settings=site.settings.model_copy(update=urls))


def make_target(site: Site, database: str) -> Site:
    """A site on `database`, which is made and migrated when it is missing."""
    admin_url = required(site.settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    with databases.administrator(admin_url) as cursor:
        make_database(cursor, database)
    target = site_on(site, database)
    migrate(
        required(target.settings.owner_database_url, "LOGBOX_OWNER_DATABASE_URL"),
        required(target.settings.database_url, "LOGBOX_DATABASE_URL"),
    )
    return target


def rebuild_missing(site: Site, scope: Scope, say: Say = lambda _: None) -> RebuildReport:
    """Make the site's own database again after it was lost, whether or not setup has made an empty
    one in its place since.

    It is built under another name and takes its own when it is whole: until then nothing is loaded
    into it, and drones' logs wait in landing. Raises UsageError when one that holds something is
    there, or another rebuild of it runs.
    """
    database = database_of(required(site.settings.database_url, "LOGBOX_DATABASE_URL"))
    admin_url = required(site.settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    with (
        databases.administrator(admin_url) as cursor,
        turn(cursor.connection, f"{Turn.REBUILD}:{database}") as is_ours,
    ):
        if not is_ours:
            raise _at_work(database)
        if not databases.exists(cursor, database):
            report = _build_and_rename(site, database, scope, say)
        elif (done := _renamed_before(site)) is not None:
            report = done
        else:
            _require_unused(site, database)
            # Clients that were added to the empty one come back with the others.
            tell_all(site)
            report = _build_and_rename(site, database, scope, say)
        _end(site)
    return report


def rebuild_into(
    site: Site, database: str, scope: Scope, say: Say = lambda _: None
) -> RebuildReport:
    """Fill a database of that name, which is made when it is missing.

    Raises UsageError when it is the site's own and batches may be offered meanwhile, PermanentError
    when the archive holds nothing of the client in question.
    """
    _require_client(site, scope)
    own = database_of(required(site.settings.database_url, "LOGBOX_DATABASE_URL"))
    if database != own:
        return rebuild(make_target(site, database), scope, say)
    if scope != Scope():
        raise UsageError(
            f"database {database} is this site's own: a part of the logs is no pipeline's database",
            hint="name another for it: `logbox rebuild --database NAME --since DAY`",
        )
    admin_url = required(site.settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    with databases.administrator(admin_url) as cursor:
        is_there = databases.exists(cursor, database)
    if not is_there:
        return rebuild_missing(site, scope, say)
    _require_paused(make_target(site, database))
    report = rebuild(site, scope, say)
    owe_missing_receipts(site)
    return report


def _require_unused(site: Site, database: str) -> None:
    with site.transaction() as cursor:
        if catalog_restore.is_unused(cursor):
            return
    raise UsageError(
        f"database {database} is there and holds something: a rebuild makes a new one",
        hint="`logbox rebuild --database NAME` makes another beside it; what is wrong in "
        "this one `logbox reconcile` finds and `logbox repair` mends",
    )


def _put_aside(site: Site, cursor: Any, database: str) -> None:
    """Take the name from an empty database, and see under another that it has stayed empty."""
    aside = f"{database}{ASIDE}"
    databases.drop(cursor, aside)
    databases.rename(cursor, database, aside)
    try:
        _require_unused(site_on(site, aside), database)
    except LogboxError:
        databases.rename(cursor, aside, database)
        raise


def rebuild(site: Site, scope: Scope, say: Say = lambda _: None) -> RebuildReport:
    """Fill the empty, migrated database of `site`, or go on with what an earlier call began.

    Raises UsageError when the database is in use or another rebuild fills it, TransientError when a
    store is away.
    """
    report = _fill(site, scope, say)
    _end(site)
    return report


def _build_and_rename(site: Site, database: str, scope: Scope, say: Say) -> RebuildReport:
    building = f"{database}{BUILDING}"
    target = make_target(site, building)
    report = _fill(target, scope, say)
    owe_missing_receipts(target)
    site.reach("before_rename")
    # Of its own: the one that holds the turn has been idle for as long as it all took.
    admin_url = required(site.settings.admin_database_url, "LOGBOX_ADMIN_DATABASE_URL")
    with databases.administrator(admin_url) as cursor:
        if databases.exists(cursor, database):
            _put_aside(site, cursor, database)
        databases.rename(cursor, building, database)
        databases.drop(cursor, f"{database}{ASIDE}")
    site.reach("after_rename")
    return report


def _renamed_before(site: Site) -> RebuildReport | None:
    """What a rebuild made that died after the database took its name; None: there was none."""
    owner_url = required(site.settings.owner_database_url, "LOGBOX_OWNER_DATABASE_URL")
    with closing(postgres.connect(owner_url)) as owner, postgres.transaction(owner) as cursor:
        if not catalog_restore.is_begun(cursor) or not catalog_restore.is_whole(cursor):
            return None
        scope, _ = catalog_restore.scope_of(cursor)
    return _report(site, scope)


def _require_client(site: Site, scope: Scope) -> None:
    """Before anything is made for a client that a slip of the pen has named."""
    if scope.client is None:
        return
    of_client = (keys.objects_prefix(scope.client), f"{keys.MANIFESTS_PREFIX}{scope.client}/")
    if not any(site.archive.list_page(prefix, most=1).objects for prefix in of_client):
        raise PermanentError(
            f"no such client in the archive: nothing in s3://{site.archive.bucket} is of "
            f"{scope.client!r}",
            hint="`logbox client list` names them",
        )


def _require_paused(site: Site) -> None:
    with site.transaction() as cursor:
        paused_at, _, _ = catalog_batches.paused(cursor)
    if paused_at is None:
        raise UsageError(
            "this is the site's own database: batches may be offered while it is filled",
            hint="`logbox pause`, then run this again, then `logbox resume`",
        )


def _at_work(database: str) -> UsageError:
    return UsageError(
        f"another rebuild of database {database} is at work", hint="wait until it is done"
    )


def _fill(site: Site, scope: Scope, say: Say) -> RebuildReport:
    """Do what is left to do; what was done stays known until `_end`."""
    owner_url = required(site.settings.owner_database_url, "LOGBOX_OWNER_DATABASE_URL")
    with (
        closing(postgres.connect(owner_url)) as owner,
        turn(owner, Turn.REBUILD) as is_ours,
    ):
        if not is_ours:
            raise _at_work(database_of(owner_url))
        with postgres.transaction(owner) as cursor:
            _begin(cursor, scope)
            is_whole = catalog_restore.is_whole(cursor)
        if not is_whole:
            _make(site, say)
        return _report(site, scope)


def _make(site: Site, say: Say) -> None:
    sealed = sealed_files(site)
    _read_archive(site, sealed)
    _restore(site)
    for progress in _load(site):
        say(progress)
    with site.transaction() as cursor:
        catalog_restore.restore_manifests(cursor)
    _adopt_seals(site, sealed)
    site.reach("before_rebuild_end")
    with site.transaction() as cursor:
        catalog_restore.mark_whole(cursor, site.now())


def _adopt_seals(site: Site, sealed: Sealed) -> None:
    # Without any key no seal can be believed: the chains are adopted once there is one.
    with suppress(SettingError):
        try:
            adopt_seals(site, sealed.copies)
        except StoreRefused:
            raise
        except PermanentError as stuck:
            # A drift by now, and the other chains are adopted: no row of a log hangs on it.
            with site.transaction() as cursor:
                catalog_restore.note(cursor, Finding.ODD_FILE, keys.seal_prefix(), stuck.message)


def _end(site: Site) -> None:
    owner_url = required(site.settings.owner_database_url, "LOGBOX_OWNER_DATABASE_URL")
    with closing(postgres.connect(owner_url)) as owner, postgres.transaction(owner) as cursor:
        catalog_restore.end(cursor)


def _report(site: Site, scope: Scope) -> RebuildReport:
    unknown = list(_unknown(site, scope))
    with site.transaction() as cursor:
        return RebuildReport(
            catalog_restore.progress(cursor),
            catalog_restore.findings(cursor, Finding.LOST_LOG),
            catalog_restore.findings(cursor, Finding.LOST_FILE),
            catalog_restore.findings(cursor, Finding.ODD_FILE),
            len(unknown),
            tuple(unknown[:_NAME_MOST]),
        )


def _unknown(site: Site, scope: Scope) -> Iterator[str]:
    """Objects of the archive that it was never told of. Not for some days alone: the listing is of
    all of them."""
    if scope.days is not None:
        return
    own = (keys.MANIFESTS_PREFIX, keys.JOURNAL_PREFIX, keys.SEALS_PREFIX)
    listed = (
        one.key
        for one in site.archive.list_all(keys.objects_prefix(scope.client))
        if not one.key.startswith(own)
    )
    while some := list(islice(listed, _LOOK_AT)):
        with site.transaction() as cursor:
            yield from catalog_restore.untold_objects(cursor, some)


def _begin(cursor: Any, scope: Scope) -> None:
    if not catalog_restore.is_begun(cursor):
        if not catalog_restore.is_empty(cursor):
            raise UsageError(
                "this database holds logs: a rebuild fills an empty one",
                hint="`logbox rebuild --database NAME` fills another; what is wrong in this one "
                "`logbox reconcile` finds and `logbox repair` mends",
            )
        catalog_restore.begin(cursor, scope)
        return
    begun, _ = catalog_restore.scope_of(cursor)
    if begun != scope:
        raise UsageError(
            f"a rebuild of another scope was begun in this database: {begun}",
            hint="finish it with the same options, or drop the database",
        )


def _read_archive(site: Site, sealed: Sealed) -> None:
    """Take in every manifest and journal entry that has not been yet."""
    with site.transaction() as cursor:
        _, is_restored = catalog_restore.scope_of(cursor)
        known = catalog_restore.files_read(cursor)
    if is_restored:
        return
    with site.transaction() as cursor:
        for key, why in sealed.wrong.items():
            catalog_restore.note(cursor, Finding.ODD_FILE, key, why)
    for some in told_files(site, sealed, known):
        with site.transaction() as cursor:
            for one in some:
                _stage(site, cursor, one)
    site.reach("after_archive_read")


def _stage(site: Site, cursor: Any, one: ToldFile) -> None:
    if one.sha256 is not None:
        # A lost one too, so that reconciliation knows what is missing.
        catalog_restore.stage(
            cursor, one.archive_key, one.sha256, one.size_bytes, one.put_at, one.told or []
        )
    if one.wrong is None:
        return
    is_ours = keys.is_told(one.archive_key)
    is_lost = is_ours and one.told is None
    kind = Finding.LOST_FILE if is_lost else Finding.ODD_FILE
    catalog_restore.note(cursor, kind, one.archive_key, one.wrong)
    if one.sha256 is not None:
        record_drift(
            cursor,
            "missing" if one.standing is None else "mismatch",
            "archive",
            one.archive_key,
            expected=f"sha256 {one.sha256}",
            found=f"sha256 {one.standing}" if one.standing else "nothing",
            now=site.now(),
        )


def _restore(site: Site) -> None:
    with site.transaction() as cursor:
        _, is_restored = catalog_restore.scope_of(cursor)
        if not is_restored:
            catalog_restore.restore(
                cursor,
                unit_bytes=site.settings.batch_bytes,
                unit_logs=site.settings.batch_files,
                now=site.now(),
            )
    site.reach("after_restore")


def _load(site: Site) -> Iterator[Progress]:
    while True:
        with site.transaction() as cursor:
            unit = catalog_restore.next_unit(cursor)
            yield catalog_restore.progress(cursor)
        if unit is None:
            return
        _load_unit(site, unit)
        site.reach(f"after_unit_{unit.unit}")


def _load_unit(site: Site, unit: Unit) -> None:
    """Parse and load the logs of one unit, but for those that are lost."""
    since = telemetry_window(site.settings.postgres_telemetry_days, site.now().date())
    with scratch_folder(site, "rebuild") as folder:
        again = reread(site, folder, unit.received_on, unit.log_ids)
        parsed = again.parsed
        contents = lake.write(site, folder, parsed).contents
        log_ids = [one.log.log_id for one in parsed.read]
        with site.transaction() as cursor:
            cursor.execute("select set_config('logbox.is_restoring', 'on', true)")
            rows = copy_rows(cursor, unit.received_on, parsed, since=since)
            record_topics(cursor, topics_of(parsed))
            record_aliases(cursor, log_ids)
            catalog_content.record(cursor, log_ids, contents)
            record_flights(cursor, flights_of(parsed), log_ids)
            told = catalog_restore.told_tables(cursor, unit.log_ids)
            found = {(one.log_id, one.table_name): (one.rows, one.digest) for one in contents}
            different = {
                log_id
                for log_id, table in told.keys() | found.keys()
                if told.get((log_id, table)) != found.get((log_id, table))
            }
            for log_id, why in again.lost.items():
                _note_lost(site, cursor, again, log_id, why)
            catalog_restore.finish_unit(
                cursor, unit, sum(rows.values()), len(different), site.now()
            )


def _note_lost(site: Site, cursor: Any, again: Reread, log_id: UUID, why: str) -> None:
    """As a drift of its object, which `logbox repair` can put back once some side has it."""
    archive_key = again.archive_keys[log_id]
    catalog_restore.note(cursor, Finding.LOST_LOG, str(log_id), why)
    owner = keys.parse_archive_key(archive_key)
    record_drift(
        cursor,
        "missing" if site.archive.head(archive_key) is None else "mismatch",
        "archive",
        archive_key,
        expected="its bytes",
        found=why,
        now=site.now(),
        client=None if owner is None else owner[0],
        log_id=log_id,
    )
