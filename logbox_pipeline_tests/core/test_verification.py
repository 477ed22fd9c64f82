"""What becomes of an object, by what it declares and what it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from logbox_pipeline.core.verification import (
    Decision,
    Declared,
    DeclaredBy,
    Refusal,
    Verdict,
    decide,
    declared_in_headers,
    declared_in_sidecar,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SHA256 = "ab" * 32
OTHER = "cd" * 32


def judge(declared: Declared | None, size_bytes: int = 10, **changes: Any) -> Decision:
    usual: dict[str, Any] = {
        "policy": "require",
        "waits_until": NOW - timedelta(seconds=1),
        "released": False,
        "now": NOW,
    }
    return decide(declared, SHA256, size_bytes, **(usual | changes))


def by_metadata(sha256: str | None) -> Declared:
    return Declared(DeclaredBy.METADATA, sha256, sha256 or "rubbish")


def test_equal_digests_are_verified() -> None:
    assert judge(by_metadata(SHA256)) == Decision("archive", Verdict.VERIFIED)


def test_other_digest_is_a_mismatch_that_shows_both() -> None:
    found = judge(by_metadata(OTHER))
    assert (found.action, found.verdict, found.refusal) == (
        "quarantine",
        Verdict.MISMATCH,
        Refusal.MISMATCH,
    )
    assert found.detail == f"metadata declares {OTHER}, the bytes are {SHA256}"


def test_declared_rubbish_is_a_mismatch_and_not_undeclared() -> None:
    found = judge(by_metadata(None))
    assert found.refusal is Refusal.MISMATCH
    assert "rubbish" in str(found.detail)


def test_undeclared_log_waits_for_its_sidecar() -> None:
    assert judge(None, waits_until=NOW + timedelta(seconds=1)).action == "wait"


def test_undeclared_log_is_refused_when_it_has_waited() -> None:
    assert judge(None, waits_until=NOW).refusal is Refusal.UNDECLARED


def test_policy_accept_waits_as_well_and_then_takes_it() -> None:
    later = NOW + timedelta(seconds=1)
    assert judge(None, policy="accept", waits_until=later).action == "wait"
    assert judge(None, policy="accept") == Decision("archive", Verdict.UNDECLARED)


def test_policy_accept_takes_no_mismatch() -> None:
    assert judge(by_metadata(OTHER), policy="accept").refusal is Refusal.MISMATCH


@pytest.mark.parametrize("declared", [None, by_metadata(SHA256), by_metadata(OTHER)])
def test_empty_file_is_refused_at_once(declared: Declared | None) -> None:
    later = NOW + timedelta(seconds=1)
    assert judge(declared, 0, waits_until=later).refusal is Refusal.EMPTY


@pytest.mark.parametrize("declared", [None, by_metadata(OTHER)])
def test_released_log_is_taken_and_its_verdict_stays(declared: Declared | None) -> None:
    found = judge(declared, released=True)
    assert found.action == "archive"
    assert found.verdict is (Verdict.MISMATCH if declared else Verdict.UNDECLARED)


def test_metadata_speaks_before_the_checksum() -> None:
    checksum = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s="
    assert declared_in_headers({"sha256": f" {OTHER.upper()} "}, checksum) == Declared(
        DeclaredBy.METADATA, OTHER, f" {OTHER.upper()} "
    )
    assert declared_in_headers({}, checksum) == Declared(DeclaredBy.CHECKSUM, SHA256, checksum)


def test_checksum_of_part_checksums_is_no_digest() -> None:
    assert declared_in_headers({}, "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=-2") is None


@pytest.mark.parametrize(
    "content",
    [
        f"{SHA256}  a.ulg\n",
        f"{SHA256} *a.ulg\r\n",
        f"\\{SHA256}  a\\nb.ulg\n",
        SHA256.upper(),
        f"\n{SHA256}",
    ],
)
def test_sidecar_is_read_as_sha256sum_writes_it(content: str) -> None:
    assert declared_in_sidecar(content.encode()).sha256 == SHA256


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"SHA256 (a.ulg) = ab", b"0" * 5_000])
def test_sidecar_without_a_digest_declares_rubbish(content: bytes) -> None:
    found = declared_in_sidecar(content)
    assert (found.by, found.sha256) == (DeclaredBy.SIDECAR, None)
    assert len(found.said) <= 200
