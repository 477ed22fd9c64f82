"""One log, from the drone that recorded it to the analyst who asks about it. Read this first."""

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import psycopg2

from logbox_pipeline.adapters.iam import Iam
from logbox_pipeline.core.policies import client_user
from logbox_pipeline.drone.target import Target
from logbox_pipeline.drone.uploader import Uploader
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.clients import add_client
from logbox_pipeline.steps.ingest import ingest_offered
from logbox_pipeline.steps.sense import sense
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.conftest import Cluster, Stack

ATTITUDES = "select count(*), max(t_boot_us) from telemetry.ulog_vehicle_attitude"


def test_one_log_from_the_drone_to_the_answer(
    site: Site, stack: Stack, cluster: Cluster, tmp_path: Path
) -> None:
    # The drone has flown, and its log lies on its card.
    flight = io.BytesIO()
    ledger = write_ulog(flight, seed=1, duration_s=20)
    log = tmp_path / "flight.ulg"
    log.write_bytes(flight.getvalue())
    sha256 = hashlib.sha256(flight.getvalue()).hexdigest()

    # Its owner is a new client, with a key that can add below its own folder and nothing else.
    iam = Iam(
        endpoint=stack.iam_endpoint,
        region="us-east-1",
        access_key_id=stack.access_key_id,
        secret_access_key=stack.secret_access_key,
    )
    client = f"story-{site.landing.bucket[1:11]}"
    with site.connection() as catalog:
        key = add_client(
            catalog,
            iam,
            client=client,
            landing_bucket=site.landing.bucket,
            now=datetime.now(UTC),
        )

    # The drone uploads it, with the digest of what it read from the card.
    target = Target(
        client,
        site.landing.bucket,
        key.access_key_id,
        key.secret_access_key,
        endpoint=stack.s3_endpoint,
        vehicle="mylittledrone",
    )
    uploaded = Uploader(target).upload(log)
    assert uploaded.key == f"landing/{client}/mylittledrone/flight.ulg"

    # The sensor finds it, makes a delivery and a batch of it, and offers the batch to a run.
    (batch,) = sense(site, hint={}, run_states=lambda _: {}).offered
    assert journey.deliveries(site) == {f"{client}/mylittledrone/flight.ulg": ("received", None)}

    # The run verifies, archives, parses and loads it, and says so asset by asset.
    reports = {one.asset: one for one in ingest_offered(site, batch.run_key, "run-1")}
    assert list(reports) == ["verified_logs", "archived_logs", "parsed_logs", "loaded_logs"]
    assert reports["verified_logs"].counts["verified_files"] == 1
    assert reports["loaded_logs"].counts["loaded_logs"] == 1

    # The original stands in the archive under its digest, byte for byte; landing is empty.
    original = site.archive.read(f"archive/{client}/{sha256[:2]}/{sha256}.ulg")
    assert original is not None
    assert original[0] == log.read_bytes()
    assert journey.keys_in(site.landing) == []

    # The catalog knows whose log it is, what is in it and when it was recorded.
    about = journey.rows(
        site,
        """
        select client, vehicle, content_sha256, state, format, vehicle_uid, telemetry_rows
        from logbox.logs
        """,
    )
    assert about == [
        (client, "mylittledrone", sha256, "loaded", "ulog", ledger.vehicle_uid, ledger.rows_total)
    ]

    # It also knows the flight in it, with a row of its track for every second in the air.
    ((vehicle, seconds, track_rows),) = journey.rows(
        site,
        """
        select f.vehicle, f.duration_s, count(t.second)
        from logbox.flights f
        join logbox.flight_track t using (flight_id)
        group by f.flight_id
        """,
    )
    assert vehicle == "mylittledrone"
    assert track_rows == seconds + 1 > 10

    # An analyst, who may only read, asks Postgres ...
    url = cluster.admin_url.rpartition("/")[0] + "/" + site.settings.database_url.rpartition("/")[2]
    with psycopg2.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("set role logbox_reader")
        cursor.execute(ATTITUDES)
        answer = cursor.fetchone()
    connection.close()
    assert answer[0] == ledger.rows["vehicle_attitude", 0]

    # ... and the lake, and gets the same answer from both.
    for lake_key in journey.keys_in(site.lake):
        copy = tmp_path / lake_key
        copy.parent.mkdir(parents=True, exist_ok=True)
        assert site.lake.download(lake_key, copy) is not None
    asked = f"""
        select count(*), max(t_boot_us)
        from read_parquet('{tmp_path}/lake/ulog_vehicle_attitude/**', union_by_name = true)
        where vehicle = 'mylittledrone'
    """
    assert duckdb.sql(asked).fetchall() == [answer]
    assert compare_recent(site).passed

    # Uploaded once more, it is recognized; nothing is loaded twice.
    Uploader(target).upload(log)
    journey.ingest_all(site)
    assert journey.states(site) == [("archived", ""), ("duplicate", "")]
    assert journey.rows(site, ATTITUDES) == [answer]
    iam.delete_user(client_user(client, None))
