"""CSV as tools write it: delimiter, header, units, types and times are found by content."""

import io
from datetime import UTC, datetime

import pyarrow as pa
import pytest

from logbox_pipeline.formats.csv_columns import columns_of, topic_of, unit_of
from logbox_pipeline.formats.delimited import parse as parse_csv
from logbox_pipeline.formats.delimited import recognizes
from logbox_pipeline.formats.stream import Column, Likeness, Limits, Rows
from logbox_pipeline.simulator.csv_writer import STYLES, write_csv
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, Parsed, parse


def table_of(data: bytes | str) -> pa.Table:
    """The only topic of `data`."""
    (table,) = csv(data).rows.values()
    return table


def csv(data: bytes | str, **limits: object) -> Parsed:
    raw = data.encode() if isinstance(data, str) else data
    return parse(raw, format_name="csv", **limits)


def first_utc(data: str) -> datetime | None:
    return table_of(data)["ts"][0].as_py()


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.mark.parametrize("style", STYLES)
def test_what_a_tool_wrote_comes_out(style: str) -> None:
    out = io.BytesIO()
    ledger = write_csv(out, seed=3, rows=2_500, style=style)
    parsed = csv(out.getvalue())
    assert (parsed.rows_total, len(parsed.events), parsed.damages) == (
        ledger.rows,
        ledger.events,
        [],
    )
    assert (parsed.about.recorded_from is not None) == ledger.has_utc
    if ledger.has_utc:
        assert (parsed.about.recorded_from, parsed.about.recorded_to) == (ledger.first, ledger.last)
    for table in parsed.rows.values():
        assert tuple(table.column_names[2:]) == ledger.columns
        assert (table["t_boot_us"].null_count == 0) == ledger.has_boot
        for name, total in ledger.sums.items():
            assert sum(table[name].to_pylist()) == total
        if ledger.texts:
            assert tuple(table[ledger.columns[-1]].to_pylist()) == ledger.texts
    levels = [event["level"] for event in parsed.events]
    assert {level: levels.count(level) for level in set(levels)} == ledger.events_by_level


# What is recognized


@pytest.mark.parametrize(
    "data",
    [
        b"a,b,c\n1,2,3\n",
        b"1,2,3\n4,5,6\n7,8,9\n",
        b"name;value\nx;1\ny;2\n",
        b"0.1  2.0 3\n0.2  2.1 4\n0.3 2.2 5\n",
        b"# t x y\n0 1 2\n1 2 3\n",
        "\ufefftime,x\n1,2\n2,3\n".encode("utf-16"),
    ],
)
def test_tables_of_numbers_are_sure(data: bytes) -> None:
    assert recognizes(memoryview(data), len(data)) is Likeness.SURE


def test_a_table_of_words_may_be_one() -> None:
    data = b"who,what,where\nann,flew,home\nbob,fell,far\ncy,swam,in\n"
    assert recognizes(memoryview(data), len(data)) is Likeness.MAYBE


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"a,b,c\n",
        b"\0" * 3000,
        b"hello, world\nthis is, well, text\nfoo\n",
        b"2026-11-24 09:00:00,123 INFO one\n2026-11-24 09:00:00,456 WARN two\n" * 4,
        b'{"a":1,"b":2}\n{"a":2,"b":3}\n',
        b"[1,2,3]\n[4,5,6]\n",
        b"<13>Nov 24 09:00:00 host app: a, b, 1\n" * 4,
        b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\n" * 4,
        b"level=info msg=logfmt\n" * 4,
        b"09:00:00.1 | INFO | nav | up\n09:00:00.2 | INFO | nav | down\n" * 4,
        bytes(range(256)) * 20,
    ],
)
def test_other_files_are_no_tables(data: bytes) -> None:
    assert recognizes(memoryview(data), len(data)) is Likeness.NO


# Header, preamble, units


def test_a_first_line_of_numbers_is_a_row() -> None:
    table = table_of("1,2.5,3\n4,5.5,6\n7,8,9\n")
    assert table.column_names[2:] == ["c1", "c2", "c3"]
    assert table.num_rows == 3


def test_empty_and_repeated_names_are_told_apart() -> None:
    table = table_of(",x,x,,x\n1,2,3,4,5\n6,7,8,9,0\n")
    assert table.column_names[2:] == ["c1", "x", "x#2", "c4", "x#3"]


def test_a_source_may_call_its_columns_as_ours() -> None:
    table = table_of("ts,t_boot_us,x\n1764000000,5,1\n1764000001,6,2\n")
    assert table["ts"][0].as_py() == utc(2025, 11, 24, 16)
    assert table["ts#2"].to_pylist() == [1764000000, 1764000001]
    assert table["t_boot_us"].to_pylist() == table["t_boot_us#2"].to_pylist() == [5, 6]


