"""Growing logs: what proves that one log begins with another, and which one gives way."""

import hashlib
import random
from uuid import UUID

from logbox_pipeline.core.growth import (
    Beginning,
    Pair,
    Superseded,
    beginning,
    outgrown,
    prefix_digests,
    superseded,
)

DATA = random.Random(3).randbytes(300_000)
A, B, C, BATCH = (UUID(int=number) for number in range(1, 5))


def of(data: bytes) -> Beginning:
    return beginning(len(data), lambda start, length: data[start : start + length])


def test_a_log_that_begins_with_another_has_its_head_and_marks() -> None:
    whole = of(DATA)
    assert len(whole.marks) == 3
    for size in (0, 1, 63, 64, 65, 1_023, 1_024, 1_025, 16_384, 262_143, 262_144, 299_999):
        part = of(DATA[:size])
        assert whole.head[: len(part.head)] == part.head
        assert whole.marks[: len(part.marks)] == part.marks


def test_marks_tell_logs_apart_that_begin_alike() -> None:
    other = DATA[:1_000] + b"x" + DATA[1_001:]
    assert of(other).head == of(DATA).head
    assert of(other).marks != of(DATA).marks


def test_what_a_longer_log_of_its_owner_begins_like_is_outgrown() -> None:
    whole = random.Random(1).randbytes(40_000)
    other = whole[:500] + random.Random(2).randbytes(30_000)
    logs = {
        name: (owner, len(data), of(data))
        for name, owner, data in (
            ("whole", "a", whole),
            ("part", "a", whole[:20_000]),
            ("start", "a", whole[:100]),
            ("short", "a", whole[:10]),
            ("other", "a", other),
            ("equal", "a", whole),
            ("anothers", "b", whole[:20_000]),
        )
    }
    assert outgrown(logs) == {"part", "start"}


def test_marks_fit_a_bigint() -> None:
    assert all(-(2**63) <= mark < 2**63 for mark in of(DATA).marks)


def test_prefix_digests_are_those_of_the_first_bytes_however_the_chunks_fall() -> None:
    sizes = {1, 999, 1_000, 1_001, 70_000, len(DATA), len(DATA) + 1}
    expected = {
        size: hashlib.sha256(DATA[:size]).hexdigest() for size in sizes if size <= len(DATA)
    }
    for step in (1_000, 65_536, len(DATA)):
        chunks = (DATA[at : at + step] for at in range(0, len(DATA), step))
        assert prefix_digests(chunks, sizes) == expected


def test_prefix_digests_stop_reading_when_they_know_enough() -> None:
    chunks = iter([b"abc", b"def", b"ghi"])
    assert prefix_digests(chunks, [2, 4]).keys() == {2, 4}
    assert list(chunks) == [b"ghi"]


def pair(shorter: UUID, longer: UUID, longer_bytes: int, **known: object) -> Pair:
    said = {
        "shorter_sha256": "0" * 64, "shorter_bytes": 1, "shorter_state": "archived",
        "shorter_batch_id": None, "longer_state": "archived",
    } | known  # fmt: skip
    return Pair(shorter_id=shorter, longer_id=longer, longer_bytes=longer_bytes, **said)


def test_a_log_gives_way_to_the_longest_that_has_or_gets_rows() -> None:
    pairs = [pair(A, B, 10), pair(A, C, 20, longer_state="loaded"), pair(B, C, 20)]
    proven = [one.ids for one in pairs]
    assert superseded(pairs, proven, [B]) == {A: Superseded(A, C, None)}
    assert superseded(pairs[:1], proven, [B]) == {A: Superseded(A, B, None)}


def test_nothing_gives_way_to_what_is_unproven_or_has_no_rows() -> None:
    pairs = [pair(A, B, 10), pair(A, C, 20)]
    assert superseded(pairs, [(A, B)], []) == {}
    assert superseded(pairs, [], [B, C]) == {}


def test_rows_to_take_away_are_those_of_the_batch_that_loaded_them() -> None:
    loaded = pair(A, B, 10, shorter_state="loaded", shorter_batch_id=BATCH)
    assert superseded([loaded], [loaded.ids], [B]) == {A: Superseded(A, B, BATCH)}
