"""Real CSV, DJI app and MCAP logs, where they are at hand, against what reference parsers read."""

from typing import Any

import pytest

from logbox_pipeline.formats.recognize import recognize
from logbox_pipeline.formats.stream import Limits, Unreadable
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT, parse
from logbox_pipeline_tests.formats.test_samples import EXPECTED, SAMPLES, of_format

pytestmark = pytest.mark.skipif(not EXPECTED, reason=f"no sample logs in {SAMPLES}")


def expected_of(path: str) -> tuple[bytes, dict[str, Any]]:
    return (SAMPLES / path).read_bytes(), EXPECTED[path]


@pytest.mark.parametrize("path", of_format("csv", is_damaged=False))
def test_a_real_csv_gives_every_row_and_column(path: str) -> None:
    data, expected = expected_of(path)
    parsed = parse(data, format_name="csv")
    (table,) = parsed.rows.values()
    is_named = "csv_has_header" in parsed.about.info
    # The reference takes the first line for a header even where it is none.
    assert table.num_rows == expected["rows"] + (not is_named)
    assert len(table.column_names) - 2 == expected["cols"]
    if is_named:
        named = [name for name in expected["columns"] if not name.startswith("Unnamed")]
        assert [name for name in table.column_names[2:] if name in named] == named
    assert parsed.damages == []


@pytest.mark.parametrize("path", of_format("dji_app_tsv", is_damaged=False))
def test_a_real_dji_app_log_gives_every_row_and_column(path: str) -> None:
    data, expected = expected_of(path)
    parsed = parse(data, format_name="dji_app")
    table = parsed.rows["flight", 0]
    below = data.decode().split("#Flight Recorder Session End\n")[1].splitlines()
    # The reference counts the session's end, a section mark and its two lines, as rows.
    assert table.num_rows == expected["data_rows"] - 1 - len(below)
    assert len(table.column_names) - 2 == expected["columns"]
    assert table["Date/Time (UTC)"][0].as_py() == expected["first_time"]
    assert parsed.damages == []
    info = parsed.about.info
    for key, values in expected["meta"].items():
        name = key.lower().replace("%", "pct").translate(str.maketrans(" ", "_", "#()"))
        assert info[name] == " ".join(" ".join(values).split())


@pytest.mark.parametrize("path", of_format("mcap", is_damaged=False))
def test_a_real_mcap_is_known_and_not_read(path: str) -> None:
    source = memoryview((SAMPLES / path).read_bytes())
    limits = Limits(received_at=RECEIVED_AT)
    recognized = recognize(source, limits)
    assert recognized is not None
    (item,) = recognized.format.parse(source, limits)
    assert recognized.format.name == "mcap"
    assert isinstance(item, Unreadable)
    assert item.reason == "not_read"
