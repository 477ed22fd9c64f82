"""A small fleet: what its drones upload, and what must come out.

Most of the uploads are in order, the others are what goes wrong in the field. How each file is
written stands in `fleet_logs`, how it is sent in `fleet_send`; what comes out is looked at and
judged elsewhere.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from logbox_pipeline.simulator.fleet_ledger import Sent
from logbox_pipeline.simulator.fleet_logs import (
    Declares,
    Drone,
    ExpectedFlight,
    Upload,
)
from logbox_pipeline.simulator.fleet_plan import Fault
from logbox_pipeline.simulator.fleet_run import Packed
from logbox_pipeline.simulator.fleet_send import Keys


def make_fleet(folder: Path, clients: tuple[str, str], now: datetime) -> list[Upload]:
    """Write every file below `folder`. Each drone's uploads are together, in its own order."""
    alpine, harbour = clients
    morning = now.replace(second=0, microsecond=0) - timedelta(hours=3)
    heron = Drone(folder, alpine, "heron", morning)
    kite = Drone(folder, alpine, "kite", morning)
    gull = Drone(folder, harbour, "gull", morning)
    tern = Drone(folder, harbour, "tern", morning)
    swift = Drone(folder, harbour, "swift", morning)
    flight = heron.ulog("log_12.ulg", 1, duration_s=120)
    return [
        flight,
        heron.tlog("log_12.tlog", 1, duration_s=120, autopilot="px4"),
        heron.packed_ulog("log_13.ulg.gz", 2, duration_s=60),
        heron.packed_ulog("log_14.ulg.zst", 3, duration_s=40),
        heron.intruding("astray.ulg", into=harbour),
        heron.repeating(flight, "log_12 (1).ulg"),
        kite.cut_ulog("log_7.ulg", 1, duration_s=60),
        *kite.growing("companion-1.jsonl", "companion-2.jsonl", lines=12_000),
        kite.mismatched("torn.jsonl"),
        kite.recording("perception.mcap"),
        kite.unknown("camera.raw"),
        gull.dataflash("00000042.BIN", 1, duration_s=90),
        gull.dataflash("00000043.log", 2, duration_s=30, is_text=True),
        gull.tlog("2026-11-24 14-02.tlog", 3, duration_s=120, autopilot="ardupilot"),
        gull.jsonl("mission.jsonl", lines=8_000, bad_lines=5),
        gull.undeclared("no-digest.ulg"),
        tern.ulog("indoor.ulg", 1, duration_s=45, has_gps=False),
        tern.text("syslog", lines=3_000, style="rfc3164"),
        tern.text("router.log", lines=1_000, style="logfmt"),
        tern.text("planner.log", lines=1_000, style="python"),
        tern.table("battery.csv", rows=2_000, style="plain"),
        tern.table("messages.csv", rows=1_000, style="log"),
        tern.card("card.zip", 2, duration_s=40),
        swift.dji_app("ipad-phantom4.log", 1, duration_s=90),
    ]


def packed(fleet: Sequence[Upload], keys: Keys) -> list[Packed]:
    """Ready to go, all at once, and each as its file and its target ask for."""
    return [
        Packed(Sent(number, upload, keys.of(upload).access_key_id, _fault(upload)), upload.path, 0)
        for number, upload in enumerate(fleet)
    ]


def rows_by_log(fleet: Sequence[Upload]) -> dict[tuple[str, str], int]:
    """The ledger: rows that must stand, by (log_id, table)."""
    return {
        (upload.log_id_of(log), table): rows
        for upload in fleet
        for log in upload.logs
        for table, rows in log.tables.items()
        if rows
    }


def flights_by_logs(fleet: Sequence[Upload]) -> dict[frozenset[str], ExpectedFlight]:
    """The flights that must be found, by the ids of all logs that saw them."""
    seen: dict[tuple[str, str, int], list[tuple[str, ExpectedFlight]]] = {}
    for upload in fleet:
        for log in upload.logs:
            if log.flight is not None:
                place = (upload.client, upload.vehicle, log.flight.number)
                seen.setdefault(place, []).append((upload.log_id_of(log), log.flight))
    return {
        frozenset(log_id for log_id, _ in found): min(
            (flight for _, flight in found), key=lambda flight: flight.is_seen_from_ground
        )
        for found in seen.values()
    }


def _fault(upload: Upload) -> Fault | None:
    if upload.client != upload.key_of:
        return Fault.WRONG_PREFIX
    match upload.declares:
        case Declares.ANOTHER:
            return Fault.TAMPERED
        case Declares.NONE:
            return Fault.UNDECLARED
        case Declares.ITS_OWN:
            return None
