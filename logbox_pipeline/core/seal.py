"""Seals: a client's manifests as a chain of signed lists in `sha256sum -c` form. No I/O.

    <sha256>  archive/seals/acme/000001.sha256         the seal before, where there is one
    <sha256>  archive/manifests/acme/...               what was written since, in key order

The digest of the newest list is the chain's head: it binds every list and every manifest before it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from logbox_pipeline.core import keys

_LINE = re.compile(r"([0-9a-f]{64})  ([\x21-\x5b\x5d-\x7e]+)\n")
"""Without the backslash, which `sha256sum` would take for an escape; keys of ours have none."""


@dataclass(frozen=True)
class Seal:
    """One list. `previous` is the digest of the seal before, None in the first; `files` are digests
    by archive key."""

    client: str
    number: int
    previous: str | None
    files: Mapping[str, str]


def render(seal: Seal) -> bytes:
    """The list as it is stored.

    Raises ValueError when a key could not stand in it.
    """
    lines = [f"{sha256}  {key}\n" for key, sha256 in sorted(seal.files.items())]
    if seal.previous is not None:
        lines.insert(0, f"{seal.previous}  {keys.seal_key(seal.client, seal.number - 1)}\n")
    if unfit := [line for line in lines if not _LINE.fullmatch(line)]:
        raise ValueError(f"{unfit[0]!r} cannot stand in a seal")
    return "".join(lines).encode()


def parse(client: str, number: int, body: bytes) -> Seal | None:
    """The list behind `render`; None when these bytes are no such list of that place."""
    try:
        text = body.decode("ascii")
    except ValueError:
        return None
    found = _LINE.findall(text)
    previous = None
    if number > 1:
        if not found or found[0][1] != keys.seal_key(client, number - 1):
            return None
        previous = found.pop(0)[0]
    seal = Seal(client, number, previous, {key: sha256 for sha256, key in found})
    # Whatever is twice, out of order or of another form would come out otherwise.
    return seal if found and render(seal) == body else None
