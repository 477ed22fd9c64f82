"""Run what a user would pick instead, as a process of its own, on the same S3 and Postgres."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.local.processes import end_group
from logbox_pipeline.settings import Settings

DLT_VERSION = "1.31.0"
_DLT_SCRIPT = Path(__file__).with_name("dlt_script.py")
_PLAIN_SCRIPT = Path(__file__).with_name("plain_script.py")
_ROTATE_AFTER = 50_000


def install_dlt(tools: Path, say: Callable[[str], None]) -> Path:
    """The interpreter of dlt's virtual environment below `tools`, made when it is missing."""
    folder = tools / f"dlt-{DLT_VERSION}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        package = f"dlt[postgres,filesystem,s3,parquet]=={DLT_VERSION}"
        say(f"installing {package} into {folder}")
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(python), "-m", "pip", "install", "--quiet", package])
        (folder / "ready").touch()
    return python


def measure_dlt(python: Path, settings: Settings, prefix: str, kind: str, url: str) -> float:
    """Seconds dlt takes for the `*.jsonl` files below a prefix of landing.

    kind: `postgres` or `filesystem` (Parquet), where `url` is the database or the folder.
    Raises LogboxError with dlt's own words when it fails.
    """
    store = {
        "AWS_ACCESS_KEY_ID": settings.s3_access_key_id or "",
        "AWS_SECRET_ACCESS_KEY": settings.s3_secret_access_key or "",
        "ENDPOINT_URL": settings.s3_endpoint or "",
        "REGION_NAME": settings.s3_region,
    }
    credentials = {
        f"{side}__FILESYSTEM__CREDENTIALS__{name}": value
        for side in ("SOURCES", "DESTINATION")
        for name, value in store.items()
        if value
    }
    # https://dlthub.com/docs/reference/performance: one worker of each kind per core, larger
    # buffers, and files that are rotated, without which only one worker normalizes and loads.
    cores = str(os.cpu_count() or 1)
    speed = {
        "EXTRACT__WORKERS": cores,
        "NORMALIZE__WORKERS": cores,
        "LOAD__WORKERS": "4",
        "DATA_WRITER__BUFFER_MAX_ITEMS": "20000",
        "EXTRACT__DATA_WRITER__FILE_MAX_ITEMS": str(_ROTATE_AFTER),
        "NORMALIZE__DATA_WRITER__FILE_MAX_ITEMS": str(_ROTATE_AFTER),
        "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    }
    with tempfile.TemporaryDirectory() as home:
        folder = f"s3://{settings.landing_bucket}/{prefix}"
        printed = _run(
            [str(python), str(_DLT_SCRIPT), folder, kind, url],
            {"HOME": home, "DLT_DATA_DIR": home, "RUNTIME__DLTHUB_TELEMETRY": "false"}
            | {"PATH": "/usr/bin:/bin"}
            | speed
            | credentials,
        )
    return float(printed.splitlines()[-1])


def measure_plain_script(
    settings: Settings, prefix: str, database_url: str, *, is_lean: bool = False
) -> float:
    """Seconds that the plain script takes for the logs below a prefix of landing.

    is_lean: Postgres alone; else the user's whole job, as the script says.
    Raises LogboxError with the script's own words when it fails.
    """
    store = {
        "AWS_ENDPOINT_URL_S3": settings.s3_endpoint,
        "AWS_DEFAULT_REGION": settings.s3_region,
        "AWS_ACCESS_KEY_ID": settings.s3_access_key_id,
        "AWS_SECRET_ACCESS_KEY": settings.s3_secret_access_key,
    }
    buckets = [settings.landing_bucket, settings.archive_bucket, settings.lake_bucket]
    printed = _run(
        [
            sys.executable, str(_PLAIN_SCRIPT), database_url, *buckets, prefix,
            *(["--lean"] if is_lean else []),
        ],
        {name: value for name, value in store.items() if value} | {"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return float(printed.splitlines()[-1])


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    # A group of its own: a peer's own workers go with it when the benchmark is ended.
    peer = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        said, errors = (text.decode(errors="replace") for text in peer.communicate())
    except BaseException:
        end_group(peer, grace_s=0)
        raise
    if peer.returncode != 0:
        raise LogboxError(
            f"{' '.join(Path(word).name for word in command[:2])} failed:\n"
            f"{(said + errors)[-2_000:]}"
        )
    return said