def test_a_preamble_is_kept_by_its_keys() -> None:
    about = csv(
        '"Product","Blackbox"\n# firmware: 4.2.1\nDrone serial;ABC7\nflown in the rain\n\n'
        "time,x,y,z\n1,2,3,4\n2,3,4,5\n"
    ).about
    assert about.info["Product"] == "Blackbox"
    assert about.info["preamble"] == "flown in the rain"
    assert (about.firmware, about.vehicle_uid) == ("4.2.1", "ABC7")


def test_a_comment_above_the_rows_names_the_columns() -> None:
    assert table_of("# log of 7\n%time,field.x,field.y\n0.1,2,3\n0.2,3,4\n").column_names[2:] == [
        "time",
        "field.x",
        "field.y",
    ]


ZEEK = (
    "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n"
    "#open\t2026-11-24-09-00-00\n#fields\tts\tuid\tduration\ttunnel\n"
    "#types\ttime\tstring\tinterval\tset[string]\n"
    "1795510800.123000\tCg9\t2.125\t(empty)\n1795510801.5\t-\t-\ta,b\n"
)


@pytest.mark.parametrize("end", ["#close\t2026-11-24-10-00-00\n", ""])
def test_zeek_names_its_columns_and_its_missing_values(end: str) -> None:
    parsed = csv(ZEEK + end)
    (table,) = parsed.rows.values()
    assert table.column_names[2:] == ["ts#2", "uid", "duration", "tunnel"]
    assert table["ts"][0].as_py() == utc(2026, 11, 24, 9, 0, 0, 123000)
    assert table["uid"].to_pylist() == ["Cg9", None]
    assert table["duration"].to_pylist() == [2.125, None]
    assert table["tunnel"].to_pylist() == [None, "a,b"]
    assert (parsed.events, parsed.damages) == ([], [])
    assert parsed.about.info["path"] == "conn"


def test_zeek_logs_joined_to_one_file_are_one_table() -> None:
    parsed = csv(ZEEK + "#close\t2026-11-24-10-00-00\n" + ZEEK)
    assert (parsed.rows_total, parsed.events, parsed.damages) == (4, [], [])


def test_w3c_names_its_columns_and_writes_utc() -> None:
    parsed = csv(
        "#Software: Microsoft HTTP Server API 2.0\n#Version: 1.0\n#Date: 2026-11-24 09:00:00\n"
        "#Fields: date time c-ip cs-uri-query sc-status cs(User-Agent)\n"
        "2026-11-24 09:00:00 10.0.0.1 - 200 Mozilla/4.0+(x;y)\n#Remark: noon\n"
        "2026-11-24 09:00:01 10.0.0.1 a=1 404 Mozilla/4.0+(x;y)\n"
    )
    (table,) = parsed.rows.values()
    assert table.column_names[4:] == ["c-ip", "cs-uri-query", "sc-status", "cs(User-Agent)"]
    assert table["cs-uri-query"].to_pylist() == [None, "a=1"]
    assert table["sc-status"].to_pylist() == [200, 404]
    assert parsed.about.recorded_from == utc(2026, 11, 24, 9)
    assert parsed.about.time_error_ms == 1_000
    assert [event["message"] for event in parsed.events] == ["#Remark: noon"]


def test_rtklib_has_one_name_over_date_and_time() -> None:
    table = table_of(
        "% program   : RTKPOST ver.2.4.2\n% obs start : 2020/01/01 10:00:00.0 GPST\n%\n"
        "%  GPST                  latitude(deg) longitude(deg)  height(m)   Q\n"
        "2020/01/01 10:00:00.200   48.123   11.5   500.1   1\n"
        "2020/01/01 10:00:00.400   48.124   11.6   500.2   1\n"
    )
    assert table.column_names[2:5] == ["GPST date", "GPST time", "latitude(deg)"]
    assert table["ts"][0].as_py() == utc(2020, 1, 1, 10, 0, 0, 200_000)


def test_a_header_may_be_one_name_short_or_long() -> None:
    assert table_of("x,y,z\n1,2,3,\n4,5,6,\n").column_names[2:] == ["x", "y", "z", "c4"]
    assert table_of("x,y,z\n1,2,3,4\n4,5,6,7\n").column_names[2:] == ["c1", "x", "y", "z"]
    assert table_of("x,y,z,\n1,2,3\n4,5,6\n").column_names[2:] == ["x", "y", "z"]


