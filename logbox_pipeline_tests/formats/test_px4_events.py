"""PX4's events: a number and packed arguments in the log, a sentence in log_events."""

import io
import json
import lzma
import struct
from pathlib import Path

import pytest
from pyulog import ULog
from pyulog.libevents_parse.parser import Parser
from pyulog.px4_events import PX4Events

from logbox_pipeline.formats.px4_events import load_definitions
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline_tests.formats.parsing import parse

SAMPLES = Path(__file__).parents[2] / ".." / "shared" / "samples" / "ulog"

DOCUMENT = {
    "version": 1,
    "components": {
        "1": {
            "namespace": "px4",
            "enums": {
                "cause_t": {
                    "type": "uint8_t",
                    "entries": {"3": {"name": "rc", "description": "RC switch"}},
                },
                "side_t": {
                    "type": "uint16_t",
                    "is_bitfield": True,
                    "entries": {"1": {"description": "left"}, "4": {"description": "right"}},
                },
            },
            "event_groups": {
                "default": {
                    "events": {
                        "7": {
                            "name": "rose",
                            "message": "Rose to {1:.1m_v} at {2:.2m/s} by {3} \\{{4}\\} {9}",
                            "arguments": [
                                {"name": "alt", "type": "float"},
                                {"name": "speed", "type": "float"},
                                {"name": "cause", "type": "cause_t"},
                                {"name": "sides", "type": "px4::side_t"},
                            ],
                        },
                        "8": {
                            "name": "tagged",
                            "message": '<profile name="dev">For {1}: </profile>'
                            '<profile name="!dev">hidden</profile>see <a href="u">docs</a>, '
                            "<param>COM_X</param> <other>gone</other>",
                            "arguments": [{"name": "who", "type": "uint8_t"}],
                        },
                    }
                }
            },
        }
    },
}
ROSE, TAGGED = 1 << 24 | 7, 1 << 24 | 8
COMPRESSED = lzma.compress(json.dumps(DOCUMENT).encode())


def oracle(event_id: int, arguments: bytes) -> str:
    parser = Parser()
    parser.load_definitions(json.loads(json.dumps(DOCUMENT)))
    return parser.parse(event_id, arguments).message()


@pytest.mark.parametrize("cause", [3, 9])
@pytest.mark.parametrize("sides", [0, 1, 5])
def test_arguments_enums_and_units_are_filled_in(cause: int, sides: int) -> None:
    arguments = struct.pack("<ffBH", 12.34, 5.678, cause, sides) + bytes(14)
    text = load_definitions(COMPRESSED).text(ROSE, arguments)
    assert text.message == oracle(ROSE, arguments)
    assert text.message.startswith("Rose to 12.3 m at 5.68 m/s by ")
    assert (text.name, text.namespace, text.group) == ("rose", "px4", "default")


def test_tags_are_shown_as_the_reference_shows_them() -> None:
    text = load_definitions(COMPRESSED).text(TAGGED, bytes([4]) + bytes(24))
    assert text.message == oracle(TAGGED, bytes([4]) + bytes(24)) == "For 4: see docs, COM_X"


def test_too_few_arguments_leave_their_places_as_written() -> None:
    assert (
        load_definitions(COMPRESSED).text(ROSE, bytes(4)).message.startswith("Rose to 0.0 m at {2")
    )


def test_an_unknown_event_has_no_text() -> None:
    assert load_definitions(COMPRESSED).text(99, bytes(25)) is None


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no xz at all",
        COMPRESSED[:100],
        COMPRESSED[:-40] + bytes(40),
        lzma.compress(b"[1, 2]"),
        lzma.compress(b'{"components": {"1": 5}}'),
        lzma.compress(b'{"components": ' * 5_000),
        lzma.compress(b" " * 64_000_000),
    ],
)
def test_damaged_definitions_are_none(damaged: bytes) -> None:
    assert load_definitions(damaged) is None


def message(kind: bytes, payload: bytes) -> bytes:
    return struct.pack("<Hc", len(payload), kind) + payload


def event_log(definitions: bytes) -> bytes:
    """A log of our own with an `event` topic behind it."""
    out = io.BytesIO()
    write_ulog(out, seed=1, duration_s=5.0, has_events=False)
    fields = b"uint64_t timestamp;uint32_t id;uint16_t event_sequence;uint8_t[25] arguments;"
    parts = [message(b"F", b"event:" + fields + b"uint8_t log_levels;")]
    for number, start in enumerate(range(0, len(definitions), 100)):
        piece = definitions[start : start + 100]
        key = b"uint8_t[%d] metadata_events" % len(piece)
        parts.append(message(b"M", bytes([number > 0, len(key)]) + key + piece))
    parts.append(message(b"A", b"\0" + struct.pack("<H", 9_999) + b"event"))
    packed = struct.pack("<ffBH", 12.0, 5.0, 3, 4).ljust(25, b"\0")
    for us, event_id, levels in ((20_000_000, ROSE, 0x44), (21_000_000, 99, 0x86)):
        row = struct.pack("<HQIH25sB", 9_999, us, event_id, 1, packed, levels)
        parts.append(message(b"D", row))
    return out.getvalue() + b"".join(parts)


def test_events_stand_in_log_events_with_level_and_text() -> None:
    parsed = parse(event_log(COMPRESSED))
    rose, unknown = [event for event in parsed.events if event["source"] == "px4_event"]
    assert rose["message"] == "Rose to 12.0 m at 5.00 m/s by RC switch {right} {9}"
    assert (rose["level"], rose["t_boot_us"]) == (4, 20_000_000)
    assert json.loads(rose["attributes"])["name"] == "px4::rose"
    assert unknown["message"] == "unknown event 99"
    assert unknown["level"] is None
    assert json.loads(unknown["attributes"])["log_level"] == 8
    assert parsed.rows["event", 0].num_rows == 2


def test_without_definitions_the_arguments_are_kept() -> None:
    rose = next(e for e in parse(event_log(b"")).events if e["source"] == "px4_event")
    assert rose["message"] == f"unknown event {ROSE}"
    assert len(json.loads(rose["attributes"])["arguments"]) == 50


@pytest.mark.skipif(not SAMPLES.exists(), reason=f"no sample logs in {SAMPLES}")
@pytest.mark.parametrize("name", ["sample_px4_events.ulg", "test_ulog.ulg"])
def test_real_events_read_as_pyulog_reads_them(name: str) -> None:
    reference = PX4Events()
    reference.set_default_json_definitions_cb(lambda _: None)
    expected = [
        (int(us), text) for us, _, text in reference.get_logged_events(ULog(str(SAMPLES / name)))
    ]
    found = [
        (event["t_boot_us"], event["message"])
        for event in parse((SAMPLES / name).read_bytes()).events
        if event["source"] == "px4_event"
        and json.loads(event["attributes"]).get("group") == "default"
        and event["level"] is not None
    ]
    assert found == expected
