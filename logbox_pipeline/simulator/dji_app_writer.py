"""Write flight logs as the DroneDeploy app does, and say exactly what must come out.

The layout is that of https://github.com/dronedeploy/flight-log-parser (`testlog`): a preamble in
sections, one header, rows ten times a second, a last section. No parsing here.
"""

import math
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

_STEP_MS = 100
_CELLS = 4
_FIRST = (
    "Date/Time (UTC)", "Elapsed Time (sec)", "Info", "Device Latitude (Degrees)",
    "Device Longitude (Degrees)", "Device Location Last Updated (ms)",
    "Aircraft Battery Power (%)", "Aircraft Battery Charge (mAh)", "Aircraft Battery Current (mA)",
    "Aircraft Battery Voltage (mV)", "Aircraft Battery Temperature (Fahrenheit)",
    "Aircraft Battery Last Updated (ms)",
)  # fmt: skip
_LAST = (
    "Aircraft Battery Cell Voltage Last Updated (ms)", "Aircraft Latitude (Degrees)",
    "Aircraft Longitude (Degrees)", "Aircraft Speed (mph)", "Aircraft Barometric Altitude (ft)",
    "Aircraft Heading (Degrees)", "Aircraft Vel - X (mph)", "Aircraft Vel - Y (mph)",
    "Aircraft Vel - Z (mph)", "Aircraft Pitch (Degrees)", "Aircraft Roll (Degrees)",
    "Aircraft Satellites", "Aircraft Motors On", "Aircraft Flying", "Aircraft Flight Mode",
    "Aircraft Flight Mode Value", "Aircraft GPS Signal", "Aircraft GPS Signal Value",
    "Home Latitude (Degrees)", "Home Longitude (Degrees)",
    "Aircraft System State Last Updated (ms)", "Gimbal Pitch (Degrees)", "Gimbal Mode",
    "RC Battery (%)", "RC Signal 1", "Device > Aircraft Distance - XY (ft)",
)  # fmt: skip
_MODES = (("TakeOff", 41), ("F-WP", 14), ("Landing", 12))


@dataclass(frozen=True)
class DjiAppLedger:
    """What must come out of a written file. modes: the flight modes in order. messages: what the
    app said. alt_sum_ft: of `Aircraft Barometric Altitude (ft)`."""

    rows: int
    columns: tuple[str, ...]
    modes: tuple[str, ...]
    messages: tuple[str, ...]
    alt_sum_ft: float
    vehicle_uid: str
    firmware: str
    model: str
    first: datetime
    last: datetime
    last_t_boot_us: int


def write_dji_app(
    out: BinaryIO,
    *,
    seed: int,
    duration_s: float,
    start: datetime = datetime(2026, 11, 24, 9, 0, tzinfo=UTC),
    cells: int = _CELLS,
    is_first_row_short: bool = False,
) -> DjiAppLedger:
    """Write one flight of `duration_s`: up, along a line, down.

    is_first_row_short: the first row comes before the battery is heard and has four cells, as the
    app writes it for larger batteries.
    """
    chance = random.Random(seed)
    uid, firmware, model = f"0AXDE{seed:05d}", "01.05.0600", "Phantom 4 Pro"
    names = (*_FIRST, *(f"Aircraft Battery Cell {n + 1} Voltage" for n in range(cells)), *_LAST)
    lines = _preamble(start, uid, firmware, model, cells)
    lines.append("\t".join(names))
    rows = max(3, int(duration_s * 1000 / _STEP_MS))
    alt_sum_ft = 0.0
    modes: list[str] = []
    messages: list[str] = []
    elapsed_ms = 0
    for number in range(rows):
        elapsed_ms = 126 + number * _STEP_MS
        share = number / (rows - 1)
        mode, value = _MODES[min(int(share * len(_MODES)), len(_MODES) - 1)]
        if not modes or modes[-1] != mode:
            modes.append(mode)
        info = {0: "Mission did take off", rows // 2: "Camera Disconnected"}.get(number, "")
        messages += [info] if info else []
        alt_ft = round(100 * math.sin(math.pi * share), 5)
        alt_sum_ft += alt_ft
        shown = 4 if is_first_row_short and number == 0 else cells
        heard = str(chance.randrange(100)) if number > 2 else "No Data"
        row: list[object] = [
            (start + timedelta(milliseconds=elapsed_ms)).strftime("%m/%d/%Y %H:%M:%S"),
            f"{elapsed_ms / 1000:.3f}", info, "37.77179522443355", "-122.4074760173656",
            elapsed_ms - 8, 90 - int(share * 20), 4_907, -11_762, 15_931, 94, heard,
            *(4_000 + chance.randrange(9) for _ in range(shown)),
            0, f"{37.7718 + share / 1000:.14f}", "-122.4074300677647", 12.5, f"{alt_ft:.5f}",
            "48.2", 0, "0.2236942", 0, "1.1", "-0.5", 15, 1, int(0 < number < rows - 1), mode,
            value, "Very Good", 4, "37.77180618457626", "-122.4074297098351",
            chance.randrange(50), "-89.90000152587891", "Yaw Follow", 88, "N/A",
            f"{13 + share:.10f}",
        ]  # fmt: skip
        lines.append("\t".join(map(str, row)))
    end = start + timedelta(milliseconds=elapsed_ms)
    lines += [
        "#Flight Recorder Session End",
        f"Date/Time (UTC)\t{end:%m/%d/%Y %H:%M:%S}",
        f"Elapsed Time (sec)\t{elapsed_ms / 1000:.3f}",
    ]
    out.write(("\n".join(lines) + "\n").encode())
    return DjiAppLedger(
        rows=rows,
        columns=names,
        modes=tuple(modes),
        messages=tuple(messages),
        alt_sum_ft=alt_sum_ft,
        vehicle_uid=uid,
        firmware=firmware,
        model=model,
        first=(start + timedelta(milliseconds=126)).replace(microsecond=0),
        last=end.replace(microsecond=0),
        last_t_boot_us=elapsed_ms * 1_000,
    )


def _preamble(start: datetime, uid: str, firmware: str, model: str, cells: int) -> list[str]:
    return [
        "#DroneDeploy\t2.75.0",
        "#Flight Recorder",
        "Session ID\t12345678",
        f"Session Start\t{start:%m/%d/%Y %H:%M:%S}",
        "#Device",
        "Device Model\tiPad",
        "Device Operating System\tiOS\t11.2.6",
        "Device SSID",
        "#Aircraft",
        f"Aircraft Model\t{model}",
        f"Aircraft Firmware\t{firmware}",
        "#Aircraft Battery",
        "Full Charge Volume (mAh)\t5842",
        "Remaining Life (%)\t0",
        "#Components",
        f"Battery Cells Number\t{cells}",
        f"Flight Controller Serial Number\t{uid}",
    ]
