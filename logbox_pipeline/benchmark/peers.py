"""Run what a user would pick instead, as a process of its own."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from logbox_pipeline.core.errors import LogboxError
from logbox_pipeline.settings import Settings

DLT = "dlt[postgres,filesystem]==1.31.0"
_DLT_SCRIPT = Path(__file__).with_name("dlt_script.py")
_PLAIN_SCRIPT = Path(__file__).with_name("plain_script.py")


def measure_dlt(venv: Path, files: Path, database_url: str, say: Callable[[str], None]) -> float:
    """Seconds dlt takes to load the `*.jsonl` files of a folder into Postgres.

    Raises LogboxError with dlt's own words when it fails.
    """
    python = venv / "bin" / "python"
    if not python.exists():
        say(f"installing {DLT} into {venv}")
        _run([sys.executable, "-m", "venv", str(venv)])
        _run([str(python), "-m", "pip", "install", "--quiet", DLT])
    with tempfile.TemporaryDirectory() as home:
        printed = _run(
            [str(python), str(_DLT_SCRIPT), str(files), database_url],
            {
                "HOME": home,
                "DLT_DATA_DIR": home,
                "RUNTIME__DLTHUB_TELEMETRY": "false",
                "EXTRACT__WORKERS": "2",
                "NORMALIZE__WORKERS": "2",
                "LOAD__WORKERS": "4",
                "PATH": "/usr/bin:/bin",
            },
        )
    return float(printed.splitlines()[-1])


def measure_plain_script(settings: Settings, prefix: str, database_url: str) -> float:
    """Seconds that pyulog, pandas and COPY csv take for the ULogs below a prefix of landing.

    Raises LogboxError with the script's own words when it fails.
    """
    printed = _run(
        [sys.executable, str(_PLAIN_SCRIPT), database_url, settings.landing_bucket, prefix],
        {
            "AWS_ENDPOINT_URL_S3": settings.s3_endpoint or "",
            "AWS_DEFAULT_REGION": settings.s3_region,
            "AWS_ACCESS_KEY_ID": settings.s3_access_key_id or "",
            "AWS_SECRET_ACCESS_KEY": settings.s3_secret_access_key or "",
            "PATH": "/usr/bin:/bin",
        },
    )
    return float(printed.splitlines()[-1])


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LogboxError(
            f"{' '.join(command[:4])} failed:\n{(done.stdout + done.stderr)[-2_000:]}"
        )
    return done.stdout
