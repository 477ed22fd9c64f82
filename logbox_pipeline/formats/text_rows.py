"""Matched lines of one shape to the columns of log_events. No blocks, no continuation lines."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logbox_pipeline.formats.text_levels import text_level
from logbox_pipeline.formats.text_shapes import LEVEL_ROLES, Shape
from logbox_pipeline.formats.text_times import Clock, Instants, boots_us, epochs_us

_TIME_ROLES = ("date", "year", "time", "frac", "half", "epoch", "boot")
_NOT_ATTRIBUTES = {
    *_TIME_ROLES,
    *LEVEL_ROLES,
    "",
    "source",
    "message",
    "nil",
    "version",
    "separator",
}
_MOST_CACHED = 50_000
_FACILITIES = (
    *("kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron"),
    *("authpriv", "ftp", "ntp", "audit", "alert", "clock"),
    *(f"local{number}" for number in range(8)),
)
"""RFC 5424 table 1, under the names that syslog.conf uses."""

_PLAIN_ZONES = ("", "Z", "z", "UTC", "GMT", "+00:00", "+0000")
_LEVEL_IN_DATA = re.compile(r' (?:level|severity)="([A-Za-z]{1,20})"')
_NUMERIC = frozenset(("pid", "tid", "line", "status", "bytes", "sequence", "connection"))


@dataclass(frozen=True)
class Columns:
    """What lines of one shape say; all of one length. us is 0 where `valid` is False."""

    us: NDArray[np.int64]
    valid: NDArray[np.bool_]
    boots: list[int | None] | None
    levels: list[int | None]
    sources: list[str | None]
    messages: list[str]
    attributes: list[str | None]


class _Texts(dict[tuple[str, ...], str | None]):
    """`_object_text` of some names, remembered: a log has few hosts and processes."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, values: tuple[str, ...]) -> str | None:
        if len(self) >= _MOST_CACHED:
            self.clear()
        text = self[values] = _object_text(self._names, values)
        return text


@dataclass
class ShapeReader:
    """Reads the lines of one shape of one file. span_us: its first and its last time."""

    shape: Shape
    clock: Clock
    latest_us: int
    earliest_us: int
    rows: int = 0
    span_us: tuple[int, int] | None = None
    _attributes: dict[tuple[str, ...], _Texts] = field(default_factory=dict)

    def columns(self, rows: Sequence[tuple[str, ...]]) -> Columns:
        self.rows += len(rows)
        said = dict(zip(self.shape.groups, zip(*rows, strict=True), strict=False))
        count = len(rows)
        if "process" in said:
            both = list(zip(said["source"], said["process"], strict=True))
            said["source"] = tuple(source or process for source, process in both)
            said["process"] = tuple(process if source else "" for source, process in both)
        boots: list[int | None] | None = None
        if "boot" in said:
            boots = list(boots_us(said["boot"], said["frac"]))
        times = self._instants(said, count)
        valid = times.valid & (times.us >= self.earliest_us) & (times.us <= self.latest_us)
        said_more = times.said_more if boots is not None else times.said_more | ~valid
        levels, words = self._levels(said, count)
        sources: list[str | None] = [text or None for text in said.get("source", [""] * count)]
        messages = list(said["message"])
        if "nil" in said or "sd" in said:
            sources = [None if text == "-" else text for text in sources]
        extra = {"level": words} if words is not None else {}
        attributes = self._texts(said, extra, count)
        for index in np.flatnonzero(said_more).tolist():
            text = self._stamp_text(rows[index])
            if text:
                attributes[index] = with_attributes(attributes[index], {"time": text})
        if any(source == "kernel" for source in set(sources)):
            boots = _kernel_boots(sources, messages)
        us = np.where(valid, times.us, 0)
        if valid.any():
            seen = us[valid]
            first, last = self.span_us or (seen[0], seen[0])
            self.span_us = min(int(seen.min()), first), max(int(seen.max()), last)
        return Columns(us, valid, boots, levels, sources, messages, attributes)

    def _instants(self, said: dict[str, tuple[str, ...]], count: int) -> Instants:
        if "epoch" in said:
            return epochs_us(said["epoch"], said.get("frac"))
        if "date" not in said:
            none = np.zeros(count, np.int64)
            return Instants(none, none.astype(np.bool_), none.astype(np.bool_))
        dates: Sequence[str] = said["date"]
        if "year" in said:
            dates = [f"{d} {y}" if y else d for d, y in zip(dates, said["year"], strict=True)]
        return self.clock.instants(
            dates, said["time"], said.get("frac"), said.get("zone"), said.get("half")
        )

    def _levels(
        self, said: dict[str, tuple[str, ...]], count: int
    ) -> tuple[list[int | None], list[str] | None]:
        """Levels, and the words that say more than they do (None when no line has one)."""
        columns: list[Sequence[str]] = [said[role] for role in LEVEL_ROLES if role in said]
        if "sd" in said and not any(said.get("pri", ())):
            columns = [[_data_level(text) for text in said["sd"]]]
        named: Sequence[str] = columns[0] if columns else [""] * count
        for column in columns[1:]:
            named = [a or b for a, b in zip(named, column, strict=True)]
        known = {word: text_level(word) for word in set(named)}
        levels = [known[word][0] for word in named]
        better: list[list[int | None]] = []
        if any(said.get("facility_level", ())):
            words = [text.rpartition(".")[2] for text in said["facility_level"]]
            better.append([text_level(word)[0] for word in words])
        if any(said.get("pri", ())):
            better.append([_pri_level(text) for text in said["pri"]])
        for column_levels in better:
            levels = [a if b is None else b for a, b in zip(levels, column_levels, strict=True)]
        if all(is_full for _, is_full in known.values()):
            return levels, None
        return levels, ["" if known[word][1] else word for word in named]

    def _texts(
        self, said: dict[str, tuple[str, ...]], extra: dict[str, list[str]], count: int
    ) -> list[str | None]:
        columns: dict[str, Sequence[str]] = {
            name: column for name, column in said.items() if name not in _NOT_ATTRIBUTES
        }
        zones = columns.pop("zone", None)
        if zones is not None and not set(zones) <= set(_PLAIN_ZONES):
            columns["zone"] = ["" if z.strip() in _PLAIN_ZONES else z.strip() for z in zones]
        columns |= extra
        columns = {name: column for name, column in columns.items() if any(column)}
        if not columns:
            return [None] * count
        names = tuple(columns)
        known = self._attributes.get(names)
        if known is None:
            known = self._attributes[names] = _Texts(names)
        return [known[key] for key in zip(*columns.values(), strict=True)]

    def _stamp_text(self, row: tuple[str, ...]) -> str:
        said = dict(zip(self.shape.groups, row, strict=False))
        text = " ".join(said[r] for r in ("date", "year", "time", "epoch") if said.get(r))
        if said.get("frac"):
            text += f".{said['frac']}"
        return text + (f" {said['half']}" if said.get("half") else "") + said.get("zone", "")


