"""Whatever bytes come, a parser ends, says what it lost, and keeps its contract.

A few hundred cases per format here; `make fuzz` runs LOGBOX_FUZZ_CASES=20000 of each.
"""

import gzip
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logbox_pipeline.formats import unread
from logbox_pipeline.formats.recognize import FORMATS, Format
from logbox_pipeline_tests.formats.fuzzing import (
    WOUNDS,
    hold_to_contract,
    hold_wrapper_to_contract,
    hurt,
    samples,
)
from logbox_pipeline_tests.formats.small_logs import SMALL_LOGS
from logbox_pipeline_tests.formats.test_wrappers import zipped, zstd

CASES = int(os.environ.get("LOGBOX_FUZZ_CASES", "200"))
READ = tuple(known for known in FORMATS if known.name in SMALL_LOGS)
UNHURRIED = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def logs() -> dict[str, list[bytes]]:
    return {
        name: [
            *(write(seed) for seed, write in enumerate(small.writes, 1)),
            *(log for folder in small.samples for log in samples(folder)),
        ]
        for name, small in SMALL_LOGS.items()
    }


def test_every_format_that_is_read_is_fuzzed() -> None:
    not_read = {known.name for known in unread.UNREAD}
    assert {known.name for known in FORMATS} - not_read == set(SMALL_LOGS)


@pytest.mark.parametrize("known", READ, ids=lambda known: known.name)
def test_a_damaged_log_keeps_the_contract(known: Format, logs: dict[str, list[bytes]]) -> None:
    @UNHURRIED
    @given(log=st.sampled_from(logs[known.name]), wounds=WOUNDS)
    def fuzz(log: bytes, wounds: list) -> None:
        hold_to_contract(known, hurt(log, wounds))

    fuzz()


@pytest.mark.parametrize("known", READ, ids=lambda known: known.name)
def test_any_bytes_behind_a_true_beginning_keep_the_contract(
    known: Format, logs: dict[str, list[bytes]]
) -> None:
    @settings(UNHURRIED, max_examples=max(50, CASES // 10))
    @given(
        head=st.sampled_from(logs[known.name]),
        kept=st.integers(0, 1_024),
        rest=st.binary(max_size=2_048),
    )
    def fuzz(head: bytes, kept: int, rest: bytes) -> None:
        hold_to_contract(known, head[:kept] + rest)

    fuzz()


WRAPPED = {
    "gzip": lambda data: gzip.compress(data[:9_000], mtime=0) + gzip.compress(data[9_000:]),
    "zstd": lambda data: zstd(data[:9_000]) + zstd(data[9_000:]),
    "zip": lambda data: zipped([("a.ulg", data[:9_000]), ("b/c.ulg", data[9_000:])]),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_a_damaged_wrapper_ends_and_names_what_it_lost(
    wrapper: str, logs: dict[str, list[bytes]], tmp_path: Path
) -> None:
    wrapped = WRAPPED[wrapper](logs["ulog"][0])

    @UNHURRIED
    @given(wounds=WOUNDS)
    def fuzz(wounds: list) -> None:
        hold_wrapper_to_contract(hurt(wrapped, wounds), tmp_path)

    fuzz()
