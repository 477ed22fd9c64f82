"""What a landing key may look like, and where everything else is put."""

from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logbox_pipeline.core import keys
from logbox_pipeline.core.keys import LandingKey, UnsafeKey, parse_landing_key

DELIVERY = UUID("11111111-2222-3333-4444-555555555555")


def test_first_folder_below_the_client_is_the_vehicle() -> None:
    assert parse_landing_key("landing/acme/d1/2026/a.ulg") == LandingKey("acme", "d1", "a.ulg")


def test_object_right_below_the_client_has_no_vehicle() -> None:
    assert parse_landing_key("landing/acme/a.ulg") == LandingKey("acme", None, "a.ulg")


@pytest.mark.parametrize(
    "key",
    [
        "landing/acme/../beta/a.ulg",
        "landing/acme/d1/..",
        "landing/acme/./a.ulg",
        "landing/acme//a.ulg",
        "landing/acme/d1/",
        "landing/acme/",
        "landing/acme/a\\b.ulg",
        "landing/acme/a\x00.ulg",
        "landing/acme/a\n.ulg",
        "landing/acme/a\x7f.ulg",
        "landing/acme/a\x85.ulg",
        "landing/acme/a\ufffd.ulg",
        "landing/acme/" + "x" * 888,
        "landing/acme/" + "ü" * 444,
    ],
)
def test_key_that_could_mean_something_else_is_unsafe(key: str) -> None:
    found = parse_landing_key(key)
    assert isinstance(found, UnsafeKey)
    assert found.client == "acme"


@pytest.mark.parametrize(
    "key",
    [
        "landing/loose.ulg",
        "landing/A/a.ulg",
        "landing/ab/a.ulg",
        "landing/-acme/a.ulg",
        "landing/" + "a" * 33 + "/a.ulg",
        "landing/unknown-client/a.ulg",
        "landing/ac\nme/a.ulg",
        "quarantine/acme/a.ulg",
        "",
    ],
)
def test_key_outside_every_client_belongs_to_nobody(key: str) -> None:
    assert parse_landing_key(key) == UnsafeKey(keys.UNKNOWN_CLIENT, "no client has this folder")


def test_longest_key_is_900_bytes() -> None:
    longest = "landing/acme/" + "x" * 887
    assert len(longest) == keys.MAX_KEY_BYTES
    assert isinstance(parse_landing_key(longest), LandingKey)


@given(st.text(min_size=1))
def test_safe_key_never_leaves_its_client(below: str) -> None:
    found = parse_landing_key(f"landing/acme/{below}")
    if isinstance(found, LandingKey):
        assert found.client == "acme"
        for part in (found.name, found.vehicle):
            assert part is None or (part not in ("", ".", "..") and "/" not in part)


@given(st.text(st.characters(codec=None), max_size=60))
def test_catalog_text_leads_back_to_the_key(key: str) -> None:
    text = keys.to_text(key)
    assert "\x00" not in text
    text.encode()
    assert keys.from_text(text) == key


@given(st.text(max_size=20), st.text(max_size=20))
def test_two_keys_never_share_a_catalog_text(one: str, other: str) -> None:
    assert (keys.to_text(one) == keys.to_text(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("a.ulg", ".ulg"),
        ("a.ULG", ".ulg"),
        ("a.ulg.gz", ".ulg.gz"),
        ("2026.11.24.jsonl", ".jsonl"),
        ("a", ""),
        (".hidden", ""),
        ("a.", ""),
        ("a.verylongextension", ""),
        ("a.x/y", ""),
    ],
)
def test_archive_keeps_the_extension_that_a_name_has(name: str, kept: str) -> None:
    assert keys.extension(name) == kept


def test_every_place_has_one_grammar() -> None:
    sha256 = "ab" + "0" * 62
    day = date(2026, 11, 24)
    assert keys.archive_key("acme", sha256, "a.ulg") == f"archive/acme/ab/{sha256}.ulg"
    assert (
        keys.quarantine_key("acme", "mismatch", DELIVERY, "a.ulg")
        == f"quarantine/acme/mismatch/{DELIVERY}/a.ulg"
    )
    assert keys.quarantine_key("acme", "unsafe_key", DELIVERY, None).endswith("/object")
    assert (
        keys.manifest_key("acme", day, DELIVERY, 2, "intake")
        == f"archive/manifests/acme/received_on=2026-11-24/{DELIVERY}-2-intake.jsonl"
    )
    assert (
        keys.lake_key("log_events", day, DELIVERY, sha256)
        == f"lake/log_events/received_on=2026-11-24/{DELIVERY}-ab0000000000.parquet"
    )


def test_extension_of_a_wrapped_log_is_the_logs_own() -> None:
    expected = {
        "a.ulg.gz": ".ulg", "A.ULG.ZST": ".ulg", "a.zip": "", "x/b.bin": ".bin",
        "in.zip/c.jsonl.gz": ".jsonl", "archive/acme/ab/abcd.gz": "", ".gz": "",
    }  # fmt: skip
    assert {name: keys.inner_extension(name) for name in expected} == expected


def test_archived_bytes_are_told_from_other_keys_of_the_archive() -> None:
    sha256 = "ab" * 32
    assert keys.parse_archive_key(keys.archive_key("acme", sha256, "a.ulg")) == ("acme", sha256)
    assert keys.parse_archive_key(keys.archive_key("acme", sha256, "a")) == ("acme", sha256)
    assert keys.parse_archive_key(f"archive/acme/cd/{sha256}.ulg") is None
    assert keys.parse_archive_key(f"archive/acme/ab/{sha256[:-1]}.ulg") is None
    assert keys.parse_archive_key(f"archive/seals/{sha256}/000001.sha256") is None


def test_a_manifests_key_says_whose_and_what_it_is() -> None:
    for kind, number in (("intake", 1), ("outcome", 3)):
        key = keys.manifest_key("acme", date(2026, 1, 2), UUID(int=1), 2, kind, number=number)
        assert keys.manifest_kind(key) == (kind, "acme")
        assert keys.client_of_chain(key) == "acme"
    entry = keys.journal_key(datetime(2026, 1, 2, tzinfo=UTC), UUID(int=1))
    assert keys.manifest_kind(entry) == ("journal", None)
    assert keys.client_of_chain(entry) == keys.JOURNAL_CLIENT
    assert keys.manifest_kind("archive/seals/acme/000001.sha256") is None
