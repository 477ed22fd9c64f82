"""Read what the archive tells of itself, manifests and journal, as it was written once.

A file that a seal of ours lists is what the seal says, or it is not believed: then the replica's
copy or an older version is looked for. One that no seal lists yet was written once, so its oldest
version counts. What can be read nowhere is told of, and keeps nothing else from being read.
"""

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core import keys, seal
from logbox_pipeline.core.digest import sha256_hex
from logbox_pipeline.core.errors import LogboxError, SettingError, TransientError
from logbox_pipeline.core.signing import signed_by
from logbox_pipeline.core.told import Line, lines
from logbox_pipeline.steps.signing import believed_keys
from logbox_pipeline.steps.site import TRANSFERS, Site
from logbox_pipeline.steps.verify_seals import read_whole

_READ_AHEAD = 200
_ARCHIVE = "the archive"


@dataclass(frozen=True)
class ToldFile:
    """One file. `told` None: no copy is what was written. `sha256` None: nobody knows what it was.
    `standing`: digest of what stands in the archive, None: nothing. `wrong`: what is not as it
    should be, in a sentence; None: all is well."""

    archive_key: str
    put_at: datetime
    sha256: str | None
    size_bytes: int
    told: list[Line] | None
    standing: str | None
    wrong: str | None


@dataclass(frozen=True)
class Sealed:
    """Digests by archive key of all that seals of ours list. `wrong`: seals that are not believed,
    or not where they should be, and why; `copies`: of the latter the bytes that were signed, and
    their signatures; both by archive key."""

    files: Mapping[str, str]
    wrong: Mapping[str, str]
    copies: Mapping[str, bytes]


@dataclass(frozen=True)
class _Signed:
    listed: seal.Seal
    body: bytes
    signature: bytes
    where: tuple[str, str]


def sealed_files(site: Site) -> Sealed:
    """What the signed lists say; nothing when there is no key to check them with.

    Raises TransientError and StoreRefused when a store that is needed cannot be asked.
    """
    try:
        believed = believed_keys(site.settings)
    except SettingError:
        return Sealed({}, {}, {})
    places: set[tuple[str, int]] = set()
    for key in _listed(site, keys.seal_prefix()):
        if (place := keys.parse_seal_key(key)) is not None:
            # The one before it may be what was deleted.
            places |= {place, (place[0], max(place[1] - 1, 1))}
    files: dict[str, str] = {}
    wrong: dict[str, str] = {}
    copies: dict[str, bytes] = {}
    ordered = sorted(places)
    with ThreadPoolExecutor(TRANSFERS) as threads:
        seals = list(threads.map(lambda one: _believed(site, one[0], one[1], believed), ordered))
    for place, found in zip(ordered, seals, strict=True):
        key = keys.seal_key(*place)
        if found is None:
            wrong[key] = "no copy of it carries a signature of ours"
            continue
        if found.where != (_ARCHIVE, _ARCHIVE):
            body, signature = found.where
            wrong[key] = f"it is not as it was signed; {body} is, its signature: {signature}"
            copies |= {key: found.body, keys.signature_key(key): found.signature}
        for file, sha256 in found.listed.files.items():
            files.setdefault(file, sha256)
    return Sealed(files, wrong, copies)


def told_files(site: Site, sealed: Sealed, known: Collection[str]) -> Iterator[list[ToldFile]]:
    """Every file but the `known` ones, some at a time.

    Raises TransientError and StoreRefused when a store that is needed cannot be asked.
    """
    ahead: list[tuple[str, datetime]] = []
    for prefix in (keys.MANIFESTS_PREFIX, keys.JOURNAL_PREFIX):
        listed = _listed(site, prefix)
        for key in sealed.files:
            if key.startswith(prefix):
                listed.setdefault(key, site.now())
        for key, put_at in listed.items():
            if key not in known:
                ahead.append((key, put_at))
            if len(ahead) >= _READ_AHEAD:
                yield _read_all(site, sealed, ahead)
                ahead = []
    yield _read_all(site, sealed, ahead)


