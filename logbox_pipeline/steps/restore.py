"""Restore: rows of loaded logs in Postgres again, from archived bytes. The lake is left alone."""

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

from logbox_pipeline.adapters import (
    catalog_content,
    catalog_growth,
    catalog_repairs,
    catalog_reread,
)
from logbox_pipeline.adapters.catalog_content import LogContent
from logbox_pipeline.adapters.catalog_flights import record_flights
from logbox_pipeline.adapters.catalog_reread import Source
from logbox_pipeline.adapters.catalog_topics import record_topics
from logbox_pipeline.adapters.catalog_vehicles import record_aliases
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.core.retention import telemetry_window
from logbox_pipeline.steps import lake
from logbox_pipeline.steps.copy_rows import copy_rows
from logbox_pipeline.steps.load import flights_of, topics_of
from logbox_pipeline.steps.reparse import lots
from logbox_pipeline.steps.reread import Reread, reread_sources
from logbox_pipeline.steps.site import Site


class NotAsLoaded(LogboxError):
    """Archived bytes are gone, or do not read as they once did: they prove nothing."""


@dataclass(frozen=True)
class LoadedLot:
    """Loaded logs of one day (log_id -> the batch that loaded it), as many as a batch would hold,
    and where their bytes are. `since`: from which day telemetry is kept in Postgres; None: all."""

    received_on: date
    logs: Mapping[UUID, UUID]
    sources: Sequence[Source]
    since: date | None


@dataclass(frozen=True)
class ReadLot:
    """Rows of such logs, read again; they stand in scratch."""

    lot: LoadedLot
    again: Reread
    contents: Sequence[LogContent]


def reload_rows(site: Site, folder: Path, log_ids: Collection[UUID]) -> int:
    """Put the rows of loaded logs in the place of what stands there, as many as a batch would hold
    at a time. Returns how many rows.

    Raises NotAsLoaded, TransientError when a store is away; what was done before stays done.
    """
    with site.transaction() as cursor:
        lots_of_logs = loaded_lots(site, cursor, log_ids)
    rows = 0
    for number, lot in enumerate(lots_of_logs):
        place = folder / f"{number}"
        read = read_lot(site, place, lot)
        with site.transaction() as cursor:
            rows += put_lot(cursor, read)
        shutil.rmtree(place)
    return rows


def loaded_lots(site: Site, cursor: Any, log_ids: Collection[UUID]) -> list[LoadedLot]:
    """Those of the logs that are loaded, as this transaction sees them."""
    since = telemetry_window(site.settings.postgres_telemetry_days, site.now().date())
    loaded = catalog_repairs.loaded(cursor, log_ids)
    found = []
    for lot in lots(loaded, site.settings.batch_bytes, site.settings.batch_files):
        logs = {one.log_id: one.batch_id for one in lot}
        sources = catalog_reread.sources(cursor, logs.keys())
        found.append(LoadedLot(lot[0].received_on, logs, sources, since))
    return found


def read_lot(site: Site, folder: Path, lot: LoadedLot) -> ReadLot:
    """Read them into `folder`. Raises TransientError when a store is away."""
    again = reread_sources(site, folder, lot.received_on, lot.sources)
    return ReadLot(lot, again, lake.write(site, folder, again.parsed).contents)


def put_lot(cursor: Any, read: ReadLot) -> int:
    """Put the rows in the place of what stands there. Returns how many.

    Only when they are what was loaded once, by content digest: rows of another parser version are
    `reparse`'s. Raises NotAsLoaded.
    """
    logs, parsed = read.lot.logs, read.again.parsed
    wanted = catalog_content.of_logs(cursor, logs.keys())
    if why_not := not_as_loaded(read.again, read.contents, wanted):
        raise NotAsLoaded(why_not)
    cursor.execute("select set_config('logbox.is_restoring', 'on', true)")
    catalog_growth.require_loaded(cursor, logs)
    catalog_growth.delete_rows(cursor, list(logs))
    rows = sum(copy_rows(cursor, read.lot.received_on, parsed, since=read.lot.since).values())
    record_topics(cursor, topics_of(parsed))
    record_aliases(cursor, list(logs))
    catalog_content.record(cursor, list(logs), read.contents)
    record_flights(cursor, flights_of(parsed), list(logs))
    return rows


def not_as_loaded(
    again: Reread, contents: Collection[LogContent], wanted: Collection[LogContent]
) -> str | None:
    """Why rows that were read again are not those that were loaded; None when they are."""
    for log_id, why in sorted(again.lost.items()):
        return f"log {log_id} cannot be read: {why}"
    found = {(one.log_id, one.table_name): one for one in contents}
    expected = {(one.log_id, one.table_name): one for one in wanted}
    for log_id, table in sorted(found.keys() | expected.keys()):
        if found.get((log_id, table)) != expected.get((log_id, table)):
            return (
                f"log {log_id} does not read as it once did in {table}: the parser is another "
                "version; `logbox reparse` replaces what it loaded"
            )
    return None
