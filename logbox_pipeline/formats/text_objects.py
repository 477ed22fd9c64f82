"""JSON objects as lines of a text log: what they say as times, levels, sources and messages."""

from logbox_pipeline.formats.json_mapping import Mapper
from logbox_pipeline.formats.json_values import careful_record
from logbox_pipeline.formats.text import clean_text
from logbox_pipeline.formats.text_rows import Columns

BEGINNING = '{"'


def read_objects(columns: Columns, mapper: Mapper, nesting: int) -> None:
    """Fill in what the messages say that are objects; one without a message stays as written."""
    for index, text in enumerate(columns.messages):
        if not text.startswith(BEGINNING) or not text.rstrip().endswith("}"):
            continue
        record = careful_record(text.encode("utf-8", "replace"), nesting)
        if isinstance(record, str):
            continue
        row = mapper.row(record)
        if row.ts_us is not None:
            columns.us[index], columns.valid[index] = row.ts_us, True
        columns.levels[index] = row.level
        columns.sources[index] = None if row.source is None else clean_text(row.source)
        if row.message is not None:
            columns.messages[index] = clean_text(row.message)
            columns.attributes[index] = row.attributes.decode() if row.attributes else None