def _listed(site: Site, prefix: str) -> dict[str, datetime]:
    """When each key was put. What was deleted from the archive may stand in the replica still; a
    replica that is away hides no more than that."""
    found = {one.key: one.received_at for one in site.archive.list_all(prefix)}
    if site.replica is not None:
        with suppress(LogboxError):
            for one in site.replica.list_all(prefix):
                found.setdefault(one.key, one.received_at)
    return found


def _read_all(
    site: Site, sealed: Sealed, wanted: Collection[tuple[str, datetime]]
) -> list[ToldFile]:
    with ThreadPoolExecutor(TRANSFERS) as threads:
        return list(threads.map(lambda one: _read(site, sealed, *one), wanted))


def _read(site: Site, sealed: Sealed, key: str, put_at: datetime) -> ToldFile:
    if not keys.is_told(key):
        return ToldFile(
            key, put_at, None, 0, None, None, "ignored: Logbox writes no file of that name"
        )
    body = read_whole(site.archive, key)
    standing = None if body is None else sha256_hex(body)
    wanted = sealed.files.get(key)
    copies = _first_copies(site, key, body) if wanted is None else _copies(site, key, body)
    for where, copy in copies:
        sha256 = sha256_hex(copy)
        if wanted not in (None, sha256):
            continue
        try:
            told = lines(copy)
        except ValueError:
            continue
        wrong = None if sha256 == standing else f"it is not what was written; {where} is"
        return ToldFile(key, put_at, sha256, len(copy), told, standing, wrong)
    wrong = (
        f"expected {wanted}, found {standing or 'nothing'}, and no other copy is right"
        if wanted
        else "it is no manifest, and no other copy is one"
    )
    return ToldFile(key, put_at, wanted, len(body or b""), None, standing, wrong)


def _believed(site: Site, client: str, number: int, believed: Collection[bytes]) -> _Signed | None:
    """A copy of the seal that carries a signature of ours."""
    key = keys.seal_key(client, number)
    signature_key = keys.signature_key(key)
    for where, body in _copies(site, key, read_whole(site.archive, key)):
        listed = seal.parse(client, number, body)
        if listed is None:
            continue
        standing = read_whole(site.archive, signature_key)
        for beside, signature in _copies(site, signature_key, standing):
            if signed_by(signature, body, believed) is not None:
                return _Signed(listed, body, signature, (where, beside))
    return None


def _copies(site: Site, key: str, standing: bytes | None) -> Iterator[tuple[str, bytes]]:
    """What stands in the archive, its older versions, then the replica's; where each was found."""
    if standing is not None:
        yield _ARCHIVE, standing
    yield from _versions(site.archive, _ARCHIVE, key, site.archive.versions(key))
    yield from _replicas(site, key)


def _first_copies(site: Site, key: str, standing: bytes | None) -> Iterator[tuple[str, bytes]]:
    """The same, the oldest version first."""
    versions = site.archive.versions(key)
    if len(versions) < 2 and standing is not None:
        yield _ARCHIVE, standing
    else:
        yield from _versions(site.archive, _ARCHIVE, key, reversed(versions))
    yield from _replicas(site, key)


def _replicas(site: Site, key: str) -> Iterator[tuple[str, bytes]]:
    if site.replica is None:
        return
    try:
        versions = reversed(site.replica.versions(key))
        yield from _versions(site.replica, "the replica", key, versions)
    except TransientError as away:
        raise TransientError(
            f"{key} in the archive is not what was written, and the replica is away: "
            f"{away.message}",
            hint="start it, then run this again; or set LOGBOX_REPLICATION=off to go on without",
        ) from away


def _versions(
    store: S3Bucket, name: str, key: str, versions: Iterator[str] | list[str]
) -> Iterator[tuple[str, bytes]]:
    for version_id in versions:
        body = read_whole(store, key, version_id=version_id)
        if body is not None:
            yield f"version {version_id} in {name}", body
