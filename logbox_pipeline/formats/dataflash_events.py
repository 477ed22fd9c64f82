"""What a DataFlash log tells: texts, modes, errors, arming as events; parameters; who it is.

Gets the fields of single messages, binary or text; no bytes and no clock here.
"""

import json
import math
import re
from dataclasses import dataclass, field

from logbox_pipeline.formats.ardupilot_modes import mode_name
from logbox_pipeline.formats.dataflash_names import (
    ARMING_METHODS,
    BOARDS,
    ERROR_SUBSYSTEMS,
    EVENTS,
    MODE_REASONS,
    VEHICLE_OF_BUILD,
    error_code_name,
)
from logbox_pipeline.formats.text import clean_text

Value = str | int | float | bytes | list[int]
Fields = dict[str, Value]

EVENT_TOPICS = frozenset(("MSG", "MODE", "ERR", "EV", "ARM", "VER"))
PARAMETER_TOPIC = "PARM"
TEXT_SOURCE = "dataflash"

_CLOCKS = ("TimeUS", "TimeMS")
_MOST_PARAMETERS = 100_000
_MOST_INFO = 60
_SEVERITIES = (
    ("PreArm:", 2),
    ("Arm:", 2),
    ("Crash: ", 0),
    ("Potential Thrust Loss", 0),
    ("Internal Error", 2),
    ("Internal Errors", 2),
    ("EKF variance", 2),
    ("GPS Glitch or Compass error", 2),
)
"""DataFlash drops the severity that ArduPilot gave a text. These are what its sources give them
(AP_Arming::check_failed, Copter::crash_check, Copter::thrust_loss_check, AP_InternalError,
Copter::ekf_check, Copter::gpsglitch_check); of other texts nobody knows."""

_BANNER = re.compile(
    r"(?:^|[\s:])(?:Ardu|APM)?(Copter|Plane|[Rr]over2?|Sub|Blimp|AntennaTracker)[\s-]+\S*\d"
)
_KIND_OF_BANNER = {
    "Copter": "copter", "Plane": "plane", "Rover": "rover", "rover": "rover", "Rover2": "rover",
    "rover2": "rover", "Sub": "sub", "Blimp": "blimp", "AntennaTracker": "tracker",
}  # fmt: skip
_BOARD = re.compile(
    r"([A-Za-z][\w+-]{1,30}) ([0-9A-Fa-f]{5,8}) ([0-9A-Fa-f]{5,8}) ([0-9A-Fa-f]{5,8})"
)
_WHOLE = re.compile(r" *-?[0-9]{1,18} *")
_MACHINE_ID = re.compile(r"[0-9a-f]{32}")
_SYSTEM = re.compile(r"(ChibiOS|NuttX|PX4): ([0-9a-f]{6,10})(?: NuttX: ([0-9a-f]{6,10}))?")


@dataclass
class Identity:
    """Who wrote the log, gathered from MSG texts and VER."""

    vehicle: str | None = None
    firmware: str | None = None
    hardware: str | None = None
    vehicle_uid: str | None = None
    info: dict[str, str | int | float] = field(default_factory=dict)

    def take(self, topic: str, fields: Fields) -> None:
        if topic == "MSG":
            text = fields.get("Message")
            if isinstance(text, str):
                self.take_text(clean_text(text).strip())
        elif topic == "VER":
            self._take_version(fields)

    def take_text(self, text: str) -> None:
        banner = _BANNER.search(text)
        if banner and self.firmware is None:
            self.firmware = text
            self.vehicle = self.vehicle or _KIND_OF_BANNER.get(banner[1])
            return
        board = _BOARD.fullmatch(text)
        if board and self.vehicle_uid is None:
            # The words of the processor's unique id, as the firmware prints them.
            self.hardware = board[1]
            self.vehicle_uid = (board[2] + board[3] + board[4]).lower()
        elif _MACHINE_ID.fullmatch(text) and self.vehicle_uid is None:
            self.vehicle_uid = text
        elif text.startswith("Frame: "):
            self._note("frame", text.removeprefix("Frame: "))
        elif text.startswith("RC Protocol: "):
            self._note("rc_protocol", text.removeprefix("RC Protocol: "))
        elif text.startswith("Param space used: "):
            self._note("param_space", text.removeprefix("Param space used: "))
        elif _SYSTEM.fullmatch(text):
            self._note("system", text)

    def _take_version(self, fields: Fields) -> None:
        text = fields.get("FWS")
        if isinstance(text, str) and text:
            if self.firmware is None:
                self.take_text(clean_text(text).strip())
            self.firmware = self.firmware or clean_text(text)
        build = fields.get("BU")
        if self.vehicle is None and isinstance(build, int):
            self.vehicle = VEHICLE_OF_BUILD.get(build)
        board = fields.get("BT")
        if isinstance(board, int) and board in BOARDS:
            self._note("board_type", BOARDS[board])
        for name, key in (("APJ", "board_id"), ("BST", "board_subtype")):
            number = fields.get(name)
            if isinstance(number, int):
                self._note(key, number)
        number = fields.get("GH")
        if isinstance(number, int):
            self._note("git_hash", f"{number:08x}")

    def _note(self, key: str, value: str | int) -> None:
        if len(self.info) < _MOST_INFO:
            self.info.setdefault(key, value)


