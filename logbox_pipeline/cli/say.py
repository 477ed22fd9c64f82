"""How commands speak: data on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from logbox_pipeline.core import shown

_WIDEST_NAME = 40
_PAPER_WIDTH = 100
"""Columns of a table that goes to a file or a pipe."""


def _width() -> int | None:
    return None if sys.stdout.isatty() else _PAPER_WIDTH


stdout = Console(highlight=False, soft_wrap=True, emoji=False, width=_width())
stderr = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def say(sentence: str) -> None:
    """One line for the person, on stderr."""
    stderr.print(escape(printable(sentence)))


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, default=_plain) + "\n")


def print_json_line(value: Any) -> None:
    """One of many objects: JSON Lines."""
    sys.stdout.write(json.dumps(value, default=_plain) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table on stdout; nothing a drone wrote can format it or move the cursor."""
    table = Table(
        title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False
    )
    for number, column in enumerate(columns):
        is_number = any(isinstance(row.get(column), int | float) for row in rows)
        widest = max((len(str(row.get(column))) for row in rows), default=0)
        table.add_column(
            column.replace("_", " "),
            justify="right" if is_number else "left",
            overflow="fold",
            # What a row is about can be read, and copied, as one word; so can a time.
            no_wrap=(number == 0 and widest <= _WIDEST_NAME)
            or any(isinstance(row.get(column), datetime) for row in rows),
        )
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    stdout.print(table)


def printable(text: str) -> str:
    return shown.printable(text)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return escape(printable(str(value)))


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)
