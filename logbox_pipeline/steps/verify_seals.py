"""Verify seals: does the archive hold what its signed lists say? Reads S3 alone, changes nothing.

Whoever can write to both S3 and Postgres can make new lists, but none with the digest of a list
that some drone has in a receipt: that is what `expect` is for.
"""

import hashlib
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import keys, seal
from logbox_pipeline.core.digest import sha256_hex
from logbox_pipeline.core.errors import PermanentError, StoreRefused, TransientError
from logbox_pipeline.core.reconciliation import Drift, DriftKind, Place
from logbox_pipeline.core.signing import key_id, signed_by
from logbox_pipeline.steps.signing import believed_keys
from logbox_pipeline.steps.site import TRANSFERS, Site


@dataclass(frozen=True)
class Wrong:
    """One file that is not what it should be. `expected` and `found` are digests, or words."""

    kind: DriftKind
    archive_key: str
    expected: str
    found: str


@dataclass
class Chain:
    """The seals of one client, as far as they could be read. `head` is the newest one's digest."""

    client: str
    seals: int = 0
    files: int = 0
    head: str | None = None
    key_ids: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)


@dataclass
class SealsVerified:
    """`unchecked` are (archive key, why) of what could not be read: neither right nor wrong."""

    chains: list[Chain]
    wrong: list[Wrong]
    unchecked: list[tuple[str, str]]

    def add_wrong(self, kind: DriftKind, archive_key: str, expected: str, found: str) -> None:
        self.wrong.append(Wrong(kind, archive_key, expected, found))


def seal_drifts(site: Site, *, rereads_files: bool) -> tuple[int, list[Drift]]:
    """(files that seals list, what is wrong) for a reconciliation; `rereads_files` False looks at
    the lists and their signatures alone.

    Raises TransientError when something could not be read, SettingError without a public key.
    """
    found = verify_seals(site.archive, believed_keys(site.settings), rereads_files=rereads_files)
    if found.unchecked:
        key, why = found.unchecked[0]
        raise TransientError(f"{len(found.unchecked)} file(s) could not be read: {key}: {why}")
    return sum(chain.files for chain in found.chains), [
        Drift(one.kind, Place.SEALS, one.archive_key, one.expected, one.found)
        for one in found.wrong
    ]


def verify_seals(
    archive: S3Bucket,
    public_keys: Collection[bytes],
    *,
    client: str | None = None,
    expect: str | None = None,
    rereads_files: bool = True,
) -> SealsVerified:
    """Check every chain, or one client's: numbers, links, signatures, and each listed file's bytes.

    `expect`: a digest that one of the seals must have. Raises TransientError and StoreRefused when
    the archive cannot be listed.
    """
    found = SealsVerified([], [], [])
    numbers: dict[str, list[int]] = {}
    for listed in archive.list_all(keys.seal_prefix(client)):
        key = listed.key
        place = keys.parse_seal_key(key.removesuffix(keys.SIGNATURE_SUFFIX))
        if place is None:
            found.add_wrong(DriftKind.UNEXPECTED, key, "no such file", "a file that is no seal")
        elif not key.endswith(keys.SIGNATURE_SUFFIX):
            # A signature alone says nothing: its seal is being put, or never was.
            numbers.setdefault(place[0], []).append(place[1])
    files: dict[str, str] = {}
    for name in sorted(numbers):
        chain, listed_files = _chain(archive, name, numbers[name], public_keys, found)
        found.chains.append(chain)
        files |= listed_files
    if rereads_files:
        _check_files(archive, files, found)
    if expect is not None and not any(expect in chain.digests for chain in found.chains):
        place_of = keys.seal_prefix(client)
        # A seal that could not be read may be the one.
        unread = [one for one in found.unchecked if one[0].startswith(keys.SEALS_PREFIX)]
        if unread:
            found.unchecked.append((place_of, f"{expect} may be a seal that could not be read"))
        else:
            found.add_wrong(
                DriftKind.MISSING, place_of, f"a seal {expect}", "no seal has that digest"
            )
    return found


