"""Damage to feed parsers with, and what they must keep whatever they are fed. No tests here."""

import hashlib
import itertools
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from logbox_pipeline.formats.recognize import Format
from logbox_pipeline.formats.stream import (
    EVENT_SCHEMA,
    PARAMETER_SCHEMA,
    About,
    Damage,
    Events,
    Limits,
    Parameters,
    Rows,
    Unreadable,
)
from logbox_pipeline.steps.unwrap_worker import UnwrapLimits, unwrap_object
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT

SAMPLES = Path(__file__).parents[2] / ".." / "shared" / "samples"
LARGEST_SAMPLE = 64 * 1024
LIMITS = Limits(received_at=RECEIVED_AT, batch_rows=1_000)
WRAPPER_LIMITS = UnwrapLimits(log_bytes=2**30, total_bytes=2**30, ratio=200, members=100)
PATIENCE_S = 5.0
"""A case is some ten KB, which takes milliseconds: this is a hang, also on a busy machine."""

MOST_OUT_OF_ONE = 200
"""Bytes of rows out of one byte of a log: an empty line of a table is a row of its columns."""


@dataclass(frozen=True)
class Wound:
    """One damage: `kind` at `place` (0 to 1 of the log), `size` bytes, filled from `seed`."""

    kind: str
    place: float
    size: int
    seed: int

    def hurt(self, data: bytes) -> bytes:
        at = int(self.place * len(data))
        end = min(len(data), at + self.size)
        match self.kind:
            case "cut":
                return data[:at]
            case "head_lost":
                return data[min(at, self.size) :]
            case "zeroed":
                return data[:at] + bytes(end - at) + data[end:]
            case "missing":
                return data[:at] + data[end:]
            case "inserted":
                return data[:at] + noise(self.seed, self.size) + data[at:]
            case "overwritten":
                return data[:at] + noise(self.seed, end - at) + data[end:]
            case "repeated":
                return data[:end] + data[at:end] + data[end:]
            case "flipped":
                if not data:
                    return data
                at = min(at, len(data) - 1)
                return data[:at] + bytes([data[at] ^ 1 << self.seed % 8]) + data[at + 1 :]
            case "padded":
                return data + b"\xff" * self.size
        raise AssertionError(self.kind)


KINDS = (
    "cut", "head_lost", "zeroed", "missing", "inserted", "overwritten", "repeated", "flipped",
    "padded",
)  # fmt: skip

WOUNDS = st.lists(
    st.builds(
        Wound,
        st.sampled_from(KINDS),
        st.floats(0, 1),
        st.one_of(st.integers(1, 16), st.integers(1, 8_192)),
        st.integers(0, 2**32 - 1),
    ),
    min_size=1,
    max_size=4,
)


def noise(seed: int, size: int) -> bytes:
    """Bytes that look like nothing, the same for a seed."""
    value, out = seed or 1, bytearray()
    while len(out) < size:
        value = value * 6364136223846793005 + 1442695040888963407 & 2**64 - 1
        out += value.to_bytes(8, "little")
    return bytes(out[:size])


def hurt(data: bytes, wounds: list[Wound]) -> bytes:
    for wound in wounds:
        data = wound.hurt(data)
    return data


def samples(folder: str) -> list[bytes]:
    """The beginnings of the real logs of a kind, where they are at hand."""
    return [
        path.read_bytes()[:LARGEST_SAMPLE]
        for path in sorted((SAMPLES / folder).glob("*"))
        if path.stat().st_size
    ]


def hold_to_contract(known: Format, data: bytes) -> None:
    """Parse to the end; whatever the bytes, what `formats.stream` promises holds."""
    known.recognizes(memoryview(data)[: 64 * 1024], len(data))
    started = time.process_time()
    is_over = False
    damages: list[Damage] = []
    held_bytes = 0
    for item in known.parse(memoryview(data), LIMITS):
        assert not is_over, "something came after the end"
        match item:
            case Rows():
                item.batch.validate(full=True)
                assert len(item.columns) == item.batch.num_columns - 2
                assert item.batch.num_rows > 0
                held_bytes += item.batch.nbytes
            case Events():
                item.batch.validate(full=True)
                assert item.batch.schema == EVENT_SCHEMA
                held_bytes += item.batch.nbytes
            case Parameters():
                item.batch.validate(full=True)
                assert item.batch.schema == PARAMETER_SCHEMA
            case Damage():
                assert 0 <= item.start < item.end <= len(data)
                assert len(item.excerpt or "") <= 200
                assert (item.excerpt or "").isprintable()
                damages.append(item)
            case About() | Unreadable():
                is_over = True
        assert time.process_time() - started < PATIENCE_S, "hangs"
    assert is_over, "neither About nor Unreadable"
    assert held_bytes <= MOST_OUT_OF_ONE * len(data) + 65_536, "rows out of nothing"
    ordered = sorted(damages, key=lambda damage: damage.start)
    for before, behind in itertools.pairwise(ordered):
        assert before.end <= behind.start, "the same bytes were lost twice"


def hold_wrapper_to_contract(data: bytes, folder: Path) -> None:
    """Unwrap to the end: every log is as long as it says, its digest is its bytes', and what was
    lost is a range of the wrapper."""
    path, scratch = folder / "wrapped", folder / "logs"
    path.write_bytes(data)
    shutil.rmtree(scratch, ignore_errors=True)
    found = unwrap_object(path, hashlib.sha256(data).hexdigest(), scratch, WRAPPER_LIMITS)
    assert found.logs or found.refused
    for log in found.logs:
        content = log.path.read_bytes()
        assert len(content) == log.size_bytes
        assert hashlib.sha256(content).hexdigest() == log.sha256
        for lost in log.lost:
            assert 0 <= lost.start <= lost.end <= len(data)
