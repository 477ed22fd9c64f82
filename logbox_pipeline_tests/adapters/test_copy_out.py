"""Rows come out of Postgres as they went in: the same content digest, for every storage type."""

import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest

from logbox_pipeline.adapters.copy import copy_batches
from logbox_pipeline.adapters.copy_out import copy_out
from logbox_pipeline.adapters.postgres import SERVER_LIMITS
from logbox_pipeline.core import tables
from logbox_pipeline.core.content import ContentByLog, content_of
from logbox_pipeline.core.errors import StoreRefused, TransientError
from logbox_pipeline.core.tables import arrow_type
from logbox_pipeline.settings import required
from logbox_pipeline.steps.site import Site

LOG = UUID("6f1d1c86-6a53-5c0f-9d5e-2d2f4b0a6b99")
VALUES: dict[str, list[Any]] = {
    "smallint": [-(2**15), 0, 2**15 - 1],
    "integer": [-(2**31), 0, 2**31 - 1],
    "bigint": [-(2**63), 0, 2**63 - 1],
    "numeric(20,0)": [Decimal(2**64 - 1), Decimal(2**63), Decimal(0)],
    "real": [math.nan, -0.0, 3.4e38, 1e-45, math.inf],
    "double precision": [math.nan, -0.0, 1.7e308, 5e-324, -math.inf, 0.1],
    "boolean": [True, False],
    "text": ["", "x", "größer ✈", "long " * 1_000],
    "bytea": [b"", b"\x00\xff", b"z" * 9_000],
    "timestamp with time zone": [
        datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
    "date": [datetime(1, 1, 1, tzinfo=UTC).date(), datetime(9999, 12, 31, tzinfo=UTC).date()],
    "real[]": [[], [1.5, None], [math.nan]],
    "bigint[]": [[2**63 - 1], [], [None, 3]],
    "text[]": [["", None, "ü"], []],
    "boolean[]": [[True, None], []],
    "smallint[]": [[1, 2, 3]],
    "double precision[]": [[0.1, -0.0]],
}  # fmt: skip


def test_what_comes_out_has_the_digest_of_what_went_in(site: Site) -> None:
    kinds = list(VALUES)
    rows = max(map(len, VALUES.values())) + 1
    columns = pa.schema(
        [pa.field(f"c{place}", arrow_type(kind)) for place, kind in enumerate(kinds)]
    )
    batch = pa.record_batch(
        [pa.array([*VALUES[kind], *[None] * rows][:rows], arrow_type(kind)) for kind in kinds],
        schema=columns,
    )
    typed = ", ".join(f"c{place} {kind}" for place, kind in enumerate(kinds))
    schema = tables.postgres_schema(columns, has_received_on=False)
    with site.transaction() as cursor:
        cursor.execute(
            f"create table telemetry.every_type (log_id uuid, {typed}, added_later real)"
        )
        copy_batches(
            cursor,
            ("telemetry", "every_type"),
            schema,
            [tables.postgres_rows(batch, LOG, None, schema)],
        )
    found = ContentByLog("every_type")
    with copy_out(required(site.settings.database_url, "")) as source, source.snapshot():
        for part in source.rows("select * from telemetry.every_type"):
            found.add(part)
    assert found.contents == {LOG: content_of("every_type", [batch])}


def test_one_snapshot_sees_nothing_that_is_committed_meanwhile(site: Site) -> None:
    count = "select count(*) as n from logbox.clients"
    with copy_out(required(site.settings.database_url, "")) as source:
        with source.snapshot():
            (before,) = source.rows(count)
            with site.transaction() as cursor:
                cursor.execute("insert into logbox.clients values ('new', now(), null)")
            (after,) = source.rows(count)
            assert before == after
        with source.snapshot():
            (later,) = source.rows(count)
            assert later != before


def test_a_snapshot_is_ended_soon_when_its_client_is_lost(site: Site) -> None:
    limits = "select name || ' = ' || setting as set from pg_settings where name like 'tcp%'"
    with copy_out(required(site.settings.database_url, "")) as source, source.snapshot():
        (found,) = source.rows(limits)
    assert set(found.column("set").to_pylist()) == set(SERVER_LIMITS)


def test_errors_become_ours(site: Site) -> None:
    with copy_out(required(site.settings.database_url, "")) as source:
        with pytest.raises(StoreRefused, match="no_such_table"), source.snapshot():
            list(source.rows("select * from logbox.no_such_table"))
        # And the connection goes on.
        with source.snapshot():
            assert list(source.rows("select 1 as x"))
    with (
        pytest.raises(TransientError),
        copy_out("postgresql://nobody:x@127.0.0.1:1/none?connect_timeout=2"),
    ):
        pass
