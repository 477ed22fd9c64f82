"""Ed25519 against the vectors of RFC 8032, section 7.1, and against `cryptography`."""

import hashlib
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from logbox_pipeline.drone.ed25519 import _ORDER, _P, is_public_key, verify
from logbox_pipeline_tests.drone.signer import Signer

VECTORS = {
    "TEST 1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        b"",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e397"
        "01cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "TEST 2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        b"\x72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f361"
        "3d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "TEST 3": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        b"\xaf\x82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f76"
        "0984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    "TEST SHA(abc)": (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").digest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c"
        "66431e0303dca179c138ac17ad9bef1177331a704",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_of_the_rfc_verify(name: str) -> None:
    secret, public, message, signature = VECTORS[name]
    key, signed = bytes.fromhex(public), bytes.fromhex(signature)
    assert verify(key, message, signed)
    assert not verify(key, message + b"x", signed)
    signer = Signer(bytes.fromhex(secret))
    assert (signer.public_key, signer.sign(message)) == (key, signed)


def test_another_key_does_not_verify() -> None:
    one, other = Signer(b"1" * 32), Signer(b"2" * 32)
    assert not verify(other.public_key, b"word", one.sign(b"word"))


def test_every_flipped_bit_of_a_signature_is_found() -> None:
    signer = Signer(b"k" * 32)
    key, signature = signer.public_key, signer.sign(b"word")
    for bit in range(0, 512, 7):
        wrong = bytearray(signature)
        wrong[bit // 8] ^= 1 << bit % 8
        assert not verify(key, b"word", bytes(wrong))


def test_scalar_that_is_not_reduced_is_refused() -> None:
    """S + L signs as S does, in a verifier that does not look."""
    signer = Signer(b"k" * 32)
    signature = signer.sign(b"word")
    scalar = int.from_bytes(signature[32:], "little") + _ORDER
    assert not verify(signer.public_key, b"word", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize(
    "key",
    [
        (_P + 3).to_bytes(32, "little"),  # a coordinate that is not reduced
        (2).to_bytes(32, "little"),  # on no point of the curve
        (1 | 1 << 255).to_bytes(32, "little"),  # x = 0 with a sign
        (1).to_bytes(32, "little"),  # the neutral point: S = 0 would sign anything
        bytes(32),  # of order 4
        (_P - 1).to_bytes(32, "little"),  # of order 2
        b"short",
    ],
)
def test_key_that_is_no_good_point_is_refused(key: bytes) -> None:
    assert not is_public_key(key)
    forged = (1).to_bytes(32, "little") + bytes(32)
    assert not verify(key, b"word", forged)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_signature_of_another_length_is_refused(length: int) -> None:
    assert not verify(Signer(b"k" * 32).public_key, b"word", bytes(length))


def test_agrees_with_cryptography() -> None:
    for length in range(0, 200, 20):
        private = Ed25519PrivateKey.generate()
        message = secrets.token_bytes(length)
        signature = private.sign(message)
        key = private.public_key().public_bytes_raw()
        assert verify(key, message, signature)
        assert not verify(key, message + b"x", signature)
        assert Signer(private.private_bytes_raw()).sign(message) == signature
