"""Whatever bytes come, a parser ends, says what it lost, and keeps its contract.

A few hundred cases per format here; `make fuzz` runs LOGBOX_FUZZ_CASES=20000 of each.
"""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logbox_pipeline.formats.recognize import FORMATS, Format
from logbox_pipeline_tests.formats.fuzzing import WOUNDS, hold_to_contract, hurt, samples
from logbox_pipeline_tests.formats.small_logs import SMALL_LOGS

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
        name: [small.write(seed) for seed in (1, 2)] + samples(small.samples)
        for name, small in SMALL_LOGS.items()
    }


def test_every_format_that_is_read_is_fuzzed() -> None:
    assert {known.name for known in READ} == set(SMALL_LOGS)


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
    head = logs[known.name][0]

    @settings(UNHURRIED, max_examples=max(50, CASES // 10))
    @given(kept=st.integers(0, 64), rest=st.binary(max_size=2_048))
    def fuzz(kept: int, rest: bytes) -> None:
        hold_to_contract(known, head[:kept] + rest)

    fuzz()
