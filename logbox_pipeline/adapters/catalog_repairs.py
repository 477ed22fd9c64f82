"""The catalog's record of repairs, and what they change in it."""

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg2 import sql
from psycopg2.extras import execute_values

from logbox_pipeline.adapters.catalog_reparse import Loaded
from logbox_pipeline.core.sharing import sharing
from logbox_pipeline.core.told import Subject

_TABLE = {
    Subject.OBJECT: ("objects", "client, sha256"),
    Subject.LOG: ("logs", "log_id"),
    Subject.LAKE_FILE: ("lake_files", "lake_key"),
}


def open_drifts(cursor: Any, wanted: Collection[str]) -> list[tuple[UUID, Any]]:
    """(drift_id, row) of open drifts; of all of them when `wanted` is empty."""
    cursor.execute(
        """
        select drift_id, kind, place, subject, expected, found, client, log_id, table_name
        from logbox.drifts
        where resolved_at is null and (%(all)s or drift_id::text = any(%(wanted)s))
        order by
            array_position(array['archive', 'replica', 'postgres', 'lake', 'landing'], place),
            first_seen_at, subject
        """,
        {"all": not wanted, "wanted": list(wanted)},
    )
    return [(UUID(row[0]), row[1:]) for row in cursor.fetchall()]


def record(
    cursor: Any,
    repair_id: UUID,
    drift_id: UUID,
    *,
    action: str,
    source: str | None,
    state: str,
    detail: str | None,
    started_at: datetime,
    now: datetime,
    by: str,
) -> None:
    cursor.execute(
        "insert into logbox.repairs values (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            str(repair_id),
            str(drift_id),
            action,
            source,
            state,
            None if detail is None else detail[:4_000],
            started_at,
            now,
            by,
        ),
    )


def put_back(cursor: Any, subject: Subject, row: str) -> None:
    """Make one row as it was told, over whatever stands there. The archive owes itself nothing."""
    table, key = _TABLE[subject]
    cursor.execute("select set_config('logbox.is_restoring', 'on', true)")
    cursor.execute(
        """
        select attname
        from pg_attribute
        where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = ''
        order by attnum
        """,
        (f"logbox.{table}",),
    )
    columns = [sql.Identifier(name) for (name,) in cursor.fetchall()]
    cursor.execute(
        sql.SQL(
            """
            insert into logbox.{table} ({columns})
            select {values}
            from jsonb_populate_record(null::logbox.{table}, %s::jsonb) as r
            on conflict ({key}) do update
            set ({columns}) = row({excluded})
            """
        ).format(
            table=sql.Identifier(table),
            key=sql.SQL(key),
            columns=sql.SQL(", ").join(columns),
            values=sql.SQL(", ").join(sql.SQL("r.{}").format(one) for one in columns),
            excluded=sql.SQL(", ").join(sql.SQL("excluded.{}").format(one) for one in columns),
        ),
        (row,),
    )


def put_members(cursor: Any, client: str, sha256: str, row: str) -> None:
    """What an object holds, as it was told with the object; members whose log is not known wait."""
    cursor.execute(
        """
        insert into logbox.object_logs as o (client, sha256, member, log_id, reason, detail)
        select %(client)s, %(sha256)s, m.member, m.log_id, m.reason, m.detail
        from jsonb_to_recordset(%(row)s::jsonb->'members')
            as m (member text, log_id uuid, reason text, detail text)
        where m.log_id is null or exists (select from logbox.logs l where l.log_id = m.log_id)
        on conflict (client, sha256, member) do update
        set log_id = excluded.log_id, reason = excluded.reason, detail = excluded.detail
        where (o.log_id, o.reason, o.detail)
            is distinct from (excluded.log_id, excluded.reason, excluded.detail)
        """,
        {"client": client, "sha256": sha256, "row": row},
    )


