"""The fleet that flies through the storm: `logbox simulate`, with all its own faults.

Drones reach S3 by way of the proxy, as Logbox does; the simulator itself looks straight.
"""

import subprocess
import time

from logbox_pipeline.local.processes import end_group
from logbox_pipeline_tests.chaos.ground import Ground

CLIENTS, DRONES = 3, 4
EVERY_S = 4.0
"""Seconds between two uploads of the whole fleet."""

LARGEST = "1M"
READY_S = 180


class Fleet:
    """One `logbox simulate` in a process of its own, whose uploads begin within `over_s`."""

    def __init__(self, ground: Ground, *, seed: int, over_s: float, settles_s: float) -> None:
        self.ledger = ground.folder / "ledger.jsonl"
        self._log = ground.folder / "simulate.log"
        logs = max(1, round(over_s / EVERY_S / CLIENTS / DRONES))
        self._process = ground.begin(
            "simulate", "--clients", str(CLIENTS), "--drones", str(DRONES), "--logs", str(logs),
            "--seed", str(seed), "--over", f"{over_s:.0f}", "--largest", LARGEST,
            "--ledger", str(self.ledger), "--timeout", f"{settles_s:.0f}",
            log=self._log, settings={"LOGBOX_PUBLIC_S3_ENDPOINT": ground.s3.endpoint},
        )  # fmt: skip

    def wait_for_ledger(self) -> None:
        """Until its clients are made and its logs are written: the uploads begin."""
        deadline = time.monotonic() + READY_S
        while not self.ledger.exists():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError(f"the fleet does not take off:\n{self.said()}")
            time.sleep(0.5)

    @property
    def is_flying(self) -> bool:
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> list[str]:
        """Wait for its end; what was wrong with it."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            end_group(self._process, grace_s=5)
            return [f"the fleet has not ended {timeout_s:.0f} s after the storm:\n{self.said()}"]
        # It compares right after it has settled; what it found too early, --check does not find.
        return [] if code in (0, 1, 3) else [f"the fleet ended with {code}:\n{self.said()}"]

    def said(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]
