"""What analysts call from a notebook: loaded logs as pandas dataframes. Nothing else.

Finds Postgres and the lake by the settings (`LOGBOX_DATABASE_URL`, `LOGBOX_S3_*`), or the embedded
stack below `LOGBOX_HOME`; a login that may only read will do.
"""

from collections.abc import Sequence
from uuid import UUID

import pandas as pd

from logbox_pipeline.core.errors import UsageError
from logbox_pipeline.settings import load_settings
from logbox_pipeline.steps import aligned as steps
from logbox_pipeline.steps.site import open_site


def aligned(log_id: UUID | str, topics: Sequence[str], hz: float) -> pd.DataFrame:
    """Topics of different rates in one frame of `hz` rows per second: an as-of join.

    topics: as the source names them, `/<instance>` behind those above 0 (`battery_status/1`); see
    `logbox.log_topics`. The index is `t_boot_us` (us since the vehicle's start), or `ts` (UTC)
    where there is no boot clock; it runs from the first sample of any topic to the last. Columns
    are `<topic>.<column>` with the names of the tables and the source's widths, and `ts`. A value
    is the newest at or before the row's time; before a topic's first it is missing.
    Raises UsageError for what the log does not have, TransientError when a store is away.
    """
    try:
        wanted = log_id if isinstance(log_id, UUID) else UUID(log_id)
    except ValueError:
        raise UsageError(
            f"{log_id} is no log id",
            hint="`logbox trace NAME` and logbox.logs show them",
        ) from None
    asked = [topics] if isinstance(topics, str) else topics
    return steps.aligned(open_site(load_settings()), wanted, asked, hz)
