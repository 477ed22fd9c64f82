"""Which format a log is in: by its content, never by its name. No parsing here.

To add a format, add a line to `FORMATS`, the more particular before the more general: the first
that is sure wins; of those that may be, the first that reads as much of a trial as the best one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from logbox_pipeline.formats import (
    dataflash,
    delimited,
    dji_app,
    journal,
    json_documents,
    jsonl,
    logfmt,
    mavlink,
    plain_text,
    syslog,
    ulog,
    unread,
)
from logbox_pipeline.formats.stream import (
    Damage,
    Events,
    Item,
    Likeness,
    Limits,
    Rows,
    Unreadable,
)

HEAD_BYTES = 64 * 1024
"""How much of a log a format sees to say how likely it is; less for a shorter log."""

_TRIAL_BYTES = 256 * 1024
_HOLE = 0.5
_AS_GOOD = 0.05
"""A more particular format may read this share less than the best and still be chosen."""


@dataclass(frozen=True)
class Format:
    """A format that Logbox knows; `parse` keeps the contract of `stream.py`.

    parser_version: raised whenever the same bytes would yield other rows.
    recognizes: gets the first HEAD_BYTES and the size of the whole log.
    """

    name: str
    parser_version: int
    recognizes: Callable[[memoryview, int], Likeness]
    parse: Callable[[memoryview, Limits], Iterator[Item]]


@dataclass(frozen=True)
class Recognized:
    """The format of a log, and how that was settled: what `logs.info` keeps."""

    format: Format
    how: str


def recognize(source: memoryview, limits: Limits) -> Recognized | None:
    """The format of the log `source`, or None when it is unknown.

    A beginning that is nothing but what a power cut leaves is looked behind.
    """
    found = _recognize(source, limits)
    if found is None and (behind := _behind_hole(source)):
        found = _recognize(source[behind:], limits)
        if found is not None:
            how = f"{found.how}, from byte {behind} on"
            # A table whose first lines are gone has no columns; its lines are still there.
            is_read = _share_read(found.format, source[: behind + _TRIAL_BYTES], limits) > 0
            return Recognized(found.format if is_read else _TEXT, how)
    return found


def _recognize(source: memoryview, limits: Limits) -> Recognized | None:
    head = source[:HEAD_BYTES]
    plausible = []
    for known in FORMATS:
        match known.recognizes(head, len(source)):
            case Likeness.SURE:
                return Recognized(known, "content")
            case Likeness.MAYBE:
                plausible.append(known)
    if len(plausible) < 2:
        return Recognized(plausible[0], "content") if plausible else None
    trial = _trial(source)
    scores = {known.name: _share_read(known, trial, limits) for known in plausible}
    best = max(scores.values())
    chosen = next(known for known in plausible if scores[known.name] >= best - _AS_GOOD)
    tried = ", ".join(f"{name} {score:.0%}" for name, score in scores.items())
    return Recognized(chosen, f"tried {tried}")


def _behind_hole(source: memoryview) -> int:
    """Where the bytes go on behind a beginning that is mostly NUL or 0xFF; 0 when it is not."""
    head = bytes(source[:HEAD_BYTES])
    if len(head) - len(head.translate(None, b"\0\xff")) < _HOLE * len(head):
        return 0
    # A little may stand before the hole.
    start = len(head) - len(head.lstrip(b"\0\xff"))
    last = len(head.rstrip(b"\0\xff"))
    pos = last if last < len(head) and last > start else 0
    while pos < len(source):
        window = bytes(source[pos : pos + HEAD_BYTES])
        rest = window.lstrip(b"\0\xff")
        if rest:
            return pos + len(window) - len(rest)
        pos += len(window)
    return 0


def _trial(source: memoryview) -> memoryview:
    """The beginning, up to the end of a line where there are lines."""
    if len(source) <= _TRIAL_BYTES:
        return source
    end = bytes(source[:_TRIAL_BYTES]).rfind(b"\n") + 1
    return source[: end or _TRIAL_BYTES]


def _share_read(known: Format, trial: memoryview, limits: Limits) -> float:
    """The share of bytes that gave rows; 0 when nothing did."""
    lost = rows = 0
    for item in known.parse(trial, limits):
        match item:
            case Damage():
                lost += item.end - item.start
            case Rows() | Events():
                rows += item.batch.num_rows
            case Unreadable():
                return 0.0
    return max(0.0, 1 - lost / len(trial)) if rows else 0.0


_TEXT = Format("text", plain_text.PARSER_VERSION, plain_text.recognizes, plain_text.parse)
FORMATS = (
    Format("ulog", ulog.PARSER_VERSION, ulog.recognizes, ulog.parse),
    Format("dataflash", dataflash.PARSER_VERSION, dataflash.recognizes, dataflash.parse),
    Format("mavlink", mavlink.PARSER_VERSION, mavlink.recognizes, mavlink.parse),
    *(
        Format(each.name, unread.PARSER_VERSION, each.recognizes, each.parse)
        for each in unread.UNREAD
    ),
    Format("dji_app", dji_app.PARSER_VERSION, dji_app.recognizes, dji_app.parse),
    Format("json", json_documents.PARSER_VERSION, json_documents.recognizes, json_documents.parse),
    Format("jsonl", jsonl.PARSER_VERSION, jsonl.recognizes, jsonl.parse),
    Format("journal", journal.PARSER_VERSION, journal.recognizes, journal.parse),
    Format("logfmt", logfmt.PARSER_VERSION, logfmt.recognizes, logfmt.parse),
    Format("syslog", syslog.PARSER_VERSION, syslog.recognizes, syslog.parse),
    Format("csv", delimited.PARSER_VERSION, delimited.recognizes, delimited.parse),
    _TEXT,
)
