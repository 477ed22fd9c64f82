import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from logbox_pipeline.core.keys import digest_receipt_key, receipt_key
from logbox_pipeline.core.receipt import DeliveryFacts, LogFacts, render
from logbox_pipeline.core.signing import signer_from_secret
from logbox_pipeline.drone.deliver import Wish, confirmed, result_of
from logbox_pipeline.drone.errors import TargetError
from logbox_pipeline.drone.receipt import (
    LogOutcome,
    Receipt,
    Stage,
    Unproven,
    key_id_of,
    parse_public_keys,
    read_receipt,
)
from logbox_pipeline.drone.target import Target
from logbox_pipeline.drone.uploader import Uploader
from logbox_pipeline.steps.signing import believed_keys
from logbox_pipeline.steps.site import Site
from logbox_pipeline_tests import journey
from logbox_pipeline_tests.drone.signer import Signer, receipt_fields

SIGNER = Signer(b"logbox's secret, 32 bytes long..")
KEY = "landing/acme/heron/größe.ulg"
DIGEST = "ab" * 32
STORED = SIGNER.stored(receipt_fields("acme", KEY, DIGEST))


def read(stored: bytes) -> Receipt:
    receipt = read_receipt(stored, SIGNER.known)
    assert isinstance(receipt, Receipt)
    return receipt


def changed(**changes: object) -> Receipt:
    return read(SIGNER.stored(receipt_fields("acme", KEY, DIGEST, **changes)))


def test_signed_receipt_says_what_it_says() -> None:
    receipt = read(STORED)
    assert (receipt.client, receipt.landing_key, receipt.sha256) == ("acme", KEY, DIGEST)
    assert receipt.archived_at == datetime(2026, 11, 29, 12, tzinfo=UTC)
    assert receipt.logs[0].state == "loaded"
    assert receipt.why == "archived"


def test_one_changed_character_anywhere_does_not_verify() -> None:
    stored = SIGNER.stored(receipt_fields("acme", "landing/acme/x", DIGEST, logs=[]))
    for position in range(len(stored)):
        wrong = bytearray(stored)
        wrong[position] ^= 1
        assert isinstance(read_receipt(bytes(wrong), SIGNER.known), Unproven), position


def test_signature_spelled_with_other_spare_bits_does_not_verify() -> None:
    """Base64 of 64 bytes has four bits that decoding throws away."""
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = len(STORED) - len('=="}\n') - 1
    for spare in range(1, 16):
        letter = letters[letters.index(STORED[at]) ^ spare]
        wrong = STORED[:at] + bytes([letter]) + STORED[at + 1 :]
        assert isinstance(read_receipt(wrong, SIGNER.known), Unproven)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"{}\n",
        STORED[:-1],
        STORED + b"\n",
        b" " + STORED,
        STORED.replace(b'"}\n', b'" }\n'),
        STORED + STORED,
    ],
)
def test_bytes_that_are_not_the_stored_ones_do_not_verify(stored: bytes) -> None:
    assert isinstance(read_receipt(stored, SIGNER.known), Unproven)


def test_unknown_key_is_named() -> None:
    said = read_receipt(STORED, Signer(b"another" * 4 + b"....").known)
    assert isinstance(said, Unproven)
    assert next(iter(SIGNER.known)) in said.why


def test_other_version_is_not_understood() -> None:
    stored = SIGNER.stored(receipt_fields("acme", KEY, DIGEST, version=2))
    said = read_receipt(stored, SIGNER.known)
    assert isinstance(said, Unproven)
    assert "version 2" in said.why


def test_each_stage_wants_its_own_time() -> None:
    receipt = changed(loaded_at=None)
    assert receipt.proves(DIGEST, Stage.ARCHIVED)
    assert not receipt.proves(DIGEST, Stage.REPLICATED)
    assert not receipt.proves(DIGEST, Stage.LOADED)
    assert not changed(archived_at=None).proves(DIGEST, Stage.LOADED)


def test_other_digest_proves_nothing() -> None:
    assert not read(STORED).proves("cd" * 32, Stage.ARCHIVED)
    arrived_broken = changed(sha256="cd" * 32, declared_sha256=DIGEST)
    assert arrived_broken.is_about(DIGEST)
    assert not arrived_broken.proves(DIGEST, Stage.ARCHIVED)


@pytest.mark.parametrize("state", ["quarantined", "failed", "vanished", "erased"])
def test_refused_log_proves_nothing_whatever_its_times(state: str) -> None:
    assert not changed(state=state).proves(DIGEST, Stage.ARCHIVED)


