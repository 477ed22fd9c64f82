"""The files of a planned fleet: each is written here, with what must come of it.

The bytes follow from the plan, the client's and vehicle's names and the start.
"""

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO

from logbox_pipeline.simulator.csv_writer import STYLES as CSV_STYLES
from logbox_pipeline.simulator.csv_writer import write_csv
from logbox_pipeline.simulator.fleet_logs import (
    Declares,
    Drone,
    ExpectedLog,
    Upload,
    aborted,
    intruding,
    tampered,
    undeclared,
    with_wrong_key,
)
from logbox_pipeline.simulator.fleet_plan import Fault, Kind, PlannedUpload
from logbox_pipeline.simulator.journal_writer import write_journal
from logbox_pipeline.simulator.json_writer import STYLES as JSON_STYLES
from logbox_pipeline.simulator.json_writer import write_json
from logbox_pipeline.simulator.text_writer import STYLES as TEXT_STYLES
from logbox_pipeline.simulator.text_writer import write_text

_TRACES_EVERY = 5
"""Errors to a stack trace. In a log that is mostly traces nobody finds the lines they belong to."""

REVOKED = "revoked"
"""Whose key an upload goes with that goes with the one that was taken away."""

_SAMPLE = 200
"""Lines from which the size of the others is told."""

NOBODY = "nobody-at-all"
"""Whose folder a fleet of one client intrudes into."""


def write_upload(
    planned: PlannedUpload,
    folder: Path,
    clients: Sequence[str],
    started_at: datetime,
    *,
    accepts_undeclared: bool,
) -> Upload:
    """Write one planned file below `folder`. clients: their names, in the plan's order."""
    client = clients[planned.client]
    drone = Drone(
        folder,
        client,
        vehicle_name(planned.drone),
        started_at - timedelta(seconds=planned.began_s),
        planned.seed,
    )
    upload = _numbered(_written(drone, planned), planned)
    match planned.fault:
        case Fault.TAMPERED:
            return tampered(upload)
        case Fault.UNDECLARED if accepts_undeclared:
            return replace(upload, declares=Declares.NONE)
        case Fault.UNDECLARED:
            return undeclared(upload)
        case Fault.WRONG_PREFIX:
            others = [other for other in clients if other != client] or [NOBODY]
            return intruding(upload, into=others[planned.number % len(others)])
        case Fault.WRONG_KEY:
            others = [other for other in clients if other != client] or [REVOKED]
            key_of = others[planned.number % len(others)] if planned.number % 2 else REVOKED
            return with_wrong_key(upload, key_of)
        case Fault.ABORTED:
            return aborted(upload)
    return upload


def repeated(planned: PlannedUpload, first: Upload) -> Upload:
    """The bytes of an upload once more, from another drone or under another name."""
    return replace(
        first, vehicle=vehicle_name(planned.drone), path=first.path.with_name(planned.name)
    )


def vehicle_name(drone: int) -> str:
    return f"drone-{drone + 1:03}"


def _written(drone: Drone, planned: PlannedUpload) -> Upload:
    name, kind, units = planned.name, planned.kind, round(planned.units)
    chance = random.Random(planned.seed)
    is_cut = planned.fault is Fault.TRUNCATED
    match kind:
        case Kind.ULOG if is_cut:
            return drone.cut_ulog(name, 1, duration_s=units)
        case Kind.ULOG:
            return drone.ulog(name, 1, duration_s=units, has_gps=chance.random() < 0.9)
        case Kind.ULOG_GZ | Kind.ULOG_ZST:
            return drone.packed_ulog(name, 1, duration_s=units)
        case Kind.CARD:
            return drone.card(name, 1, duration_s=units, lines=20 * units)
        case Kind.DATAFLASH | Kind.DATAFLASH_TEXT:
            is_text = kind is Kind.DATAFLASH_TEXT
            return drone.dataflash(name, 1, duration_s=units, is_text=is_text)
        case Kind.TLOG:
            autopilot = chance.choice(("px4", "ardupilot"))
            return drone.tlog(name, 1, duration_s=units, autopilot=autopilot)
        case Kind.JSONL if is_cut:
            return drone.cut_jsonl(name, lines=units)
        case Kind.JSONL | Kind.JSONL_GZ:
            return drone.jsonl(name, lines=units)
        case Kind.JSON:
            style = "array" if is_cut else chance.choice(sorted(JSON_STYLES))
            records = _fitting(planned, partial(write_json, seed=0, records=_SAMPLE, style=style))
            if is_cut:
                return drone.cut_json(name, records=records)
            return drone.json(name, records=records, style=style)
        case Kind.JOURNAL:
            entries = _fitting(planned, partial(write_journal, seed=0, entries=_SAMPLE))
            return drone.journal(name, entries=entries)
        case Kind.CSV | Kind.TSV:
            tabbed = [style for style, how in CSV_STYLES.items() if how.delimiter == "\t"]
            other = [style for style in CSV_STYLES if style not in tabbed]
            style = chance.choice(tabbed if kind is Kind.TSV else other)
            rows = _fitting(planned, partial(write_csv, seed=0, rows=_SAMPLE, style=style))
            return drone.table(name, rows=rows, style=style)
        case Kind.SYSLOG | Kind.LOGFMT | Kind.TEXT:
            styles = [style for style, how in TEXT_STYLES.items() if how.format == kind]
            style = chance.choice(styles)
            lines = _fitting(planned, partial(write_text, seed=0, lines=_SAMPLE, style=style))
            return drone.text(name, lines=lines, style=style, traces_every=_TRACES_EVERY)
        case Kind.DJI:
            return drone.dji_app(name, 1, duration_s=units)
        case Kind.RAW:
            return drone.unknown(name, planned.size_bytes)


def _fitting(planned: PlannedUpload, write: Callable[[BinaryIO], object]) -> int:
    """Lines that are not more bytes than planned, nor more than what its time is enough for:
    styles differ in what a line takes."""
    out = io.BytesIO()
    write(out)
    lines = planned.size_bytes * _SAMPLE // len(out.getvalue())
    return max(1, min(lines, round(planned.units)))


def _numbered(upload: Upload, planned: PlannedUpload) -> Upload:
    """Its flights are told apart by the number of the upload."""

    def numbered(log: ExpectedLog) -> ExpectedLog:
        return (
            log
            if log.flight is None
            else replace(log, flight=replace(log.flight, number=planned.number))
        )

    return replace(upload, logs=tuple(numbered(log) for log in upload.logs))
