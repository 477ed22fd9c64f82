"""What happened to the systems on a MAVLink network: events and parameters. No bytes, no frames.

Texts, changes of mode, arming and state, refused commands and restarts become events in the order
of the file; PARAM_VALUE becomes parameters. A text's source is who said it, `mavlink.<sysid>/
<compid>`; what Logbox concludes is named `logbox.*`. Enums: https://mavlink.io/en/messages/.
"""

import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from logbox_pipeline.formats.mavlink_definitions import Definitions
from logbox_pipeline.formats.mavlink_modes import (
    AUTOPILOT_ARDUPILOT,
    AUTOPILOT_INVALID,
    AUTOPILOT_PX4,
    NO_VEHICLES,
    flight_mode,
)
from logbox_pipeline.formats.stream import EVENT_SCHEMA, PARAMETER_SCHEMA, Events, Parameters
from logbox_pipeline.formats.text import c_string, decode_text

_ARMED = 128
_ACCEPTED, _IN_PROGRESS = 0, 5
_STATE_LEVELS = {5: 2, 6: 0, 7: 5, 8: 0}
_WARNING, _NOTICE, _INFORMATION = 4, 5, 6
_ENCODE_BYTEWISE, _ENCODE_C_CAST = 1 << 4, 1 << 17
_TEXT_BYTES = 50
_MOST_OPEN_TEXTS = 1_000
_LATE_US = 10_000_000
_MISSING = b"[missing]"
_INTEGERS = {1: "<B", 2: "<b", 3: "<H", 4: "<h", 5: "<I", 6: "<i"}
_BANNER = re.compile(r"(?:Ardu\w+|APM\S*|AntennaTracker|Blimp|Rover) V\d.*")
_BOARD = re.compile(r"(\S+) ([0-9A-F]{8}) ([0-9A-F]{8}) ([0-9A-F]{8})")
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
_MOST_PARAMETERS = 100_000


@dataclass(frozen=True)
class Moment:
    """Where an observation stands in the file, and when that was."""

    instance: int
    ts_us: int | None
    t_boot_us: int | None


@dataclass
class System:
    """One component of one system, as far as it has been heard."""

    type: int = 0
    autopilot: int = AUTOPILOT_INVALID
    mode: str | None = None
    is_armed: bool = False
    state: int = 0
    landed: int = 0
    capabilities: int = 0
    texts: dict[int, "_Text"] = field(default_factory=dict)


@dataclass
class _Text:
    """A STATUSTEXT that arrives in chunks."""

    moment: Moment
    severity: int
    chunks: dict[int, bytes] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        last = max(self.chunks)
        return len(self.chunks) == last + 1 and len(self.chunks[last]) < _TEXT_BYTES


