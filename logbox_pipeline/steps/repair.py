"""Repair: mend drifts from a side that is proven by digest, when a person says so.

Each repair is recorded, done or refused. A drift counts as resolved once what was written is proven
to be what it should be; what only a comparison can say is left open for `reconcile`.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID, uuid4

from logbox_pipeline.adapters import (
    catalog_content,
    catalog_drifts,
    catalog_inventory,
    catalog_landing,
    catalog_outbox,
    catalog_repairs,
)
from logbox_pipeline.core import keys
from logbox_pipeline.core.content import Content
from logbox_pipeline.core.errors import LogboxError, UsageError
from logbox_pipeline.core.reconciliation import Drift, DriftKind, Place, describe_rows
from logbox_pipeline.core.repair import Action, Mended, Refused, action_for
from logbox_pipeline.core.tables import CATALOG_TABLES
from logbox_pipeline.core.told import Subject
from logbox_pipeline.steps.compare_stores import MOST_DRIFTS
from logbox_pipeline.steps.manifest import tell_all
from logbox_pipeline.steps.remake import remake_file_of, remake_files_of_day
from logbox_pipeline.steps.repair_objects import (
    Choice,
    Evidence,
    choose,
    copy_object,
    hide_stray,
    keep,
    looks_right,
    mend_row,
    quarantine_stray,
    restore_file_row,
    restore_manifest_row,
)
from logbox_pipeline.steps.restore import (
    NotAsLoaded,
    loaded_lots,
    put_lot,
    read_lot,
    reload_rows,
)
from logbox_pipeline.steps.scratch import scratch_folder
from logbox_pipeline.steps.settle import sweep_landing
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.told import Place as ToldPlace
from logbox_pipeline.steps.told import Told

_RESTORES = (Action.RESTORE_OBJECT_ROW, Action.RESTORE_LOGS, Action.RESTORE_MEASURE)
"""What needs to know what the archive was told."""


@dataclass(frozen=True)
class Repaired:
    """What became of one drift. `state`: done, refused (no side is proven good), failed, or, in a
    dry run, planned. `source`: where the good bytes came from."""

    drift_id: UUID
    drift: Drift
    action: Action
    state: str
    source: str | None
    detail: str | None


def repair(
    site: Site,
    drifts: Collection[str] = (),
    *,
    dry_run: bool = False,
    by: str,
    say: Callable[[Repaired], None] = lambda _: None,
) -> list[Repaired]:
    """Mend the open drifts with these ids, or all of them; one after the other.

    Raises UsageError when an id names no open drift. A store that is away makes a repair `failed`,
    and the others go on.
    """
    with site.transaction() as cursor:
        found = catalog_repairs.open_drifts(cursor, drifts)
    if unknown := set(drifts) - {str(drift_id) for drift_id, _ in found}:
        raise UsageError(
            f"no open drift has the id {sorted(unknown)[0]}", hint="see `logbox drift list`"
        )
    drifts_found = [(drift_id, _drift(row)) for drift_id, row in found]
    known = Evidence(site, [drift for _, drift in drifts_found])
    told = _told_of(site, [drift for _, drift in drifts_found])
    done = []
    for drift_id, drift in drifts_found:
        one = (
            _plan(site, told, drift_id, drift, known)
            if dry_run
            else _repair(site, told, drift_id, drift, known, by)
        )
        say(one)
        done.append(one)
    if not dry_run:
        _resolve_rows(site, done)
    return done


def _plan(site: Site, told: Told, drift_id: UUID, drift: Drift, known: Evidence) -> Repaired:
    """What would be done, and where that can be said now, that it would be refused."""
    try:
        choice = choose(site, drift, known)
        if choice.action in (Action.KEEP, Action.REBUILD):
            _mend(site, told, drift, choice, known)
    except Refused as why:
        return Repaired(drift_id, drift, choice.action, "refused", None, why.message)
    except LogboxError as error:
        return Repaired(drift_id, drift, action_for(drift), "failed", None, error.message)
    return Repaired(drift_id, drift, choice.action, "planned", None, None)


def _drift(row: Sequence[Any]) -> Drift:
    kind, place, subject, expected, found, client, log_id, table_name = row
    return Drift(
        DriftKind(kind), Place(place), subject, expected, found, client,
        None if log_id is None else UUID(log_id), table_name,
    )  # fmt: skip


def _repair(
    site: Site, told: Told, drift_id: UUID, drift: Drift, known: Evidence, by: str
) -> Repaired:
    choice, started_at = Choice(action_for(drift)), site.now()
    mended: Mended | None = None
    try:
        choice = choose(site, drift, known)
        mended = _mend(site, told, drift, choice, known)
        state, detail = "done", mended.detail
    except (Refused, NotAsLoaded) as why:
        state, detail = "refused", why.message
    except LogboxError as error:
        state, detail = "failed", error.message
    is_gone = state == "done" and _is_gone(site, drift)
    with site.transaction() as cursor:
        catalog_repairs.record(
            cursor,
            uuid4(),
            drift_id,
            action=choice.action,
            source=None if mended is None else mended.source,
            state=state,
            detail=detail,
            started_at=started_at,
            now=site.now(),
            by=by,
        )
        if is_gone:
            catalog_drifts.resolve(cursor, [drift_id], site.now())
    return Repaired(
        drift_id, drift, choice.action, state, None if mended is None else mended.source, detail
    )


def _is_gone(site: Site, drift: Drift) -> bool:
    """Whether what was just mended is proven to be right; False: another look has to say so."""
    match drift.place:
        case Place.ARCHIVE | Place.REPLICA | Place.LAKE if _names_a_key(drift):
            try:
                return looks_right(site, drift)
            except LogboxError:
                return False
        case Place.ARCHIVE | Place.REPLICA | Place.LAKE:
            return True
        case Place.POSTGRES if drift.subject.startswith("log_tables/"):
            return _is_measured_so(site, drift)
        case Place.POSTGRES:
            # Rows are digested before they are loaded; those of the catalog are looked at together.
            return drift.table_name is not None
        case Place.SEALS:
            return True
        case Place.LANDING:
            return False


def _names_a_key(drift: Drift) -> bool:
    """And not the rows of a table and day."""
    return drift.place is not Place.LAKE or drift.subject.startswith("lake/")


def _is_measured_so(site: Site, drift: Drift) -> bool:
    """Whether log_tables says again what both stores were seen to hold."""
    log_ids = [] if drift.log_id is None else [drift.log_id]
    with site.transaction() as cursor:
        said = [
            describe_rows(Content(one.rows, one.digest))
            for one in catalog_content.of_logs(cursor, log_ids)
            if one.table_name == drift.table_name
        ]
    return said == [drift.expected]


def _resolve_rows(site: Site, done: Collection[Repaired]) -> None:
    """Of rows of the catalog that were mended, those count as right that compare so."""
    mended = [
        one.drift_id
        for one in done
        if one.state == "done" and one.drift.place is Place.POSTGRES and not one.drift.table_name
    ]
    if not mended:
        return
    with site.transaction() as cursor:
        _, drifts = catalog_inventory.catalog_drifts(cursor, MOST_DRIFTS)
        if len(drifts) < MOST_DRIFTS:
            left = {one.drift_id for one in drifts}
            catalog_drifts.resolve(cursor, [one for one in mended if one not in left], site.now())


def _mend(site: Site, told: Told, drift: Drift, choice: Choice, known: Evidence) -> Mended:
    match choice.action:
        case Action.COPY_OBJECT:
            return copy_object(site, drift, known)
        case Action.HIDE_STRAY:
            return hide_stray(site, drift, known)
        case Action.NOTHING:
            return Mended(None, "the catalog knows it by now, or it is gone")
        case Action.KEEP:
            return keep(choice.stands)
        case Action.QUARANTINE_STRAY:
            return quarantine_stray(site, drift)
        case Action.MEND_ROW:
            return mend_row(site, choice.stands, known)
        case Action.RESTORE_FILE_ROW:
            return restore_file_row(site, drift, known)
        case Action.RESTORE_MANIFEST_ROW:
            return restore_manifest_row(site, choice.stands, known)
        case Action.REBUILD:
            raise Refused("nothing is mended beside an empty catalog: run `logbox rebuild`")
        case Action.RESTORE_OBJECT_ROW if drift.place is Place.ARCHIVE:
            return _restore_stray(site, drift)
        case Action.RESTORE_OBJECT_ROW:
            return _restore_object_row(site, told, drift)
        case Action.RESTORE_LOGS:
            return _restore_logs(site, told, drift)
        case Action.RESTORE_MEASURE:
            return _restore_measure(site, told, drift)
        case Action.RELOAD_ROWS:
            return _reload_rows(site, drift)
        case Action.REMAKE_FILE | Action.REMAKE_DAY:
            return _remake(site, drift)
        case _:
            return _redrive(site, drift)


# Rows of the catalog


def _restore_stray(site: Site, drift: Drift) -> Mended:
    """The row of archived bytes of which the catalog knows a delivery."""
    client, sha256 = keys.parse_archive_key(drift.subject) or ("", "")
    of_row = replace(drift, subject=f"objects/{client}/{sha256}", client=client)
    return _restore_object_row(site, Told(site, _told_places(of_row), {client}), of_row)


def _restore_object_row(site: Site, told: Told, drift: Drift) -> Mended:
    rows = _told_rows(site, told, _told_places(drift))
    with site.transaction() as cursor:
        _put_rows(cursor, rows)
        _require_whole(cursor, told, drift, rows)
    return Mended("manifests", "the row as it was told")


def _restore_logs(site: Site, told: Told, drift: Drift) -> Mended:
    rows = _told_rows(site, told, _told_places(drift))
    log_ids = [
        log_id
        for (subject, id_), row in rows.items()
        for log_id in ([UUID(id_)] if subject is Subject.LOG else catalog_repairs.members(row))
    ]
    if not log_ids:
        raise Refused("the archive was told of no log in it")
    rows |= _told_rows(site, told, [(Subject.LOG, str(one)) for one in log_ids])
    with site.transaction() as cursor:
        _put_rows(cursor, rows)
        lots = loaded_lots(site, cursor, log_ids)
        # Only where their bytes are was asked: nothing is restored before these are proven.
        cursor.connection.rollback()
    with scratch_folder(site, "repair") as folder:
        read = [read_lot(site, folder / f"{number}", lot) for number, lot in enumerate(lots)]
        with site.transaction() as cursor:
            _put_rows(cursor, rows)
            loaded = sum(put_lot(cursor, one) for one in read)
            _require_whole(cursor, told, drift, rows)
    return Mended("manifests and archive", f"{len(log_ids)} log(s), {loaded} rows loaded again")


def _restore_measure(site: Site, told: Told, drift: Drift) -> Mended:
    rows = _told_rows(site, told, _told_places(drift))
    with site.transaction() as cursor:
        for (_, log_id), row in rows.items():
            catalog_repairs.put_measure(cursor, UUID(log_id), row)
        _require_whole(cursor, told, drift, rows)
    return Mended("manifests", "log_tables as they were told")


def _told_of(site: Site, drifts: Collection[Drift]) -> Told:
    """What the archive was told of all rows that are to be restored."""
    restored = [one for one in drifts if action_for(one) in _RESTORES]
    clients = {one.client for one in restored if one.client is not None}
    is_known = all(one.client is not None for one in restored)
    places = [place for one in restored for place in _told_places(one)]
    return Told(site, places, clients if is_known else None)


def _told_places(drift: Drift) -> list[ToldPlace]:
    """The row that a drift names, as the archive calls it."""
    first, *rest = drift.subject.split("/")
    if first == "log_tables" or len(rest) == 1:
        return [(Subject.LOG, rest[-1])]
    return [(Subject.OBJECT, "/".join(rest))]


def _told_rows(site: Site, told: Told, places: Collection[ToldPlace]) -> dict[ToldPlace, str]:
    with site.transaction() as cursor:
        is_owed = catalog_outbox.owes(cursor, places)
    if is_owed:
        tell_all(site)
    rows = told.rows(places)
    if doubtful := told.in_doubt(places):
        raise Refused(
            f"{doubtful} may tell otherwise, and no side holds the bytes that were written there"
        )
    for subject, id_ in places:
        if (subject, id_) not in rows:
            raise Refused(f"the archive was never told of {subject} {id_}")
    return rows


def _put_rows(cursor: Any, rows: Mapping[ToldPlace, str]) -> None:
    """Objects and logs as they were told, and then what the objects hold."""
    for (subject, id_), row in rows.items():
        catalog_repairs.put_back(cursor, subject, row)
        if subject is Subject.LOG:
            catalog_repairs.put_measure(cursor, UUID(id_), row)
    for (subject, id_), row in rows.items():
        if subject is Subject.OBJECT:
            client, _, sha256 = id_.partition("/")
            catalog_repairs.put_members(cursor, client, sha256, row)


def _require_whole(cursor: Any, told: Told, drift: Drift, rows: Mapping[ToldPlace, str]) -> None:
    """Before it is committed: nothing newer was told meanwhile, and the catalog is mended."""
    if catalog_outbox.owes(cursor, rows.keys()) or told.rows(rows.keys()) != rows:
        raise Refused("it was changed meanwhile; run this again")
    log_ids = [UUID(id_) for subject, id_ in rows if subject is Subject.LOG]
    for still in catalog_inventory.catalog_drifts_of(cursor, drift.subject, log_ids):
        raise Refused(
            f"as the archive was told, {still.subject} is wrong too: expected {still.expected}, "
            f"found {still.found}"
        )


# Rows of logs


def _reload_rows(site: Site, drift: Drift) -> Mended:
    table = drift.table_name or ""
    with site.transaction() as cursor:
        if drift.log_id is None:
            log_ids = catalog_repairs.logs_in_table(cursor, table)
        elif catalog_repairs.is_log(cursor, drift.log_id):
            log_ids = [drift.log_id]
        else:
            gone = catalog_repairs.delete_strays(
                cursor, table, drift.log_id, is_telemetry=table not in CATALOG_TABLES
            )
            if not gone:
                raise Refused("no such row stands there any more: nothing was deleted")
            return Mended(None, f"{gone} rows of no log are deleted")
        loaded = catalog_repairs.loaded(cursor, log_ids)
    if not loaded:
        raise Refused("none of the logs in question is loaded: there are no rows to load again")
    return Mended("archive", f"{_reload(site, log_ids)} rows of {len(loaded)} log(s)")


def _reload(site: Site, log_ids: Collection[UUID]) -> int:
    with scratch_folder(site, "repair") as folder:
        return reload_rows(site, folder, log_ids)


# The lake


def _remake(site: Site, drift: Drift) -> Mended:
    made = (
        remake_file_of(site, drift.subject)
        if drift.subject.startswith("lake/")
        else remake_files_of_day(site, drift.table_name or "", _day(site, drift))
    )
    if made.why_not:
        raise Refused(made.why_not)
    return Mended("archive", f"{made.rows} rows of {made.logs} log(s) in {made.files} file(s)")


def _day(site: Site, drift: Drift) -> date:
    if drift.log_id is None:
        return date.fromisoformat(drift.subject.rpartition("received_on=")[2])
    with site.transaction() as cursor:
        days = catalog_inventory.days_of(cursor, [drift.log_id])
    if drift.log_id not in days:
        raise Refused(f"log {drift.log_id} is not in the catalog")
    return days[drift.log_id]


# Landing


def _redrive(site: Site, drift: Drift) -> Mended:
    if drift.kind is DriftKind.STALE:
        sweep_landing(site)
        return Mended("archive", "what is proven elsewhere has left landing")
    with site.transaction() as cursor:
        if drift.kind is DriftKind.MISSING:
            done = catalog_repairs.redrive(cursor, drift.subject, site.now())
            if not done:
                raise Refused("no delivery of it is free: a batch is at work on it, or it is done")
            return Mended(None, "; ".join(done))
    key = keys.from_text(drift.subject)
    listed_at = site.now()
    page = site.landing.list_page(key, most=1)
    listed = [one for one in page.objects if one.key == key]
    if not listed:
        raise Refused("it does not stand in landing any more")
    with site.transaction() as cursor:
        clients = frozenset(catalog_landing.client_names(cursor))
        bucket = site.landing.bucket
        new = catalog_landing.find_new(cursor, bucket, listed, listed_at=listed_at)
        catalog_landing.record_arrivals(cursor, bucket, new, clients=clients, now=site.now())
    return Mended(None, f"{len(listed)} delivery recorded; the sensor takes it from here")
