"""What the catalog says should stand in each store, as inventories to compare. Read-only.

Long inventories are streamed in key order (`collate "C"`, as stores list); what is short, or only
what differs, comes at once.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid4

from psycopg2 import sql

from logbox_pipeline.core import keys
from logbox_pipeline.core.digest import log_id as derive_log_id
from logbox_pipeline.core.ports import ListedObject
from logbox_pipeline.core.reconciliation import Drift, DriftKind, ExpectedObject, Place
from logbox_pipeline.core.tables import CATALOG_TABLES

_FETCH_ROWS = 10_000

# Objects and the archive's own files. What is being put may stand there or not.
_ARCHIVE = """
    select archive_key, archived_at is not null as must_stand, size_bytes, sha256::text, client
    from logbox.objects
    union all
    select archive_key, written_at is not null, size_bytes, sha256::text, client
    from logbox.manifests
"""
_REPLICA = """
    select archive_key, replicated_at is not null as must_stand, size_bytes, sha256::text, client
    from logbox.objects
    union all
    select archive_key, replicated_at is not null, size_bytes, sha256::text, client
    from logbox.manifests
"""
_LAKE = """
    select lake_key, state = 'live', size_bytes, sha256::text, null, table_name
    from logbox.lake_files
"""
_KEY = {Place.ARCHIVE: "archive_key", Place.REPLICA: "archive_key", Place.LAKE: "lake_key"}
_INVENTORY = {Place.ARCHIVE: _ARCHIVE, Place.REPLICA: _REPLICA, Place.LAKE: _LAKE}


def expected_objects(connection: Any, place: Place) -> Iterator[ExpectedObject]:
    """All keys of the archive, the replica or the lake, ascending; memory does not grow.

    Begins a transaction on `connection` and leaves its end to the caller.
    """
    with connection.cursor(f"inventory_{uuid4().hex}") as cursor:
        cursor.itersize = _FETCH_ROWS
        cursor.execute(
            f"""
            select *
            from ({_INVENTORY[place]}) as inventory
            order by {_KEY[place]} collate "C"
            """  # noqa: S608
        )
        for row in cursor:
            yield ExpectedObject(*row)


def expected_at(cursor: Any, place: Place, wanted: Collection[str]) -> dict[str, ExpectedObject]:
    """What the catalog says now of these keys."""
    cursor.execute(
        f"""
        select *
        from ({_INVENTORY[place]}) as inventory
        where {_KEY[place]} = any(%s)
        """,  # noqa: S608
        (list(wanted),),
    )
    return {row[0]: ExpectedObject(*row) for row in cursor.fetchall()}


# Landing


@dataclass(frozen=True)
class Standing:
    """A delivery that has not left landing, as the catalog has it."""

    delivery_id: UUID
    landing_key: str
    etag: str
    received_at: datetime
    version_id: str | None
    client: str
    state: str
    is_settled: bool


def known_deliveries(
    cursor: Any, bucket: str, listed: Sequence[ListedObject], listed_at: datetime
) -> list[str | None]:
    """For each listed object its delivery, None for one that nobody knows.

    One that left landing since `listed_at` is known.
    """
    cursor.execute(
        """
        select l.place, min(d.delivery_id::text)
        from unnest(%s::text[], %s::text[], %s::timestamptz[]) with ordinality
            as l (landing_key, etag, received_at, place)
        join logbox.deliveries d
            on d.bucket = %s
            and md5(d.landing_key) = md5(l.landing_key)
            and (d.landing_key, d.etag, d.received_at) = (l.landing_key, l.etag, l.received_at)
            and (d.left_landing_at < %s) is not true
        group by l.place
        """,
        (
            [keys.to_text(one.key) for one in listed],
            [one.etag for one in listed],
            [one.received_at for one in listed],
            bucket,
            listed_at,
        ),
    )
    found: list[str | None] = [None] * len(listed)
    for place, delivery_id in cursor.fetchall():
        found[place - 1] = delivery_id
    return found


def standing_deliveries(cursor: Any, bucket: str, sensed_before: datetime) -> list[Standing]:
    """Deliveries whose object should stand in landing: nobody works on them.

    A batch that is open, running or loaded may delete them any moment; what vanished, and bytes
    that were given up, are told of elsewhere.
    """
    cursor.execute(
        """
        select d.delivery_id, d.landing_key, d.etag, d.received_at, d.version_id, d.client,
            d.state,
            d.state in ('archived', 'duplicate')
                or (d.state = 'quarantined' and d.quarantine_key is not null)
        from logbox.deliveries d
        left join logbox.batches b using (batch_id)
        where d.bucket = %s
            and d.left_landing_at is null
            and d.sensed_at < %s
            and d.state not in ('vanished', 'erased')
            and (b.state is null or b.state in ('finished', 'failed'))
            and (b.finished_at < %s) is not false
        order by d.landing_key, d.received_at
        """,
        (bucket, sensed_before, sensed_before),
    )
    return [Standing(UUID(row[0]), *row[1:]) for row in cursor.fetchall()]


# The catalog itself


def catalog_drifts(cursor: Any, most: int) -> tuple[int, list[Drift]]:
    """(deliveries and logs compared, what does not hold together, at most `most` of each kind)."""
    cursor.execute(
        """
        select
            (select count(*) from logbox.deliveries where archived_at is not null)
            + (select count(*) from logbox.logs)
        """
    )
    (compared,) = cursor.fetchone()
    return int(compared), [
        *_lost_objects(cursor, most), *_lost_logs(cursor, most), *_wrong_sums(cursor, most),
    ]  # fmt: skip


def catalog_drifts_of(cursor: Any, subject: str, log_ids: Collection[UUID]) -> list[Drift]:
    """Whether the row that a drift names, and these logs, hold together now: the first of each
    kind that does not."""
    first, *rest = subject.split("/")
    found = list(_wrong_sums(cursor, 1, log_ids))
    if first == "objects":
        found += _lost_objects(cursor, 1, (rest[0], rest[1]))
    if first == "logs" and len(rest) == 2:
        found += _lost_logs(cursor, 1, (rest[0], rest[1]))
    return found


def _lost_objects(cursor: Any, most: int, only: tuple[str, str] | None = None) -> Iterator[Drift]:
    cursor.execute(
        """
        select distinct d.client, d.sha256::text
        from logbox.deliveries d
        where d.state in ('archived', 'duplicate')
            and d.archived_at is not null
            and not exists (
                select from logbox.objects o where (o.client, o.sha256) = (d.client, d.sha256)
            )
            and (%(all)s or (d.client, d.sha256::text) = (%(client)s, %(sha256)s))
        order by 1, 2
        limit %(most)s
        """,
        _only(most, only),
    )
    for client, sha256 in cursor.fetchall():
        yield Drift(
            DriftKind.MISSING, Place.POSTGRES, f"objects/{client}/{sha256}",
            "the row of archived bytes that a delivery brought", "no row", client,
            derive_log_id(client, sha256),
        )  # fmt: skip


def _lost_logs(cursor: Any, most: int, only: tuple[str, str] | None = None) -> Iterator[Drift]:
    cursor.execute(
        """
        select distinct o.client, o.sha256::text
        from logbox.objects o
        join logbox.deliveries d on (d.client, d.sha256) = (o.client, o.sha256)
        join logbox.batches b using (batch_id)
        where b.state = 'finished'
            and d.state in ('archived', 'duplicate')
            and not exists (
                select
                from logbox.object_logs m
                where (m.client, m.sha256) = (o.client, o.sha256)
            )
            and (%(all)s or (o.client, o.sha256::text) = (%(client)s, %(sha256)s))
        order by 1, 2
        limit %(most)s
        """,
        _only(most, only),
    )
    for client, sha256 in cursor.fetchall():
        yield Drift(
            DriftKind.MISSING, Place.POSTGRES, f"logs/{client}/{sha256}",
            "what the archived bytes hold, in logs and object_logs", "no row", client,
            derive_log_id(client, sha256),
        )  # fmt: skip


def _only(most: int, only: tuple[str, str] | None) -> dict[str, Any]:
    client, sha256 = only or (None, None)
    return {"most": most, "all": only is None, "client": client, "sha256": sha256}


def _wrong_sums(cursor: Any, most: int, only: Collection[UUID] | None = None) -> Iterator[Drift]:
    cursor.execute(
        """
        select l.log_id, l.client,
            format(
                '%%s: %%s events, %%s parameters, %%s track rows, %%s telemetry rows', l.state,
                coalesce(l.events, 0), coalesce(l.parameters, 0), coalesce(l.track_rows, 0),
                coalesce(l.telemetry_rows, 0)
            ),
            format(
                'log_tables: %%s, %%s, %%s, %%s; log_topics: %%s', coalesce(t.events, 0),
                coalesce(t.parameters, 0), coalesce(t.track, 0), coalesce(t.telemetry, 0),
                coalesce(p.rows, 0)
            )
        from logbox.logs l
        left join (
            select log_id,
                sum(rows) filter (where table_name = 'log_events') as events,
                sum(rows) filter (where table_name = 'log_parameters') as parameters,
                sum(rows) filter (where table_name = 'log_track') as track,
                sum(rows) filter (
                    where table_name not in ('log_events', 'log_parameters', 'log_track')
                ) as telemetry
            from logbox.log_tables
            where %(all)s or log_id = any(%(logs)s::uuid[])
            group by log_id
        ) as t using (log_id)
        left join (
            select log_id, sum(rows) as rows
            from logbox.log_topics
            where %(all)s or log_id = any(%(logs)s::uuid[])
            group by log_id
        ) as p using (log_id)
        where (%(all)s or l.log_id = any(%(logs)s::uuid[])) and (
            coalesce(l.events, 0), coalesce(l.parameters, 0), coalesce(l.track_rows, 0),
            coalesce(l.telemetry_rows, 0), coalesce(l.telemetry_rows, 0)
        ) is distinct from (
            coalesce(t.events, 0), coalesce(t.parameters, 0), coalesce(t.track, 0),
            coalesce(t.telemetry, 0), coalesce(p.rows, 0)
        )
        order by 1
        limit %(most)s
        """,
        {"most": most, "all": only is None, "logs": [str(one) for one in only or ()]},
    )
    for log_id, client, expected, found in cursor.fetchall():
        yield Drift(
            DriftKind.MISMATCH, Place.POSTGRES, f"logs/{log_id}", expected, found, client,
            UUID(log_id),
        )  # fmt: skip


# Rows


@dataclass(frozen=True)
class RowTable:
    """A table with rows of logs. `stands` False: Postgres has none of that name."""

    table_name: str
    stands: bool

    @property
    def place(self) -> tuple[str, str]:
        return ("logbox" if self.table_name in CATALOG_TABLES else "telemetry", self.table_name)


def row_tables(cursor: Any) -> list[RowTable]:
    """Every table that stands, or that logs say they have rows in."""
    cursor.execute(
        """
        select relname
        from pg_class
        where relkind = 'p' and relnamespace = 'telemetry'::regnamespace
        """
    )
    standing = {name for (name,) in cursor.fetchall()} | CATALOG_TABLES
    cursor.execute(
        """
        select distinct table_name
        from logbox.log_tables t
        where not exists (
            select
            from logbox.log_topics p
            where (p.log_id, p.table_name) = (t.log_id, t.table_name)
                and p.lake_only_reason is not null
        )
        """
    )
    meant = {name for (name,) in cursor.fetchall()}
    return [RowTable(name, name in standing) for name in sorted(standing | meant)]


def _expected_rows(table: RowTable, since: date | None) -> tuple[sql.Composable, sql.Composable]:
    """(what logs say they have in the table in Postgres, condition on the table's own rows)."""
    if table.table_name in CATALOG_TABLES:
        meant, window = sql.SQL(""), sql.SQL("true")
    else:
        window = (
            sql.SQL("true")
            if since is None
            else sql.SQL("received_on >= {}").format(sql.Literal(since))
        )
        meant = sql.SQL(
            """
            join logbox.logs l on l.log_id = t.log_id and {}
            where not exists (
                select
                from logbox.log_topics p
                where (p.log_id, p.table_name) = (t.log_id, t.table_name)
                    and p.lake_only_reason is not null
            )
            """
        ).format(window)
    expected = sql.SQL(
        """
        select t.log_id, t.rows, t.content_digest
        from (
            select log_id, rows, content_digest, table_name
            from logbox.log_tables
            where table_name = {}
        ) as t
        {}
        """
    ).format(sql.Literal(table.table_name), meant)
    return expected, window


def differing_counts(
    cursor: Any, table: RowTable, since: date | None, most: int
) -> tuple[int, list[tuple[UUID, int | None, int | None]]]:
    """(logs compared, those whose rows are not as many as were parsed: log, parsed, found).

    since: day from which telemetry is kept in Postgres; None: all of it.
    """
    expected, window = _expected_rows(table, since)
    cursor.execute(
        sql.SQL(
            """
            with expected as materialized ({expected}), found as (
                select log_id, count(*) as rows
                from {table}
                where {window}
                group by log_id
            )
            select log_id, e.rows, f.rows, (select count(*) from expected)
            from expected e
            full join found f using (log_id)
            where e.rows is distinct from f.rows
            union all
            select null, null, null, count(*) from expected
            order by log_id nulls first
            limit {most}
            """
        ).format(
            expected=expected,
            table=sql.Identifier(*table.place),
            window=window,
            most=sql.Literal(most + 1),
        )
    )
    (*_, compared), *differing = cursor.fetchall()
    return compared, [(UUID(log_id), parsed, found) for log_id, parsed, found, _ in differing]


def rows_queries(connection: Any, table: RowTable, since: date | None) -> tuple[str, str]:
    """(query of log_id, rows, content_digest; query of the rows), both with `{range}` left open:
    a condition on log_id."""
    expected, window = _expected_rows(table, since)
    measured = sql.SQL("select * from ({}) as e where {{range}}").format(expected)
    rows = sql.SQL("select * from {} where {} and {{range}}").format(
        sql.Identifier(*table.place), window
    )
    return measured.as_string(connection), rows.as_string(connection)


def log_ranges(connection: Any, table_name: str, rows: int, logs: int) -> Iterator[str]:
    """Conditions on log_id that cut a table into ranges of about so many rows or logs at most.

    Together they hold every log_id, also those that no log has.
    """
    lower: str | None = None
    in_rows = in_logs = 0
    with connection.cursor(f"ranges_{uuid4().hex}") as cursor:
        cursor.itersize = _FETCH_ROWS
        cursor.execute(
            """
            select log_id, rows
            from logbox.log_tables
            where table_name = %s
            order by log_id
            """,
            (table_name,),
        )
        for log_id, of_log in cursor:
            if in_logs and (in_rows + of_log > rows or in_logs >= logs):
                yield _between(lower, log_id)
                lower, in_rows, in_logs = log_id, 0, 0
            in_rows += of_log
            in_logs += 1
    yield _between(lower, None)


def _between(lower: str | None, upper: str | None) -> str:
    conditions = [
        *([] if lower is None else [f"log_id >= '{UUID(lower)}'"]),
        *([] if upper is None else [f"log_id < '{UUID(upper)}'"]),
    ]
    return " and ".join(conditions) or "true"


def clients_of(cursor: Any, log_ids: Collection[UUID]) -> dict[UUID, str]:
    cursor.execute(
        "select log_id, client from logbox.logs where log_id = any(%s::uuid[])",
        ([str(one) for one in log_ids],),
    )
    return {UUID(log_id): client for log_id, client in cursor.fetchall()}


def days_of(cursor: Any, log_ids: Collection[UUID]) -> dict[UUID, date]:
    cursor.execute(
        "select log_id, received_on from logbox.logs where log_id = any(%s::uuid[])",
        ([str(one) for one in log_ids],),
    )
    return {UUID(log_id): day for log_id, day in cursor.fetchall()}


# The lake


@dataclass(frozen=True)
class LakeRows:
    """A live Parquet file, as the catalog has it."""

    lake_key: str
    table_name: str
    received_on: date
    rows: int
    size_bytes: int
    sha256: str

    @property
    def expected(self) -> ExpectedObject:
        return ExpectedObject(
            self.lake_key, True, self.size_bytes, self.sha256, table_name=self.table_name
        )


_LIVE = """
    select lake_key, table_name, received_on, rows, size_bytes, sha256::text
    from logbox.lake_files
    where state = 'live'
"""


def live_files(cursor: Any) -> list[LakeRows]:
    cursor.execute(_LIVE + "order by table_name, received_on, lake_key")
    return [LakeRows(*row) for row in cursor.fetchall()]


def live_files_of(cursor: Any, table_name: str, received_on: date) -> list[LakeRows]:
    cursor.execute(
        _LIVE + "and (table_name, received_on) = (%s, %s) order by lake_key",
        (table_name, received_on),
    )
    return [LakeRows(*row) for row in cursor.fetchall()]


def parsed_on(cursor: Any, table_name: str, received_on: date) -> list[tuple[UUID, int, str]]:
    """(log, rows, content digest) of the logs of a day in a table."""
    cursor.execute(
        """
        select log_id, t.rows, t.content_digest
        from logbox.log_tables t
        join logbox.logs l using (log_id)
        where t.table_name = %s and l.received_on = %s
        """,
        (table_name, received_on),
    )
    return [(UUID(row[0]), *row[1:]) for row in cursor.fetchall()]


def parsed_days(cursor: Any) -> list[tuple[str, date]]:
    """(table, day) of which the lake should have rows, or has files."""
    cursor.execute(
        """
        select t.table_name, l.received_on
        from logbox.log_tables t
        join logbox.logs l using (log_id)
        group by 1, 2
        union
        select table_name, received_on
        from logbox.lake_files
        where state = 'live'
        order by 1, 2
        """
    )
    return [(table, day) for table, day in cursor.fetchall()]


def differing_days(cursor: Any, most: int) -> list[tuple[str, date, int | None, int | None]]:
    """(table, day, rows parsed, rows in live files) where these are not as many."""
    cursor.execute(
        """
        select table_name, received_on, e.rows, f.rows
        from (
            select t.table_name, l.received_on, sum(t.rows)::bigint as rows
            from logbox.log_tables t
            join logbox.logs l using (log_id)
            group by 1, 2
        ) as e
        full join (
            select table_name, received_on, sum(rows)::bigint as rows
            from logbox.lake_files
            where state = 'live'
            group by 1, 2
        ) as f using (table_name, received_on)
        where e.rows is distinct from f.rows
        order by 1, 2
        limit %s
        """,
        (most,),
    )
    return list(cursor.fetchall())