def put_measure(cursor: Any, log_id: UUID, row: str) -> None:
    """`log_tables` of a log, as they were told with it."""
    cursor.execute("delete from logbox.log_tables where log_id = %s", (str(log_id),))
    told = json.loads(row)["tables"]
    execute_values(
        cursor,
        "insert into logbox.log_tables (log_id, table_name, rows, content_digest) values %s",
        [(str(log_id), table, rows, digest) for table, (rows, digest) in sorted(told.items())],
    )


def members(row: str) -> list[UUID]:
    """The logs that an object holds, as it was told."""
    return sorted(UUID(one["log_id"]) for one in json.loads(row)["members"] if one["log_id"])


def loaded(cursor: Any, log_ids: Collection[UUID]) -> list[Loaded]:
    cursor.execute(
        """
        select log_id, batch_id, received_on, size_bytes
        from logbox.logs
        where log_id = any(%s::uuid[]) and state = 'loaded'
        order by received_on, delivery_id, log_id
        """,
        ([str(one) for one in log_ids],),
    )
    return [Loaded(UUID(row[0]), UUID(row[1]), row[2], row[3]) for row in cursor.fetchall()]


def is_log(cursor: Any, log_id: UUID) -> bool:
    cursor.execute("select exists (select from logbox.logs where log_id = %s)", (str(log_id),))
    return bool(cursor.fetchone()[0])


def logs_in_table(cursor: Any, table_name: str) -> list[UUID]:
    """Loaded logs that have rows in a table."""
    cursor.execute(
        """
        select t.log_id
        from logbox.log_tables t
        join logbox.logs l using (log_id)
        where t.table_name = %s and l.state = 'loaded'
        order by 1
        """,
        (table_name,),
    )
    return [UUID(log_id) for (log_id,) in cursor.fetchall()]


def delete_strays(cursor: Any, table_name: str, log_id: UUID, *, is_telemetry: bool) -> int:
    """Rows of a log that nobody knows. Returns how many."""
    schema = "telemetry" if is_telemetry else "logbox"
    cursor.execute(
        sql.SQL("delete from {} where log_id = %s").format(sql.Identifier(schema, table_name)),
        (str(log_id),),
    )
    return int(cursor.rowcount)


def is_of_live_file(row: str, sha256: str | None) -> bool:
    """Whether a told row of a Parquet file is of one that counts, with these bytes."""
    told = json.loads(row)
    return (told["state"], told["sha256"]) == ("live", sha256)


def has_delivery(cursor: Any, client: str, sha256: str) -> bool:
    """Whether the catalog knows that these bytes arrived."""
    cursor.execute(
        "select exists (select from logbox.deliveries where (client, sha256) = (%s, %s))",
        (client, sha256),
    )
    return bool(cursor.fetchone()[0])


def put_manifest(
    cursor: Any,
    archive_key: str,
    kind: str,
    client: str | None,
    sha256: str,
    size_bytes: int,
    *,
    sealed_by: str,
    put_at: datetime,
) -> None:
    """A manifest is again what its seal says; the replica is to be proven anew."""
    cursor.execute(
        """
        insert into logbox.manifests (
            archive_key, client, batch_id, kind, sha256, size_bytes, planned_at, written_at,
            sealed_by
        )
        select %(key)s, %(client)s,
            (
                select batch_id
                from logbox.batches
                where batch_id::text = left(split_part(%(key)s, '/', 5), 36)
            ),
            %(kind)s, %(sha256)s, %(size_bytes)s, %(put_at)s, %(put_at)s, %(sealed_by)s
        on conflict (archive_key) do update
        set sha256 = excluded.sha256, size_bytes = excluded.size_bytes,
            sealed_by = excluded.sealed_by, replicated_at = null
        """,
        {
            "key": archive_key,
            "client": client,
            "kind": kind,
            "sha256": sha256,
            "size_bytes": size_bytes,
            "sealed_by": sealed_by,
            "put_at": put_at,
        },
    )


def correct_object(cursor: Any, archive_key: str, sha256: str, size_bytes: int) -> None:
    """An object's row says again what its bytes are, as the archive was told before."""
    cursor.execute("select set_config('logbox.is_restoring', 'on', true)")
    cursor.execute(
        "update logbox.objects set sha256 = %s, size_bytes = %s where archive_key = %s",
        (sha256, size_bytes, archive_key),
    )


