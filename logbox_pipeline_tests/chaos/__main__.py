"""`make chaos`: a fleet flies, everything fails meanwhile, and in the end nothing is missing.

    python -m logbox_pipeline_tests.chaos [--seed N] [--minutes M] [--keep]

Exit 0: all faults were survived, and every store holds what it must; 1: not, and what differs.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from logbox_pipeline_tests.chaos.aftermath import SETTLES_S, differences, wait_until_settled
from logbox_pipeline_tests.chaos.faults import not_possible
from logbox_pipeline_tests.chaos.fleet import Fleet
from logbox_pipeline_tests.chaos.ground import Ground
from logbox_pipeline_tests.chaos.night import pass_night
from logbox_pipeline_tests.chaos.storm import Tally, rage

MEAN_GAP_S = 2.5
ENOUGH_MEMORY_BYTES = 8 * 1024**3


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--keep", action="store_true", help="leave the folder to look at")
    options = parser.parse_args()
    folder = quick_folder() / f"logbox-chaos-{options.seed}-{int(time.time())}"
    ground = Ground(folder, seed=options.seed)
    say(f"seed {options.seed}, {options.minutes:g} minutes, in {folder}")
    wrong = ["it broke off"]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        ground.start()
        wrong = run(ground, options.seed, options.minutes)
    except KeyboardInterrupt:
        wrong = ["interrupted"]
    finally:
        # A second ctrl-c would leave servers and mounts behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        ground.end(keep=options.keep or bool(wrong))
    for one in wrong:
        say(f"WRONG: {one}")
    if wrong:
        say(f"again: make chaos seed={options.seed} minutes={options.minutes:g}")
        sys.exit(1)
    say("nothing is missing, nothing is there twice")


def run(ground: Ground, seed: int, minutes: float) -> list[str]:
    """What is wrong in the end."""
    fleet = Fleet(ground, seed=seed, over_s=60 * minutes, settles_s=SETTLES_S)
    fleet.wait_for_ledger()
    ends_at = time.monotonic() + 60 * minutes
    tally = rage(
        ground,
        seed=seed,
        until=lambda: time.monotonic() > ends_at,
        mean_gap_s=MEAN_GAP_S,
        say=say,
    )
    say("the storm is over")
    calm_at = time.monotonic()
    settled_s, left = wait_until_settled(ground, say, since=calm_at)
    of_fleet = fleet.wait(SETTLES_S)
    of_night = [] if left else pass_night(ground, tally)
    print_table(tally)
    kinds = len(tally.struck) + len(tally.never_struck)
    say(f"{len(tally.struck)} of {kinds} kinds of faults struck; more minutes, more kinds")
    for kind in not_possible(ground):
        say(f"not tried: {kind}")
    for kind in tally.never_struck:
        say(f"its turn did not come, or it found nothing to strike: {kind}")
    say(f"settled {settled_s:.0f} s after the storm, of {SETTLES_S:.0f} s allowed")
    lost = tally.struck - tally.survived
    return [
        *(() if tally.struck else ("no fault struck: nothing is shown",)),
        *(f"{count} x {kind}: not back in time" for kind, count in sorted(lost.items())),
        *(f"not settled: {one}" for one in left),
        *of_fleet,
        *of_night,
        *differences(ground, fleet.ledger),
    ]


def print_table(tally: Tally) -> None:
    table = Table(title="Faults", box=None, header_style="bold")
    table.add_column("fault")
    for name in ("injected", "survived", "s to come back", "at worst"):
        table.add_column(name, justify="right")
    for kind, count in sorted(tally.struck.items()):
        took = tally.came_back_s[kind]
        times = [f"{median(took):.0f}", f"{max(took):.0f}"] if took else ["", ""]
        table.add_row(kind, str(count), str(tally.survived[kind]), *times)
    table.add_row(
        "all", str(sum(tally.struck.values())), str(sum(tally.survived.values())), "", "",
        style="bold",
    )  # fmt: skip
    Console(width=100).print(table)


def quick_folder() -> Path:
    """In memory when there is room: each PUT waits for the disk otherwise."""
    memory = Path("/dev/shm")
    if memory.is_dir() and shutil.disk_usage(memory).free > ENOUGH_MEMORY_BYTES:
        return memory
    return Path(tempfile.gettempdir())


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main()