def test_a_row_of_units_is_no_row() -> None:
    columns = columns_of(("t", "alt", "v"), ("[s]", "m", "-"), 3)
    assert [column.unit for column in columns] == ["s", "m", None]
    table = table_of("t,alt,v\n[s],m,-\n0,1,2\n1,2,3\n2,3,4\n")
    assert (table.num_rows, table.schema.types[2:]) == (3, [pa.int64()] * 3)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("alt (m)", "m"),
        ("speed [m/s]", "m/s"),
        ("height_above_takeoff(feet)", "feet"),
        ("Power (%)", "%"),
        ("speed_m_s", "m/s"),
        ("TIME_MS", "ms"),
        ("GPS(0):Lat[degrees]", "degrees"),
        ("datetime(utc)", None),
        ("q[0]", None),
        ("IMU(1)", None),
        ("status", None),
        ("_m", None),
        ("x", None),
    ],
)
def test_a_name_says_its_unit(name: str, unit: str | None) -> None:
    assert unit_of(name) == unit


def test_equal_headers_share_a_topic_and_others_do_not() -> None:
    one = topic_of([Column("Time (s)"), Column("Alt [m]"), Column("v")])
    assert one == topic_of([Column("time  (S)"), Column("alt [m]"), Column("V")])
    assert one.startswith("time_s_alt_m_v_")
    assert one != topic_of([Column("Time (s)"), Column("Alt [m]"), Column("w")])
    assert topic_of([Column("°"), Column("§")]).startswith("table_")


# Types


def test_types_are_of_whole_columns() -> None:
    table = table_of("i,f,b,t,e,z\n1,1,true,x,,007\n2,2.5,False,,,012\n-3,nan,TRUE,NaN,,9\n")
    kinds = [pa.int64(), pa.float64(), pa.bool_(), pa.string(), pa.null(), pa.string()]
    assert table.schema.types[2:] == kinds
    assert table["f"].to_pylist() == [1.0, 2.5, None]
    assert table["b"].to_pylist() == [True, False, True]
    # In text only the empty cell is missing; what begins with 0 is a name made of digits.
    assert table["t"].to_pylist() == ["x", None, "NaN"]
    assert table["z"].to_pylist() == ["007", "012", "9"]


def test_large_integers_keep_every_digit() -> None:
    table = table_of("id,wide\n18446744073709551615,123456789012345678901234567890\n7,1\n3,2\n")
    assert table["id"].to_pylist() == [18446744073709551615, 7, 3]
    assert table["wide"][0].as_py() == "123456789012345678901234567890"


def test_missing_words_are_null_where_numbers_are() -> None:
    words = ["", "NaN", "nan", "null", "NULL", "N/A", "n/a", "-"]
    table = table_of("k,v\n" + "".join(f"{k},{word}\n" for k, word in enumerate(words)) + "9,1.5\n")
    assert table["v"].to_pylist() == [None] * len(words) + [1.5]


def test_a_late_fraction_makes_the_column_fractions() -> None:
    rows = "".join(f"{number},{number}\n" for number in range(60_000))
    parsed = csv("k,v\n" + rows + "60000,0.5\n60001,7\n")
    (batches,) = parsed.batches.values()
    assert sum(batches) == 60_002
    values = [v for t in parsed.rows.values() for v in t["v"].to_pylist()]
    assert values[-2:] == [0.5, 7.0]


@pytest.mark.parametrize("late", [41_234, 30_000, 59_999])
def test_late_words_come_as_text_and_cost_no_other_row_its_number(late: int) -> None:
    rows = [f"{number},{number / 2}\n" for number in range(60_000)]
    rows[late] = f"{late},overflow\n"
    source = memoryview(("k,v\n" + "".join(rows)).encode())
    items = list(parse_csv(source, Limits(received_at=RECEIVED_AT)))
    batches = [item.batch for item in items if isinstance(item, Rows)]
    assert len({item.topic for item in items if isinstance(item, Rows)}) == 1
    assert [batch.column("k")[0].as_py() for batch in batches][:2] == [0, late]
    kinds = [batch.schema.field("v").type for batch in batches]
    assert kinds[:2] == [pa.float64(), pa.string()]
    assert kinds[2:] in ([], [pa.float64()])
    assert sum(batch.num_rows for batch in batches) == 60_000
    assert batches[1].column("v").to_pylist() == ["overflow"]


def test_decimal_commas_are_numbers_between_semicolons_and_tabs() -> None:
    for delimiter in ";\t":
        table = table_of("a;b;c\n1,5;2;3,25\n-2,5;3;4\n".replace(";", delimiter))
        assert table["a"].to_pylist() == [1.5, -2.5]
        assert table["c"].to_pylist() == [3.25, 4.0]


