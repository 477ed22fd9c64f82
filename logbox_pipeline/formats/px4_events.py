"""PX4's events to text: what an id and packed arguments mean, by the definitions in the log.

The definitions are the `all_events.json` of libevents (https://github.com/mavlink/libevents), which
PX4 1.13 and newer write into the ULog as `metadata_events`, compressed with xz. No ULog here.
"""

import lzma
import re
import struct

import msgspec

_LARGEST_DEFINITIONS = 16 * 1024 * 1024
_MOST_BITS = 64
_DECODERS = {
    "uint8_t": struct.Struct("<B"),
    "int8_t": struct.Struct("<b"),
    "uint16_t": struct.Struct("<H"),
    "int16_t": struct.Struct("<h"),
    "uint32_t": struct.Struct("<I"),
    "int32_t": struct.Struct("<i"),
    "uint64_t": struct.Struct("<Q"),
    "int64_t": struct.Struct("<q"),
    "float": struct.Struct("<f"),
}
_PROFILE = "dev"
_TOKEN = re.compile(
    r"""
    \\(?P<escaped>.)
    | <(?P<tag>[a-z]+)(?:\ [a-z]+="(?P<value>[^"]*)")?>(?P<content>.*?)</(?P=tag)>
    | \{(?P<index>\d+)(?::(?:\.(?P<digits>\d{1,2}))?)?(?P<unit>m\^2|m_v|m/s|m|C)?\}
    """,
    re.VERBOSE | re.DOTALL,
)


class _Entry(msgspec.Struct):
    description: str = ""


class _Enum(msgspec.Struct):
    type: str
    entries: dict[str, _Entry] = {}
    is_bitfield: bool = False
    separator: str = "|"


class _Argument(msgspec.Struct):
    type: str
    name: str = ""


class _Event(msgspec.Struct):
    name: str = ""
    message: str = ""
    arguments: list[_Argument] = []


class _Group(msgspec.Struct):
    events: dict[str, _Event] = {}


class _Component(msgspec.Struct):
    namespace: str = ""
    event_groups: dict[str, _Group] = {}
    enums: dict[str, _Enum] = {}


class _Document(msgspec.Struct):
    components: dict[str, _Component] = {}


class EventText(msgspec.Struct, frozen=True):
    """What an event says. `group` is `default` for what is meant for people."""

    name: str
    namespace: str
    group: str
    message: str


class Definitions:
    """Event definitions of one firmware."""

    def __init__(self, document: _Document) -> None:
        self._events: dict[int, tuple[_Component, str, _Event]] = {}
        self._enums: dict[str, _Enum] = {}
        for number, component in document.components.items():
            for name, enum in component.enums.items():
                self._enums[f"{component.namespace}::{name}"] = enum
            for group_name, group in component.event_groups.items():
                for sub_id, event in group.events.items():
                    if number.isdecimal() and sub_id.isdecimal():
                        event_id = int(number) << 24 | int(sub_id)
                        self._events.setdefault(event_id, (component, group_name, event))

    def text(self, event_id: int, arguments: bytes) -> EventText | None:
        """The event with its arguments filled in; None when the definitions do not know it."""
        if event_id not in self._events:
            return None
        component, group, event = self._events[event_id]
        values = self._values(component.namespace, event, arguments)
        message = _rendered(event.message, values)
        return EventText(event.name, component.namespace, group, message.strip())

    def _values(self, namespace: str, event: _Event, arguments: bytes) -> list[str | float]:
        """Packed one behind the other; those that do not fit any more are left out."""
        values: list[str | float] = []
        offset = 0
        for argument in event.arguments:
            name = argument.type if "::" in argument.type else f"{namespace}::{argument.type}"
            enum = self._enums.get(name) if argument.type not in _DECODERS else None
            decoder = _DECODERS.get(enum.type if enum else argument.type)
            if decoder is None or offset + decoder.size > len(arguments):
                break
            (value,) = decoder.unpack_from(arguments, offset)
            offset += decoder.size
            values.append(value if enum is None else _named(enum, value))
        return values


def load_definitions(compressed: bytes) -> Definitions | None:
    """`metadata_events` as it stands in the log; None when it is damaged or no such thing."""
    try:
        decoder = lzma.LZMADecompressor(memlimit=256 * 1024 * 1024)
        document = decoder.decompress(compressed, _LARGEST_DEFINITIONS)
        return Definitions(msgspec.json.decode(document, type=_Document))
    except (lzma.LZMAError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _named(enum: _Enum, value: int) -> str:
    if not enum.is_bitfield:
        entry = enum.entries.get(str(value))
        return entry.description if entry else f"(unknown: {value})"
    bits = [1 << bit for bit in range(_MOST_BITS) if value >> bit & 1]
    named = [enum.entries.get(str(bit)) for bit in bits]
    return enum.separator.join(
        entry.description if entry else f"(unknown: {value})" for entry in named
    )


def _rendered(template: str, values: list[str | float]) -> str:
    """libevents' message format: escapes, tags (profile, a, param), arguments counted from 1."""

    def replaced(match: re.Match[str]) -> str:
        if match["escaped"] is not None:
            return match["escaped"]
        if match["tag"] is not None:
            return _tag(match["tag"], match["value"], match["content"], values)
        index = int(match["index"]) - 1
        if not 0 <= index < len(values):
            return match[0]
        value = values[index]
        digits = match["digits"]
        text = f"{value:.{digits}f}" if digits and not isinstance(value, str) else f"{value}"
        unit = {None: "", "m_v": " m"}.get(match["unit"], f" {match['unit']}")
        return text + unit

    return _TOKEN.sub(replaced, template)


def _tag(name: str, value: str | None, content: str, values: list[str | float]) -> str:
    if name == "profile":
        wanted = value or ""
        is_shown = wanted[1:] != _PROFILE if wanted.startswith("!") else wanted == _PROFILE
        return _rendered(content, values) if is_shown else ""
    return content if name in ("a", "param") else ""
