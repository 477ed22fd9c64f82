"""Where a drone uploads to, as whom, and under which keys. No I/O.

The grammar of keys is core/keys.py's, which a drone does not have; tests keep the two the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from logbox_pipeline.drone.errors import TargetError

MAX_KEY_BYTES = 900
"""The same limit as in core/keys.py."""
NAME_DIGITS = 12
"""Digits of the digest in a name that carries it."""

_CLIENT = re.compile(r"[a-z0-9][a-z0-9-]{1,30}[a-z0-9]")
_VEHICLE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")
_EXTENSION = re.compile(r"(\.[A-Za-z0-9]{1,8})?(\.(gz|zst|zip))?$", re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """Where a drone uploads to, as whom, and whose receipts it believes.

    `receipt_keys`: public keys by their key_id; empty: no receipt counts.
    """

    client: str
    bucket: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    endpoint: str | None = None
    region: str = "us-east-1"
    vehicle: str | None = None
    receipt_keys: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _CLIENT.fullmatch(self.client):
            raise TargetError(f"{self.client!r} is no client's name", "check LOGBOX_CLIENT")
        if self.vehicle is not None and not is_vehicle_name(self.vehicle):
            raise TargetError(
                f"{self.vehicle!r} is no vehicle's name: 1 to 64 letters, digits, `.`, `_` or `-`",
                "give another one with --vehicle",
            )

    @property
    def _folder(self) -> str:
        return f"{self.client}/" + (f"{self.vehicle}/" if self.vehicle else "")

    @property
    def receipts_prefix(self) -> str:
        """What the key may list."""
        return f"receipts/{self._folder}"

    def key_for(self, name: str) -> str:
        """The landing key of a file called `name`.

        Raises TargetError when Logbox would refuse such a key.
        """
        if "/" in name:
            raise TargetError(f"{name!r} cannot be a log's name: it has a slash", "use --name")
        return self.key_below(name)

    def key_below(self, name: str) -> str:
        """The landing key of a name that may hold folders: `DCIM/1.ulg`. Raises TargetError."""
        key = f"landing/{self._folder}{name}"
        why = None
        if any(part in ("", ".", "..") for part in name.split("/")) or "\\" in name:
            why = "empty, `.`, `..`, or with a backslash"
        elif _UNPRINTABLE.search(name):
            why = "control characters or invalid UTF-8"
        elif name.endswith(".sha256"):
            why = "`.sha256` is for sidecars, and this upload declares its digest itself"
        elif len(key.encode()) + NAME_DIGITS + 1 > MAX_KEY_BYTES:
            why = f"its key would be longer than {MAX_KEY_BYTES - NAME_DIGITS - 1} bytes"
        if why:
            raise TargetError(f"{name!r} cannot be a log's name: {why}", "use --name")
        return key

    def receipt_keys_of(self, landing_key: str, sha256: str) -> tuple[str, str]:
        """Where the receipt of these bytes stands, and the receipt of that name."""
        below = landing_key[len("landing/") :]
        return f"receipts/{self.client}/sha256/{sha256}.json", f"receipts/{below}.json"


def is_vehicle_name(name: str) -> bool:
    return _VEHICLE.fullmatch(name) is not None and name not in (".", "..")


def with_digest(key: str, sha256: str) -> str:
    """`landing/acme/flight.ulg.gz` -> `landing/acme/flight-0123456789ab.ulg.gz`."""
    at = len(key) - len(_EXTENSION.search(key)[0])  # type: ignore[index]
    return f"{key[:at]}-{sha256[:NAME_DIGITS]}{key[at:]}"
