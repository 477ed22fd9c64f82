"""What a sample of a text log's lines settles for all of them. No blocks, no rows."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from logbox_pipeline.formats.text_levels import BARE_LOWER_WORDS
from logbox_pipeline.formats.text_shapes import (
    LEVEL_ROLES,
    Shape,
    Stamp,
    match_of_line,
    with_lower_words,
)

_MOST = 0.5
_BARE = re.compile(rf"({BARE_LOWER_WORDS})(?!\S)(\s+[A-Za-z_][\w.-]*\[\d+\])?", re.ASCII)
_CLEAR = frozenset(("info", "warn", "fatal", "debug", "err", "crit", "inf", "wrn", "dbg"))
"""Words that hardly begin a sentence."""


@dataclass
class Sample:
    """stamps: for a file with these lines. counts: how many lines each shape of `shapes` has."""

    stamps: tuple[Stamp, ...]
    counts: Counter[str] = field(default_factory=Counter)
    shapes: dict[str, Shape] = field(default_factory=dict)


def sampled(lines: Sequence[str], stamps: tuple[Stamp, ...]) -> Sample:
    """Bare lower-case words behind the stamp are levels where at least half of the stamped lines
    have one, and it is clear that they are no prose."""
    sample, matches = _matched(lines, stamps)
    words: Counter[str] = Counter()
    is_clear = False
    for match in matches:
        said = match.groupdict("")
        bare = _BARE.match(said["message"])
        word = said.get("lower_word") or (
            bare[1] if bare and not any(said.get(role) for role in LEVEL_ROLES) else ""
        )
        if word:
            words[word] += 1
            is_clear |= word in _CLEAR or bool(bare and bare[2])
    is_usual = words and words.total() >= _MOST * len(matches)
    if is_usual and (is_clear or len(words) > 1):
        sample, _ = _matched(lines, with_lower_words(stamps))
    return sample


def _matched(lines: Sequence[str], stamps: tuple[Stamp, ...]) -> tuple[Sample, list[re.Match[str]]]:
    sample = Sample(stamps)
    matches = []
    for line in lines:
        shape, match = match_of_line(line, stamps)
        if shape is not None and match is not None:
            sample.counts[shape.name] += 1
            sample.shapes[shape.name] = shape
            matches.append(match)
    return sample, matches
