"""What a tick and a batch read does not grow with the catalog."""

import io
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from logbox_pipeline.adapters import databases
from logbox_pipeline.benchmark.made_catalog import CLIENT, Shape, make_catalog
from logbox_pipeline.core.growth import Beginning, beginning
from logbox_pipeline.defs.sensors import look
from logbox_pipeline.simulator.dataflash_writer import write_dataflash
from logbox_pipeline.steps.manifest import tell_all
from logbox_pipeline.steps.replicate import due
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.conftest import Cluster, Stack, new_site, remove_bucket

LOGS = 20_000
FEW = 50
"""Rows of a table that may be read one after the other: probes whether there is any."""
NEW = 4
SMALL = ("clients", "vehicles", "outbox", "pipeline_state", "telemetry_columns")
"""Tables that do not grow with the logs. The outbox holds what was changed lately."""


@pytest.fixture(scope="module")
def grown(
    cluster: Cluster, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A site whose catalog holds many logs that all begin like those that come next."""
    prefix = f"t{secrets.token_hex(5)}-"
    with new_site(cluster, stack, prefix, tmp_path_factory.mktemp("grown")) as site:
        make_catalog(site, LOGS, Shape(beginning=begins(log(0)), logs_per_batch=4))
        yield site
    for s3 in (stack.client(), stack.replica_client()):
        for bucket in s3.list_buckets()["Buckets"]:
            if bucket["Name"].startswith(prefix):
                remove_bucket(s3, bucket["Name"])


def log(number: int) -> bytes:
    out = io.BytesIO()
    start = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=number)
    write_dataflash(out, seed=number, size_bytes=60_000, start=start)
    return out.getvalue()


def begins(data: bytes) -> Beginning:
    return beginning(len(data), lambda start, length: data[start : start + length])


def read_rows(site: Site) -> tuple[dict[str, int], dict[str, int]]:
    """Rows that were read so far: in a scan by table, through an index by index."""
    query = "select count(*) from pg_stat_activity where datname = current_database()"
    # A backend says what it read when it ends, which is a moment after its client's.
    for _ in range(100):
        if journey.one(site, query) == 1:
            break
        time.sleep(0.05)
    tables = journey.rows(
        site,
        """
        select relname, seq_tup_read
        from pg_stat_user_tables
        where schemaname = 'logbox' and relname <> all(%s)
        """,
        list(SMALL),
    )
    indexes = journey.rows(
        site,
        """
        select indexrelname, idx_tup_read
        from pg_stat_user_indexes
        where schemaname = 'logbox' and relname <> all(%s)
        """,
        list(SMALL),
    )
    return dict(tables), dict(indexes)


def more_than(most: int, before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    read = {name: rows - before[name] for name, rows in after.items()}
    return {name: rows for name, rows in read.items() if rows > most}


@pytest.mark.slow
def test_a_tick_with_nothing_new_reads_next_to_nothing(grown: Site) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        tables, indexes = read_rows(grown)
        tick = look(instance, grown, hint={})
        assert (tick.new, tick.formed, tick.trouble) == (0, 0, None)
        due(grown)
        tables_after, indexes_after = read_rows(grown)
    assert more_than(FEW, tables, tables_after) == {}
    assert more_than(FEW, indexes, indexes_after) == {}


@pytest.mark.slow
def test_a_batch_reads_what_it_brings_and_no_more(grown: Site) -> None:
    for number in range(NEW):
        # vehicle-0 has a thousand logs that begin so.
        journey.upload(grown, f"landing/{CLIENT}/vehicle-0/{number}.bin", log(number))
    tables, indexes = read_rows(grown)
    journey.ingest_all(grown)
    tables_after, indexes_after = read_rows(grown)
    states = journey.rows(grown, "select state from logbox.logs where format = 'dataflash'")
    assert states == [("loaded",)] * NEW
    assert more_than(FEW, tables, tables_after) == {}
    # Each row that is written looks up those it refers to.
    brought = journey.one(
        grown,
        """
        select count(*)
        from logbox.log_topics
        join logbox.logs using (log_id)
        where format = 'dataflash'
        """,
    )
    assert brought < LOGS / 100
    assert more_than(20 * brought, indexes, indexes_after) == {}


@pytest.mark.slow
def test_receipts_that_nobody_can_sign_are_not_looked_through(grown: Site) -> None:
    journey.change(
        grown,
        """
        insert into logbox.outbox (subject, id, changed_at)
        select 'receipt', delivery_id::text, now() from logbox.deliveries
        on conflict do nothing
        """,
    )
    owner_url = grown.settings.owner_database_url
    assert owner_url is not None
    with databases.administrator(owner_url) as cursor:
        cursor.execute("analyze logbox.outbox")
    without_key = journey.with_settings(grown, secret_key=None)
    tell_all(grown)
    before = outbox_rows(grown)
    assert "LOGBOX_SECRET_KEY" in (journey.tick(without_key).trouble or "")
    assert outbox_rows(grown) - before < FEW


def outbox_rows(site: Site) -> int:
    """Rows of the outbox that were read so far, however."""
    read_rows(site)
    return int(
        journey.one(
            site,
            """
            select seq_tup_read + coalesce(idx_tup_fetch, 0)
            from pg_stat_user_tables
            where schemaname = 'logbox' and relname = 'outbox'
            """,
        )
    )
