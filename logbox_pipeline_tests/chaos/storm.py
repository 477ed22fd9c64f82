"""A storm: every kind of fault once, then again by chance, until its time is over.

A fault is survived when afterwards all processes run and the sensor has looked at landing again, by
themselves and within COMES_BACK_S.
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg2

from logbox_pipeline_tests.chaos.faults import Fault, all_faults
from logbox_pipeline_tests.chaos.ground import Ground

COMES_BACK_S = 180.0
LONGEST_ARMED_S = 60.0
"""A fault that found no victim for so long gives way to the next and comes again later."""

MOST_AT_ONCE = 8
"""Faults that wait for what meets them at a time."""

MOST_ENDING = 3
"""As many of them may end attempts."""

_FRAIL = """
select count(*)
from logbox.batches
where state = 'open' and files = 1 and failures > 0
    or state = 'running' and (
        files = 1 and failures > 0 or heartbeat_at < now() - interval '12 s'
    )
"""
"""Batches that one more death would end, and such as may be dying already."""


@dataclass
class Tally:
    """What became of the faults of each kind."""

    struck: Counter[str] = field(default_factory=Counter)
    survived: Counter[str] = field(default_factory=Counter)
    came_back_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    never_struck: list[str] = field(default_factory=list)


@dataclass
class _Struck:
    kind: str
    at: float


def rage(
    ground: Ground,
    *,
    seed: int,
    until: Callable[[], bool],
    mean_gap_s: float,
    say: Callable[[str], None],
) -> Tally:
    """Strike until `until()`. The order of the faults and their gaps are the seed's; what they
    meet is also the machine's."""
    chance = random.Random(seed)
    tally = Tally()
    waiting: list[Fault] = []
    trying: list[tuple[Fault, float]] = []
    out: list[_Struck] = []
    met: set[str] = set()
    due_at = time.monotonic()
    while not until():
        if not waiting:
            waiting = all_faults(ground, chance)
            chance.shuffle(waiting)
            waiting.sort(key=lambda one: one.kind in met)
        now = time.monotonic()
        if now >= due_at and len(trying) < MOST_AT_ONCE:
            fault = _next(ground, waiting, trying)
            if fault is not None:
                trying.append((fault, now))
                due_at = now + chance.expovariate(1 / mean_gap_s)
        for fault, since in list(trying):
            if fault.strike():
                trying.remove((fault, since))
                met.add(fault.kind)
                tally.struck[fault.kind] += 1
                out.append(_Struck(fault.kind, time.time()))
                say(f"{time.strftime('%H:%M:%S')} {fault.kind}")
            elif time.monotonic() - since > LONGEST_ARMED_S:
                trying.remove((fault, since))
                fault.withdraw()
                waiting.append(fault)
        _look(ground, out, tally)
        time.sleep(0.3)
    for proxy in (ground.s3, ground.replica, ground.postgres):
        proxy.disarm()
    for fault, _ in trying:
        fault.withdraw()
    deadline = time.monotonic() + COMES_BACK_S
    while out and time.monotonic() < deadline:
        _look(ground, out, tally)
        time.sleep(0.5)
    tally.never_struck = sorted({one.kind for one in all_faults(ground, chance)} - met)
    return tally


def _next(ground: Ground, waiting: list[Fault], trying: list[tuple[Fault, float]]) -> Fault | None:
    """Those that end attempts take turns with the others: there are few attempts to end."""
    ending = sum(one.ends_attempt for one, _ in trying)
    may_end = ending < MOST_ENDING and not _is_frail(ground)
    fault = next((one for one in waiting if one.ends_attempt == may_end), None)
    if fault is not None:
        waiting.remove(fault)
    return fault


def _is_frail(ground: Ground) -> bool:
    try:
        return bool(ground.rows(_FRAIL)[0][0])
    except psycopg2.Error:
        return True


def _look(ground: Ground, out: list[_Struck], tally: Tally) -> None:
    """Tick off what has been survived."""
    if not out or ground.absent():
        return
    ticked_at = ground.last_tick()
    for one in list(out):
        took_s = time.time() - one.at
        if ticked_at > one.at and took_s <= COMES_BACK_S:
            tally.survived[one.kind] += 1
            tally.came_back_s[one.kind].append(took_s)
            out.remove(one)
        elif took_s > COMES_BACK_S:
            out.remove(one)
