"""Tables whose comments name the columns: Zeek's `#fields` and W3C's `#Fields:`. No rows here.

Zeek: https://docs.zeek.org/en/master/log-formats.html
W3C, whose times are UTC: https://www.w3.org/TR/WD-logfile
"""

import re
from dataclasses import dataclass

_ZEEK = re.compile(r"#fields[ \t]")
_W3C = re.compile(r"#Fields: ?", re.I)
_SEPARATOR = re.compile(r"#separator (?:\\x([0-9a-fA-F]{2})|([^\n\\]))")
_NULL = re.compile(r"#(?:empty_field|unset_field)[ \t](.{1,20})")
_DIRECTIVE = re.compile(
    r"#(?:(?:set_)?separator|empty_field|unset_field|path|open|close|fields|types)\b(?!:)"
    r"|#(?:Software|Version|Date|(?:Start|End)-Date|Fields):"
)
_SEPARATORS = "\t ,;|"
_UNTOLD = ("#separator", "#set_separator", "#empty_field", "#unset_field", "#types")


@dataclass(frozen=True)
class Declared:
    """nulls: words for a missing text. above: how many lines stand above the rows. said: those of
    them that say more than how the table is written."""

    delimiter: str
    header: tuple[str, ...]
    nulls: tuple[str, ...]
    is_utc: bool
    above: int
    said: tuple[str, ...]


def declared(lines: list[str]) -> Declared | None:
    """What the comments at the beginning declare; None when they name no columns."""
    above = next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comments = lines[:above]
    for line in comments:
        is_zeek = _ZEEK.match(line) is not None
        if not is_zeek and not _W3C.match(line):
            continue
        delimiter = _zeek_delimiter(comments) if is_zeek else _w3c_delimiter(lines[above:])
        names = line.split(delimiter)[1:] if is_zeek else _W3C.sub("", line, count=1).split()
        if delimiter not in _SEPARATORS or len(names) < 2 or not all(names):
            return None
        nulls = [match[1] for match in map(_NULL.match, comments) if match] if is_zeek else ["-"]
        told = [text for text in comments if text != line and not text.startswith(_UNTOLD)]
        said = tuple(text.replace(delimiter, ": ", 1) if is_zeek else text for text in told)
        return Declared(delimiter, tuple(names), tuple(nulls), not is_zeek, above, said)
    return None


def is_directive(text: str) -> bool:
    """A line that only says how such a table goes on, or that it ends."""
    return _DIRECTIVE.match(text) is not None


def _zeek_delimiter(comments: list[str]) -> str:
    match = next((m for m in map(_SEPARATOR.match, comments) if m), None)
    if match is None:
        return "\t"
    return chr(int(match[1], 16)) if match[1] else match[2]


def _w3c_delimiter(rows: list[str]) -> str:
    """A space, or a tab (CloudFront), whatever stands between the names."""
    return "\t" if rows and "\t" in rows[0] else " "
