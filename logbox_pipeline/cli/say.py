"""How commands speak: data on stdout, everything else on stderr."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

stdout = Console(highlight=False, soft_wrap=True, emoji=False)
stderr = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def say(sentence: str) -> None:
    """One line for the person, on stderr."""
    stderr.print(escape(printable(sentence)))


def print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, default=_plain) + "\n")


def print_table(title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table on stdout; nothing a drone wrote can format it or move the cursor."""
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        is_number = any(isinstance(row.get(column), int | float) for row in rows)
        table.add_column(
            column.replace("_", " "), justify="right" if is_number else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    stdout.print(table)


def printable(text: str) -> str:
    return "".join(char if char.isprintable() or char == "\n" else "�" for char in text)


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
