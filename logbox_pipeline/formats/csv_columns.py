"""What a CSV's columns are called, their units, and the name of the table they make.

No rows and no times here.
"""

import hashlib
import re
from collections.abc import Sequence

from logbox_pipeline.formats.stream import Column

_BRACKETED = re.compile(r".*\S?\s*[(\[]\s*([^()\[\]]{1,24}?)\s*[)\]]\s*")
_UNIT = re.compile(r"[A-Za-zµμ°%Ω][\w µμ°%Ω/^*·.²³-]*")
_NO_UNITS = frozenset(("utc", "gmt", "local", "raw", "x", "y", "z", "w", "x100", "iso", "iso8601"))
_SUFFIXES = {
    "_m_s2": "m/s^2", "_m_s": "m/s", "_km_h": "km/h", "_rad_s": "rad/s", "_deg_s": "deg/s",
    "_m": "m", "_cm": "cm", "_mm": "mm", "_km": "km", "_ft": "ft", "_mph": "mph", "_kmh": "km/h",
    "_kt": "kt", "_knots": "kt", "_mps": "m/s", "_deg": "deg", "_rad": "rad", "_s": "s",
    "_sec": "s", "_ms": "ms", "_us": "us", "_ns": "ns", "_v": "V", "_mv": "mV", "_a": "A",
    "_ma": "mA", "_mah": "mAh", "_wh": "Wh", "_pct": "%", "_percent": "%", "_hz": "Hz",
    "_degc": "degC", "_celsius": "degC", "_pa": "Pa", "_hpa": "hPa", "_mbar": "mbar",
    "_rpm": "rpm", "_db": "dB", "_dbm": "dBm", "_gauss": "gauss", "_nm": "N m", "_kg": "kg",
}  # fmt: skip
_ROS_TIME = re.compile(r"%?time|field\.(?:.*\.)?stamp")
_LETTERS_BEFORE_HASH = 40


def columns_of(
    header: Sequence[str] | None, units: Sequence[str] | None, width: int
) -> tuple[Column, ...]:
    """A column per field, under the name the header gives it.

    An empty name, and every name of a table without header, is `c<place>` (1-based); a name that
    was there before gets `#2`, `#3`. The unit is the cell of the units row, else what stands in
    brackets at the end of the name (`alt (m)`), else the name's own suffix (`speed_m_s`). `rostopic
    echo -p` writes all its times in nanoseconds.
    """
    found = []
    is_rostopic = bool(header) and _is_rostopic(header or ())
    taken: set[str] = set()
    for place in range(width):
        given = header[place] if header and place < len(header) else ""
        name = base = given or f"c{place + 1}"
        number = 2
        while name in taken:
            name = f"{base}#{number}"
            number += 1
        taken.add(name)
        below = units[place].strip("[]() ") if units and place < len(units) else ""
        unit = (below if below not in ("", "-") else None) or unit_of(base)
        found.append(Column(name, "ns" if is_rostopic and _ROS_TIME.fullmatch(base) else unit))
    return tuple(found)


def _is_rostopic(header: Sequence[str]) -> bool:
    """`%time,field.header.seq,field.header.stamp,...`"""
    is_first = header[0] in ("%time", "time")
    return is_first and len(header) > 1 and all(name.startswith("field") for name in header[1:])


def batch_names(columns: Sequence[Column]) -> list[str]:
    """Names of the columns in a batch of `stream.Rows`; those of its two own columns are taken, so
    that a source's `ts` is `ts#2` there."""
    names = ["t_boot_us", "ts"]
    for column in columns:
        name, number = column.source_name, 2
        while name in names[:2]:
            name = f"{column.source_name}#{number}"
            number += 1
        names.append(name)
    return names


def unit_of(name: str) -> str | None:
    """The unit that a column's name says."""
    bracketed = _BRACKETED.fullmatch(name)
    if bracketed:
        unit = bracketed[1]
        is_unit = _UNIT.fullmatch(unit) and unit.lower() not in _NO_UNITS
        return unit if is_unit else None
    lower = name.lower()
    # The longest suffix first: `_m_s` before `_s`.
    for suffix, unit in sorted(_SUFFIXES.items(), key=lambda pair: -len(pair[0])):
        if lower.endswith(suffix) and len(lower) > len(suffix):
            return unit
    return None


def topic_of(columns: Sequence[Column]) -> str:
    """The table of all logs with this header: its first three names and a hash of all of them.

    Equal headers share a table, whatever the case and the spaces; other columns make another one,
    so that unlike loggers never meet in one table: `timestamp_u0_u1_3fa5c2`.
    """
    names = [" ".join(column.source_name.lower().split()) for column in columns]
    digest = hashlib.sha256("\x1f".join(names).encode()).hexdigest()
    words = [re.sub(r"[^a-z0-9]+", "_", name).strip("_") for name in names]
    readable = "_".join([word for word in words if word][:3])[:_LETTERS_BEFORE_HASH].strip("_")
    return f"{readable or 'table'}_{digest[:6]}"
