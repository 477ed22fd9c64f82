"""Damaged CSV: a bad line costs itself, and every byte is a row's, the preamble's or damage."""

import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logbox_pipeline.formats.delimited import parse as parse_csv
from logbox_pipeline.formats.stream import About, Damage, Events, Limits, Rows, Unreadable
from logbox_pipeline.simulator.csv_writer import STYLES, write_csv
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, Parsed, parse

HEADER = b"time_s,lat,lon,alt,n\n"
ROWS = [b"%d.5,47.%05d,8.%05d,%d.25,%d\n" % (n, n, n, n % 90, n) for n in range(400)]


def csv(data: bytes, **limits: object) -> Parsed:
    return parse(data, format_name="csv", **limits)


def numbers(parsed: Parsed) -> list[int]:
    """The row numbers that came out."""
    (table,) = parsed.rows.values()
    return table["n"].to_pylist()


def with_line(line: bytes, at: int = 200) -> tuple[Parsed, int]:
    """400 rows with `line` among them, and where it begins."""
    above = HEADER + b"".join(ROWS[:at])
    return csv(above + line + b"".join(ROWS[at:])), len(above)


@pytest.mark.parametrize("style", STYLES)
def test_bad_lines_cost_themselves_only(style: str) -> None:
    if style == "boot":
        pytest.skip("its bad lines would be no UTF-16")
    out = io.BytesIO()
    ledger = write_csv(out, seed=5, rows=3_000, style=style, bad_lines=40)
    parsed = csv(out.getvalue())
    assert (parsed.rows_total, len(parsed.events)) == (ledger.rows, ledger.events)
    assert tuple(damage.line for damage in parsed.damages) == ledger.bad_lines
    for table in parsed.rows.values():
        for name, total in ledger.sums.items():
            assert sum(table[name].to_pylist()) == total


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"\0" * 3_000 + b"\n", "zeroed"),
        (b"12.5,47.1,8.1,\x93\x00\x01,7\n", "bad_line"),
        (b"\xff" * 100 + b"\n", "bad_line"),
        (b"nonsense\n", "bad_line"),
        (b"1.5,4oops,8.1\n", "bad_line"),
        (ROWS[1].rstrip() + ROWS[2], "bad_line"),
        (bytes(range(1, 10)) + bytes(range(11, 255)) + b"\n", "bad_line"),
    ],
)
def test_a_line_that_is_no_row_is_damage(line: bytes, reason: str) -> None:
    parsed, at = with_line(line)
    assert numbers(parsed) == list(range(400))
    (damage,) = parsed.damages
    assert (damage.start, damage.end, damage.reason, damage.line) == (
        at,
        at + len(line),
        reason,
        202,
    )


def test_a_short_row_that_fits_is_kept() -> None:
    parsed, _ = with_line(b"1.5,47.1,8.5\n")
    assert parsed.damages == []
    assert numbers(parsed) == [*range(200), None, *range(200, 400)]
    assert parsed.about.info["csv_short_lines"] == 1


def test_fields_too_many_are_damage_and_their_row_is_kept() -> None:
    parsed, at = with_line(b"1.5,47.1,8.5,1.25,7,surplus,x\n")
    assert numbers(parsed)[200] == 7
    (damage,) = parsed.damages
    assert (damage.reason, damage.excerpt) == ("extra_fields", "surplus x")
    assert (damage.start, damage.end) == (at + len("1.5,47.1,8.5,1.25,7"), at + 30)


def test_a_last_line_cut_short_is_truncated() -> None:
    data = HEADER + b"".join(ROWS[:50]) + b"50.5,47.0"
    parsed = csv(data)
    assert numbers(parsed) == list(range(50))
    (damage,) = parsed.damages
    assert (damage.reason, damage.start, damage.end) == ("truncated", len(data) - 9, len(data))


def test_a_last_line_without_newline_is_whole_when_it_has_all_fields() -> None:
    assert numbers(csv((HEADER + b"".join(ROWS[:50])).rstrip())) == list(range(50))


def test_a_padded_end_is_damage() -> None:
    for padding in (b"\xff" * 5_000, b"\0" * 5_000):
        data = HEADER + b"".join(ROWS)
        parsed = csv(data + padding)
        assert numbers(parsed) == list(range(400))
        (damage,) = parsed.damages
        assert (damage.start, damage.end) == (len(data), len(data) + 5_000)


