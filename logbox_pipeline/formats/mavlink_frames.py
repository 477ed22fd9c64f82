"""Many MAVLink frames as arrays: what the scan found, chosen and put in order. No bytes here."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frames:
    """Whole frames in the order of the file, one array entry each.

    start: position of the magic byte. place: index into `Definitions.messages`. payload: position
    of the payload, `length` its bytes as sent. ts_us: the recorder's clock, -1 where there is none
    that can be believed.
    """

    start: NDArray[np.int64]
    place: NDArray[np.int64]
    payload: NDArray[np.int64]
    length: NDArray[np.int64]
    end: NDArray[np.int64]
    is_v2: NDArray[np.bool_]
    is_signed: NDArray[np.bool_]
    is_restored: NDArray[np.bool_]
    seq: NDArray[np.int64]
    sysid: NDArray[np.int64]
    compid: NDArray[np.int64]
    ts_us: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    def take(self, which: NDArray[np.generic]) -> "Frames":
        return Frames(**{name: values[which] for name, values in vars(self).items()})


def apart(frames: Frames, which: NDArray[np.int64], start: int) -> NDArray[np.int64]:
    """Of the frames `which`, in order, those that begin where the one before has ended."""
    begins, ends = frames.start[which], frames.end[which]
    if not len(which) or (begins[0] >= start and bool((begins[1:] >= ends[:-1]).all())):
        return which
    kept = []
    for index, begin, end in zip(which.tolist(), begins.tolist(), ends.tolist(), strict=True):
        if begin >= start:
            kept.append(index)
            start = end
    return np.array(kept, np.int64)


def outside(frames: Frames, others: Frames, start: int) -> Frames:
    """Those of `frames` that begin in none of `others`, nor before `start`."""
    ends = np.concatenate(([start], others.end))
    before = np.searchsorted(others.start, frames.start, "right")
    return frames.take(np.flatnonzero(frames.start >= ends[before]))


def merged(some: Frames, others: Frames) -> Frames:
    order = np.argsort(np.concatenate((some.start, others.start)), kind="stable")
    joined = {
        name: np.concatenate((values, vars(others)[name]))[order]
        for name, values in vars(some).items()
    }
    return Frames(**joined)
