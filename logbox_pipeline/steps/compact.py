"""Compact: the many small Parquet files of a closed day become few large ones with the same rows.

Nothing is replaced before the new file's rows are proven to be those of the old ones, and then in
one transaction, so that the live files of `lake_files` hold each row once at any time. Files are
merged whole: a file's `batch_ids` stay true for the file its rows go to.
"""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from uuid import UUID

from logbox_pipeline.adapters import catalog_lake
from logbox_pipeline.adapters.catalog_lake import LakeFileRow
from logbox_pipeline.adapters.catalog_logs import PlannedFile
from logbox_pipeline.adapters.parquet import LakeFile
from logbox_pipeline.adapters.parquet_merge import batches_of, merge_files
from logbox_pipeline.adapters.postgres import transaction
from logbox_pipeline.adapters.turns import Turn, turn
from logbox_pipeline.core import keys
from logbox_pipeline.core.compaction import worth_merging
from logbox_pipeline.core.content import Content, ContentByLog
from logbox_pipeline.core.errors import PermanentError, TransientError, UsageError
from logbox_pipeline.steps.site import TRANSFERS, Site

_SCRATCH_OVER = timedelta(days=1)


@dataclass(frozen=True)
class Merged:
    """Some files of one table and day, and what became of them. `new`: the file that counts
    instead; None when it was only asked for, or when `why` says what kept them as they are."""

    table_name: str
    received_on: date
    old: tuple[LakeFileRow, ...]
    new: PlannedFile | None = None
    why: str | None = None

    @property
    def old_bytes(self) -> int:
        return sum(one.size_bytes for one in self.old)

    @property
    def rows(self) -> int:
        return sum(one.rows for one in self.old)


@dataclass(frozen=True)
class CompactReport:
    """`done` holds what is merged, or would be; `left` what could not be, and why."""

    done: tuple[Merged, ...]
    left: tuple[Merged, ...]

    @property
    def counts(self) -> dict[str, int]:
        new = [one.new for one in self.done if one.new is not None]
        return {
            "rows": sum(one.rows for one in self.done),
            "files_before": sum(len(one.old) for one in self.done),
            "files_after": len(self.done),
            "bytes_before": sum(one.old_bytes for one in self.done),
            "bytes_after": sum(one.size_bytes for one in new),
            "left_files": sum(len(one.old) for one in self.left),
        }


def compact(site: Site, *, day: date | None = None, dry_run: bool = False) -> CompactReport:
    """Merge small files of every closed day, or of that one, until no two are left that fit.

    What another replaces meanwhile is left for the next time, and so is what is not as the catalog
    says: that is drift. Raises UsageError for a day that is not over, TransientError when a store
    is away or another compaction is at work, PermanentError when a merged file does not hold the
    rows of the old ones.
    """
    today = site.now().date()
    if day is not None and day >= today:
        raise UsageError(f"{day} is not over", hint="days are compacted once they are, in UTC")
    if dry_run:
        return CompactReport(tuple(_worth_it(site, today, day, ())), ())
    done: list[Merged] = []
    left: list[Merged] = []
    with _turn(site), _scratch(site) as folder:
        while groups := _worth_it(
            site, today, day, [file.lake_key for one in left for file in one.old]
        ):
            for group in groups:
                merged = _merge(site, folder, group)
                (done if merged.new is not None else left).append(merged)
    return CompactReport(tuple(done), tuple(left))


def _worth_it(site: Site, today: date, day: date | None, leave: Sequence[str]) -> list[Merged]:
    target = site.settings.lake_file_bytes
    with site.transaction() as cursor:
        small = catalog_lake.small_files(
            cursor, today=today, below_bytes=target // 2, leave=leave, day=day
        )
    return [
        Merged(table_name, received_on, group)
        for (received_on, table_name), files in groupby(
            small, lambda one: (one.received_on, one.table_name)
        )
        for group in worth_merging(list(files), target)
    ]


