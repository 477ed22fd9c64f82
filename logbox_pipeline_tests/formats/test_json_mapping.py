"""What every usual logger writes becomes time, level, source and message; the rest is kept."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logbox_pipeline.formats.json_columns import event_columns
from logbox_pipeline.formats.json_fields import NAMES, WRAPPERS
from logbox_pipeline.formats.json_mapping import Mapper
from logbox_pipeline.formats.json_scan import scan
from logbox_pipeline.formats.json_values import Record
from logbox_pipeline.formats.times import epoch_us
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, parse

LATEST_US = epoch_us(RECEIVED_AT)
NINE = datetime(2026, 11, 24, 9, tzinfo=UTC)


def rows(*records: dict[str, Any]) -> list[dict[str, Any]]:
    text = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    parsed = parse(b"{}\n" + text, format_name="jsonl")
    assert parsed.damages == []
    for event in parsed.events:
        event["attributes"] = json.loads(str(event["attributes"] or "{}"))
    return parsed.events[1:]


@pytest.mark.parametrize(
    ("record", "level", "source", "message", "attributes"),
    [
        pytest.param(
            {"@timestamp": "2026-11-24T09:00:00Z", "message": "m",
             "log": {"level": "error", "logger": "app", "origin": {"line": 4}}},
            3, "app", "m", {"log": {"origin": {"line": 4}}}, id="ECS, nested"),
        pytest.param(
            {"@timestamp": "2026-11-24T09:00:00Z", "log.level": "warn",
             "error": {"message": "broke", "type": "E"}},
            4, None, "broke", {"error": {"type": "E"}}, id="ECS, error only"),
        pytest.param(
            {"ts": 1795510800.0, "level": "info", "logger": "http.log", "msg": "handled",
             "request": {"uri": "/"}},
            6, "http.log", "handled", {"request": {"uri": "/"}}, id="Caddy, zap"),
        pytest.param(
            {"time": "2026-11-24T10:00:00+01:00", "level": "WARN", "msg": "slog", "n": 1},
            4, None, "slog", {"n": 1}, id="slog"),
        pytest.param(
            {"@t": "2026-11-24T09:00:00.0000000Z", "@l": "Warning", "@mt": "Hi {X}",
             "SourceContext": "App.X", "X": 1},
            4, "App.X", "Hi {X}", {"X": 1}, id="Serilog"),
        pytest.param(
            {"severity": "NOTICE", "textPayload": "gcp", "logName": "projects/p",
             "timestamp": {"seconds": 1795510800, "nanos": 0}},
            5, "projects/p", "gcp", {}, id="Google Cloud, text"),
        pytest.param(
            {"severity": "ERROR", "timestamp": "2026-11-24T09:00:00Z",
             "jsonPayload": {"message": "inner", "k": 1}},
            3, None, "inner", {"jsonPayload": {"k": 1}}, id="Google Cloud, JSON"),
        pytest.param(
            {"timestamp": 1795510800000, "message": "cw", "logStream": "s", "id": "1"},
            None, "s", "cw", {"id": "1"}, id="CloudWatch"),
        pytest.param(
            {"log": "line\n", "stream": "stderr", "time": "2026-11-24T09:00:00.000000000Z"},
            None, "stderr", "line\n", {}, id="Docker"),
        pytest.param(
            {"instant": {"epochSecond": 1795510800, "nanoOfSecond": 0}, "level": "FATAL",
             "loggerName": "a.B", "message": "l4j"},
            2, "a.B", "l4j", {"level": "FATAL"}, id="log4j2"),
        pytest.param(
            {"t": {"$date": "2026-11-24T09:00:00.000+00:00"}, "s": "I", "c": "NETWORK",
             "id": 22943, "ctx": "listener", "msg": "Connection accepted"},
            6, "NETWORK", "Connection accepted",
            {"s": "I", "id": 22943, "ctx": "listener"}, id="MongoDB"),
        pytest.param(
            {"timestamp": "2026-11-24T09:00:00Z", "level": "INFO", "target": "crate::x",
             "fields": {"message": "rust", "n": 1}},
            6, "crate::x", "rust", {"fields": {"n": 1}}, id="tracing"),
        pytest.param(
            {"text": "formatted", "record": {"time": {"repr": "r", "timestamp": 1795510800.0},
             "level": {"name": "INFO", "no": 20}, "name": "mod", "message": "lo"}},
            6, None, "formatted",
            {"record": {"time": {"repr": "r", "timestamp": 1795510800.0},
                        "level": {"name": "INFO", "no": 20}, "name": "mod", "message": "lo"}},
            id="loguru"),
        pytest.param(
            {"__REALTIME_TIMESTAMP": "1795510800000000", "PRIORITY": "3", "_COMM": "px4",
             "MESSAGE": [104, 195, 40]},
            3, "px4", "h\ufffd(", {"MESSAGE": [104, 195, 40]}, id="journald, bytes"),
        pytest.param(
            {"timestamp": "2026-11-24T09:00:00Z", "level": "verbose", "message": "w",
             "service": {"name": "pilot"}},
            7, "pilot", "w", {"level": "verbose"}, id="winston"),
        pytest.param(
            {"reqId": "x", "level": 2, "time": "2026-11-24T09:00:00+00:00", "app": "files",
             "message": "next", "data": {"app": "files"}},
            4, "files", "next", {"reqId": "x", "level": 2, "data": {"app": "files"}},
            id="Nextcloud"),
        pytest.param(
            {"reqId": "x", "level": 30, "time": 1795510800000, "msg": "fast"},
            6, None, "fast", {"reqId": "x", "level": 30}, id="Fastify"),
    ],
)  # fmt: skip
def test_a_logger_is_understood(
    record: dict[str, Any],
    level: int | None,
    source: str | None,
    message: str,
    attributes: dict[str, Any],
) -> None:
    (event,) = rows(record)
    assert event == {
        "ts": NINE,
        "t_boot_us": None,
        "level": level,
        "source": source,
        "message": message,
        "attributes": attributes,
    }


def test_a_name_that_means_something_else_leaves_the_role_to_the_next() -> None:
    (event,) = rows(
        {"ts": "soon", "time": "2026-11-24T09:00:00Z", "level": {}, "severity": "error",
         "msg": {"a": 1}, "message": "yes", "logger": None, "module": "m"}
    )  # fmt: skip
    assert (event["ts"], event["level"], event["message"], event["source"]) == (NINE, 3, "yes", "m")
    assert event["attributes"] == {"ts": "soon", "level": {}, "msg": {"a": 1}, "logger": None}


OTLP = {
    "resourceLogs": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "fc"}}]},
            "scopeLogs": [
                {
                    "scope": {"name": "nav"},
                    "logRecords": [
                        {
                            "timeUnixNano": "1795510800000000000",
                            "severityNumber": 17,
                            "body": {"stringValue": "lost"},
                            "attributes": [
                                {"key": "n", "value": {"intValue": "7"}},
                                {"key": "l", "value": {"arrayValue": {"values": [{}]}}},
                            ],
                        },
                        {
                            "timeUnixNano": "0",
                            "observedTimeUnixNano": 1795510800000000000,
                            "severityText": "INFO",
                            "body": {
                                "kvlistValue": {
                                    "values": [{"key": "message", "value": {"stringValue": "kv"}}]
                                }
                            },
                        },
                    ],
                }
            ],
        }
    ]
}


def test_each_log_record_of_an_otlp_line_is_a_row() -> None:
    first, second = rows(OTLP)
    assert (first["ts"], first["level"], first["source"]) == (NINE, 3, "nav")
    assert first["message"] == "lost"
    assert first["attributes"] == {
        "severityNumber": 17,
        "attributes": {"n": 7, "l": [None]},
        "resource": {"service.name": "fc"},
    }
    assert (second["ts"], second["level"], second["message"]) == (NINE, 6, "kv")
    assert second["attributes"] == {"timeUnixNano": "0", "resource": {"service.name": "fc"}}


def test_otlp_that_is_none_stays_one_row() -> None:
    strange: list[dict[str, Any]] = [
        {"resourceLogs": 7},
        {"resourceLogs": []},
        {"resourceLogs": [{"scopeLogs": [{"logRecords": "x"}]}]},
        {"logEvents": [1]},
        {"resourceSpans": [{"scopeSpans": []}]},
    ]
    assert [event["attributes"] for event in rows(*strange)] == strange


def test_attributes_that_are_no_key_values_stay_as_they_are() -> None:
    record = {"timeUnixNano": "1795510800000000000", "attributes": [{"key": 1}], "body": {"x": 1}}
    (event,) = rows({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    assert event["attributes"] == {"attributes": [{"key": 1}], "body": {"x": 1}}


def test_a_large_resource_is_not_repeated_for_ever() -> None:
    resource = {"attributes": [{"key": "k", "value": {"stringValue": "x" * 400_000}}]}
    records = [{"body": {"stringValue": str(n)}} for n in range(100)]
    line = {"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]}
    events = rows(line)
    assert [event["message"] for event in events] == [str(n) for n in range(100)]
    assert "resource" in events[0]["attributes"]
    assert sum(len(str(event["attributes"])) for event in events) < 4_000_000


def test_each_event_of_a_cloudwatch_message_is_a_row() -> None:
    shared = {"messageType": "DATA_MESSAGE", "logGroup": "g", "logStream": "s"}
    events = rows({**shared, "logEvents": [{"timestamp": 1795510800000, "message": "one"}]})
    assert [(e["ts"], e["source"], e["message"]) for e in events] == [(NINE, "s", "one")]
    assert events[0]["attributes"] == {"messageType": "DATA_MESSAGE", "logGroup": "g"}


# The arrays and the single record mean the same

_names = st.sampled_from([*sum(NAMES.values(), ()), *WRAPPERS, "a", "é", "x y", "lineno"])
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["info", "WARN", "E", 30, 6, "30", 17, 1764000000, 1764000000.123, "12"])
    | st.sampled_from(
        [
            *("2026-11-24T09:00:00Z", "2026-11-24T09:00:00.123456789+02:00", "2026-11-24 09:00:00"),
            *("2026-11-24 09:00:00,5", "2026-11-24T09:00:00-0130", "1764000000123", "2026-11-24"),
            *("24/Nov/2026:09:00:00 +0000", "2026-13-24T09:00:00Z", "1764000000123456789", "x\ny"),
            "2026-11-24T09:00:00.1234567Z",
        ]
    )
)
_members = st.dictionaries(
    _names,
    _scalars
    | st.dictionaries(_names | st.just("stringValue"), _scalars, max_size=2)
    | st.lists(_scalars, max_size=3),
    min_size=1,
    max_size=7,
)


@settings(max_examples=400, deadline=4000)
@example([{"level": 20, "lineno": None}], None)
@example([{"reqId": None, "app": "files", "level": 2}], None)
@example([{"ctx": None, "s": "E", "c": "x"}], None)
@given(st.lists(_members, min_size=1, max_size=12), st.sampled_from([None, (", ", ": ")]))
def test_a_block_means_what_its_records_mean(
    records: list[dict[str, Any]], separators: tuple[str, str] | None
) -> None:
    separators = separators or (",", ":")
    lines = [json.dumps(one, separators=separators, ensure_ascii=False).encode() for one in records]
    mapper = Mapper(LATEST_US)
    scanned = scan(b"\n".join([*lines, b""]), 64)
    if scanned is None:  # a number or an escape that needs care
        return
    columns = event_columns(scanned, mapper.levels, LATEST_US)
    columns.events.validate(full=True)
    decoder = msgspec.json.Decoder(Record)
    for index, line in enumerate(lines):
        if columns.unsettled[index]:
            continue
        expected = mapper.row(decoder.decode(line))
        found = columns.events.slice(index, 1).to_pylist()[0]
        found_us = None if found["ts"] is None else epoch_us(found["ts"])
        assert (found_us, found["t_boot_us"], found["level"]) == expected[:3]
        assert (found["source"], found["message"]) == expected[3:5]
        left = json.loads(found["attributes"] or "{}", parse_float=str)
        assert left == json.loads(expected.attributes or b"{}", parse_float=str)


def test_nextclouds_levels_count_up_to_fatal() -> None:
    told = [
        event["level"]
        for number in range(5)
        for event in rows({"reqId": "x", "app": "files", "level": number, "message": "m"})
    ]
    assert told == [7, 6, 4, 3, 2]
    (other,) = rows({"app": "files", "level": 4, "message": "m"})
    assert other["level"] == 4
