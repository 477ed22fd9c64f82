"""How many names for tables and columns one client's logs may ask for in one batch. No names here.

A log of 200 KB can bring 100,000 columns that nobody has seen, and a batch hundreds of such logs.
Each is a row of the registry, each topic a table and a Parquet file: hours, in which the other
clients' logs of the batch would wait. The registry is asked which names it knows only once a client
comes near the limit, and once for each topic of a batch how many it has.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from logbox_pipeline.adapters import telemetry_tables
from logbox_pipeline.steps.parse_worker import ParsedLog, UnparsedLog
from logbox_pipeline.steps.site import Site

MOST_TOPICS = 2_500
MOST_COLUMNS = 50_000
"""Some ten times what the first batch of a client with three kinds of autopilots brings."""

MOST_COLUMNS_OF_TOPIC = 10_000
"""Over all clients and for ever: each batch with a log of that topic reads their names."""

_Names = dict[tuple[str, str], set[tuple[str, str]]]
"""(source name, type) of columns by (format, topic)."""


@dataclass
class _Had:
    """All names of a client's logs so far, and how many of them count as new: all of them, until
    the registry was asked which it knows."""

    names: _Names = field(default_factory=dict)
    topics: int = 0
    columns: int = 0
    is_exact: bool = False


class NewNames:
    """Counts the names of one batch, log by log."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._had: dict[str, _Had] = defaultdict(_Had)
        self._every: _Names = {}
        self._registered: dict[tuple[str, str], int] = {}

    def judge(self, client: str, result: ParsedLog | UnparsedLog) -> ParsedLog | UnparsedLog:
        """The result; or, when its client's logs ask for too many new names, why it is not kept."""
        if not isinstance(result, ParsedLog) or not result.spooled.topics:
            return result
        had = self._had[client]
        fresh: _Names = {}
        for topic in result.spooled.topics:
            key = result.format, topic.topic
            names = {column.key for column in topic.columns} - had.names.get(key, set())
            if names or key not in had.names:
                fresh[key] = names
        if crowded := self._crowded(fresh):
            return UnparsedLog(
                "too_many_names",
                f"its topic {crowded[:100]} would have over {MOST_COLUMNS_OF_TOPIC} columns",
                result.format,
                result.parser_version,
            )
        new = self._unknown(fresh) if had.is_exact else fresh
        if not had.is_exact and _is_over(had, new):
            unknown = self._unknown(had.names)
            had.topics, had.columns, had.is_exact = _topics(unknown, {}), _columns(unknown), True
            new = self._unknown(fresh)
        if _is_over(had, new):
            topics, columns = _topics(new, had.names), _columns(new)
            return UnparsedLog(
                "too_many_names",
                f"it asks for {topics} new tables and {columns} new columns; in one batch a "
                f"client's logs get {MOST_TOPICS} and {MOST_COLUMNS}, of which {had.topics} and "
                f"{had.columns} are taken",
                result.format,
                result.parser_version,
            )
        had.topics += _topics(new, had.names)
        had.columns += _columns(new)
        for key, names in fresh.items():
            had.names.setdefault(key, set()).update(names)
            self._every.setdefault(key, set()).update(names)
        return result

    def _crowded(self, fresh: _Names) -> str | None:
        """A topic that these names would make larger than it may be."""
        if unasked := fresh.keys() - self._registered.keys():
            with self._site.transaction() as cursor:
                counts = telemetry_tables.column_counts(cursor, unasked)
            self._registered |= {key: counts.get(key, 0) for key in unasked}
        every = {key: self._every.get(key, set()) | names for key, names in fresh.items()}
        full = {key: names for key, names in every.items() if self._is_full(key, names)}
        unknown = self._unknown(full) if full else {}
        for key, names in unknown.items():
            if self._is_full(key, names) and names & fresh[key]:
                return key[1]
        return None

    def _is_full(self, key: tuple[str, str], names: set[tuple[str, str]]) -> bool:
        return self._registered[key] + len(names) > MOST_COLUMNS_OF_TOPIC

    def _unknown(self, names: _Names) -> _Names:
        """Those that the registry lacks; a topic without any of them is left out."""
        with self._site.transaction() as cursor:
            known = telemetry_tables.registered(cursor, names)
        lacking = {key: columns - known.get(key, set()) for key, columns in names.items()}
        return {key: columns for key, columns in lacking.items() if columns or key not in known}


def _is_over(had: _Had, new: _Names) -> bool:
    return (
        had.topics + _topics(new, had.names) > MOST_TOPICS
        or had.columns + _columns(new) > MOST_COLUMNS
    )


def _topics(new: _Names, had: _Names) -> int:
    return len(new.keys() - had.keys())


def _columns(new: _Names) -> int:
    return sum(len(names) for names in new.values())