def _merge(site: Site, folder: Path, group: Merged) -> Merged:
    """Merge one group in scratch, prove it, put it and let it count."""
    try:
        file = _written(site, folder, group)
    finally:
        for path in folder.glob("*.old*"):
            path.unlink()
    if not isinstance(file, LakeFile):
        return file
    batch_ids = tuple(sorted({batch_id for one in group.old for batch_id in one.batch_ids}))
    with site.transaction() as cursor:
        batch_id = catalog_lake.newest_batch(cursor, batch_ids)
        new = _planned(group, file, batch_id, batch_ids)
        catalog_lake.plan_compacted(cursor, batch_id, new, site.now())
    site.reach("after_compaction_planned")
    # As late as can be: from here until the old files are deleted, a bare glob reads rows twice.
    site.lake.put_file(new.lake_key, file.path, new.sha256)
    file.path.unlink()
    site.reach("after_compaction_put")
    with site.transaction() as cursor:
        is_swapped = catalog_lake.swap(
            cursor, [one.lake_key for one in group.old], new.lake_key, site.now()
        )
        if not is_swapped:
            catalog_lake.abandon_compactions(cursor, new.lake_key)
        site.reach("before_compaction_commit")
    site.reach("after_compaction_commit")
    if not is_swapped:
        return replace(group, why="one of them was replaced meanwhile; the next compaction looks")
    return replace(group, new=new)


def _written(site: Site, folder: Path, group: Merged) -> LakeFile | Merged:
    """The merged file in scratch, read again and found to hold exactly the old ones' rows; or those
    files of the group that are not what the catalog says."""

    def download(place: int) -> tuple[Path, str]:
        path = folder / f"{place}.old.parquet"
        found = site.lake.download(group.old[place].lake_key, path)
        return path, "nothing" if found is None else found.sha256

    with ThreadPoolExecutor(TRANSFERS) as threads:
        read = list(threads.map(download, range(len(group.old))))
    wrong = [
        (one, found) for one, (_, found) in zip(group.old, read, strict=True) if found != one.sha256
    ]
    if wrong:
        (first, found), *_ = wrong
        return replace(
            group,
            old=tuple(one for one, _ in wrong),
            why=f"drift: s3://{site.lake.bucket}/{first.lake_key}: expected {first.sha256}, "
            f"found {found}",
        )
    before, after = ContentByLog(group.table_name), ContentByLog(group.table_name)
    file = merge_files([path for path, _ in read], folder / "merged.parquet", folder, before.add)
    for batch in batches_of(file.path):
        after.add(batch)
    _require_same(group, before.contents, after.contents)
    return file


def _require_same(group: Merged, before: dict[UUID, Content], after: dict[UUID, Content]) -> None:
    rows = sum(one.rows for one in after.values())
    differing = [log_id for log_id in before | after if before.get(log_id) != after.get(log_id)]
    if rows != group.rows or differing:
        raise PermanentError(
            f"{group.table_name} of {group.received_on}, {len(group.old)} files: expected "
            f"{group.rows} rows, found {rows}; other rows of {len(differing)} logs than before",
            hint="this is a bug in Logbox, nothing was changed: keep the files and report it",
        )


def _planned(
    group: Merged, file: LakeFile, batch_id: UUID, batch_ids: tuple[UUID, ...]
) -> PlannedFile:
    return PlannedFile(
        keys.lake_key(group.table_name, group.received_on, batch_id, file.sha256),
        group.table_name,
        group.received_on,
        file.rows,
        file.size_bytes,
        file.sha256,
        batch_ids,
    )


@contextmanager
def _turn(site: Site) -> Iterator[None]:
    """Alone at it; what a dead one had planned is given up, if `sweep_lake` has not yet done so."""
    # Two at once would prove nothing wrong, `swap` sees to that: it saves work.
    with site.connection() as connection, turn(connection, Turn.COMPACTION) as is_ours:
        if not is_ours:
            raise TransientError(
                "another compaction is at work",
                hint="nothing to do: it merges what this one would have",
            )
        with transaction(connection) as cursor:
            catalog_lake.abandon_compactions(cursor)
        yield


@contextmanager
def _scratch(site: Site) -> Iterator[Path]:
    """A folder of this compaction; those of dead ones go once they are a day old."""
    above = site.settings.scratch / "compaction"
    above.mkdir(parents=True, exist_ok=True)
    before = (site.now() - _SCRATCH_OVER).timestamp()
    for folder in above.iterdir():
        if folder.stat().st_mtime < before:
            shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=above) as mine:
        yield Path(mine)
