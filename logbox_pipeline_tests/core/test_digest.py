"""Digests in their forms, and the ids derived from them."""

import base64
import hashlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logbox_pipeline.core import digest

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@given(st.binary())
def test_base64_form_leads_back_to_hex(data: bytes) -> None:
    sha256 = digest.sha256_hex(data)
    assert digest.from_base64(digest.to_base64(sha256)) == sha256


@pytest.mark.parametrize("text", ["", "abc", "AAAA", "not base64!", "ü", "A" * 44 + "-3"])
def test_what_is_no_digest_is_none(text: str) -> None:
    assert digest.from_base64(text) is None


@pytest.mark.parametrize(
    ("text", "is_one"), [("a" * 64, True), ("A" * 64, False), ("a" * 63, False), ("g" * 64, False)]
)
def test_digest_is_64_lower_case_hex_digits(text: str, is_one: bool) -> None:
    assert digest.is_sha256(text) is is_one


@given(st.binary(max_size=200), st.integers(1, 50), st.integers(1, 30))
def test_composite_checksum_does_not_depend_on_how_bytes_come(
    data: bytes, part_bytes: int, chunk_bytes: int
) -> None:
    parts = [data[at : at + part_bytes] for at in range(0, len(data), part_bytes)]
    outer = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()
    chunks = [data[at : at + chunk_bytes] for at in range(0, len(data), chunk_bytes)]
    expected = f"{base64.b64encode(outer).decode()}-{len(parts)}"
    assert digest.composite_checksum(chunks, part_bytes) == expected


def test_part_size_is_guessed_from_bytes_and_parts() -> None:
    mib = 1024**2
    assert digest.likely_part_sizes(20 * mib, 4) == [5 * mib]
    assert digest.likely_part_sizes(20 * mib + 1, 3) == [8 * mib, 10 * mib]
    assert digest.likely_part_sizes(20 * mib, 7) == []


def test_log_id_is_the_same_for_ever() -> None:
    assert str(digest.log_id("acme", "0" * 64)) == "caf68eff-ca5d-55e4-ab49-55677805bc2e"


def test_two_clients_with_the_same_bytes_have_two_logs() -> None:
    assert digest.log_id("acme", "0" * 64) != digest.log_id("beta", "0" * 64)


def test_second_arrival_of_an_equal_object_is_another_delivery() -> None:
    first, second = (digest.delivery_id("b", "k", "e", NOON, arrival) for arrival in (1, 2))
    assert first != second
