"""The generator writes real ULogs: pyulog, our oracle, reads what the ledger says."""

import io

import pytest
from pyulog import ULog

from logbox_pipeline.simulator.ulog_writer import UlogLedger, write_ulog


def written(**options: object) -> tuple[bytes, UlogLedger]:
    out = io.BytesIO()
    ledger = write_ulog(out, **{"seed": 5, "duration_s": 30.0, **options})
    return out.getvalue(), ledger


def test_pyulog_reads_what_the_ledger_says() -> None:
    data, ledger = written()
    log = ULog(io.BytesIO(data))
    assert {(d.name, d.multi_id): len(d.data["timestamp"]) for d in log.data_list} == dict(
        ledger.rows
    )
    plain = [(m.timestamp, m.log_level - 48, m.message) for m in log.logged_messages]
    told = zip(ledger.messages, ledger.tags, strict=True)
    assert plain == [message for message, tag in told if tag is None]
    assert [d.duration for d in log.dropouts] == list(ledger.dropouts_ms)
    initial = {name: value for name, kind, value in ledger.parameters if kind == "initial"}
    assert log.initial_parameters == initial
    assert (log.start_timestamp, log.last_timestamp) == (ledger.start_us, ledger.last_us)
    assert log.msg_info_dict["sys_uuid"] == ledger.vehicle_uid
    assert not log.file_corruption


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert written() == written()
    assert written()[0] != written(seed=6)[0]


@pytest.mark.parametrize("size", [200_000, 3_000_000])
def test_a_size_can_be_asked_for(size: int) -> None:
    data, ledger = written(size_bytes=size)
    assert len(data) == ledger.size_bytes
    assert abs(len(data) - size) < size * 0.05


def test_the_flight_takes_off_flies_and_lands() -> None:
    log = ULog(io.BytesIO(written()[0]))
    armed = log.get_dataset("vehicle_status").data["arming_state"]
    assert (armed[0], max(armed), armed[-1]) == (1, 2, 1)
    height = -log.get_dataset("vehicle_local_position").data["z"]
    assert max(height) > 40
    assert height[-1] < 1


def test_a_log_without_gps_has_no_utc() -> None:
    _, ledger = written(has_gps=False)
    assert ledger.first is None
    assert ("vehicle_gps_position", 0) not in ledger.rows
