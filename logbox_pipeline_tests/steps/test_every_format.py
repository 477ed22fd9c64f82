"""A log of every format through the whole pipeline: the same rows in Postgres and in the lake.

What comes out of a format is tested next to its parser; here, that the stores hold it.
"""

import gzip
import hashlib
import io
import json
import struct
from dataclasses import dataclass
from typing import Any

import pytest

from logbox_pipeline.core.digest import log_id
from logbox_pipeline.simulator import csv_writer, json_writer, text_writer
from logbox_pipeline.simulator.dataflash_writer import write_dataflash
from logbox_pipeline.simulator.dji_app_writer import write_dji_app
from logbox_pipeline.simulator.journal_writer import write_journal
from logbox_pipeline.simulator.jsonl_writer import write_jsonl
from logbox_pipeline.simulator.tlog_writer import write_tlog
from logbox_pipeline.simulator.ulog_writer import write_ulog
from logbox_pipeline.steps.agree import compare_recent
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.formats.fuzzing import Wound
from logbox_pipeline_tests.formats.test_samples import EXPECTED, SAMPLES
from logbox_pipeline_tests.formats.test_samples_json import SEVERAL
from logbox_pipeline_tests.formats.test_unread import HEADERS, REASONS
from logbox_pipeline_tests.formats.test_wrappers import zipped, zstd
from logbox_pipeline_tests.journey import deliveries, one, rows, upload
from logbox_pipeline_tests.stores import differences

FLIGHT_S = 20
MAY_READ_ANYTHING = {"text", "syslog", "csv", "dji_app", "logfmt", "json", "journal"}
"""Formats of text, where what was cut or overwritten may still be a row or a string of one."""


@dataclass(frozen=True)
class Made:
    """A generated log. telemetry_rows: in its ledger, None for logs of text alone."""

    format: str
    data: bytes
    telemetry_rows: int | None = None
    flies: bool = False
    has_parameters: bool = False


def made_logs() -> dict[str, Made]:
    """By name; every format that is read, in the ways that real tools write it."""
    return {
        "ulog": flight("ulog", write_ulog, has_parameters=True),
        "ulog_indoors": flight("ulog", write_ulog, has_parameters=True, has_gps=False),
        "dataflash": flight("dataflash", write_dataflash, has_parameters=True),
        "dataflash_text": flight("dataflash", write_dataflash, has_parameters=True, is_text=True),
        "dataflash_old": flight("dataflash", write_dataflash, has_parameters=True, is_old=True),
        "tlog": flight("mavlink", write_tlog, has_parameters=True),
        "tlog_px4": flight("mavlink", write_tlog, has_parameters=True, autopilot="px4", protocol=1),
        "tlog_signed": flight("mavlink", write_tlog, has_parameters=True, is_signed=True),
        "mavlink_raw": flight("mavlink", write_tlog, has_parameters=True, has_times=False),
        "dji_app": flight("dji_app", write_dji_app),
        "jsonl": text("jsonl", write_jsonl, lines=100),
        **{
            f"json_{style}": text("json", json_writer.write_json, records=40, style=style)
            for style in json_writer.STYLES
        },
        "journal": text("journal", write_journal, entries=40),
        **{
            f"csv_{style}": text("csv", csv_writer.write_csv, rows=50, style=style)
            for style in csv_writer.STYLES
        },
        **{
            f"text_{style}": text(how.format, text_writer.write_text, lines=60, style=style)
            for style, how in text_writer.STYLES.items()
        },
    }


def one_of_each() -> dict[str, Made]:
    """One log of each format, by the format's name."""
    first: dict[str, Made] = {}
    for log in made_logs().values():
        first.setdefault(log.format, log)
    return first


def flight(format: str, write: Any, has_parameters: bool = False, **how: Any) -> Made:
    out = io.BytesIO()
    ledger = write(out, seed=3, duration_s=FLIGHT_S, **how)
    telemetry = ledger.rows if isinstance(ledger.rows, int) else sum(ledger.rows.values())
    return Made(format, out.getvalue(), telemetry, flies=True, has_parameters=has_parameters)


