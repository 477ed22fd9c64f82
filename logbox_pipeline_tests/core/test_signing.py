import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519

from logbox_pipeline.core import signing
from logbox_pipeline.core.errors import SettingError

SECRET = "a secret of tests, of at least 32 characters"


def pem_of(key: ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def test_key_of_a_secret_is_the_same_for_ever() -> None:
    ours, other = signing.signer_from_secret(SECRET), signing.signer_from_secret(SECRET + ".")
    # Receipts that drones keep are checked by it: this value must not change.
    assert signing.public_text(ours.public_key) == "IbUOqkas96itNAYmh9NjNSzMLvMAv1I4ea9djpGZtss="
    assert ours.key_id != other.key_id


def test_a_key_is_given_as_base64_or_pem() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    raw = base64.b64encode(key.private_bytes_raw()).decode()
    pem = pem_of(key)
    given = [raw, f" {raw}\n", pem, pem.replace("\n", "\\n")]
    assert {signing.signer_from_key(text).public_key for text in given} == {
        key.public_key().public_bytes_raw()
    }


@pytest.mark.parametrize(
    "text",
    ["", "hush", "aHVzaA==", "PRIVATE KEY hush", pem_of(x25519.X25519PrivateKey.generate())],
)
def test_what_is_no_key_names_the_setting_and_not_its_value(text: str) -> None:
    with pytest.raises(SettingError, match="LOGBOX_SIGNING_KEY") as refused:
        signing.signer_from_key(text)
    assert not text or text not in str(refused.value)


def test_short_secret_is_refused_unshown() -> None:
    with pytest.raises(SettingError, match="LOGBOX_SECRET_KEY has 4 characters") as refused:
        signing.signer_from_secret("hush")
    assert "hush" not in str(refused.value)


def test_no_repr_shows_a_private_key() -> None:
    assert "PrivateKey" not in repr(signing.signer_from_secret(SECRET))


def test_signature_counts_only_over_its_bytes_and_by_a_known_key() -> None:
    ours, other = signing.signer_from_secret(SECRET), signing.signer_from_secret(SECRET[::-1])
    signature = ours.sign(b"data")
    both = (other.public_key, ours.public_key)
    assert signing.signed_by(signature, b"data", both) == ours.public_key
    assert signing.signed_by(signature, b"Data", both) is None
    assert signing.signed_by(signature[:-1], b"data", both) is None
    assert signing.signed_by(b"", b"data", both) is None
    assert signing.signed_by(signature, b"data", (other.public_key,)) is None


def test_public_keys_are_listed_with_commas() -> None:
    ours, other = signing.signer_from_secret(SECRET), signing.signer_from_secret(SECRET[::-1])
    texts = [signing.public_text(one.public_key) for one in (ours, other)]
    assert signing.public_keys(f" {texts[0]}, {texts[1]},") == (ours.public_key, other.public_key)
    assert signing.public_keys("") == ()
    with pytest.raises(SettingError, match="is no public key"):
        signing.public_keys("AAAA")
