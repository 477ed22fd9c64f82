"""Head start: rows of logs that are parsed go into the load's transaction while others are parsed.

Taking rows costs Postgres about what parsing them costs the workers: both go on at a time. It is
all or nothing. A batch for which something must be made in Postgres, or whose head start fails,
takes long, or keeps another batch from adding a column, is copied as a whole by the load. Nothing
is committed here.
"""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from logbox_pipeline.adapters import postgres, telemetry_tables
from logbox_pipeline.adapters.catalog_batches import Claim, look
from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.steps.copy_rows import LONGEST_LOAD_S, bound, copy_rows
from logbox_pipeline.steps.parse import ParsedBatch, ReadLog, topics_wanted
from logbox_pipeline.steps.site import Site

PART_BYTES = 8_000_000
"""Logs go in parts of about this size: each part costs a COPY per table."""

LONGEST_IDLE_S = 30
"""One log that takes its time must not keep others from adding a column to a table: Postgres then
ends the head start."""

LONGEST_S = LONGEST_LOAD_S / 2
"""Postgres ends a load after LONGEST_LOAD_S. What began while logs were parsed must leave time for
the rest, or an attempt that parses for half an hour would end so each time."""


@dataclass(frozen=True)
class Begun:
    """A connection in a transaction that holds all rows of the batch, and their number by table."""

    connection: Any
    table_rows: dict[str, int]


@contextmanager
def head_start(site: Site, held: Claim) -> Iterator["HeadStart"]:
    """What the load has not taken over within this block is rolled back at its end."""
    with ThreadPoolExecutor(1) as thread, site.connection() as connection:
        head = HeadStart(site, held, connection, thread)
        try:
            yield head
        finally:
            head.give_way()


class HeadStart:
    """`take` each log as soon as it is parsed; `give_way` before anything is made in Postgres;
    `begun` when all are parsed."""

    def __init__(
        self, site: Site, held: Claim, connection: Any, thread: ThreadPoolExecutor
    ) -> None:
        self._site, self._held, self._connection, self._thread = site, held, connection, thread
        self._part: list[ReadLog] = []
        self._copied: list[Future[dict[str, int]]] = []
        self._is_lost = False

    def take(self, one: ReadLog) -> None:
        self._part.append(one)
        if sum(each.log.size_bytes for each in self._part) >= PART_BYTES:
            self._send()

    def give_way(self) -> None:
        """Let go of all locks, and of what was copied."""
        self._is_lost = True
        self._thread.submit(self._roll_back).result()

    def begun(self, parsed: ParsedBatch) -> Begun | None:
        """Wait until all rows of the batch are there; None when the head start is lost."""
        self._send()
        rows: Counter[str] = Counter()
        for part in self._copied:
            rows.update(part.result())
        if any(rows[name] for name in parsed.in_lake_only):
            # Its columns fit beside the table's in one part, and not those of all logs together.
            self.give_way()
        if not self._is_lost:
            self._thread.submit(self._hand_over).result()
        return None if self._is_lost else Begun(self._connection, dict(rows))

    def _send(self) -> None:
        part, self._part = self._part, []
        if part and not self._is_lost:
            self._copied.append(self._thread.submit(self._copy, part))

    # On the thread

    def _copy(self, part: list[ReadLog]) -> dict[str, int]:
        """Rows by table."""
        if self._is_lost:
            return {}
        settings, received_on = self._site.settings, self._held.received_on
        try:
            with postgres.translated(), self._connection.cursor() as cursor:
                look(cursor, self._held)
                bound(cursor, longest_idle_s=LONGEST_IDLE_S)
                named = telemetry_tables.standing_tables(
                    cursor,
                    topics_wanted(part),
                    received_on=received_on,
                    postgres_topics=settings.postgres_topics,
                    max_tables=settings.max_telemetry_tables,
                )
                # Runs whose head starts overlap would keep a new column out for ever.
                is_over = _is_long(cursor) or postgres.is_in_the_way(cursor)
                if named is not None and not is_over:
                    return copy_rows(cursor, received_on, ParsedBatch(tuple(part), named, ()))
        except LogboxError:
            # Whatever it was, the load does it all again, and says so if it is still so.
            pass
        self._lose()
        return {}

    def _hand_over(self) -> None:
        try:
            with postgres.translated(), self._connection.cursor() as cursor:
                look(cursor, self._held)
                bound(cursor)
                is_over = _is_long(cursor)
        except LogboxError:
            is_over = True
        if is_over:
            self._lose()

    def _lose(self) -> None:
        self._is_lost = True
        self._roll_back()

    def _roll_back(self) -> None:
        with suppress(LogboxError), postgres.translated():
            self._connection.rollback()


def _is_long(cursor: Any) -> bool:
    cursor.execute("select extract(epoch from clock_timestamp() - transaction_timestamp())::float8")
    return bool(cursor.fetchone()[0] > LONGEST_S)
