"""Plots for a page, drawn by matplotlib as SVG that follows the page's light and dark colours.

No file and no state: each call draws one figure. Labels are text, never markup nor formulas.
"""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure as Canvas

from logbox_pipeline.simulator.page import Figure

_BAR_LENGTH, _AXIS_LENGTH = 32, 72

# Matplotlib knows no CSS variables: it draws with colours that nothing else has, and they are
# exchanged in its SVG.
_INK, _SOFT, _LINE, _BAD = "#fe0101", "#fe0102", "#fe0103", "#fe0104"
_SERIES = ("#fe0111", "#fe0112", "#fe0113", "#fe0114", "#fe0115", "#fe0116")
_VARIABLES = {
    _INK: "var(--ink)",
    _SOFT: "var(--soft)",
    _LINE: "var(--line)",
    _BAD: "var(--bad)",
} | {colour: f"var(--series-{number})" for number, colour in enumerate(_SERIES, 1)}

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "logbox",
    "text.parse_math": False,
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": _INK,
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "grid.color": _LINE,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    # Power of ten labels are formulas: these stay plain numbers.
    "axes.formatter.use_mathtext": False,
}


@dataclass(frozen=True)
class Line:
    """A line through (x, y); None in y leaves a gap. low, high: a band around it, or nothing."""

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Bar:
    """low, high: the ends of its spread, or None. Bars of one group have one colour."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    group: str = ""


def line_plot(
    caption: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    log_y: bool = False,
    is_filled: bool = False,
    limit: float | None = None,
) -> Figure:
    """Lines over one x axis. limit: a y that is drawn across, such as a promise."""
    with _drawing(3.4) as (canvas, axes):
        for line, colour in zip(lines, _colours(len(lines)), strict=True):
            few = {"marker": "o", "markersize": 4} if len(line.x) <= 12 else {}
            y = [float("nan") if value is None else value for value in line.y]
            axes.plot(line.x, y, color=colour, **few)
            if line.low:
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, lw=0)
            elif is_filled:
                axes.fill_between(line.x, y, color=colour, alpha=0.14, lw=0)
        if limit is not None:
            axes.axhline(limit, color=_BAD, linewidth=1, linestyle=(0, (4, 3)))
        if log_x:
            axes.set_xscale("log")
        if log_y:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        for axis, is_log in ((axes.xaxis, log_x), (axes.yaxis, log_y)):
            axis.set_major_formatter(_number)
            if is_log:
                axis.set_minor_formatter(lambda value, place: "")
        axes.grid(visible=True, axis="y")
        axes.set_xlabel(_plain(x_label))
        axes.set_ylabel(_plain(y_label))
        svg = _svg(canvas)
    return Figure(caption, svg, _legend([line.label for line in lines]))


def bar_plot(
    caption: str, bars: Sequence[Bar], *, x_label: str, limit: float | None = None
) -> Figure:
    """Bars from left to right, the first on top, each with its value. limit: as in line_plot."""
    groups = list(dict.fromkeys(bar.group for bar in bars))
    colours = dict(zip(groups, _colours(len(groups)), strict=True))
    with _drawing(0.8 + 0.36 * max(len(bars), 2)) as (canvas, axes):
        places = range(len(bars))
        farthest = max((max(bar.value, bar.high or 0) for bar in bars), default=1) or 1
        axes.barh(
            places, [bar.value for bar in bars], 0.66, color=[colours[bar.group] for bar in bars]
        )
        for place, bar in enumerate(bars):
            end = bar.value
            if bar.low is not None and bar.high is not None:
                axes.plot([bar.low, bar.high], [place, place], color=_INK, linewidth=1.2)
                end = max(end, bar.high)
            axes.text(end + farthest * 0.012, place, _number(bar.value), va="center", fontsize=9)
        if limit is not None:
            axes.axvline(limit, color=_BAD, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_yticks(list(places), [_plain(bar.label, _BAR_LENGTH) for bar in bars])
        axes.tick_params(axis="y", length=0, labelcolor=_INK)
        axes.invert_yaxis()
        axes.set_xlim(0, max(farthest, limit or 0) * 1.14)
        axes.xaxis.set_major_formatter(_number)
        axes.grid(visible=True, axis="x")
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(_plain(x_label))
        svg = _svg(canvas)
    return Figure(caption, svg, _legend(groups))


@contextmanager
def _drawing(height: float) -> Iterator[tuple[Canvas, Any]]:
    """height: inches; a figure is 7 wide."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # A glyph that the measuring font lacks is drawn by the reader's.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        canvas = Canvas(figsize=(7, height), layout="constrained")
        canvas.patch.set_alpha(0)
        axes = canvas.add_subplot()
        axes.patch.set_alpha(0)
        yield canvas, axes


def _svg(canvas: Canvas) -> Markup:
    out = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    canvas.savefig(out, format="svg", metadata=nothing)
    svg = out.getvalue()
    # A document type and a style sheet for documents of their own: not for a part of a page.
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return Markup(svg)  # noqa: S704  matplotlib escapes the text in it


def _legend(labels: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Nothing for a figure with one nameless thing in it."""
    if not any(labels):
        return ()
    return tuple(
        (_VARIABLES[colour], label)
        for colour, label in zip(_colours(len(labels)), labels, strict=True)
    )


def _colours(count: int) -> list[str]:
    return [_SERIES[number % len(_SERIES)] for number in range(count)]


def _number(value: float, place: object = None) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _plain(label: str, most: int = _AXIS_LENGTH) -> str:
    text = "".join(letter if letter.isprintable() else "·" for letter in label)
    return text if len(text) <= most else text[: most - 1] + "…"
