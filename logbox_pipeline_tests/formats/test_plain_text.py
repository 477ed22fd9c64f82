"""Plain text: the stamps that real tools write, entries of several lines, files without a stamp."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from logbox_pipeline.formats.stream import TimeSource
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, Parsed, parse


def text(data: str | bytes, **limits: object) -> Parsed:
    raw = data if isinstance(data, bytes) else data.encode()
    return parse(raw, format_name="text", **limits)


def row(line: str) -> dict[str, Any]:
    parsed = text(line + "\n")
    (event,) = parsed.events
    event["attributes"] = json.loads(str(event["attributes"] or "{}"))
    return event


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


NINE = utc(2026, 11, 24, 9)
NINE_MS = utc(2026, 11, 24, 9, 0, 0, 123000)


@pytest.mark.parametrize(
    ("line", "ts", "level", "source", "message", "attributes"),
    [
        ("2026-11-24 09:00:00,123 [main] INFO  com.foo.Bar - hi", NINE_MS, 6, "com.foo.Bar", "hi",
         {"thread": "main"}),
        ("2026-11-24 09:00:00,123 - my.name - WARNING - hi", NINE_MS, 4, "my.name", "hi", {}),
        ("2026-11-24 09:00:00.123  INFO 12 --- [  main] c.e.Foo   : hi", NINE_MS, 6, "c.e.Foo",
         "hi", {"pid": 12, "thread": "main"}),
        ("2026-11-24 09:00:00.123 | INFO     | a.b:func:12 - hi", NINE_MS, 6, "a.b", "hi",
         {"function": "func", "line": 12}),
        ("2026-11-24T09:00:00.123Z\tINFO\tmain\tx/y.go:12\thi", NINE_MS, 6, "main", "hi",
         {"caller": "x/y.go:12"}),
        ("2026-11-24 10:00:00.123 CET [7] me@db ERROR:  hi", NINE_MS, 3, None, "hi",
         {"pid": 7, "user": "me", "database": "db", "zone": "CET"}),
        ("2026/11/24 09:00:00 [error] 1#2: *3 hi", NINE, 3, None, "hi",
         {"pid": 1, "thread": "2", "connection": 3}),
        ("[Tue Nov 24 09:00:00.123000 2026] [core:error] [pid 1:tid 2] [client ::1] hi", NINE_MS, 3,
         "core", "hi", {"pid": 1, "thread": "2", "client": "::1"}),
        ('1.2.3.4 - frank [24/Nov/2026:10:00:00 +0100] "GET / HTTP/1.0" 200 23 "-" "Moz"', NINE,
         None, None, "GET / HTTP/1.0",
         {"host": "1.2.3.4", "user": "frank", "status": 200, "bytes": 23, "agent": "Moz",
          "zone": "+0100"}),
        ("W1124 09:00:00.123000  12 file.cc:34] hi", NINE_MS, 4, "file.cc", "hi",
         {"thread": "12", "line": 34}),
        ("11-24 09:00:00.123  12  34 E Tag: hi", NINE_MS, 3, "Tag", "hi", {"pid": 12, "tid": 34}),
        ("11-24 09:00:00.123 I/Tag( 12): hi", NINE_MS, 6, "Tag", "hi", {"pid": 12}),
        ("[ WARN] [1795510800.123]: hi", NINE_MS, 4, None, "hi", {}),
        ("[INFO] [1795510800.123000000] [node]: hi", NINE_MS, 6, "node", "hi", {}),
        ("1795510800123 hi", NINE_MS, None, None, "hi", {}),
        ("11/24/2026 09:00:00 AM hi", NINE, None, None, "hi", {}),
        ("24.11.2026 09:00:00 hi", NINE, None, None, "hi", {}),
        ("26/11/24 09:00:00 INFO a.B: hi", NINE, 6, "a.B", "hi", {}),
        ("261124 090000 148 INFO dfs.Data$X: hi", NINE, 6, "dfs.Data$X", "hi", {"pid": 148}),
        ("20261124-9:00:00:123|Step|hi", None, None, None, "20261124-9:00:00:123|Step|hi", {}),
        ("20261124-09:00:00:123|Step|hi", NINE_MS, None, None, "Step|hi", {}),
        ("INFO 2026-11-24 09:00:00,123 hi", NINE_MS, 6, None, "hi", {}),
        ("[2026-11-24 09:00:00 +0000] [12] [INFO] hi", NINE, 6, None, "hi", {"pid": 12}),
        ("[2026-11-24T09:00:00.123+00:00] live.ERROR: hi", NINE_MS, 3, "live", "hi", {}),
        ("Nov 24, 2026 9:00:00 AM hi", NINE, None, None, "hi", {}),
        ("2026-11-24 09:00:00,123:FATAL:a.b:hi", NINE_MS, 2, "a.b", "hi", {"level": "FATAL"}),
        ("2026-11-24 09:00:00.123456789 hi", utc(2026, 11, 24, 9, 0, 0, 123456), None, None, "hi",
         {"time": "2026-11-24 09:00:00.123456789"}),
        ("09:00:00.123 [main] DEBUG a.B - hi", None, 7, "a.B", "hi",
         {"thread": "main", "time": "09:00:00.123"}),
        ("2026-02-30 09:00:00 hi", None, None, None, "hi", {"time": "2026-02-30 09:00:00"}),
        ("2027-11-24 09:00:00 hi", None, None, None, "hi", {"time": "2027-11-24 09:00:00"}),
        ("1970-01-01 00:00:05 hi", None, None, None, "hi", {"time": "1970-01-01 00:00:05"}),
        ("2026-11-24 09:00:00 fatal hi", NINE, 2, None, "hi", {"level": "fatal"}),
        ("2026-11-24T09:00:00.123Z warning vpxd[7] [x@1 sub=y] hi", NINE_MS, 4, "vpxd",
         "[x@1 sub=y] hi", {"pid": 7}),
        ("2026-11-24 09:00:00 notice the gap", NINE, None, None, "notice the gap", {}),
        ("[2026-11-24 09:00:00.123] [nav] [error] hi", NINE_MS, 3, "nav", "hi", {}),
        ("[2026-11-24 09:00:00.123] [nav] [info] [a/b.cc:12] hi", NINE_MS, 6, "nav", "hi",
         {"file": "a/b.cc", "line": 12}),
        ("1795510800.123 [nav-1] [ERROR] [1795510800.120000000] [nav.gps]: hi", NINE_MS, 3,
         "nav.gps", "hi", {"process": "nav-1"}),
        ("1795510800.123 [nav-1] hi", NINE_MS, None, "nav-1", "hi", {}),
        ("1795510800.123 [INFO] [launch]: hi", NINE_MS, 6, "launch", "hi", {}),
        ("[INFO] [launch]: hi", None, 6, "launch", "hi", {}),
        ("[ERROR] [1795510800.123, 12.500]: hi", NINE_MS, 3, None, "hi", {"simulated_s": "12.500"}),
        ("[nav-1] [ERROR] [1795510800.123] [nav.gps]: hi", NINE_MS, 3, "nav.gps", "hi",
         {"process": "nav-1"}),
        ("nav-1  | 2026-11-24 09:00:00 INFO hi", NINE, 6, "nav-1", "hi", {}),
        ("nav-1  | 2026-11-24 09:00:00 | INFO     | a.b:func:12 - hi", NINE, 6, "a.b", "hi",
         {"function": "func", "line": 12, "container": "nav-1"}),
        ('nav-1  | {"level":"warn","ts":1795510800,"msg":"hi","n":1}', NINE, 4, "nav-1", "hi",
         {"n": 1}),
        ('nav  | {"time":"2026-11-24T09:00:00Z","logger":"gps","msg":"hi"}', NINE, None, "gps",
         "hi", {"container": "nav"}),
        ("INFO:root:hi", None, 6, "root", "hi", {}),
        ("ERROR:a.b:c: hi", None, 3, "a.b", "c: hi", {}),
        ("INFO:https://hi", None, 6, None, "INFO:https://hi", {}),
        ("kern  :err   : [Tue Nov 24 09:00:00 2026] usb 1-1: hi", NINE, 3, "usb 1-1", "hi",
         {"facility": "kern"}),
        (" (1795510800.123000)  can0  123   [2]  DE AD", NINE_MS, None, None,
         "can0  123   [2]  DE AD", {}),
        ("Tue 2026-11-24 10:00:00 CET drone-7 systemd[1]: hi", NINE, None, "systemd", "hi",
         {"host": "drone-7", "pid": 1, "zone": "CET"}),
        ("[   12.345678] drone-7 systemd[1]: hi", None, None, "systemd", "hi",
         {"host": "drone-7", "pid": 1}),
    ],
)  # fmt: skip
def test_each_shape_is_read(
    line: str,
    ts: datetime | None,
    level: int | None,
    source: str | None,
    message: str,
    attributes: dict[str, Any],
) -> None:
    event = row(line)
    assert (event["ts"], event["level"], event["source"]) == (ts, level, source)
    assert (event["message"], event["attributes"]) == (message, attributes)


def test_bare_lower_case_levels_count_where_most_lines_have_one() -> None:
    stamp = "2026-11-24 09:00:00 "
    levels = ["info up", "warning: low", "[error] lost", "notice ok", "none of it"]
    parsed = text("".join(f"{stamp}{rest}\n" for rest in levels))
    found = [(event["level"], event["message"]) for event in parsed.events]
    assert found == [(6, "up"), (4, "low"), (3, "lost"), (5, "ok"), (None, "none of it")]
    prose = ["error on the line", "up", "landed", "warning lights are on", "a", "b"]
    parsed = text("".join(f"{stamp}{rest}\n" for rest in prose))
    assert [(event["level"], event["message"]) for event in parsed.events] == [
        (None, rest) for rest in prose
    ]


def test_a_word_behind_a_level_is_no_level() -> None:
    parsed = text("2026-11-24 09:00:00 INFO error count 0\n" * 3)
    assert {(event["level"], event["message"]) for event in parsed.events} == {(6, "error count 0")}


def test_programs_that_share_a_log_keep_their_lines_apart() -> None:
    parsed = text(
        "nav-1   | 2026-11-24 09:00:00 ERROR boom\n"
        "link-1  | listening\n"
        "link-1  | 2026-11-24 09:00:00 ERROR no link\n"
        "link-1  |   File x\n"
        "nav-1   | ValueError: 1\n"
        "nav-1 exited with code 1\n"
    )
    assert [(event["source"], event["message"]) for event in parsed.events] == [
        ("nav-1", "boom"),
        ("link-1", "listening"),
        ("link-1", "no link\n  File x"),
        ("nav-1", "ValueError: 1"),
        (None, "nav-1 exited with code 1"),
    ]


def test_prefixes_are_found_under_colours_and_across_blocks() -> None:
    line = "\x1b[36mnav-1   |\x1b[0m 2026-11-24 09:00:00 INFO up\n"
    other = "\x1b[33mlink-1  |\x1b[0m up\n"
    parsed = text((line + other) * 20_000)
    found = {(event["ts"], event["level"], event["source"]) for event in parsed.events}
    assert found == {(NINE, 6, "nav-1"), (None, None, "link-1")}
    assert len(parsed.events) == 40_000


def test_a_table_with_bars_has_no_prefixes() -> None:
    for row in ("nav-{n}  | 12.5\n", "part{n}  | 12.5 | 3\n", "part{n}  | ok | good word\n"):
        header = "name  | value\n" if row.count("|") == 1 else "name  | value | more\n"
        table = header + "".join(row.format(n=n) for n in range(1, 9))
        assert parse(table.encode(), format_name="csv").rows_total == 8


def test_boot_seconds_are_the_boot_clock_and_no_time() -> None:
    parsed = text("[    0.000000] Linux version 6\n[   12.345678] usb 1-1: new\n")
    assert [event["t_boot_us"] for event in parsed.events] == [0, 12_345_678]
    assert parsed.about.time_source == TimeSource.NONE
    assert parsed.about.time_error_ms is None


def test_dmesg_says_facility_and_level() -> None:
    parsed = text(
        "kern  :info  : [    1.234567] usb 3-4: New\nkern  :err   : [   12.000001] Oops\n"
        "daemon:warn  : [   13.000001] systemd[1]: foo\n"
    )
    found = [(e["t_boot_us"], e["level"], e["source"], e["message"]) for e in parsed.events]
    assert found == [
        (1_234_567, 6, "usb 3-4", "New"),
        (12_000_001, 3, None, "Oops"),
        (13_000_001, 4, "systemd", "foo"),
    ]
    facilities = [json.loads(str(event["attributes"]))["facility"] for event in parsed.events]
    assert facilities == ["kern", "kern", "daemon"]


@pytest.mark.parametrize(
    ("line", "boundary"),
    [
        ("03-17 16:13:40.100  12  12 E dji: lost", "--------- beginning of crash"),
        ("Tue 2026-11-24 09:00:00 UTC host app[1]: lost", "-- Boot 5b2c --"),
        ("Nov 24 09:00:00 host app[1]: lost", "-- Reboot --"),
    ],
)
def test_what_stands_between_entries_is_an_entry(line: str, boundary: str) -> None:
    parsed = parse(f"{line}\n{boundary}\n{line}\n{line}\n".encode())
    assert [event["message"] for event in parsed.events] == ["lost", boundary, "lost", "lost"]
    assert parsed.events[1]["ts"] is None


def test_a_trace_belongs_to_the_python_error_above() -> None:
    parsed = text("INFO:root:up\nERROR:nav.gps:failed\nTraceback:\n  File x\nINFO:root:on\n")
    assert [(event["source"], event["message"]) for event in parsed.events] == [
        ("root", "up"),
        ("nav.gps", "failed\nTraceback:\n  File x"),
        ("root", "on"),
    ]


def test_lines_without_a_stamp_belong_to_the_entry_above() -> None:
    parsed = text(
        "banner\n\n2026-11-24 09:00:00 ERROR boom\nTraceback:\n  File x\n\nValueError: 1\n\n"
        "2026-11-24 09:00:01 INFO on\n"
    )
    assert [(event["ts"], event["message"]) for event in parsed.events] == [
        (None, "banner"),
        (NINE, "boom\nTraceback:\n  File x\n\nValueError: 1"),
        (utc(2026, 11, 24, 9, 0, 1), "on"),
    ]


def test_an_entry_without_end_is_cut_into_rows() -> None:
    parsed = text("2026-11-24 09:00:00 INFO dump\n" + "0123456789\n" * 50_000)
    assert parsed.events[0]["ts"] == NINE
    assert {event["ts"] for event in parsed.events[1:]} == {None}
    assert sum(str(event["message"]).count("0123456789") for event in parsed.events) == 50_000
    assert max(len(str(event["message"])) for event in parsed.events) < 300_000


def test_a_file_without_stamps_has_a_row_for_each_line_in_order() -> None:
    parsed = text("one\n  two\n\nERROR three\n")
    found = [(event["ts"], event["level"], event["message"]) for event in parsed.events]
    assert found == [(None, None, "one"), (None, None, "  two"), (None, 3, "ERROR three")]
    assert parsed.about.time_source == TimeSource.NONE


def test_several_shapes_in_one_file_keep_the_order_of_the_file() -> None:
    lines = [
        "2026-11-24 09:00:00,123 [main] INFO  a.B - one",
        "I1124 09:00:00.123000 12 f.cc:1] two",
        "24/11/2026 09:00:00 three",
        "[   12.5000] four",
        "Nov 24 09:00:00 host app[1]: five",
    ]
    parsed = text("\n".join(lines * 500) + "\n")
    words = [event["message"] for event in parsed.events]
    assert words == ["one", "two", "three", "four", "five"] * 500
    assert [event["ts"] is None for event in parsed.events[:5]] == [False] * 3 + [True, False]


def test_a_year_that_other_lines_say_is_not_assumed() -> None:
    header = "Log file created at: 2026/11/24 09:00:00\n"
    guessed = "I1124 09:00:00.123000 12 f.cc:1] up\n"
    dated = "2026-11-24 09:00:00 INFO up\n"
    assert text(header + guessed).about.info["year_assumed"] == "2026"
    about = text(dated + guessed).about
    assert "year_assumed" not in about.info
    assert about.time_error_ms == 14 * 3_600_000
    assert "year_assumed" in text(dated.replace("2026", "2023") + guessed).about.info


def test_one_day_above_twelve_settles_the_order_of_all_dates() -> None:
    dates = ["03/04/2026", "04/04/2026", "13/04/2026"]
    parsed = text("".join(f"{date} 09:00:00 x\n" for date in dates))
    assert [event["ts"].month for event in parsed.events] == [4, 4, 4]  # type: ignore[attr-defined]
    assert parsed.about.info["date_order"] == "dmy"


def test_a_clock_that_steps_back_keeps_the_order_of_the_file() -> None:
    parsed = text("2026-11-24 09:00:00 a\n2026-11-24 08:00:00 b\n2026-11-24 09:30:00 c\n")
    assert [event["message"] for event in parsed.events] == ["a", "b", "c"]
    assert parsed.about.recorded_from == utc(2026, 11, 24, 8)
    assert parsed.about.recorded_to == utc(2026, 11, 24, 9, 30)


def test_holes_and_padding_cost_no_row_around_them() -> None:
    line = b"2026-11-24 09:00:00 INFO x\n"
    parsed = text(line * 3 + bytes(4_096) + line * 3 + b"\xff" * 512)
    assert len(parsed.events) == 6
    assert [(d.end - d.start, d.reason) for d in parsed.damages] == [
        (4_096, "zeroed"), (512, "padding"),
    ]  # fmt: skip


def test_invalid_utf8_is_flagged_on_its_own_entry() -> None:
    parsed = text(b"2026-11-24 09:00:00 a\n2026-11-24 09:00:01 h\xf6\n2026-11-24 09:00:02 c\n")
    flags = [json.loads(str(event["attributes"] or "{}")) for event in parsed.events]
    assert flags == [{}, {"logbox_invalid_utf8": True}, {}]


def test_the_row_limit_is_a_damage() -> None:
    parsed = text(b"2026-11-24 09:00:00 a\n" * 60_000, rows=1_000)
    assert [damage.reason for damage in parsed.damages] == ["row_limit"]


def test_the_upload_bounds_a_year_that_nobody_wrote() -> None:
    later = text("Dec  3 09:00:00 x\n", received_at=RECEIVED_AT)
    assert later.events[0]["ts"] == utc(2025, 12, 3, 9)
