"""Plain text: any file of printable lines, with the usual stamps or without. The last resort.

What a line becomes is in `text_entries`, the stamps are in `text_shapes`.
"""

from collections.abc import Iterator

from logbox_pipeline.formats.stream import Item, Likeness, Limits
from logbox_pipeline.formats.text_entries import parse_entries
from logbox_pipeline.formats.text_lines import sample_lines
from logbox_pipeline.formats.text_shapes import STAMPS

PARSER_VERSION = 1

_SAMPLE_LINES = 200


def recognizes(head: memoryview, size: int) -> Likeness:
    """Is it printable at all? Then it may be text, unless another format knows better."""
    return Likeness.MAYBE if sample_lines(head, size, _SAMPLE_LINES) else Likeness.NO


def parse(source: memoryview, limits: Limits) -> Iterator[Item]:
    yield from parse_entries(source, limits, STAMPS)