def text(format: str, write: Any, **how: Any) -> Made:
    out = io.BytesIO()
    write(out, seed=3, **how)
    return Made(format, out.getvalue())


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def logs(site: Site, client: str, *columns: str) -> dict[str, tuple[Any, ...]]:
    """`columns` of logbox.logs by content_sha256."""
    found = rows(
        site,
        f"select content_sha256, {', '.join(columns)} from logbox.logs where client = %s",
        client,
    )
    return {sha256: tuple(values) for sha256, *values in found}


def assert_stores_agree(site: Site) -> dict[str, int]:
    """Rows of each table."""
    differing, counted = differences(site)
    assert differing == []
    judged = compare_recent(site)
    assert judged.passed, judged
    return counted


def test_every_format_is_loaded_the_same_into_both_stores(site: Site) -> None:
    made = made_logs()
    for name, log in made.items():
        upload(site, f"landing/acme/{name}/log", log.data)
    journey.ingest_all(site)

    found = logs(
        site, "acme", "log_id", "format", "state", "is_damaged", "telemetry_rows", "parameters > 0"
    )
    flown = dict(rows(site, "select log_id, count(*) from logbox.flight_logs group by log_id"))
    tracked = dict(rows(site, "select log_id, count(*) from logbox.log_track group by log_id"))
    for name, log in made.items():
        sha256 = digest(log.data)
        telemetry = found[sha256][4] if log.telemetry_rows is None else log.telemetry_rows
        id = str(log_id("acme", sha256))
        loaded = (id, log.format, "loaded", False, telemetry, log.has_parameters)
        assert found[sha256] == loaded, name
        assert flown.get(id, 0) == log.flies, name
        assert (tracked.get(id, 0) >= FLIGHT_S) == log.flies, name
    assert len(found) == len(made)
    counted = assert_stores_agree(site)
    assert sum(counted.values()) == one(
        site, "select sum(telemetry_rows + events + parameters) from logbox.logs"
    ) + sum(tracked.values())


def test_one_changed_value_is_seen(site: Site) -> None:
    """Or else the other tests here would prove nothing."""
    upload(site, "landing/acme/d1/log", made_logs()["ulog"].data)
    journey.ingest_all(site)
    assert differences(site)[0] == []
    first = "ctid = (select min(ctid) from telemetry.{0} where {1}) and {1}"
    gyro = first.format("ulog_sensor_gyro_fifo", "instance = 0")
    journey.change(site, f"update telemetry.ulog_sensor_gyro_fifo set x[2] = 77 where {gyro}")
    quaternion = first.format("ulog_vehicle_attitude", "q_0 <> 0")
    journey.change(
        site, f"update telemetry.ulog_vehicle_attitude set q_0 = -q_0 where {quaternion}"
    )
    journey.change(site, """update logbox.log_events set attributes = '{"a": 1}' where seq = 0""")
    assert sorted(differences(site)[0]) == [
        "log_events.attributes",
        "ulog_sensor_gyro_fifo.x",
        "ulog_vehicle_attitude.q_0",
    ]


