"""A small fleet: what its drones upload, how they do it, and what must come out.

Most of the uploads are in order, the others are what goes wrong in the field. How each file is
written stands in `fleet_logs`; what comes out is looked at and judged elsewhere.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from logbox_pipeline.drone.errors import UploadError
from logbox_pipeline.drone.target import Target
from logbox_pipeline.drone.uploader import Uploader
from logbox_pipeline.simulator.fleet_logs import (
    Declares,
    Drone,
    ExpectedFlight,
    Upload,
)


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


def fly(
    fleet: Sequence[Upload],
    targets: Mapping[str, Target],
    *,
    on_uploaded: Callable[[Upload, str | None], None] = lambda upload, refused: None,
    on_trouble: Callable[[str], None] = lambda sentence: None,
) -> dict[str, str]:
    """Upload everything, all drones at once. `targets` has each client's own key.

    Returns the code of each refusal of the store by landing key. Raises UploadError when an upload
    that is in order does not get through.
    """

    def send_all(uploads: list[Upload]) -> dict[str, str]:
        refused = {}
        for upload in uploads:
            code = _send(upload, targets[upload.key_of], on_trouble)
            if code is not None:
                refused[upload.landing_key] = code
            on_uploaded(upload, code)
        return refused

    drones = [list(group) for _, group in groupby(fleet, lambda one: (one.key_of, one.vehicle))]
    refused: dict[str, str] = {}
    with ThreadPoolExecutor(len(drones)) as threads:
        for one in threads.map(send_all, drones):
            refused.update(one)
    return refused


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


def _send(upload: Upload, target: Target, on_trouble: Callable[[str], None]) -> str | None:
    """The code of the store's refusal, or None."""
    is_regular = upload.declares is Declares.ITS_OWN and upload.client == target.client
    if not is_regular:
        return _put_plainly(upload, target)
    drone = replace(target, vehicle=upload.vehicle)
    Uploader(drone, on_trouble=on_trouble).upload(upload.path)
    return None


def _put_plainly(upload: Upload, target: Target) -> str | None:
    """PUT as any S3 client does: the drone's uploader never does what is wrong on purpose."""
    s3 = boto3.session.Session().client(
        "s3",
        endpoint_url=target.endpoint or None,
        region_name=target.region,
        aws_access_key_id=target.access_key_id,
        aws_secret_access_key=target.secret_access_key,
        config=Config(s3={"addressing_style": "path" if target.endpoint else "auto"}),
    )
    try:
        with upload.path.open("rb") as body:
            s3.put_object(
                Bucket=target.bucket,
                Key=upload.landing_key,
                Body=body,
                Metadata=dict(_declared(upload)),
            )
    except ClientError as refused:
        return str(refused.response["Error"]["Code"])
    except BotoCoreError as wrong:
        raise UploadError(f"{upload.path}: {wrong}") from None
    return None


def _declared(upload: Upload) -> Iterator[tuple[str, str]]:
    if upload.declares is Declares.ITS_OWN:
        yield "sha256", upload.sha256
    elif upload.declares is Declares.ANOTHER:
        yield "sha256", upload.sha256[::-1]
