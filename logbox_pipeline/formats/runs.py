"""Where the messages of a scanned log stand: their codes, and where each run of them begins.

A scan keeps two bytes per message instead of a position: messages that touch are a run, and a
message's place follows from the sizes of those before it in its run.
"""

from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Block = tuple[NDArray[np.uint16], NDArray[np.int64]]


def positions(
    codes: "array[int]",
    size_of_code: Sequence[int],
    run_start: "array[int]",
    run_index: "array[int]",
    per_block: int,
) -> Iterator[Block]:
    """Codes and file positions (bytes) of all messages, `per_block` at a time.

    codes: uint16, one per message; size_of_code: bytes by code. run_start: int64, where in the file
    each run begins; run_index: int64, with which message.
    """
    code = np.frombuffer(codes, np.uint16)
    size = np.array(size_of_code, np.int64)
    start = np.frombuffer(run_start, np.int64)
    begins = np.frombuffer(run_index, np.int64)
    following = 0
    for low in range(0, len(code), per_block):
        block = code[low : low + per_block]
        step = size[block]
        behind = np.cumsum(step)
        before = behind - step
        first = int(np.searchsorted(begins, low, "right")) - 1
        last = int(np.searchsorted(begins, low + len(block), "left"))
        starts = start[first:last].copy()
        if begins[first] < low:
            starts[0] = following
        index = np.maximum(begins[first:last], low) - low
        lengths = np.diff(np.append(index, len(block)))
        position = before + np.repeat(starts - before[index], lengths)
        following = int(position[-1] + step[-1])
        yield block, position
