"""A page opens without network, and what others wrote stays text in it. No stack."""

import re
from html.parser import HTMLParser

import pytest

from logbox_pipeline.simulator.page import Page, Section, Table, Tile, render, table_of
from logbox_pipeline.simulator.plot import Bar, Line, bar_plot, line_plot

HOSTILE = "<script>alert(1)</script>\" ' --></svg> $\\frac{1}{0$ \x1b[31m {{ 7*7 }}"


class Elements(HTMLParser):
    """Names of all elements, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.addresses += [
            str(value) for name, value in attrs if name in ("href", "src", "xlink:href")
        ]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    line = line_plot(
        HOSTILE,
        [Line(HOSTILE, [1, 10, 100], [1, None, 3], [0.5, 1, 2], [2, 3, 4]), Line("b", [1], [2])],
        x_label=HOSTILE,
        y_label=HOSTILE,
        log_x=True,
        limit=2.5,
    )
    bars = bar_plot(
        "bars", [Bar(HOSTILE, 12, 11, 14, HOSTILE), Bar("none", 0, group="b")], x_label="MB/s"
    )
    table = Table((HOSTILE, "rows"), ((HOSTILE, 1_234_567), ("a", None)), HOSTILE)
    section = Section(HOSTILE, (HOSTILE,), (table,), (line, bars))
    return render(Page(HOSTILE, HOSTILE, (Tile(HOSTILE, HOSTILE, True),), (section,)))


def test_markup_in_names_is_shown_and_not_obeyed(page: str) -> None:
    seen = Elements(page)
    assert "script" not in seen.names
    assert seen.text.count("alert(1)") >= 8
    assert seen.text.count("{{ 7*7 }}") >= 8


def test_the_page_asks_for_nothing_from_elsewhere(page: str) -> None:
    seen = Elements(page)
    assert {address[0] for address in seen.addresses} == {"#"}
    assert not seen.names & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"@import|@font-face|url\((?!#)", page)
    # What matplotlib would say beside the figure.
    assert "<!DOCTYPE svg" not in page
    assert "<metadata" not in page


def test_figures_follow_the_colours_of_the_page(page: str) -> None:
    assert "var(--series-1)" in page
    assert "#fe01" not in page


def test_numbers_are_grouped_and_nothing_is_a_dash(page: str) -> None:
    assert "<td class=number>1,234,567</td>" in page
    assert "<td class=number>–</td>" in page


def test_rows_that_name_different_columns_make_one_table() -> None:
    table = table_of([{"a": 1}, {"a": 2, "b": 3}])
    assert table.columns == ("a", "b")
    assert table.rows == ((1, None), (2, 3))


def test_the_same_figure_is_drawn_the_same_twice() -> None:
    def draw() -> str:
        return line_plot("x", [Line("", [1, 2], [3, 4])], x_label="s", y_label="n").svg

    assert draw() == draw()


def test_nothing_to_draw_is_an_empty_figure() -> None:
    assert "<svg" in line_plot("x", [], x_label="s", y_label="n").svg
    assert "<svg" in bar_plot("x", [], x_label="s").svg