def _chain(
    archive: S3Bucket,
    client: str,
    numbers: Sequence[int],
    public_keys: Collection[bytes],
    found: SealsVerified,
) -> tuple[Chain, dict[str, str]]:
    """(the chain, digests by key of all that its signed lists list); what is wrong goes into
    `found`. What a list without our signature says of other files is nobody's word."""
    chain, files = Chain(client), dict[str, str]()
    previous: str | None = None
    is_previous_signed = False
    last = 0
    for number in sorted(numbers):
        key = keys.seal_key(client, number)
        if number != last + 1:
            missing = keys.seal_key(client, last + 1)
            found.add_wrong(DriftKind.MISSING, missing, f"a seal before {key}", "missing")
            previous = None
        last = number
        try:
            body = read_whole(archive, key)
            signature = read_whole(archive, keys.signature_key(key))
        except (TransientError, StoreRefused) as error:
            found.unchecked.append((key, error.message))
            previous = None
            continue
        if body is None:
            found.add_wrong(DriftKind.MISSING, key, "the seal that was listed", "missing")
            previous = None
            continue
        sha256 = sha256_hex(body)
        is_signed = _check_signature(key, body, signature, public_keys, chain, found)
        one = seal.parse(client, number, body)
        if one is None:
            found.add_wrong(
                DriftKind.UNREADABLE, key, "a list of digests and keys", "something else"
            )
        else:
            is_linked = previous is None or one.previous == previous
            if not is_linked:
                before = keys.seal_key(client, number - 1)
                found.add_wrong(DriftKind.MISMATCH, before, str(one.previous), str(previous))
            # A list before that was changed does not speak against a signed one.
            if is_signed and (is_linked or not is_previous_signed):
                for file, digest in one.files.items():
                    if files.setdefault(file, digest) != digest:
                        found.add_wrong(DriftKind.MISMATCH, file, files[file], f"{digest} in {key}")
            chain.files += len(one.files)
        chain.seals += 1
        chain.head = previous = sha256
        is_previous_signed = is_signed
        chain.digests.add(sha256)
    return chain, files


def _check_signature(
    key: str,
    body: bytes,
    signature: bytes | None,
    public_keys: Collection[bytes],
    chain: Chain,
    found: SealsVerified,
) -> bool:
    by = signed_by(signature or b"", body, public_keys)
    if by is not None:
        chain.key_ids.add(key_id(by))
        return True
    known = ", ".join(sorted(map(key_id, public_keys)))
    found.add_wrong(
        DriftKind.MISSING if signature is None else DriftKind.MISMATCH,
        keys.signature_key(key),
        f"a signature of {known} over {key}",
        "missing" if signature is None else "a signature of other bytes, or by another key",
    )
    return False


def _check_files(archive: S3Bucket, files: dict[str, str], found: SealsVerified) -> None:
    """Read every listed file again."""

    def look(key: str) -> tuple[str | None, str | None]:
        try:
            return stored_digest(archive, key), None
        except (TransientError, StoreRefused) as error:
            return None, error.message

    with ThreadPoolExecutor(TRANSFERS) as threads:
        for (key, sha256), (digest, why) in zip(
            sorted(files.items()), threads.map(look, sorted(files)), strict=True
        ):
            if why is not None:
                found.unchecked.append((key, why))
            elif digest != sha256:
                kind = DriftKind.MISSING if digest is None else DriftKind.MISMATCH
                found.add_wrong(kind, key, sha256, digest or "missing")


def read_whole(archive: S3Bucket, key: str, *, version_id: str | None = None) -> bytes | None:
    """An object's bytes, however many; None when nothing is there."""
    try:
        return b"".join(archive.chunks(key, version_id=version_id))
    except StoreRefused:
        raise
    except PermanentError:
        return None


def stored_digest(archive: S3Bucket, key: str) -> str | None:
    """SHA-256 of what stands at a key, read now; None when nothing does."""
    digest = hashlib.sha256()
    try:
        for chunk in archive.chunks(key):
            digest.update(chunk)
    except StoreRefused:
        raise
    except PermanentError:
        return None
    return digest.hexdigest()