def set_version(cursor: Any, archive_key: str, version_id: str | None) -> None:
    """Which version of an archive object is proven to be its bytes."""
    cursor.execute(
        """
        update logbox.objects
        set version_id = %s
        where archive_key = %s and version_id is distinct from %s
        """,
        (version_id, archive_key, version_id),
    )


@dataclass(frozen=True)
class FileLogs:
    """Live Parquet files of one table and day that hold rows of the same batches, mostly a single
    one, and the logs whose rows they should hold. No file: logs whose rows stand in none."""

    lake_keys: tuple[str, ...]
    sha256s: tuple[str, ...]
    batch_ids: tuple[UUID, ...]
    logs: tuple[Loaded, ...]


def files_of(cursor: Any, table_name: str, received_on: date) -> list[FileLogs]:
    """All live files of a table and day. First in its transaction."""
    # Files and logs as of one moment: what is loaded in between would be a log without a file.
    cursor.execute("set transaction isolation level repeatable read")
    cursor.execute(
        """
        select lake_key, sha256::text, batch_ids::text[]
        from logbox.lake_files
        where state = 'live' and (table_name, received_on) = (%s, %s)
        order by lake_key
        """,
        (table_name, received_on),
    )
    digests: dict[str, str] = {}
    batches: dict[str, list[UUID]] = {}
    for key, sha256, batch_ids in cursor.fetchall():
        digests[key], batches[key] = sha256, [UUID(one) for one in batch_ids]
    cursor.execute(
        """
        select l.log_id, l.batch_id, l.received_on, l.size_bytes
        from logbox.log_tables t
        join logbox.logs l using (log_id)
        where t.table_name = %s and l.received_on = %s and l.state = 'loaded'
        order by l.delivery_id, l.log_id
        """,
        (table_name, received_on),
    )
    of_batch: dict[UUID, list[Loaded]] = defaultdict(list)
    for log_id, batch_id, day, size_bytes in cursor.fetchall():
        of_batch[UUID(batch_id)].append(Loaded(UUID(log_id), UUID(batch_id), day, size_bytes))
    found = []
    for keys in [*sharing(batches), []]:
        batch_ids = {one for key in keys for one in batches[key]} if keys else set(of_batch)
        logs = [log for one in sorted(batch_ids) for log in of_batch.pop(one, ())]
        if keys or logs:
            found.append(
                FileLogs(
                    tuple(keys),
                    tuple(digests[key] for key in keys),
                    tuple(sorted(batch_ids)),
                    tuple(logs),
                )
            )
    return found


_NOT_AT_WORK = """
    not exists (
        select
        from logbox.batches b
        where b.batch_id = d.batch_id and b.state not in ('finished', 'failed')
    )
"""


def redrive(cursor: Any, landing_key: str, now: datetime) -> Sequence[str]:
    """Deliveries whose object is not in landing any more: what is proven elsewhere has left, the
    others are read once more, and found gone; those of a batch at work are left to it. Returns what
    was done, in words."""
    cursor.execute(
        f"""
        update logbox.deliveries d
        set left_landing_at = %s
        where landing_key = %s
            and {_NOT_AT_WORK}
            and left_landing_at is null
            and (
                state in ('archived', 'duplicate')
                or (state = 'quarantined' and quarantine_key is not null)
            )
        returning delivery_id
        """,  # noqa: S608
        (now, landing_key),
    )
    left = [f"delivery {row[0]} has left landing" for row in cursor.fetchall()]
    cursor.execute(
        f"""
        update logbox.deliveries d
        set state = 'received', batch_id = null, reason = null, detail = null
        where landing_key = %s
            and {_NOT_AT_WORK}
            and left_landing_at is null
            and state in ('received', 'waiting', 'verified', 'failed')
        returning delivery_id
        """,  # noqa: S608
        (landing_key,),
    )
    return left + [f"delivery {row[0]} is read again" for row in cursor.fetchall()]
