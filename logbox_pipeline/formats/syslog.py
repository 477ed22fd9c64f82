"""Syslog: RFC 5424, RFC 3164 with and without PRI, and what rsyslog, journald, Cisco and BusyBox
make of them. What a line becomes is in `text_entries`; other plain text is `plain_text`.
"""

from collections.abc import Iterator

from logbox_pipeline.formats.stream import Item, Likeness, Limits
from logbox_pipeline.formats.text_entries import parse_entries
from logbox_pipeline.formats.text_lines import sample_lines
from logbox_pipeline.formats.text_shapes import SYSLOG_STAMPS, shape_of_line

PARSER_VERSION = 1

_LOOSE = ("no_tag", "boundary")
_MOST = 0.6
_SAMPLE_LINES = 200


def recognizes(head: memoryview, size: int) -> Likeness:
    """Are most lines a stamp, a host and a tag (or begin with a PRI)? Indented ones do not count,
    nor do lines that continue another."""
    lines = sample_lines(head, size, _SAMPLE_LINES)
    lines = [line for line in lines or [] if line[0] not in " \t"]
    if not lines:
        return Likeness.NO
    fit = sum(_is_strict(line) for line in lines)
    if fit >= _MOST * len(lines):
        return Likeness.SURE
    return Likeness.NO


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    yield from parse_entries(source, limits, SYSLOG_STAMPS)


def _is_strict(line: str) -> bool:
    shape = shape_of_line(line, SYSLOG_STAMPS)
    return shape is not None and (line[0] == "<" or not shape.name.endswith(_LOOSE))