def test_a_zeroed_block_costs_the_lines_it_touches() -> None:
    data = bytearray(HEADER + b"".join(ROWS))
    data[4_000:5_000] = bytes(1_000)
    parsed = csv(bytes(data))
    lost = set(range(400)) - set(numbers(parsed))
    assert numbers(parsed) == sorted(set(range(400)) - lost)
    assert len(lost) < 45
    (damage,) = parsed.damages
    assert damage.start <= 4_000
    assert damage.end >= 5_000


def test_a_lost_quote_among_quoted_newlines_costs_its_row_only() -> None:
    out = io.BytesIO()
    ledger = write_csv(out, seed=1, rows=400, style="quoted")
    for at in (900, 9_000, 20_000):
        quote = out.getvalue().index(b'"\r\n', at)
        data = out.getvalue()
        parsed = csv(data[:quote] + data[quote + 1 :])
        assert parsed.rows_total >= ledger.rows - 1
        assert tuple(next(iter(parsed.rows.values())).column_names[2:]) == ledger.columns


def test_neighbouring_bad_lines_are_one_range() -> None:
    parsed, at = with_line(b"nonsense\n" * 100)
    (damage,) = parsed.damages
    assert (damage.start, damage.end, damage.line) == (at, at + 900, 202)


def test_remarks_and_repeated_headers_between_rows_are_no_damage() -> None:
    parsed, _ = with_line(b"# new flight\n" + HEADER)
    assert numbers(parsed) == list(range(400))
    assert parsed.damages == []
    assert [(event["source"], event["message"]) for event in parsed.events] == [
        ("comment", "# new flight")
    ]
    assert parsed.about.info["csv_repeated_headers"] == 1


def test_a_line_over_the_limit_is_not_held() -> None:
    long = b"1.5," + b"9" * 9_000_000 + b"\n"
    data = HEADER + b"".join(ROWS) + long + b"".join(ROWS)
    parsed = csv(data, record_bytes=1_000_000)
    assert len(numbers(parsed)) >= 400
    assert all(damage.reason in ("too_long", "bad_line") for damage in parsed.damages)
    assert sum(d.end - d.start for d in parsed.damages) >= 9_000_000


def test_a_row_limit_ends_the_table_with_damage() -> None:
    parsed = csv(HEADER + b"".join(ROWS) * 20_000, rows=10)
    assert parsed.damages[-1].reason == "row_limit"


def judge(data: bytes) -> None:
    """The contract of a parser, on whatever `data` is."""
    limits = Limits(received_at=RECEIVED_AT, batch_rows=1_000)
    items = list(parse_csv(memoryview(data), limits))
    assert isinstance(items[-1], About | Unreadable)
    assert not any(isinstance(item, About | Unreadable) for item in items[:-1])
    end = 0
    for item in items:
        match item:
            case Damage():
                assert end <= item.start < item.end <= len(data)
                end = item.end
                assert len(item.excerpt or "") <= 200
            case Rows():
                item.batch.validate(full=True)
                assert item.batch.num_rows <= 1_000
                assert len(item.columns) == item.batch.num_columns - 2
            case Events():
                item.batch.validate(full=True)


def mutated(data: bytes, chance: random.Random) -> bytes:
    at, length = chance.randrange(len(data)), chance.choice((1, 3, 40, 900))
    garbage = chance.randbytes(length)
    return chance.choice(
        (
            data[:at],
            data[:at] + garbage + data[at + length :],
            data[:at] + garbage + data[at:],
            data[:at] + bytes(length) + data[at + length :],
            data[:at] + data[at + length :],
            data + b"\xff" * length,
            data[:at] + data[at : at + length] * 2 + data[at:],
            data[:at] + chance.choice((b'"', b"\n", b",", b"\r", b";")) + data[at:],
        )
    )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(STYLES)), st.integers(0, 2**32))
def test_mutated_tables_keep_the_contract(style: str, seed: int) -> None:
    chance, out = random.Random(seed), io.BytesIO()
    write_csv(out, seed=seed, rows=chance.randrange(1, 60), style=style)
    data = out.getvalue()
    for _ in range(chance.randrange(1, 5)):
        data = mutated(data, chance) or b"x"
    judge(data)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(st.text(alphabet="019.-,;\t|\"'\r\n eTtx/:#µ\0", max_size=6), max_size=6).map(
            ",".join
        ),
        max_size=12,
    ).map("\n".join)
)
def test_any_text_keeps_the_contract(text: str) -> None:
    judge(text.encode() or b"x")