def with_attributes(text: str | None, more: dict[str, Any]) -> str:
    """The JSON object `text` (None when empty) with more members."""
    return json.dumps((json.loads(text) if text else {}) | more, ensure_ascii=False)


def _object_text(names: tuple[str, ...], values: tuple[str, ...]) -> str | None:
    members: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        if not value or value == "-":
            continue
        if name == "pri":
            number = int(value) >> 3
            members["facility"] = _FACILITIES[number] if number < len(_FACILITIES) else number
        elif name == "sd":
            members["structured_data"] = structured_data(value)
        elif name == "facility_level":
            members["facility"] = value.partition(".")[0]
        elif name in _NUMERIC and len(value) < 16 and value.isascii() and value.isdecimal():
            members[name] = int(value)
        elif value.strip():
            members[name] = value.strip()
    return json.dumps(members, ensure_ascii=False) if members else None


def structured_data(text: str) -> dict[str, Any]:
    """RFC 5424 section 6.3: `[id name="value" ...]...`; a name that repeats gets a list."""
    found: dict[str, Any] = {}
    pos = 0
    while (pos := text.find("[", pos)) >= 0:
        end = pos + 1
        while end < len(text) and text[end] not in " ]":
            end += 1
        element = found.setdefault(text[pos + 1 : end], {})
        while end < len(text) and text[end] == " ":
            equals = text.find('="', end)
            if equals < 0:
                return found
            name = text[end + 1 : equals]
            pos = end = equals + 2
            while end < len(text) and text[end] != '"':
                end += 2 if text[end] == "\\" else 1
            value = _unescaped(text[pos:end])
            element[name] = [*_listed(element[name]), value] if name in element else value
            end += 1
        pos = end
    return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _unescaped(text: str) -> str:
    """Only `\\"`, `\\\\` and `\\]` are escapes; any other backslash stands for itself."""
    if "\\" not in text:
        return text
    for letter in ("\\", '"', "]"):
        text = text.replace(f"\\{letter}", f"\0{ord(letter)};")
    for letter in ("\\", '"', "]"):
        text = text.replace(f"\0{ord(letter)};", letter)
    return text


def _data_level(text: str) -> str:
    """What structured data calls the level, where no PRI does."""
    found = _LEVEL_IN_DATA.search(text)
    return found[1] if found else ""


def _pri_level(text: str) -> int | None:
    return int(text) & 7 if text else None


def _kernel_boots(sources: list[str | None], messages: list[str]) -> list[int | None] | None:
    """Take `[12345.678901]` off the kernel's messages: it is the boot clock."""
    boots: list[int | None] = [None] * len(messages)
    found = False
    for index, source in enumerate(sources):
        message = messages[index]
        if source != "kernel" or not message.startswith("["):
            continue
        number, bracket, rest = message[1:].partition("]")
        seconds, point, fraction = number.strip().partition(".")
        if bracket and point and _is_digits(seconds, 12) and _is_digits(fraction, 9):
            boots[index] = int(seconds) * 1_000_000 + int(fraction[:6].ljust(6, "0"))
            messages[index] = rest.removeprefix(" ")
            found = True
    return boots if found else None


def _is_digits(text: str, most: int) -> bool:
    return 0 < len(text) <= most and text.isascii() and text.isdecimal()
