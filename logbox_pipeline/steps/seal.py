"""Seal: list the manifests that no seal lists yet, chain the list to the one before, sign it.

One transaction per chain, which holds a lock until the list and its signature stand in the archive.
A seal that was ever signed is never written over: some drone may have its digest.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from logbox_pipeline.adapters import catalog_seals
from logbox_pipeline.adapters.catalog_drifts import record_drift
from logbox_pipeline.adapters.catalog_seals import PutSeal
from logbox_pipeline.core import keys, seal
from logbox_pipeline.core.digest import sha256_hex
from logbox_pipeline.core.errors import PermanentError, TransientError
from logbox_pipeline.core.signing import Signer, key_id, signed_by
from logbox_pipeline.steps.signing import believed_keys, signer_of
from logbox_pipeline.steps.site import TRANSFERS, Site
from logbox_pipeline.steps.verify_seals import read_whole, stored_digest

MOST_FILES = 100_000
"""Files of one seal: its list is held in memory, 150 bytes a line."""


@dataclass(frozen=True)
class Sealed:
    """A seal that was made, or found where an earlier attempt had put it and died."""

    client: str
    number: int
    sha256: str
    files: int


@dataclass(frozen=True)
class _Standing:
    """A seal in the archive that is the next of its chain, and by which key it is signed."""

    seal: seal.Seal
    body: bytes
    signature: bytes
    key_id: str


def seal_all(site: Site) -> list[Sealed]:
    """Bring every chain up to what has been written. Nothing new: no new seal.

    Raises SettingError without a key to sign with, TransientError, and PermanentError when a chain
    cannot go on (the others have, by then).
    """
    signer = signer_of(site.settings)
    with site.transaction() as cursor:
        chains = catalog_seals.unsealed_chains(cursor)
    return _each(chains, partial(_seal_next, site, signer))


def adopt_seals(site: Site, copies: Mapping[str, bytes] | None = None) -> list[Sealed]:
    """Take the seals that stand in the archive into a catalog that has lost them; make none.

    copies: by archive key, seals and signatures that count in place of what stands there.
    Raises as `seal_all`.
    """
    copies = copies or {}
    found = [*(one.key for one in site.archive.list_all(keys.seal_prefix())), *copies]
    places = map(keys.parse_seal_key, found)
    chains = sorted({place[0] for place in places if place is not None})
    return _each(chains, partial(_adopt_next, site, copies))


def _each(chains: Sequence[str], go_on: Callable[[str], Sealed | None]) -> list[Sealed]:
    """Go on with each chain as far as it goes; one that cannot does not keep the others."""
    made: list[Sealed] = []
    stuck: PermanentError | None = None
    for client in chains:
        try:
            while (one := go_on(client)) is not None:
                made.append(one)
        except PermanentError as error:
            stuck = error
    if stuck is not None:
        raise stuck
    return made


def _seal_next(site: Site, signer: Signer, client: str) -> Sealed | None:
    """Add one seal to a chain; None when there is nothing to seal."""
    with site.transaction() as cursor:
        catalog_seals.lock_chain(cursor, client)
        files = catalog_seals.unsealed(cursor, client, MOST_FILES)
        if not files:
            return None
        wanted = _next(cursor, client, files)
        return _record(site, cursor, _stand(site, cursor, signer, wanted))


def _adopt_next(site: Site, copies: Mapping[str, bytes], client: str) -> Sealed | None:
    with site.transaction() as cursor:
        catalog_seals.lock_chain(cursor, client)
        standing = _adopted(site, cursor, _next(cursor, client, {}), copies)
        return None if standing is None else _record(site, cursor, standing, copies)


def _next(cursor: Any, client: str, files: Mapping[str, str]) -> seal.Seal:
    head = catalog_seals.head(cursor, client)
    if head is None:
        return seal.Seal(client, 1, None, files)
    return seal.Seal(client, head.number + 1, head.sha256, files)


def _record(
    site: Site, cursor: Any, standing: _Standing, copies: Mapping[str, bytes] | None = None
) -> Sealed:
    one, sha256 = standing.seal, sha256_hex(standing.body)
    key = keys.seal_key(one.client, one.number)
    stored = site.archive.head(key)
    if stored is None and key not in (copies or {}):
        raise TransientError(f"s3://{site.archive.bucket}/{key} is not there after putting it")
    catalog_seals.record_seal(
        cursor,
        PutSeal(
            key,
            one.client,
            one.number,
            sha256,
            one.previous,
            len(standing.body),
            standing.signature,
            one.files.keys(),
            standing.key_id,
            site.now() if stored is None else stored.received_at,
        ),
    )
    return Sealed(one.client, one.number, sha256, len(one.files))


def _stand(site: Site, cursor: Any, signer: Signer, wanted: seal.Seal) -> _Standing:
    """See that the seal stands in the archive, or the one of an attempt that died uncommitted."""
    key = keys.seal_key(wanted.client, wanted.number)
    body = seal.render(wanted)
    is_taken = site.archive.head(key) is not None
    if is_taken:
        found = _adopted(site, cursor, wanted)
        if found is not None:
            return found
        # Never ours: whoever wrote it could have kept us from sealing for ever.
    # The signature first, so that whoever reads the list in between finds it signed.
    signature = signer.sign(body)
    site.archive.put_bytes(keys.signature_key(key), signature)
    if is_taken:
        site.archive.put_bytes(key, body)
    elif site.archive.put_new(key, body) is None:
        raise TransientError(f"s3://{site.archive.bucket}/{key} was put by somebody else just now")
    return _Standing(wanted, body, signature, signer.key_id)


def _adopted(
    site: Site, cursor: Any, wanted: seal.Seal, copies: Mapping[str, bytes] | None = None
) -> _Standing | None:
    """What stands in the next seal's place, if it may be the next; None when it was never ours, or
    nothing is there.

    Raises PermanentError when it is signed by us and does not go on from our head, or lists what is
    not there: then the catalog or the archive was changed, and a person has to look.
    """
    key = keys.seal_key(wanted.client, wanted.number)
    body = (copies or {}).get(key) or read_whole(site.archive, key)
    if body is None:
        return None
    signature_key = keys.signature_key(key)
    signature = (copies or {}).get(signature_key) or read_whole(site.archive, signature_key) or b""
    found = seal.parse(wanted.client, wanted.number, body)
    fits = (
        found is not None
        and found.previous == wanted.previous
        and _lists_what_is_there(site, cursor, found.files)
    )
    by = signed_by(signature, body, believed_keys(site.settings))
    if found is not None and fits and by is not None:
        return _Standing(found, body, signature, key_id(by))
    # Apart from the seal's own transaction, so that it stays when that one fails.
    with site.transaction() as apart:
        record_drift(
            apart,
            "mismatch",
            "seals",
            key,
            expected=f"seal {wanted.number} after {wanted.previous or 'none'}, of what is there",
            found=f"{sha256_hex(body)}, " + ("signed by Logbox" if by else "not signed by Logbox"),
            now=site.now(),
        )
    if by is not None:
        raise PermanentError(
            f"s3://{site.archive.bucket}/{key} is a seal of ours that does not go on from seal "
            f"{wanted.number - 1} ({wanted.previous or 'none'}), or lists what is not there",
            hint="`logbox verify-seals` says what is wrong; nothing was written over it",
        )
    return None


def _lists_what_is_there(site: Site, cursor: Any, files: Mapping[str, str]) -> bool:
    """Whether each file is known with that digest, or at least stands in the archive with it: an
    older state of the catalog may have been restored."""
    known = catalog_seals.digests(cursor, list(files))
    unknown = [key for key in files if key not in known]
    with ThreadPoolExecutor(TRANSFERS) as threads:
        found = dict(
            zip(
                unknown,
                threads.map(lambda key: stored_digest(site.archive, key), unknown),
                strict=True,
            )
        )
    return all((known | found)[key] == sha256 for key, sha256 in files.items())
