"""Recognize: what an object of the archive proves to be, whatever the catalog says. Read-only.

Archived bytes have their digest in their name; manifests and journal are in signed seals.
"""

from contextlib import suppress

from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import keys, seal
from logbox_pipeline.core.digest import sha256_hex
from logbox_pipeline.core.errors import SettingError
from logbox_pipeline.core.repair import Proof, Proven
from logbox_pipeline.core.signing import SIGNATURE_BYTES, signed_by
from logbox_pipeline.core.told import lines
from logbox_pipeline.steps.signing import believed_keys
from logbox_pipeline.steps.site import Site
from logbox_pipeline.steps.verify_seals import read_whole, stored_digest


class SignedLists:
    """What the signed seals in the archive list, read when a chain is first asked for.

    A list that no believed key signed says nothing, and without a key none does.
    """

    def __init__(self, site: Site) -> None:
        self._archive = site.archive
        self._public_keys: tuple[bytes, ...] = ()
        with suppress(SettingError):
            self._public_keys = believed_keys(site.settings)
        self._chains: dict[str, dict[str, tuple[str, str]]] = {}

    def find(self, key: str) -> tuple[str, str] | None:
        """(digest, key of the seal) by which a manifest or journal entry is listed; None when no
        signed seal lists it. Raises TransientError or StoreRefused."""
        if not key.startswith((keys.MANIFESTS_PREFIX, keys.JOURNAL_PREFIX)):
            return None
        client = keys.client_of_chain(key)
        if client not in self._chains:
            self._chains[client] = self._read(client)
        return self._chains[client].get(key)

    def is_signed(self, store: S3Bucket, key: str, body: bytes) -> bool:
        """Whether the list `body` at `key` has a believed signature beside it."""
        signature = read_whole(store, keys.signature_key(key)) or b""
        return signed_by(signature, body, self._public_keys) is not None

    def _read(self, client: str) -> dict[str, tuple[str, str]]:
        listed: dict[str, tuple[str, str]] = {}
        for stored in self._archive.list_all(keys.seal_prefix(client)):
            place = keys.parse_seal_key(stored.key)
            body = None if place is None else read_whole(self._archive, stored.key)
            if place is None or body is None or not self.is_signed(self._archive, stored.key, body):
                continue
            one = seal.parse(*place, body)
            if one is not None:
                for file, digest in one.files.items():
                    listed.setdefault(file, (digest, stored.key))
        return listed


def recognize(store: S3Bucket, key: str, lists: SignedLists) -> Proven | None:
    """What stands at `key` in archive or replica, when it proves itself; None when it does not.

    Reads the object whole. Raises TransientError or StoreRefused.
    """
    archived = keys.parse_archive_key(key)
    if archived is not None:
        standing = store.head(key)
        digest = stored_digest(store, key)
        if standing is None or digest != archived[1]:
            return None
        return Proven(key, digest, standing.size_bytes, Proof.NAME)
    if not key.startswith((keys.MANIFESTS_PREFIX, keys.JOURNAL_PREFIX, keys.SEALS_PREFIX)):
        return None
    body = read_whole(store, key)
    if body is None:
        return None
    is_seal = key.startswith(keys.SEALS_PREFIX)
    proof = _proof_of_seal(store, key, body, lists) if is_seal else _proof(key, body, lists)
    return None if proof is None else Proven(key, sha256_hex(body), len(body), proof)


def _proof(key: str, body: bytes, lists: SignedLists) -> Proof | None:
    listed = lists.find(key)
    if listed is not None and listed[0] == sha256_hex(body):
        return Proof.SEAL
    try:
        return Proof.FORM if lines(body) else None
    except ValueError:
        return None


def _proof_of_seal(store: S3Bucket, key: str, body: bytes, lists: SignedLists) -> Proof | None:
    """A list that nobody signed may be of a key that this site no longer knows."""
    list_key = key.removesuffix(keys.SIGNATURE_SUFFIX)
    place = keys.parse_seal_key(list_key)
    if place is None:
        return None
    list_body = body if key == list_key else read_whole(store, list_key)
    if list_body is None or seal.parse(*place, list_body) is None:
        return None
    if lists.is_signed(store, list_key, list_body):
        return Proof.SIGNATURE
    return Proof.FORM if key == list_key or len(body) == SIGNATURE_BYTES else None
