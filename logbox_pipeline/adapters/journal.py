"""The journal of changes that no manifest records, in the archive bucket: clients and their keys.

One object per entry, `core.keys.journal_key`, in the order of its time; rebuild reads them back.
An entry never holds a secret.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

from logbox_pipeline.adapters.s3 import S3Bucket
from logbox_pipeline.core.keys import journal_key

Journal = Callable[[Mapping[str, Any]], None]


def journal_in(archive: S3Bucket) -> Journal:
    """A function that writes one entry; `entry["at"]` is its time, ISO 8601 with a zone.

    It may raise TransientError or StoreRefused.
    """

    def write(entry: Mapping[str, Any]) -> None:
        at = datetime.fromisoformat(entry["at"])
        body = json.dumps(entry, sort_keys=True, separators=(",", ":")) + "\n"
        archive.put_bytes(journal_key(at, uuid4()), body.encode())

    return write
