"""The night after the storm: what works on the whole store is killed at each of its failpoints too,
and done again until it is done. Compaction, and a rebuild beside the live database."""

import sys
from collections.abc import Sequence
from signal import SIGKILL

from logbox_pipeline_tests.chaos.ground import Ground
from logbox_pipeline_tests.chaos.storm import Tally

COMPACTION = (
    "after_compaction_planned",
    "after_compaction_put",
    "before_compaction_commit",
    "after_compaction_commit",
)
REBUILD = ("after_archive_read", "after_restore", "after_unit_1", "before_rebuild_end")
AGAIN = "logbox_again"


def pass_night(ground: Ground, tally: Tally) -> list[str]:
    """What did not end as it must."""
    compact = [sys.executable, "-m", "logbox_pipeline_tests.chaos.tomorrow"]
    rebuild = ground.command("rebuild", "--database", AGAIN)
    wrong = _kill_at_each(ground, tally, "compaction", compact, COMPACTION)
    wrong += _kill_at_each(ground, tally, "rebuild", rebuild, REBUILD)
    with ground.superuser() as cursor:
        cursor.execute(f"drop database if exists {AGAIN} with (force)")
    return wrong


def _kill_at_each(
    ground: Ground, tally: Tally, what: str, command: Sequence[str], failpoints: Sequence[str]
) -> list[str]:
    wrong = []
    for name in failpoints:
        file = ground.failpoints / name
        file.touch()
        done = ground.run(command)
        if file.exists():
            file.unlink()
            tally.never_struck.append(f"kill -9 of a {what} {name}")
        elif done.returncode == -SIGKILL:
            tally.struck[f"kill -9 of a {what} {name}"] += 1
        else:
            wrong.append(f"{what} reached {name} and ended with {done.returncode}: {done.stderr}")
    done = ground.run(command)
    if done.returncode != 0:
        said = done.stderr[-2000:]
        return [*wrong, f"{what} after its kills ended with {done.returncode}: {said}"]
    for name in failpoints:
        kind = f"kill -9 of a {what} {name}"
        tally.survived[kind] = tally.struck[kind]
    return wrong
