"""A log's rows as pandas dataframes, for people: inspect, notebooks, previews. Nothing is stored.

Columns have the source's own names and Arrow-backed dtypes, so that no value changes.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from logbox_pipeline.adapters import spool
from logbox_pipeline.adapters.spool import Spooled, SpooledTopic
from logbox_pipeline.core.errors import UsageError, listed
from logbox_pipeline.core.tables import EVENT_COLUMNS, PARAMETER_COLUMNS

_FRAME_COLUMNS = ("instance", "t_boot_us", "ts")


def topic_frame(rows: Path, spooled: Spooled, topic: str) -> pd.DataFrame:
    """All rows of one topic: `instance`, `t_boot_us`, `ts`, then the fields by source name.

    A field whose type changed has a second column with the type in brackets; one that is called
    like one of the first three is `ts#2`.
    Raises UsageError when the log has no such topic.
    """
    found = next((one for one in spooled.topics if one.topic == topic), None)
    if found is None:
        known = {one.topic for one in spooled.topics}
        raise UsageError(f"the log has no topic {topic}", hint=f"it has: {listed(known)}")
    pieces = [
        piece.add_column(0, "instance", pa.repeat(pa.scalar(one.instance), piece.num_rows))
        for one in found.instances
        for piece in spool.named_batches(rows, found, one.instance, _names(found))
    ]
    return _frame(pa.concat_tables(map(_table, pieces), promote_options="default"))


def events_frame(rows: Path, spooled: Spooled) -> pd.DataFrame:
    """`log_events` of the log: seq, ts, t_boot_us, level, source, message, attributes."""
    return _frame(pa.Table.from_batches(spool.event_batches(rows, spooled), EVENT_COLUMNS))


def parameters_frame(rows: Path, spooled: Spooled) -> pd.DataFrame:
    """`log_parameters` of the log: seq, t_boot_us, name, kind, value, value_type."""
    batches = spool.parameter_batches(rows, spooled)
    return _frame(pa.Table.from_batches(batches, PARAMETER_COLUMNS))


def _names(topic: SpooledTopic) -> list[str]:
    """One per column: its source name, with the type where that is not enough, and with `#2` (`#3`
    ...) where it is the frame's own or another field's."""
    taken = set(_FRAME_COLUMNS)
    seen: set[str] = set()
    names = []
    for column in topic.columns:
        source = column.source_name
        name = base = f"{source} ({column.type})" if source in seen else source
        number = 2
        while name in taken:
            name = f"{base}#{number}"
            number += 1
        seen.add(source)
        taken.add(name)
        names.append(name)
    return names


def _table(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch])


def _frame(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas(types_mapper=pd.ArrowDtype)
