"""Remake: Parquet files of the lake again, from the archived bytes of the logs in them."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from uuid import uuid4

from logbox_pipeline.adapters import (
    catalog_batches,
    catalog_content,
    catalog_growth,
    catalog_lake,
    catalog_logs,
    catalog_repairs,
    catalog_reparse,
)
from logbox_pipeline.adapters.catalog_batches import Claim, fence
from logbox_pipeline.adapters.catalog_logs import PlannedFile
from logbox_pipeline.adapters.catalog_repairs import FileLogs
from logbox_pipeline.adapters.catalog_reparse import Loaded
from logbox_pipeline.adapters.parquet import LakeFile
from logbox_pipeline.adapters.parquet_merge import batches_of, merge_files
from logbox_pipeline.core import keys
from logbox_pipeline.core.content import Content, ContentByLog
from logbox_pipeline.core.errors import PermanentError
from logbox_pipeline.steps import lake
from logbox_pipeline.steps.attempt import attempt
from logbox_pipeline.steps.lake_file import WrittenFile
from logbox_pipeline.steps.reparse import lots
from logbox_pipeline.steps.reread import reread
from logbox_pipeline.steps.restore import not_as_loaded
from logbox_pipeline.steps.settle import settle
from logbox_pipeline.steps.site import Site


@dataclass(frozen=True)
class Remade:
    """What stands in the lake now. `why_not`: nothing was written."""

    files: int = 0
    logs: int = 0
    rows: int = 0
    why_not: str | None = None


def remake_file_of(site: Site, lake_key: str) -> Remade:
    """One live file again, together with others that hold rows of the same batches.

    Raises TransientError when a store is away, or it was replaced meanwhile.
    """
    _, table_name, day, _ = lake_key.split("/")
    return _remake(
        site,
        table_name,
        date.fromisoformat(day.partition("=")[2]),
        lambda one: lake_key in one.lake_keys,
    )


def remake_files_of_day(site: Site, table_name: str, received_on: date) -> Remade:
    """All live files of a table and day again; as `remake_file_of`."""
    return _remake(site, table_name, received_on, lambda _: True)


def _remake(
    site: Site, table_name: str, received_on: date, is_wanted: Callable[[FileLogs], bool]
) -> Remade:
    with site.transaction() as cursor:
        found = catalog_repairs.files_of(cursor, table_name, received_on)
        wanted = [one for one in found if is_wanted(one)]
        logs = [log for one in wanted for log in one.logs]
        if not logs:
            return Remade(why_not="the catalog knows no log with rows in it")
        held = catalog_reparse.begin_batch(cursor, logs, f"repair-{uuid4()}", site.now())
    with attempt(site, held):
        made: list[tuple[FileLogs, LakeFile | None]] = []
        for number, one in enumerate(wanted):
            file, why_not = _write(site, site.folder(held) / f"{number}", table_name, one.logs)
            if why_not is not None:
                _give_up(site, held)
                return Remade(why_not=why_not)
            made.append((one, file))
        _swap(site, held, table_name, made)
        settle(site, held)
    files = [file for _, file in made if file is not None]
    return Remade(len(files), len(logs), sum(one.rows for one in files))


def _write(
    site: Site, folder: Path, table_name: str, logs: Sequence[Loaded]
) -> tuple[LakeFile | None, str | None]:
    """(one file of the table's rows of these logs, why they are not to be trusted)."""
    pieces: list[WrittenFile] = []
    for number, lot in enumerate(lots(logs, site.settings.batch_bytes, site.settings.batch_files)):
        place = folder / f"{number}"
        piece, why_not = _write_lot(site, place, table_name, lot)
        if why_not is not None:
            return None, why_not
        if piece is not None:
            path = piece.path.replace(folder / f"{number}.parquet")
            pieces.append(replace(piece, path=path))
        shutil.rmtree(place)
    if len(pieces) > 1:
        return _merged(folder, table_name, pieces), None
    files = [LakeFile(one.path, one.rows, one.size_bytes, one.sha256) for one in pieces]
    return (files[0] if files else None), None


def _write_lot(
    site: Site, folder: Path, table_name: str, lot: Sequence[Loaded]
) -> tuple[WrittenFile | None, str | None]:
    again = reread(site, folder, lot[0].received_on, [one.log_id for one in lot])
    files = lake.write(site, folder, again.parsed)
    with site.transaction() as cursor:
        wanted = catalog_content.of_logs(cursor, [one.log_id for one in lot])
    if why_not := not_as_loaded(again, files.contents, wanted):
        return None, why_not
    return next((one for one in files.files if one.table_name == table_name), None), None


def _merged(folder: Path, table_name: str, pieces: Sequence[WrittenFile]) -> LakeFile:
    """One file of all pieces, read again and found to hold their rows."""
    spools = folder / "spools"
    spools.mkdir()
    file = merge_files(
        [one.path for one in pieces], folder / "merged.parquet", spools, lambda _: None
    )
    shutil.rmtree(spools)
    for one in pieces:
        one.path.unlink()
    found = ContentByLog(table_name)
    for batch in batches_of(file.path):
        found.add(batch)
    expected = {of.log_id: Content(of.rows, of.digest) for one in pieces for of in one.contents}
    if found.contents != expected:
        raise PermanentError(
            f"{table_name}, {len(pieces)} pieces: expected the rows of {len(expected)} logs, found "
            "others in the merged file",
            hint="this is a bug in Logbox, nothing was changed: keep the files and report it",
        )
    return file


def _swap(
    site: Site,
    held: Claim,
    table_name: str,
    made: Sequence[tuple[FileLogs, LakeFile | None]],
) -> None:
    """Put the new files and make them count instead of the old, or put the same bytes back."""
    replaced: list[str] = []
    planned: list[tuple[PlannedFile, LakeFile]] = []
    for old, file in made:
        if file is not None and old.sha256s == (file.sha256,):
            _put_back(site, old.lake_keys[0], file)
            continue
        replaced += old.lake_keys
        if file is not None:
            planned.append((_planned(held, table_name, old, file), file))
    with site.transaction() as cursor:
        fence(cursor, held)
        catalog_logs.plan_lake_files(cursor, held, [plan for plan, _ in planned], site.now())
    for plan, file in planned:
        site.lake.put_file(plan.lake_key, file.path, plan.sha256)
    site.reach("before_remade_counts")
    with site.transaction() as cursor:
        fence(cursor, held)
        catalog_growth.require_loaded(
            cursor, {log.log_id: log.batch_id for old, _ in made for log in old.logs}
        )
        catalog_growth.replace_files(cursor, replaced, site.now())
        catalog_logs.make_live(cursor, held, [plan.lake_key for plan, _ in planned], site.now())
        catalog_batches.mark_loaded(cursor, held.batch_id, site.now())


def _put_back(site: Site, lake_key: str, file: LakeFile) -> None:
    with site.transaction() as cursor:
        # What is replaced and deleted meanwhile would stand there again, and nobody would know.
        catalog_lake.lock_live(cursor, lake_key)
        site.lake.put_file(lake_key, file.path, file.sha256)


def _planned(held: Claim, table_name: str, old: FileLogs, file: LakeFile) -> PlannedFile:
    return PlannedFile(
        keys.lake_key(table_name, held.received_on, held.batch_id, file.sha256),
        table_name,
        held.received_on,
        file.rows,
        file.size_bytes,
        file.sha256,
        old.batch_ids,
    )


def _give_up(site: Site, held: Claim) -> None:
    """Nothing was planned: the batch is over."""
    with site.transaction() as cursor:
        fence(cursor, held)
        catalog_batches.mark_loaded(cursor, held.batch_id, site.now())
        catalog_batches.mark_finished(cursor, held.batch_id, site.now())
