"""What one file may use ends with that file."""

import resource

from logbox_pipeline.steps.budget import Budget, limited


def test_limits_end_with_the_file() -> None:
    before = [resource.getrlimit(which) for which in (resource.RLIMIT_CPU, resource.RLIMIT_DATA)]
    with limited(Budget(cpu_s=60, memory_bytes=2**30)):
        assert resource.getrlimit(resource.RLIMIT_CPU) != before[0]
    after = [resource.getrlimit(which) for which in (resource.RLIMIT_CPU, resource.RLIMIT_DATA)]
    assert after == before
