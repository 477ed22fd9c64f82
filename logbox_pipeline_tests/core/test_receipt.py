import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from string import ascii_letters
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logbox_pipeline.core.receipt import (
    DeliveryFacts,
    LogFacts,
    loaded_at,
    read_receipt,
    render,
)
from logbox_pipeline.core.signing import signer_from_secret

SIGNER = signer_from_secret("a secret of tests, of at least 32 characters")
OTHER = signer_from_secret("another secret, of at least 32 characters")
KEYS = (OTHER.public_key, SIGNER.public_key)
AT = datetime(2026, 11, 29, 12, 30, tzinfo=UTC)
LOG = LogFacts(UUID(int=2), "a.ulg", "loaded", None, "ulog", 12, True, 7, AT)
FACTS = DeliveryFacts(
    delivery_id=UUID(int=1),
    client="acme",
    vehicle=None,
    landing_key="landing/acme/Grüße 你好.ulg",
    sha256="ab" * 32,
    declared_sha256=None,
    size_bytes=5,
    received_at=AT,
    state="archived",
    reason=None,
    detail='expected "x",\n found ,"signature":"y"',
    duplicate_of=None,
    archived_at=AT,
    replicated_at=None,
    logs=(LOG,),
    seal=(3, "cd" * 32),
)


def test_bytes_are_those_of_the_contract() -> None:
    body = render(FACTS, SIGNER, AT)
    assert body.count(b"\n") == 1
    signed, _, rest = body.rpartition(b',"signature":"')
    assert signed.endswith(f',"key_id":"{SIGNER.key_id}"'.encode())
    assert rest.endswith(b'=="}\n')
    assert len(rest) == 88 + len('"}\n')
    # Compact, and UTF-8 as it is.
    assert body.startswith('{"version":1,"client":"acme","vehicle":null,"landing_key":'
                           '"landing/acme/Grüße 你好.ulg",'.encode())  # fmt: skip
    told = json.loads(body)
    assert told["received_at"] == "2026-11-29T12:30:00+00:00"
    assert told["seal"] == {"number": 3, "sha256": "cd" * 32}
    assert told["detail"] == FACTS.detail
    assert read_receipt(body, KEYS) == told


def test_times_are_utc_wherever_they_come_from() -> None:
    east = replace(FACTS, received_at=AT.astimezone(timezone(timedelta(hours=5))))
    assert render(east, SIGNER, AT) == render(FACTS, SIGNER, AT)


@given(st.integers(0, len(render(FACTS, SIGNER, AT)) - 1), st.integers(1, 255))
def test_receipt_with_one_changed_byte_does_not_verify(at: int, change: int) -> None:
    body = bytearray(render(FACTS, SIGNER, AT))
    body[at] ^= change
    assert read_receipt(bytes(body), KEYS) is None


def test_signature_has_one_spelling() -> None:
    body = render(FACTS, SIGNER, AT)
    last = body.rindex(b'=="}')
    spelt = [body[: last - 1] + letter.encode() + body[last:] for letter in ascii_letters + "+/"]
    assert sum(read_receipt(one, KEYS) is not None for one in spelt) <= 1


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body + b"\n",
        lambda body: body[:-1],
        lambda body: body.rstrip(b"\n") + b" \n",
        lambda body: body[:-3] + b'","archived_at":"2030-01-01T00:00:00+00:00"}\n',
        lambda body: body[:-3] + body[body.rindex(b'","signature') :],
        lambda body: body.replace(b',"signature":', b', "signature":'),
        lambda body: b"",
    ],
)
def test_nothing_may_be_added_or_left_out(change: object) -> None:
    assert callable(change)
    assert read_receipt(change(render(FACTS, SIGNER, AT)), KEYS) is None


def test_receipt_of_an_unknown_key_does_not_verify() -> None:
    body = render(FACTS, SIGNER, AT)
    assert read_receipt(body, ()) is None
    assert read_receipt(body, (OTHER.public_key,)) is None


def test_bytes_are_loaded_since_the_last_of_their_logs_is() -> None:
    later = replace(LOG, loaded_at=AT + timedelta(minutes=1))
    assert loaded_at([later, LOG]) == later.loaded_at
    assert loaded_at([later, replace(LOG, state="unparsed", loaded_at=None)]) is None
    assert loaded_at([]) is None
