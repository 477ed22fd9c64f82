"""Reparse: read loaded logs again with the parsers of today, and replace what comes out otherwise.

The difference is shown first. What is replaced goes in one load transaction, in Postgres and in the
lake; a log that reads as before is left as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from logbox_pipeline.adapters import catalog_content, catalog_reparse
from logbox_pipeline.adapters.catalog_batches import Claim
from logbox_pipeline.adapters.catalog_content import LogContent
from logbox_pipeline.adapters.catalog_reparse import Chosen, Loaded
from logbox_pipeline.core.change import TableChange, compare
from logbox_pipeline.core.errors import PermanentError, UsageError
from logbox_pipeline.steps import lake
from logbox_pipeline.steps.attempt import attempt
from logbox_pipeline.steps.lake import WrittenBatch
from logbox_pipeline.steps.load import load
from logbox_pipeline.steps.parse import ParsedBatch, only
from logbox_pipeline.steps.parse_worker import ParsedLog
from logbox_pipeline.steps.reread import reread
from logbox_pipeline.steps.scratch import scratch_folder
from logbox_pipeline.steps.settle import settle
from logbox_pipeline.steps.site import Site


@dataclass(frozen=True)
class Kept:
    """A log that stays as it is although it could not be read again, and why."""

    log_id: UUID
    why: str


@dataclass(frozen=True)
class Reparsed:
    """What some logs read as now. `changes`: by log and table; they were replaced unless it was a
    dry run."""

    logs: int
    changes: tuple[TableChange, ...]
    kept: tuple[Kept, ...]

    @property
    def changed_logs(self) -> int:
        return len({one.log_id for one in self.changes})


def reparse(
    site: Site,
    chosen: Chosen,
    *,
    dry_run: bool = False,
    say: Callable[[Reparsed], None] = lambda _: None,
) -> Reparsed:
    """Read the chosen logs again, some at a time; `say` is told of each lot.

    Raises UsageError when nothing narrows the choice, TransientError when a store is away or
    another load changed the same logs meanwhile: what was done by then stays done.
    """
    if chosen.is_everything:
        raise UsageError(
            "which logs?", hint="use --day, --client, --format or --log; --dry-run shows the change"
        )
    with site.transaction() as cursor:
        logs = catalog_reparse.loaded(cursor, chosen)
    done = Reparsed(0, (), ())
    for lot in lots(logs, site.settings.batch_bytes, site.settings.batch_files):
        one = _reparse_lot(site, lot, dry_run=dry_run)
        say(one)
        done = Reparsed(done.logs + one.logs, done.changes + one.changes, done.kept + one.kept)
    return done


def lots(logs: Sequence[Loaded], most_bytes: int, most: int) -> Iterator[list[Loaded]]:
    """As many logs of one day as a batch would hold, at a time."""
    lot: list[Loaded] = []
    size_bytes = 0
    for one in logs:
        is_full = size_bytes + one.size_bytes > most_bytes or len(lot) == most
        if lot and (is_full or one.received_on != lot[0].received_on):
            yield lot
            lot, size_bytes = [], 0
        lot.append(one)
        size_bytes += one.size_bytes
    if lot:
        yield lot


def _reparse_lot(site: Site, lot: list[Loaded], *, dry_run: bool) -> Reparsed:
    if dry_run:
        with scratch_folder(site, "reparse") as folder:
            return _read(site, folder, lot).report
    with site.transaction() as cursor:
        held = catalog_reparse.begin_batch(cursor, lot, f"reparse-{uuid4()}", site.now())
    with attempt(site, held):
        again = _read(site, site.folder(held), lot)
        with site.transaction() as cursor:
            catalog_reparse.raise_version(cursor, again.unchanged_versions)
        _replace(site, held, lot, again)
    return again.report


@dataclass(frozen=True)
class _Again:
    parsed: ParsedBatch
    report: Reparsed
    unchanged_versions: dict[UUID, int]


def _read(site: Site, folder: Path, lot: list[Loaded]) -> _Again:
    """Read a lot again and compare it with what stands in the lake."""
    read = reread(site, folder, lot[0].received_on, [one.log_id for one in lot])
    kept = [Kept(log_id, why) for log_id, why in sorted(read.lost.items())]
    kept += [
        Kept(one.log.log_id, f"{one.result.reason}: {one.result.detail}")
        for one in read.parsed.read
        if not isinstance(one.result, ParsedLog)
    ]
    written = lake.write(site, folder, read.parsed)
    changes = _changes(site, folder, lot, written, {one.log_id for one in kept})
    changed = {one.log_id for one in changes}
    versions = {
        one.log.log_id: one.result.parser_version
        for one in read.parsed.read
        if isinstance(one.result, ParsedLog) and one.log.log_id not in changed
    }
    return _Again(
        only(folder, read.parsed, changed),
        Reparsed(len(lot), tuple(changes), tuple(kept)),
        versions,
    )


def _changes(
    site: Site, folder: Path, lot: list[Loaded], written: WrittenBatch, kept: set[UUID]
) -> list[TableChange]:
    with site.transaction() as cursor:
        before = catalog_content.of_logs(cursor, [one.log_id for one in lot])
    old = {(one.log_id, one.table_name): one for one in before}
    new = {(one.log_id, one.table_name): one for one in written.contents}
    differing = sorted(
        place
        for place in old.keys() | new.keys()
        if place[0] not in kept and _said(old.get(place)) != _said(new.get(place))
    )
    loaded_by = {one.log_id: one.batch_id for one in lot}
    paths = {one.table_name: one.path for one in written.files}
    found = []
    for log_id, table_name in differing:
        was = _rows_in_lake(site, folder, loaded_by[log_id], table_name, log_id)
        now = _rows(paths.get(table_name), log_id)
        if was is not None or now is not None:
            found.append(compare(log_id, table_name, was, now))
    return found


def _said(content: LogContent | None) -> tuple[int, str] | None:
    return None if content is None else (content.rows, content.digest)


def _rows_in_lake(
    site: Site, folder: Path, batch_id: UUID, table_name: str, log_id: UUID
) -> pa.Table | None:
    with site.transaction() as cursor:
        files = catalog_reparse.files_of(cursor, batch_id, table_name)
    pieces = []
    for lake_key, sha256 in files:
        path = folder / f"{sha256}.before.parquet"
        if not path.exists():
            download = site.lake.download(lake_key, path)
            if download is None or download.sha256 != sha256:
                raise PermanentError(
                    f"s3://{site.lake.bucket}/{lake_key}: expected {sha256}, found "
                    f"{'nothing' if download is None else download.sha256}",
                    hint="`logbox reconcile` names it as drift, `logbox repair` mends it",
                )
        piece = _rows(path, log_id)
        if piece is not None:
            pieces.append(piece)
    return pa.concat_tables(pieces, promote_options="default") if pieces else None


def _rows(path: Path | None, log_id: UUID) -> pa.Table | None:
    """A log's rows in a Parquet file; None when it has none."""
    if path is None:
        return None
    pieces = []
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches():
            log_ids = batch.column("log_id")
            stored = log_ids.storage if isinstance(log_ids, pa.ExtensionArray) else log_ids
            wanted = batch.filter(pc.equal(stored, pa.scalar(log_id.bytes, pa.binary(16))))
            if wanted.num_rows:
                pieces.append(wanted)
    return pa.Table.from_batches(pieces) if pieces else None


def _replace(site: Site, held: Claim, lot: list[Loaded], again: _Again) -> None:
    changed = {one.log.log_id for one in again.parsed.read}
    replacing = {one.log_id: one.batch_id for one in lot if one.log_id in changed}
    parsed = replace(again.parsed, replacing=replacing)
    site.reach("before_replacing")
    load(site, held, parsed)
    settle(site, held)
