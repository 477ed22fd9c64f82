"""What the archive is told of the catalog: whole rows, one line of JSON each. No I/O.

A line is {"kind", "id", "client", "told_at", "row"}; `row` null: it is gone. Manifests of batches
and the journal hold such lines; of several with one kind and id the last in told_at counts.
"""

from datetime import datetime
from enum import StrEnum

import msgspec


class Subject(StrEnum):
    """Whose rows are told, in the order in which they can be made again."""

    CLIENT = "client"
    CLIENT_KEY = "client_key"
    ANALYST = "analyst"
    TELEMETRY_TABLE = "telemetry_table"
    OBJECT = "object"
    DELIVERY = "delivery"
    LOG = "log"
    LAKE_FILE = "lake_file"


_ENCODER = msgspec.json.Encoder()


def line(
    subject: Subject, id_: str, client: str | None, told_at: datetime, row: str | None
) -> bytes:
    """One line, with its end; `row` is JSON text."""
    raw = None if row is None else msgspec.Raw(row.encode())
    told = {"kind": subject, "id": id_, "client": client, "told_at": told_at, "row": raw}
    return _ENCODER.encode(told) + b"\n"


class Line(msgspec.Struct, frozen=True):
    """One line as it was read back; `row` null: the row is gone."""

    kind: str
    id: str
    told_at: datetime
    client: str | None = None
    row: msgspec.Raw = msgspec.Raw(b"null")

    @property
    def text(self) -> str | None:
        """The row's JSON."""
        said = bytes(self.row).decode()
        return None if said == "null" else said


_DECODER = msgspec.json.Decoder(Line)


def lines(body: bytes) -> list[Line]:
    """The lines of a manifest or of a journal entry.

    Raises ValueError when it is none.
    """
    return [_DECODER.decode(text) for text in body.splitlines()]