def test_a_decimal_comma_may_be_that_of_one_column_only() -> None:
    table = table_of(
        "lat;alt;name\n48.123;431,25;a 1,5\n48.124;431,75;b\n48.125;432;c\n48.126;432,5;d\n"
    )
    assert table["lat"].to_pylist() == [48.123, 48.124, 48.125, 48.126]
    assert table["alt"].to_pylist() == [431.25, 431.75, 432.0, 432.5]
    assert table["name"].to_pylist() == ["a 1,5", "b", "c", "d"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("1, IDLE,2\n2, ARMED,3\n3, ,4\n", ["IDLE", "ARMED", None]),
        ("1,IDLE ,2\n2,ARMED ,3\n", ["IDLE", "ARMED"]),
        ("1,IDLE ,2\n2,ARMED,3\n", ["IDLE", "ARMED"]),
        ("1,IDLE  ,2\n2,ARMED,3\n", ["IDLE  ", "ARMED"]),
        ("1, IDLE,2\n2,ARMED,3\n", [" IDLE", "ARMED"]),
    ],
)
def test_blanks_that_pad_a_column_are_no_text(rows: str, expected: list[str | None]) -> None:
    assert table_of("n,state,m\n" + rows)["state"].to_pylist() == expected


# Quotes


def test_quotes_hold_delimiters_newlines_and_quotes() -> None:
    table = table_of('k,say\n1,"a,b"\n2,"two\nlines"\n3,"a ""word"""\n4,5" prop\n5,\n')
    assert table["say"].to_pylist() == ["a,b", "two\nlines", 'a "word"', '5" prop', None]


def test_an_open_quote_costs_no_other_row() -> None:
    rows = [f'{number},"fine, {number}"\n' for number in range(3_000)]
    rows[100] = '100,"never closed\n'
    table = table_of("k,say\n" + "".join(rows))
    assert table.num_rows == 3_000
    assert table["k"].to_pylist() == list(range(3_000))


# Times


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("2026-11-24T09:00:00.250Z", utc(2026, 11, 24, 9, 0, 0, 250_000)),
        ("2026-11-24 09:00:00.123456789", utc(2026, 11, 24, 9, 0, 0, 123_456)),
        ("2026-11-24T11:30:00+02:30", utc(2026, 11, 24, 9)),
        ("20261124T090000.936763", utc(2026, 11, 24, 9, 0, 0, 936_763)),
        ("2026/11/24 9:00:00", utc(2026, 11, 24, 9)),
        ("2026-11-24 09:00:00 UTC", utc(2026, 11, 24, 9)),
        ("24.11.2026 09:00:00", utc(2026, 11, 24, 9)),
        ("11/24/2026 09:00:00.5", utc(2026, 11, 24, 9, 0, 0, 500_000)),
        ("5/6/2026 9:00:01 PM", utc(2026, 5, 6, 21, 0, 1)),
        ("12/6/2025 12:00:01 AM", utc(2025, 12, 6, 0, 0, 1)),
        ("1764000000", utc(2025, 11, 24, 16)),
        ("1764000000.25", utc(2025, 11, 24, 16, 0, 0, 250_000)),
        ("1764000000123", utc(2025, 11, 24, 16, 0, 0, 123_000)),
        ("1764000000123456", utc(2025, 11, 24, 16, 0, 0, 123_456)),
        ("1764000000123456789", utc(2025, 11, 24, 16, 0, 0, 123_456)),
    ],
)
def test_a_stamp_is_utc(stamp: str, expected: datetime) -> None:
    assert first_utc(f"time,x\n{stamp},1\n{stamp},2\n{stamp},3\n") == expected


def test_a_date_and_a_time_make_one_stamp() -> None:
    assert first_utc("Date,Time,x\n2026-01-02,10:00:00.12,1\n2026-01-02,10:00:01.12,1\n") == utc(
        2026, 1, 2, 10, 0, 0, 120_000
    )


def test_a_day_that_could_be_a_month_is_no_time() -> None:
    data = "when,x\n05/06/2026 10:00:00,1\n05/06/2026 10:00:01,2\n"
    assert first_utc(data) is None
    assert table_of(data)["when"].to_pylist()[0] == "05/06/2026 10:00:00"


def test_a_stamp_without_zone_admits_it() -> None:
    assert csv("time,x\n2026-01-02 10:00:00,1\n2026-01-02 10:00:01,2\n").about.time_error_ms == (
        14 * 3_600_000
    )
    assert csv("utc,x\n2026-01-02 10:00:00,1\n2026-01-02 10:00:01,2\n").about.time_error_ms == 1_000