def test_columns_keep_the_widths_of_their_source(site: Site) -> None:
    made = made_logs()
    for name in ("ulog", "dataflash", "tlog", "dji_app", "csv_plain"):
        upload(site, f"landing/acme/{name}/log", made[name].data)
    journey.ingest_all(site)
    kinds = {
        (topic, source): kind
        for topic, source, kind in rows(
            site, "select format || '.' || topic, source_name, type from logbox.telemetry_columns"
        )
    }
    for place, kind in {
        ("ulog.vehicle_attitude", "q[0]"): "real",
        ("ulog.vehicle_gps_position", "time_utc_usec"): "bigint",
        ("ulog.vehicle_status", "nav_state"): "smallint",
        ("ulog.sensor_gyro_fifo", "x"): "smallint[]",
        ("dataflash.ATT", "Yaw"): "double precision",
        ("dataflash.GPS", "GWk"): "integer",
        ("dataflash.MODE", "ModeNum"): "smallint",
        ("dataflash.MSG", "Message"): "text",
        ("mavlink.GLOBAL_POSITION_INT", "lat"): "integer",
        ("mavlink.HEARTBEAT", "custom_mode"): "bigint",
        ("mavlink.HEARTBEAT", "sysid"): "smallint",
        ("mavlink.AUTOPILOT_VERSION", "capabilities"): "bigint",
    }.items():
        assert kinds.get(place) == kind, place
    standing = dict(
        rows(
            site,
            """
            select a.attrelid::regclass || '.' || attname, format_type(atttypid, atttypmod)
            from pg_attribute a
            join pg_class c on c.oid = attrelid
            where relkind = 'p' and relnamespace = 'telemetry'::regnamespace and attnum > 0
            """,
        )
    )
    named = "select 'telemetry.' || table_name || '.' || column_name, type"
    for column, kind in rows(site, f"{named} from logbox.telemetry_columns"):
        assert standing[column] == kind, column


def test_a_log_of_any_format_is_the_same_log_in_any_wrapper(site: Site) -> None:
    made = one_of_each()
    for name, log in made.items():
        upload(site, f"landing/acme/d1/{name}", log.data)
    journey.ingest_all(site)
    for name, log in made.items():
        upload(site, f"landing/acme/d1/{name}.gz", gzip.compress(log.data))
        upload(site, f"landing/beta/d1/{name}.zst", zstd(log.data))
    upload(site, "landing/acme/d1/all.zip", zipped([(n, log.data) for n, log in made.items()]))
    journey.ingest_all(site)

    # Beta has nothing but wrapped copies of what acme has bare.
    said = ("state", "format", "size_bytes", "telemetry_rows", "events", "parameters", "info::text")
    assert logs(site, "acme", *said) == logs(site, "beta", *said)
    assert {sha256: state for sha256, (state, *_) in logs(site, "acme", *said).items()} == {
        digest(log.data): "loaded" for log in made.values()
    }
    assert one(site, "select count(*) from logbox.deliveries where state = 'duplicate'") == 1 + len(
        made
    )
    assert_stores_agree(site)


@pytest.mark.parametrize("wound", [Wound("cut", 0.7, 0, 1), Wound("overwritten", 0.6, 700, 1)])
def test_a_damaged_log_of_any_format_is_loaded_and_says_what_is_lost(
    site: Site, wound: Wound
) -> None:
    made = one_of_each()
    for name, log in made.items():
        upload(site, f"landing/acme/{name}/log", wound.hurt(log.data))
    journey.ingest_all(site)
    damaged = {
        vehicle: (state, is_damaged, bytes)
        for vehicle, state, is_damaged, bytes in rows(
            site, "select vehicle, state, is_damaged, damaged_bytes from logbox.logs"
        )
    }
    listed = dict(
        rows(
            site,
            """
            select vehicle, sum((attributes ->> 'end')::bigint - (attributes ->> 'start')::bigint)
            from logbox.log_events
            join logbox.logs using (log_id)
            where source = 'logbox.damage'
            group by vehicle
            """,
        )
    )
    for name, (state, is_damaged, lost) in damaged.items():
        assert (state, is_damaged) == ("loaded", lost > 0), name
        assert lost == listed.get(name, 0), name
        assert is_damaged or name in MAY_READ_ANYTHING, name
    assert set(damaged) == set(made)
    assert_stores_agree(site)


