"""Which format a log is in: by its content, never by its name. No parsing here.

To add a format, add a line to `FORMATS`; the first that knows the bytes wins.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from logbox_pipeline.formats import jsonl, ulog
from logbox_pipeline.formats.stream import Item, Limits, Unreadable

HEAD_BYTES = 64 * 1024
"""How much of a log `recognize` wants to see; less is fine for a shorter log."""


@dataclass(frozen=True)
class Format:
    """A format that Logbox knows; `parse` keeps the contract of `stream.py`.

    parser_version: raised whenever the same bytes would yield other rows.
    """

    name: str
    parser_version: int
    recognizes: Callable[[memoryview, int], bool]
    parse: Callable[[memoryview, Limits], Iterator[Item]]


def recognize(head: memoryview, size: int) -> Format | None:
    """The format of a log of `size` bytes that begins with `head`, or None when it is unknown."""
    head = head[:HEAD_BYTES]
    return next((known for known in FORMATS if known.recognizes(head, size)), None)


def _is_encrypted_ulog(head: memoryview, size: int) -> bool:
    return bytes(head[:7]) == b"ULogEnc"


def _parse_encrypted_ulog(source: memoryview, limits: Limits) -> Iterator[Item]:
    yield Unreadable("encrypted", "an encrypted ULog; decrypt it with its key and upload it again")


FORMATS = (
    Format("ulog", ulog.PARSER_VERSION, lambda head, size: ulog.is_ulog(head), ulog.parse),
    Format("ulog_encrypted", 1, _is_encrypted_ulog, _parse_encrypted_ulog),
    Format("jsonl", jsonl.PARSER_VERSION, jsonl.is_jsonl, jsonl.parse),
)