def test_times_no_log_can_have_are_null() -> None:
    data = "time,x\n1970-01-01T00:00:01Z,1\n2026-01-01T00:00:00Z,2\n2099-01-01T00:00:00Z,3\n"
    assert [ts and ts.year for ts in table_of(data)["ts"].to_pylist()] == [None, 2026, None]


def test_rostopic_writes_nanoseconds_of_any_clock() -> None:
    header = "%time,field.header.seq,field.header.stamp,field.pose.x\n"
    for start, steps in ((175_447_000_000, 20_000_000), (1_600_000_000, 1_000)):
        times = [start + number * steps for number in range(20)]
        parsed = csv(header + "".join(f"{ns},{ns % 7},{ns},0.5\n" for ns in times))
        (table,) = parsed.rows.values()
        assert table["t_boot_us"].to_pylist() == [ns // 1_000 for ns in times]
        assert table["ts"].null_count == 20
    parsed = csv(header + "1609060363469351911,1,0,0.5\n1609060363519351911,2,0,0.5\n")
    assert parsed.about.recorded_from == utc(2020, 12, 27, 9, 12, 43, 469351)


@pytest.mark.parametrize(
    ("name", "values", "expected_us"),
    [
        ("time_boot_ms", ("100", "200", "300"), 100_000),
        ("TimeUS", ("1000000", "1000400", "1000800"), 1_000_000),
        ("Elapsed Time (sec)", ("0.126", "0.228", "0.33"), 126_000),
        ("time(millisecond)", ("0", "100", "200"), 0),
        ("t", ("0.5", "0.51", "0.52"), 500_000),
        ("timestamp", ("13550000.0", "13560000.0", "13570000.0"), 13_550_000),
        ("timestamp", ("1700000000", "1700004000", "1700008000"), 1_700_000_000),
        ("time", ("5000000", "5001000", "5002000"), 5_000_000),
        ("time (us)", ("500", "1000", "1500"), 500),
        ("timestamp_sample", ("13550000", "13560000", "13570000"), 13_550_000),
    ],
)
def test_a_clock_since_boot_is_found(name: str, values: tuple[str, ...], expected_us: int) -> None:
    table = table_of(f"{name},x\n" + "".join(f"{value},1\n" for value in values))
    assert table["t_boot_us"][0].as_py() == expected_us
    assert table["ts"].null_count == 3


@pytest.mark.parametrize(
    "name", ["Flight Time Remaining (sec)", "x", "Last Updated (ms)", *"aeilmps", "count", "id"]
)
def test_other_numbers_are_no_clock(name: str) -> None:
    assert table_of(f"{name},y\n1,1\n2,2\n3,3\n")["t_boot_us"].null_count == 3


# Events


def test_a_table_of_messages_becomes_events() -> None:
    parsed = csv(
        "time,level,module,message,code\n2026-01-01T00:00:00Z,WARN,nav,low battery,7\n"
        "2026-01-01T00:00:01Z,INFO,nav,landed,8\n"
    )
    assert parsed.rows == {}
    assert parsed.events[0] == {
        "ts": utc(2026, 1, 1),
        "t_boot_us": None,
        "level": 4,
        "source": "nav",
        "message": "low battery",
        "attributes": '{"code":7}',
    }


def test_messages_among_measurements_become_events_too_each_once() -> None:
    rows = [f"{n},{n}.5,{n},{'Returning home' if 3 <= n < 6 else ''}\n" for n in range(9)]
    parsed = csv("time_s,lat,lon,message\n" + "".join(rows))
    assert parsed.rows_total == 9
    assert [(e["t_boot_us"], e["source"], e["message"]) for e in parsed.events] == [
        (3_000_000, "message", "Returning home")
    ]


# Limits


def test_batches_and_rows_are_bounded() -> None:
    data = "a,b\n" + "1,2\n" * 1_000
    (batches,) = csv(data, batch_rows=300).batches.values()
    assert max(batches) <= 300
    assert sum(batches) == 1_000
    assert csv("\n".join(["a,b,c"] + ["1,2,3"] * 5), columns=2).unreadable.reason == (
        "too_many_columns"
    )


def test_cp1252_and_utf8_both_read() -> None:
    for encoding in ("cp1252", "utf-8", "utf-16"):
        table = table_of("zeit;Höhe (m);wo\n1;2;süd\n2;3;nord\n3;4;öst\n".encode(encoding))
        assert table.column_names[3] == "Höhe (m)"
        assert table["wo"].to_pylist() == ["süd", "nord", "öst"]