def test_what_is_known_and_not_read_is_kept_with_its_reason(site: Site) -> None:
    kept = [(name, data) for name, many in HEADERS.items() for data in many]
    for number, (_, data) in enumerate(kept):
        upload(site, f"landing/acme/v{number}/log", data)
        upload(site, f"landing/beta/v{number}/log.gz", gzip.compress(data))
    journey.ingest_all(site)
    found = logs(site, "acme", "state", "format", "reason", "detail is not null")
    for name, data in kept:
        state, format, reason, has_detail = found.pop(digest(data))
        assert (state, format, has_detail) == ("unparsed", name, True)
        assert reason in REASONS, name
    assert found == {}
    said = ("state", "format", "reason", "detail", "size_bytes")
    assert logs(site, "acme", *said) == logs(site, "beta", *said)
    assert journey.keys_in(site.landing) == []
    assert journey.keys_in(site.lake) == []
    archived = journey.keys_in(site.archive, "archive/acme/")
    assert len(archived) == len(journey.keys_in(site.archive, "archive/beta/")) == len(kept)


def test_the_strangest_names_and_values_reach_both_stores(site: Site) -> None:
    for name, data in odd_logs().items():
        upload(site, f"landing/acme/{name}/log", data)
    journey.ingest_all(site)
    found = dict(rows(site, "select vehicle, format from logbox.logs where state = 'loaded'"))
    assert found == {name: name.partition("_")[0] for name in odd_logs()}
    assert_stores_agree(site)
    lake_only = """
        select vehicle, topic, lake_only_reason
        from logbox.log_topics
        join logbox.logs using (log_id)
        where lake_only_reason is not null
    """
    assert rows(site, lake_only) == [("ulog_wide", "wide", "over 500 columns")]
    assert rows(
        site,
        "select vehicle, telemetry_rows, events, is_damaged from logbox.logs order by vehicle",
    ) == [
        ("csv_names", 2, 0, False),
        # Nothing but numbers is no header.
        ("csv_values", 3, 0, False),
        ("jsonl_odd", 0, 5, False),
        ("text_odd", 0, 2, False),
        ("ulog_integers", 5, 0, False),
        ("ulog_names", 9, 1, False),
        ("ulog_wide", 8, 1, False),
    ]


def odd_logs() -> dict[str, bytes]:
    reserved = ("log_id", "instance", "ts", "select", "order", "received_on", "xmin", "user")
    names = "a" * 80, "a" * 80 + "b", "A" * 80, "Überhöhe", "日", "x y", "x_y", "", '"; drop', "x%s"
    numbers = ["NaN", "-0.0", "inf", "1e400", "5e-324", "18446744073709551616", "", "-1", "9" * 50]
    odd_json = [
        {
            "msg": "nul \0 and \ud800",
            "level": "warn",
            "big": 10**400,
            "ratio": 1e-300,
            "a": {"": 1},
        },
        {
            "msg": "",
            "time": "9999-12-31T23:59:59Z",
            "level": 99,
            "log_id": [None, {}],
            "x": "\ufffe",
        },
        {"msg": None, "time": 10**30, "nested": {"deep": [[[[1.0, True]]]]}},
        {"time": "0001-01-01T00:00:00Z", "msg": "y" * 100_000, "attributes": {"a\0b": "c\0d"}},
    ]
    wide = [f"c{number}" for number in range(700)]
    return {
        "ulog_names": journey.ulog({"select": [*reserved], "log_id": ["x"], "T" * 70: ["y"]}),
        "ulog_wide": journey.ulog({"wide": wide, "empty": ["x"]}, rows=4),
        "ulog_integers": integers_ulog(),
        "csv_names": table_of(["time_ms", *reserved, *names]),
        "csv_values": table_of(["time_ms", *numbers], numbers),
        "jsonl_odd": b"".join(json.dumps(each).encode() + b"\n" for each in odd_json)
        + b'{"msg": "not a number", "v": NaN, "w": -Infinity, "n": 1e99999, "level": "INFO"}\n',
        "text_odd": b"2026-11-24 09:00:00 INFO nul \0 in text \xff\xfe\n"
        b"2026-11-24 09:00:01 ERROR \x1b[31mred\x1b[0m\n\tat a.b(C)\n",
    }