def event(topic: str, fields: Fields, vehicle: str | None) -> tuple[int | None, str, str, str]:
    """(level, source, message, attributes) of a message of EVENT_TOPICS."""
    read = _READERS.get(topic, _text)
    level, source, message = read(fields, vehicle)
    left_out = ("Message",) if topic == "MSG" else ()
    return level, source, message, attributes_text(fields, left_out)


def attributes_text(fields: Fields, left_out: tuple[str, ...] = ()) -> str:
    """The raw fields as a JSON object; what JSON has no number for as text."""
    kept = {
        name: _for_json(value)
        for name, value in fields.items()
        if name not in _CLOCKS and name not in left_out
    }
    return json.dumps(kept, ensure_ascii=False) if kept else ""


def _for_json(value: Value) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, bytes):
        return value.hex()
    return clean_text(value) if isinstance(value, str) else value


def severity(text: str) -> int | None:
    return next((level for start, level in _SEVERITIES if text.startswith(start)), None)


def _text(fields: Fields, vehicle: str | None) -> tuple[int | None, str, str]:
    message = clean_text(str(fields.get("Message", "")))
    return severity(message), TEXT_SOURCE, message


def _mode(fields: Fields, vehicle: str | None) -> tuple[int | None, str, str]:
    number = _number(fields, "ModeNum", "Mode")
    said = fields.get("Mode")
    name = mode_name(vehicle, number) if vehicle and number is not None else None
    if name is None:
        has_letters = isinstance(said, str) and not said.strip().lstrip("-").isdigit()
        name = clean_text(str(said)).strip().upper() if has_letters else f"mode {number}"
    reason = _number(fields, "Rsn", "Reason")
    because = f" ({MODE_REASONS[reason]})" if reason in MODE_REASONS and reason else ""
    return 5, "logbox.mode", name + because


def _error(fields: Fields, vehicle: str | None) -> tuple[int | None, str, str]:
    subsystem, code = _number(fields, "Subsys"), _number(fields, "ECode")
    where = ERROR_SUBSYSTEMS.get(subsystem or 0, f"subsystem {subsystem}")
    name = None
    if subsystem is not None and code is not None:
        if subsystem == 10 and vehicle:
            name = mode_name(vehicle, code)
        name = name or error_code_name(subsystem, code)
    is_resolved = code == 0 and subsystem not in (10, 24, 30)
    return 5 if is_resolved else 3, "logbox.error", f"{where}: {name or f'code {code}'}"


def _happening(fields: Fields, vehicle: str | None) -> tuple[int | None, str, str]:
    number = _number(fields, "Id")
    name = EVENTS.get(number or 0, f"event {number}")
    return 5 if number in (10, 11) else 6, "logbox.event", name


def _arming(fields: Fields, vehicle: str | None) -> tuple[int | None, str, str]:
    state, method = _number(fields, "ArmState"), _number(fields, "Method")
    by = f" ({ARMING_METHODS[method]})" if method in ARMING_METHODS else ""
    forced = ", forced" if _number(fields, "Forced") else ""
    return 5, "logbox.arm", ("armed" if state else "disarmed") + by + forced


def _version(fields: Fields, vehicle: str | None) -> tuple[int | None, str, str]:
    text = fields.get("FWS")
    if not isinstance(text, str):
        text = ".".join(str(fields.get(name)) for name in ("Maj", "Min", "Pat"))
    return 6, "logbox.version", clean_text(text)


_READERS = {
    "MODE": _mode,
    "ERR": _error,
    "EV": _happening,
    "ARM": _arming,
    "VER": _version,
}


def _number(fields: Fields, *names: str) -> int | None:
    for name in names:
        value = fields.get(name)
        if isinstance(value, int):
            return value
        if isinstance(value, str) and _WHOLE.fullmatch(value):
            return int(value)
    return None


class Settings:
    """Parameters in the order of the log: first seen is `initial`, another value later `changed`,
    the same value again says nothing new."""

    def __init__(self) -> None:
        self._values: dict[str, float] = {}
        self._defaults: set[str] = set()

    def take(
        self,
        name: str | int | float | None,
        value: str | int | float | None,
        default: str | int | float | None,
        t_boot_us: int | None,
    ) -> list[tuple[str, str, int | None, float, str]]:
        """Rows of PARAMETER_SCHEMA; none for what is no parameter."""
        if not isinstance(name, str) or not isinstance(value, int | float) or not name:
            return []
        name, value = clean_text(name), float(value)
        rows: list[tuple[str, str, int | None, float, str]] = []
        before = self._values.get(name)
        if before is None:
            rows.append((name, "initial", None, value, "float"))
        elif before != value and (before == before or value == value):
            rows.append((name, "changed", t_boot_us, value, "float"))
        if before is not None or len(self._values) < _MOST_PARAMETERS:
            self._values[name] = value
        if isinstance(default, float) and default == default and name not in self._defaults:
            if len(self._defaults) < _MOST_PARAMETERS:
                self._defaults.add(name)
            rows.append((name, "default_system", None, default, "float"))
        return rows