def test_refusal_of_an_earlier_upload_is_not_this_ones() -> None:
    at = datetime(2026, 11, 29, 12, tzinfo=UTC)
    receipt = changed(state="quarantined", reason="undeclared", received_at=at.isoformat())
    assert receipt.refuses(DIGEST, KEY, at)
    assert receipt.refuses(DIGEST, KEY, at + timedelta(seconds=2))
    assert not receipt.refuses(DIGEST, KEY, at + timedelta(minutes=1))
    assert not receipt.refuses(DIGEST, KEY + ".other", at)
    assert not receipt.refuses("cd" * 32, KEY, at)


def test_log_that_ended_unparsed_never_loads() -> None:
    log = receipt_fields("acme", KEY, DIGEST)["logs"][0]
    unparsed = log | {"state": "unparsed", "reason": "unknown_format"}
    assert changed(logs=[log, unparsed]).never_loads()
    assert not changed(logs=[log | {"state": "archived"}, unparsed]).never_loads()
    refused = log | {"log_id": None, "member": "../x", "state": "refused", "reason": "unsafe_name"}
    assert changed(logs=[log | {"state": "superseded"}, refused]).never_loads()
    assert "refused (unsafe_name)" in changed(logs=[log, refused]).why
    assert not changed(logs=[log, log | {"state": "superseded"}]).never_loads()
    assert not changed(logs=[log]).never_loads()
    assert not changed(logs=[]).never_loads()


def test_several_public_keys_are_read() -> None:
    other = Signer(b"2" * 32)
    known = parse_public_keys(f" {SIGNER.public_text},{other.public_text} ")
    assert known == SIGNER.known | other.known
    assert parse_public_keys("") == {}


@pytest.mark.parametrize("text", ["x", "AAAA", base64.b64encode(bytes(32)).decode()])
def test_what_is_no_public_key_is_wrong_use(text: str) -> None:
    with pytest.raises(TargetError, match="LOGBOX_RECEIPT_PUBLIC_KEY"):
        parse_public_keys(text)


def test_drone_and_pipeline_agree_where_receipts_stand() -> None:
    target = Target("acme", "logbox-landing", "AKIA", "secret", vehicle="heron")
    assert target.receipt_keys_of(KEY, DIGEST) == (
        digest_receipt_key("acme", DIGEST),
        receipt_key(KEY),
    )


def test_what_the_pipeline_renders_is_what_the_drone_reads() -> None:
    signer = signer_from_secret("a secret of the pipeline, long enough")
    at = datetime(2026, 11, 29, 12, 0, 1, 234000, tzinfo=UTC)
    logs = [
        LogFacts(uuid4(), "a.ulg", "loaded", None, "ulog", 3, False, 0, at),
        LogFacts(None, "../b.ulg", "refused", "unsafe_name", None, None, False, 0, None),
    ]
    facts = DeliveryFacts(
        delivery_id=uuid4(),
        client="acme",
        vehicle="heron",
        landing_key=KEY,
        sha256=DIGEST,
        declared_sha256=None,
        size_bytes=7,
        received_at=at,
        state="archived",
        reason=None,
        detail=None,
        duplicate_of=None,
        archived_at=at,
        replicated_at=at + timedelta(seconds=1),
        logs=logs,
        seal=(3, "cd" * 32),
    )
    known = parse_public_keys(base64.b64encode(signer.public_key).decode())
    receipt = read_receipt(render(facts, signer, at + timedelta(seconds=2)), known)
    assert receipt == Receipt(
        client="acme",
        landing_key=KEY,
        sha256=DIGEST,
        declared_sha256=None,
        size_bytes=7,
        received_at=at,
        state="archived",
        reason=None,
        detail=None,
        duplicate_of=None,
        archived_at=at,
        replicated_at=at + timedelta(seconds=1),
        loaded_at=None,
        logs=tuple(
            LogOutcome(str(one.log_id) if one.log_id else None, one.member, one.state, one.reason)
            for one in logs
        ),
        written_at=at + timedelta(seconds=2),
        key_id=signer.key_id,
    )


def test_one_pass_from_the_drone_to_the_receipt_that_lets_it_delete(
    site: Site, tmp_path: Path
) -> None:
    log = tmp_path / "a.jsonl"
    log.write_bytes(journey.jsonl("up", "down"))
    settings = site.settings
    target = Target(
        "acme",
        settings.landing_bucket,
        settings.s3_access_key_id or "",
        settings.s3_secret_access_key or "",
        endpoint=settings.s3_endpoint,
        vehicle="heron",
        receipt_keys={key_id_of(key): key for key in believed_keys(settings)},
    )
    uploader = Uploader(target)
    wish = Wish(delete_after=Stage.LOADED, timeout_s=0)
    delivery = result_of(log, uploader, None, lambda done, total: None, wish)
    assert confirmed(delivery, uploader, wish)["state"] == "unconfirmed"
    assert log.exists()
    journey.ingest_all(site)
    result = confirmed(delivery, uploader, wish)
    assert (result["state"], result["is_deleted"], log.exists()) == ("loaded", True, False)