def table_of(header: list[str], values: list[str] | None = None) -> bytes:
    cells = values or [str(number) for number in range(len(header) - 1)]
    lines = [",".join(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in header)]
    lines += [",".join([str(time_ms), *cells]) for time_ms in (1_000, 2_000)]
    return "\n".join([*lines, ""]).encode()


def integers_ulog() -> bytes:
    """Every integer type at its ends, alone and in lists; half of the rows of each."""
    kinds = {"uint8_t": "B", "int8_t": "b", "uint16_t": "H", "int16_t": "h", "uint32_t": "I",
             "int32_t": "i", "uint64_t": "Q", "int64_t": "q", "bool": "?", "char": "c",
             "float": "f", "double": "d"}  # fmt: skip
    parts = [b"ULog\x01\x12\x35\x01" + struct.pack("<Q", 1_000)]

    def add(kind: str, payload: bytes) -> None:
        parts.append(struct.pack("<Hc", len(payload), kind.encode()) + payload)

    fields = "".join(f"{kind} one{n};{kind}[20] many{n};" for n, kind in enumerate(kinds))
    add("F", f"ends:uint64_t timestamp;{fields}".encode())
    add("A", struct.pack("<BH", 0, 0) + b"ends")
    for number, filling in enumerate((b"\xff", b"\0", b"\x7f", b"\x80", b"\x01")):
        size = sum(21 * struct.calcsize(code) for code in kinds.values())
        add("D", struct.pack("<HQ", 0, 1_000 + number) + filling * size)
    return b"".join(parts)


@pytest.mark.skipif(not EXPECTED, reason=f"no sample logs in {SAMPLES}")
def test_all_samples_at_once_give_what_reference_parsers_read(site: Site) -> None:
    for path in EXPECTED:
        upload(site, f"landing/acme/{path.replace('/', '-').lower()}/log", sample(path))
    journey.ingest_all(site)
    found = logs(site, "acme", "state", "is_damaged", "telemetry_rows", "events", "reason")
    for path, expected in EXPECTED.items():
        if not expected["bytes"] or expected["format"] == "other":
            continue
        state, is_damaged, telemetry, events, reason = found.pop(digest(sample(path)))
        if expected["format"] == "mcap":
            assert (state, reason) == ("unparsed", "not_read"), path
            continue
        assert state == "loaded", path
        if path.startswith("corrupt/"):
            assert is_damaged, path
            # pymavlink counts what it cannot read too.
            bad = expected.get("rows", {}).get("BAD_DATA", 0)
            assert telemetry >= expected.get("rows_total", 0) - bad, path
            assert events >= expected.get("objects", 0), path
        elif expected["format"] == "text":
            assert (is_damaged, telemetry) == (False, 0), path
            assert 1 <= events <= expected["lines"], path
        elif expected["format"] == "jsonl":
            assert telemetry == 0, path
            assert events == expected["lines"] + (path in SEVERAL) * 5, path
            assert is_damaged == bool(expected["unparseable"]), path
        else:
            assert (is_damaged, telemetry) == (False, reference_rows(path, expected)), path
    # The cut zstd; all other wrapped logs came bare too.
    ((state, is_damaged, telemetry, *_),) = found.values()
    assert (state, is_damaged) == ("loaded", True)
    assert telemetry > 5_000
    assert deliveries(site)["acme/corrupt-empty.bin/log"] == ("quarantined", "empty")
    assert_stores_agree(site)


def reference_rows(path: str, expected: dict[str, Any]) -> int:
    """What the reference counts, without its own mistakes."""
    if expected["format"] == "dji_app_tsv":
        # The session's end: a section mark and two lines, which stand in logs.info.
        return int(expected["data_rows"]) - 3
    if expected["format"] == "csv":
        # Without a header, the reference takes the first row for one.
        return int(expected["rows"]) + (path == "csv/bus.csv")
    # pymavlink loses the first line of a text log.
    return int(expected["rows_total"]) + (path == "dataflash_text/ardusub_small.log")


def sample(path: str) -> bytes:
    return (SAMPLES / path).read_bytes()
