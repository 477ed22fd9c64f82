"""Which program wrote a line, in a log that holds the lines of several: docker compose's
`nav-1  | ` and ROS launch's `[nav-1] `. What stands behind the prefix is not looked at here, but
for telling such a log from a table.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from logbox_pipeline.formats.text_lines import Block
from logbox_pipeline.formats.text_rows import Columns, with_attributes

_LEAST_COMPOSE = 0.6
_SAME_PLACE = 0.8
_LEAST_ROS = 0.1
_IS_SPOKEN = re.compile(r"[{\[]|[^\n]*[A-Za-z]", re.ASCII)
_IS_NUMBERED = re.compile(r".*[_-]\d{1,4}", re.ASCII)


@dataclass(frozen=True)
class Prefix:
    """attribute: what the prefix is called where the rest names a source of its own."""

    attribute: str
    pattern: str


_COMPOSE = Prefix("container", r"([A-Za-z0-9][\w.-]{0,62}+) {2,60}+\|(?: |(?=\n)|\Z)")
_ROS = Prefix("process", r"\[([A-Za-z_][\w.]{0,62}-\d{1,5})\] ")


def prefix_of(lines: Sequence[str]) -> Prefix | None:
    """The prefix of most lines, or of some: launch writes its own between those of the nodes.
    Compose numbers its containers, or pads their names so that all bars stand in one place."""
    found = [match for line in lines if (match := re.match(_COMPOSE.pattern, line, re.ASCII))]
    if found and len(found) >= _LEAST_COMPOSE * len(lines):
        places = Counter(match.string.index("|") for match in found)
        is_padded = places.most_common(1)[0][1] >= _SAME_PLACE * len(found)
        is_numbered = sum(bool(_IS_NUMBERED.fullmatch(match[1])) for match in found)
        spoken = sum(map(_is_spoken, found))
        if (is_padded or is_numbered * 2 > len(found)) and spoken * 3 > len(found):
            return _COMPOSE
    ros = sum(bool(re.match(_ROS.pattern, line, re.ASCII)) for line in lines)
    return _ROS if ros and ros >= _LEAST_ROS * len(lines) else None


def is_of_containers(lines: Sequence[str]) -> bool:
    return prefix_of(lines) is _COMPOSE


def without_prefix(block: Block, prefix: Prefix) -> Block:
    """The block without its prefixes, which become its `names`."""
    found = re.findall(rf"(?:{prefix.pattern})?([^\n]*)\n", block.text, re.ASCII)
    names, rests = zip(*found, strict=True)
    return replace(block, text="\n".join(rests) + "\n", names=names)


def name_sources(columns: Columns, names: Sequence[str], prefix: Prefix) -> None:
    """Say who wrote each entry: as its source, or beside the source that it names itself."""
    for index, name in enumerate(names):
        if not name or columns.sources[index] == name:
            continue
        if columns.sources[index] is None:
            columns.sources[index] = name
        else:
            columns.attributes[index] = with_attributes(
                columns.attributes[index], {prefix.attribute: name}
            )


def _is_spoken(match: re.Match[str]) -> bool:
    """Words behind the bar, or JSON; a second bar would make cells of them, unless the name is
    one of compose's (`nav-1`)."""
    rest = match.string[match.end() :]
    if "|" in rest and not _IS_NUMBERED.fullmatch(match[1]):
        return False
    words = rest.split()
    if not words:
        return True
    is_phrase = len(words) > 1 or rest[0] == "{"
    return is_phrase and _IS_SPOKEN.match(rest) is not None
