"""One HTML page that tells what came out of a run: it opens without network and runs no script.

What a page is made of, and how it becomes text. Its figures come from `plot`. Whatever a section
says is shown as it stands, markup too: names and reasons come from whoever uploads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup


@dataclass(frozen=True)
class Figure:
    """A plot and the words above it. svg: an element that `plot` has drawn, put in as it stands;
    legend: (colour as CSS, label)."""

    caption: str
    svg: Markup
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Table:
    """Columns of numbers stand to the right, None is a dash. caption: said above it, or nothing."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Tile:
    """One of the few figures that a reader looks for first. is_good: None says nothing."""

    label: str
    value: str
    is_good: bool | None = None


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and then tables and figures, any of them or none."""

    heading: str
    text: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Page:
    """subtitle: when, where and by which command, in one line."""

    title: str
    subtitle: str = ""
    tiles: tuple[Tile, ...] = ()
    sections: tuple[Section, ...] = ()


def render(page: Page) -> str:
    """The whole page as HTML text, to be written as UTF-8."""
    return _template().render(page=page, cell=_cell, number_columns=_number_columns)


def table_of(rows: Sequence[Mapping[str, object]], caption: str = "") -> Table:
    """A table of rows that name their columns; the first row's order counts."""
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(columns, tuple(tuple(row.get(name) for name in columns) for row in rows), caption)


@cache
def _template() -> Template:
    text = files("logbox_pipeline.simulator").joinpath("page.html.j2").read_text("utf-8")
    surroundings = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return surroundings.from_string(text)


def _number_columns(table: Table) -> set[int]:
    """The places of the columns that hold numbers and nothing else."""
    return {
        place
        for place in range(len(table.columns))
        if (values := [row[place] for row in table.rows if row[place] is not None])
        and all(isinstance(one, int | float) and not isinstance(one, bool) for one in values)
    }


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
