"""Logs of lines in every style that the simulator writes give exactly the rows that it wrote."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest

from logbox_pipeline.formats.stream import TimeSource
from logbox_pipeline.simulator.text_writer import STYLES, TextEvent, write_text
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, Parsed, parse


def written(style: str, **how: object) -> tuple[bytes, tuple[TextEvent, ...]]:
    out = io.BytesIO()
    ledger = write_text(out, style=style, **{"seed": 1, "lines": 400, **how})  # type: ignore[arg-type]
    return out.getvalue(), ledger


def assert_rows(parsed: Parsed, ledger: tuple[TextEvent, ...]) -> None:
    found = [(e["ts"], e["level"], e["source"], e["message"]) for e in parsed.events]
    assert found == [(e.ts, e.level, e.source, e.message) for e in ledger]
    for event, expected in zip(parsed.events, ledger, strict=True):
        attributes = json.loads(str(event["attributes"] or "{}"))
        assert expected.attributes.items() <= attributes.items()


@pytest.mark.parametrize("style", STYLES)
def test_every_row_of_every_style_comes_out(style: str) -> None:
    start = datetime(2026, 7, 1, tzinfo=UTC) if style == "american" else None
    if style == "rfc3164_years":
        start = datetime(2026, 11, 1, tzinfo=UTC) - timedelta(days=9 * 400)
    data, ledger = written(style, **({"start": start} if start else {}))
    parsed = parse(data, format_name=STYLES[style].format)
    assert parsed.damages == []
    assert_rows(parsed, ledger)
    stamps = [event.ts for event in ledger if event.ts is not None]
    assert parsed.about.recorded_from == min(stamps, default=None)
    assert parsed.about.recorded_to == max(stamps, default=None)
    assert parsed.about.time_source == (TimeSource.LOG if stamps else TimeSource.NONE)
    is_assumed = bool(stamps) and not STYLES[style].is_zoned
    has_year = STYLES[style].has_year
    error_ms = (50_400_000 if is_assumed else 0) + (0 if has_year else 366 * 86_400_000)
    assert parsed.about.time_error_ms == (error_ms or None)
    assert ("year_assumed" in parsed.about.info) == (not has_year)
    assert ("zone_assumed" in parsed.about.info) == is_assumed


@pytest.mark.parametrize("style", STYLES)
def test_every_style_is_known_for_what_it_is_with_few_traces_or_none(style: str) -> None:
    """A coloured log without traces was taken for a CSV of semicolons, `ESC[31;1m`."""
    for seed in range(6):
        for traces_every in (5, 10_000):
            data, ledger = written(style, seed=seed, lines=300, traces_every=traces_every)
            parsed = parse(data, format_name=STYLES[style].format)
            assert len(parsed.events) == len(ledger)


@pytest.mark.parametrize("style", STYLES)
def test_rows_do_not_depend_on_how_the_file_falls_into_blocks(style: str) -> None:
    data, ledger = written(style, lines=9_000 if style != "american" else 300)
    parsed = parse(data, format_name=STYLES[style].format, received_at=RECEIVED_AT)
    if style in ("american", "rfc3164_years"):
        assert len(parsed.events) == len(ledger)
        return
    assert_rows(parsed, ledger)


@pytest.mark.parametrize("style", sorted(STYLES.keys() - {"utf16"}))
def test_a_cut_costs_no_row_but_the_one_that_is_cut(style: str) -> None:
    data, ledger = written(style, lines=60)
    data = data[: len(data) * 2 // 3]
    parsed = parse(data)
    last = data.count(b"\n")
    assert parsed.damages == []
    whole = [e.message for e in ledger][: len(parsed.events) - 1]
    assert [event["message"] for event in parsed.events][:-1] == whole
    assert len(parsed.events) >= last - 3 * sum(e.message.count("\n") > 0 for e in ledger)
