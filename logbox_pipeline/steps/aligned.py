"""Read topics of one log out of the lake's live files, and put them on one clock."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

import pandas as pd
import pyarrow as pa

from logbox_pipeline.adapters import catalog_topics
from logbox_pipeline.adapters.catalog_topics import LoadedTopic
from logbox_pipeline.adapters.parquet import read_rows
from logbox_pipeline.core.alignment import align
from logbox_pipeline.core.errors import PermanentError, UsageError, listed
from logbox_pipeline.steps.site import Site


def aligned(site: Site, log_id: UUID, topics: Sequence[str], hz: float) -> pd.DataFrame:
    """See `logbox_pipeline.frames.aligned`."""
    if not topics:
        raise UsageError("no topic is named", hint="see logbox.log_topics")
    with site.transaction() as cursor:
        loaded = {one.name: one for one in catalog_topics.loaded_topics(cursor, log_id)}
    if not loaded:
        raise UsageError(
            f"there is no loaded log {log_id} with telemetry",
            hint=f"`logbox trace {log_id}` says what became of it",
        )
    missing = [name for name in topics if name not in loaded]
    if missing:
        raise UsageError(
            f"log {log_id} has no loaded topic {', '.join(missing)}",
            hint=f"it has: {listed(loaded)}",
        )
    with TemporaryDirectory(prefix="logbox-aligned-") as scratch:
        tables = {name: _rows(site, Path(scratch), log_id, loaded[name]) for name in topics}
    return align(tables, hz)


def _rows(site: Site, scratch: Path, log_id: UUID, topic: LoadedTopic) -> pa.Table:
    pieces = []
    for file in topic.files:
        path = scratch / file.sha256
        if not path.exists():
            download = site.lake.download(file.lake_key, path)
            if download is None or download.sha256 != file.sha256:
                raise PermanentError(
                    f"s3://{site.lake.bucket}/{file.lake_key}: expected {file.sha256}, found "
                    f"{'nothing' if download is None else download.sha256}",
                    hint="this is drift in the lake; see `logbox status`",
                )
        pieces.append(read_rows(path, log_id, topic.instance, topic.columns))
    return pa.concat_tables(pieces)
