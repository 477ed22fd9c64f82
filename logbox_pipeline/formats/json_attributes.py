"""What is left of a block's objects when columns have said their part: cut out of its bytes.

Nothing is decoded or encoded again, so that numbers keep their digits. No names here.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from logbox_pipeline.formats.json_scan import Scan


def attributes_column(scan: Scan, is_said: NDArray[np.bool_]) -> pa.Array:
    """Each line's object without the members that columns say, null when none is left."""
    lines = len(scan.starts)
    last = np.flatnonzero(scan.last)
    # Cut out: said members that stand next to each other, with the comma behind them, or, at the
    # line's end, before them.
    said = np.flatnonzero(is_said)
    goes_on = np.zeros(len(said) + 1, np.bool_)
    goes_on[1:-1] = (said[1:] == said[:-1] + 1) & ~scan.last[said[:-1]]
    first_said, last_said = said[~goes_on[:-1]], said[~goes_on[1:]]
    is_at_end = scan.last[last_said]
    is_alone = (first_said == 0) | scan.last[first_said - 1]
    is_trailing = is_at_end & ~is_alone
    cut = scan.key[first_said] - 1
    cut[is_trailing] = scan.end[first_said[is_trailing] - 1]
    resume = scan.end[last_said]
    inner = ~is_at_end
    resume[inner] = scan.key[last_said[inner] + 1] - 1
    # And what stands between two objects.
    line = scan.line[first_said]
    order = np.arange(len(line)) + line
    before = np.cumsum(np.bincount(line, minlength=lines)) + np.arange(lines)
    offsets = np.empty(2 * (len(line) + lines) + 1, np.int32)
    offsets[0] = 0
    offsets[2 * order + 1] = cut
    offsets[2 * order + 2] = resume
    offsets[2 * before + 1] = scan.end[last] + 1
    offsets[2 * before[:-1] + 2] = scan.starts[1:]
    offsets[-1] = len(scan.block)
    runs = len(offsets) // 2
    spans = pa.Array.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(scan.block)]
    ).take(pa.array(np.arange(0, 2 * runs, 2)))
    ends = np.zeros(lines + 1, np.int32)
    ends[1:] = np.frombuffer(spans.buffers()[1], np.int32, runs + 1)[before + 1]
    valid = np.diff(ends) > len("{}")
    return pa.Array.from_buffers(
        pa.string(),
        lines,
        [
            None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little")),
            pa.py_buffer(ends),
            spans.buffers()[2],
        ],
    )
