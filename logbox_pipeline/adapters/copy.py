"""Binary COPY of Arrow record batches into a Postgres table, through pgpq. No DDL here."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pgpq import ArrowToPostgresBinaryEncoder
from pgpq.encoders import StringEncoderBuilder
from pgpq.schema import Jsonb
from psycopg2 import sql

from logbox_pipeline.adapters.postgres import translated
from logbox_pipeline.core.errors import PermanentError

if TYPE_CHECKING:
    from pgpq._pgpq import EncoderBuilder

CHUNK_ROWS = 16_384
"""Rows encoded at a time: what is being sent stays in the processor's cache."""


def copy_batches(
    cursor: Any, table: Sequence[str], schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> int:
    """COPY `batches` into `table` (schema, name) in the cursor's transaction; returns the rows.

    schema: as made by `tables.postgres_schema`; its names are the columns, and columns the table
    has beyond them become null. A field with metadata `postgres_type: jsonb` holds JSON text;
    16-byte binary loads into uuid.
    Raises what `batches` raises, TransientError or StoreRefused, and PermanentError when Postgres
    counts other rows than were sent.
    """
    stream = _CopyStream(schema, batches)
    statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(*table), sql.SQL(", ").join(map(sql.Identifier, schema.names))
    )
    try:
        with closing(stream), translated():
            cursor.copy_expert(statement, stream)
    except Exception:
        # psycopg2 reports an error of the stream as a cancelled COPY.
        if stream.error is not None:
            raise stream.error from None
        raise
    if cursor.rowcount != stream.rows:
        raise PermanentError(
            f"COPY into {'.'.join(table)}: {stream.rows} rows sent, {cursor.rowcount} counted"
        )
    return stream.rows


class _CopyStream:
    """The file psycopg2 reads from. `rows` counts what was encoded."""

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        self.rows = 0
        self.error: Exception | None = None
        self._chunks = _ahead(self._encoded(schema, batches))

    def read(self, size: int = -1) -> bytes:
        """The next chunk, of any size: psycopg2 takes more than it asked for."""
        try:
            return next(self._chunks, b"")
        except Exception as error:
            self.error = error
            raise

    def close(self) -> None:
        """Encode no more."""
        self._chunks.close()

    def _encoded(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
        encoder = _encoder(schema)
        yield encoder.write_header()
        for batch in batches:
            for start in range(0, batch.num_rows, CHUNK_ROWS):
                part = batch.slice(start, CHUNK_ROWS)
                encoded = encoder.write_batch(part)
                self.rows += part.num_rows
                # The encoder holds back what is small; an empty answer would end the COPY.
                if encoded:
                    yield encoded
        yield encoder.finish()


def _ahead(chunks: Iterator[bytes]) -> Generator[bytes]:
    """The same, each made on a thread while Postgres takes the one before it."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, chunks, b"")
        while chunk := coming.result():
            coming = thread.submit(next, chunks, b"")
            yield chunk


def _encoder(schema: pa.Schema) -> ArrowToPostgresBinaryEncoder:
    encoders: dict[str, EncoderBuilder] = {}
    for field in schema:
        if (field.metadata or {}).get(b"postgres_type") == b"jsonb":
            encoders[field.name] = StringEncoderBuilder.new_with_output(field, Jsonb())
        else:
            encoders[field.name] = ArrowToPostgresBinaryEncoder.infer_encoder(field)
    return ArrowToPostgresBinaryEncoder.new_with_encoders(schema, encoders)