class Witness:
    """Gets the observations of a log in order, keeps what is not yet yielded."""

    def __init__(self, known: Definitions, batch_rows: int) -> None:
        self.systems: dict[int, System] = {}
        self.vehicle: int | None = None
        self.version: dict[int, dict[str, Any]] = {}
        self.banner: dict[int, str] = {}
        self.board: dict[int, str] = {}
        self.uid: dict[int, str] = {}
        self.restarts = 0
        self._known = known
        self._batch_rows = batch_rows
        self._events: list[tuple[Any, ...]] = []
        self._parameters: list[_Parameter] = []
        self._values: dict[tuple[int, str], bytes] = {}

    def take(self, name: str, moment: Moment, said: dict[str, Any]) -> None:
        self._finish_late(moment)
        match name:
            case "HEARTBEAT":
                self._take_heartbeat(moment, said)
            case "STATUSTEXT":
                self._take_text(moment, said)
            case "COMMAND_ACK":
                self._take_answer(moment, said)
            case "EXTENDED_SYS_STATE":
                self._take_landed(moment, said["landed_state"])
            case "PARAM_VALUE":
                self._take_parameter(moment, said)
            case "AUTOPILOT_VERSION":
                self._system(moment).capabilities = said["capabilities"]
                self.version.setdefault(moment.instance, said)

    def take_restart(self, moment: Moment, before_us: int, after_us: int) -> None:
        self.restarts += 1
        self._note(
            moment,
            _NOTICE,
            "logbox.restart",
            f"the boot clock stepped back from {before_us / 1e6:.1f} s to {after_us / 1e6:.1f} s",
            before_us=before_us,
            after_us=after_us,
        )

    def ready(self) -> Iterator[Events | Parameters]:
        """Whole batches, as they fill."""
        while len(self._events) >= self._batch_rows:
            yield _events(self._events[: self._batch_rows])
            del self._events[: self._batch_rows]
        while len(self._parameters) >= self._batch_rows:
            yield self._take_out(self._batch_rows)

    def rest(self) -> Iterator[Events | Parameters]:
        """What is left when the log ends."""
        for system in self.systems.values():
            for text in system.texts.values():
                self._finish(text)
            system.texts.clear()
        yield from self.ready()
        if self._events:
            yield _events(self._events)
        if self._parameters:
            yield self._take_out(len(self._parameters))
        self._events = []

    def _take_heartbeat(self, moment: Moment, said: dict[str, Any]) -> None:
        system = self._system(moment)
        system.type, system.autopilot = said["type"], said["autopilot"]
        if system.autopilot == AUTOPILOT_INVALID or system.type in NO_VEHICLES:
            return
        if self.vehicle is None:
            self.vehicle = moment.instance
        is_armed = bool(said["base_mode"] & _ARMED)
        mode = flight_mode(system.autopilot, system.type, said["base_mode"], said["custom_mode"])
        if mode != system.mode:
            self._note(
                moment,
                _NOTICE,
                "logbox.mode",
                mode,
                mode=mode,
                before=system.mode,
                base_mode=said["base_mode"],
                custom_mode=said["custom_mode"],
            )
        if is_armed != system.is_armed:
            word = "armed" if is_armed else "disarmed"
            self._note(moment, _NOTICE, "logbox.arm", word, is_armed=is_armed)
        self._take_state(moment, system, said["system_status"])
        system.mode, system.is_armed = mode, is_armed

    def _take_state(self, moment: Moment, system: System, state: int) -> None:
        was_bad, level = system.state in _STATE_LEVELS, _STATE_LEVELS.get(state)
        if state != system.state and (was_bad or level is not None):
            name = self._known.enum_name("MAV_STATE", state)
            severity = _NOTICE if level is None else level
            self._note(moment, severity, "logbox.state", name, system_status=state)
        system.state = state

    def _take_landed(self, moment: Moment, landed: int) -> None:
        system = self._system(moment)
        if landed not in (0, system.landed):
            name = self._known.enum_name("MAV_LANDED_STATE", landed)
            self._note(moment, _INFORMATION, "logbox.landed", name, landed_state=landed)
            system.landed = landed

    def _take_answer(self, moment: Moment, said: dict[str, Any]) -> None:
        if said["result"] in (_ACCEPTED, _IN_PROGRESS):
            return
        command = self._known.enum_name("MAV_CMD", said["command"])
        result = self._known.enum_name("MAV_RESULT", said["result"])
        self._note(
            moment,
            _WARNING,
            "logbox.command",
            f"{command}: {result}",
            command=said["command"],
            result=said["result"],
        )

    def _take_text(self, moment: Moment, said: dict[str, Any]) -> None:
        raw: bytes = said["text"].split(b"\0", 1)[0]
        if not said["id"]:
            self._say(moment, said["severity"], decode_text(raw))
            return
        texts = self._system(moment).texts
        text, place = texts.get(said["id"]), said["chunk_seq"]
        if text and place in text.chunks:
            if text.chunks[place] == raw:
                return
            # The id came round again: another text.
            self._finish(texts.pop(said["id"]))
            text = None
        if text is None:
            if len(texts) >= _MOST_OPEN_TEXTS:
                self._finish(texts.pop(next(iter(texts))))
            text = texts[said["id"]] = _Text(moment, said["severity"])
        text.chunks[place] = raw
        if text.is_complete:
            self._finish(texts.pop(said["id"]))

    def _finish_late(self, moment: Moment) -> None:
        """A chunk that has not come for long will not come."""
        system = self.systems.get(moment.instance)
        if system is None or not system.texts or moment.ts_us is None:
            return
        for number, text in list(system.texts.items()):
            if text.moment.ts_us is None or moment.ts_us - text.moment.ts_us > _LATE_US:
                self._finish(system.texts.pop(number))

    def _finish(self, text: _Text) -> None:
        last = max(text.chunks)
        joined, is_incomplete = b"", len(text.chunks[last]) == _TEXT_BYTES
        for place in range(last + 1):
            if place in text.chunks:
                joined += text.chunks[place]
            elif place == 0 or place - 1 in text.chunks:
                joined += _MISSING
                is_incomplete = True
        if len(text.chunks[last]) == _TEXT_BYTES:
            joined += _MISSING
        more = {"is_incomplete": True} if is_incomplete else {}
        self._say(text.moment, text.severity, decode_text(joined), chunks=len(text.chunks), **more)

    def _say(self, moment: Moment, severity: int, text: str, **attributes: Any) -> None:
        if _BANNER.fullmatch(text):
            self.banner.setdefault(moment.instance, text)
        if board := _BOARD.fullmatch(text):
            self.board.setdefault(moment.instance, board[1])
            self.uid.setdefault(moment.instance, "".join(board.groups()[1:]).lower())
        elif _MACHINE_ID.fullmatch(text):
            self.uid.setdefault(moment.instance, text)
        level = severity if 0 <= severity <= 7 else None
        source = f"mavlink.{moment.instance >> 8}/{moment.instance & 0xFF}"
        self._note(moment, level, source, text, **attributes)

    def _take_parameter(self, moment: Moment, said: dict[str, Any]) -> None:
        name, raw = c_string(said["param_id"]), said["param_value"]
        key = (moment.instance, name)
        before = self._values.get(key)
        if not name or before == raw:
            return
        self._parameters.append(
            _Parameter(moment, name, raw, said["param_type"], is_first=before is None)
        )
        if before is not None or len(self._values) < _MOST_PARAMETERS:
            self._values[key] = raw

    def _take_out(self, count: int) -> Parameters:
        """As late as possible: how a number is packed is known once its sender has said so."""
        rows = [self._parameter_row(parameter) for parameter in self._parameters[:count]]
        del self._parameters[:count]
        return Parameters(_batch(rows, PARAMETER_SCHEMA))

    def _parameter_row(self, parameter: "_Parameter") -> tuple[Any, ...]:
        """Those of the vehicle under their own names, those of others as `1/154:NAME`."""
        instance = parameter.moment.instance
        system = self.systems.get(instance, System())
        kind = self._known.enum_name("MAV_PARAM_TYPE", parameter.type)
        value = _parameter_value(parameter, system)
        is_ours = instance == self.vehicle or (self.vehicle is None and instance & 0xFF == 1)
        owner = "" if is_ours else f"{instance >> 8}/{instance & 0xFF}:"
        return (
            owner + parameter.name,
            "initial" if parameter.is_first else "changed",
            parameter.moment.t_boot_us,
            value,
            kind.removeprefix("MAV_PARAM_TYPE_").lower().replace("real32", "float"),
        )

    def _system(self, moment: Moment) -> System:
        return self.systems.setdefault(moment.instance, System())

    def _note(
        self, moment: Moment, level: int | None, source: str, message: str, **attributes: Any
    ) -> None:
        said = {"sysid": moment.instance >> 8, "compid": moment.instance & 0xFF, **attributes}
        known = {name: value for name, value in said.items() if value is not None}
        self._events.append(
            (moment.ts_us, moment.t_boot_us, level, source, message, json.dumps(known))
        )


