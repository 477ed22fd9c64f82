"""Topics of a loaded log in one frame, out of the lake's live files."""

from uuid import UUID, uuid4

import pytest

from logbox_pipeline.core.errors import PermanentError, UsageError
from logbox_pipeline.steps.aligned import aligned
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.formats.small_logs import SMALL_LOGS


def loaded(site: Site) -> list[str]:
    """Two logs in one batch, so that each file of the lake holds both."""
    for number in (1, 2):
        journey.upload(site, f"landing/acme/heron/{number}.ulg", SMALL_LOGS["ulog"].write(number))
    journey.ingest_all(site)
    found = journey.rows(site, "select log_id from logbox.logs where state = 'loaded'")
    return [log_id for (log_id,) in found]


def test_every_row_of_a_topic_and_none_of_another_log(site: Site) -> None:
    for log_id in map(UUID, loaded(site)):
        ((rows, rate_hz, table),) = journey.rows(
            site,
            f"""
            select rows, rate_hz, table_name
            from logbox.log_topics
            where log_id = '{log_id}' and topic = 'vehicle_attitude' and instance = 0
            """,
        )
        frame = aligned(site, log_id, ["vehicle_attitude"], rate_hz)
        assert len(frame) == rows
        first = journey.rows(
            site,
            f"""
            select t_boot_us, q_0
            from telemetry.{table}
            where log_id = '{log_id}'
            order by t_boot_us
            limit 1
            """,
        )
        ((at, row),) = list(frame.head(1).iterrows())
        assert [(at, row["vehicle_attitude.q_0"])] == first


def test_an_instance_above_0_is_a_topic_of_its_own(site: Site) -> None:
    log_id = UUID(loaded(site)[0])
    frame = aligned(site, log_id, ["sensor_accel", "sensor_accel/1"], 50)
    both = frame[["sensor_accel.x", "sensor_accel/1.x"]].dropna()
    assert len(both) > 10
    assert (both["sensor_accel.x"] != both["sensor_accel/1.x"]).any()


def test_what_the_log_does_not_have_is_wrong_use_and_says_what_it_has(site: Site) -> None:
    log_id = UUID(loaded(site)[0])
    with pytest.raises(UsageError, match="no loaded topic nothing_such") as refused:
        aligned(site, log_id, ["vehicle_attitude", "nothing_such"], 10)
    assert "vehicle_attitude" in (refused.value.hint or "")
    with pytest.raises(UsageError, match="no loaded log") as refused:
        aligned(site, uuid4(), ["vehicle_attitude"], 10)
    assert "logbox trace" in (refused.value.hint or "")
    with pytest.raises(UsageError, match="no topic is named"):
        aligned(site, log_id, [], 10)


def test_a_file_that_was_changed_is_not_believed(site: Site) -> None:
    log_id = UUID(loaded(site)[0])
    for stored in site.lake.list_all("lake/ulog_vehicle_attitude/"):
        site.lake.put_bytes(stored.key, b"PAR1 nonsense")
    with pytest.raises(PermanentError, match=r"expected .* found"):
        aligned(site, log_id, ["vehicle_attitude"], 10)