@dataclass(frozen=True)
class _Parameter:
    moment: Moment
    name: str
    raw: bytes
    type: int
    is_first: bool


def _parameter_value(parameter: _Parameter, system: System) -> float:
    """PARAM_VALUE holds a float, or an integer's bytes in the float's place
    (https://mavlink.io/en/services/parameter.html#parameter-encoding)."""
    (cast,) = struct.unpack("<f", parameter.raw)
    packed = _INTEGERS.get(parameter.type)
    if packed is None or system.capabilities & _ENCODE_C_CAST:
        return float(cast)
    is_packed = system.autopilot == AUTOPILOT_PX4 or bool(system.capabilities & _ENCODE_BYTEWISE)
    if not is_packed and system.autopilot != AUTOPILOT_ARDUPILOT:
        # Nobody said. An integer's bytes, read as a float, are next to zero or no number.
        is_packed = cast != cast or (cast != 0 and not float(cast).is_integer())
    if not is_packed:
        return float(cast)
    return float(struct.unpack_from(packed, parameter.raw)[0])


def _events(rows: list[tuple[Any, ...]]) -> Events:
    return Events(_batch(rows, EVENT_SCHEMA))


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = [
        pa.array(list(values), kind.type)
        for values, kind in zip(zip(*rows, strict=True), schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
