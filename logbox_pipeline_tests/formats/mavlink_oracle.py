"""What pymavlink reads in a log, and whether ours says the same. No parsing of our own."""

import os
import struct
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from logbox_pipeline.formats.mavlink_definitions import NUMPY_TYPES, Field, definitions
from logbox_pipeline.formats.text import c_string
from logbox_pipeline.formats.times import epoch_us
from logbox_pipeline_tests.formats.parsing import Parsed

# pymavlink chooses the protocol while it is imported.
os.environ["MAVLINK20"] = "1"
from pymavlink import mavutil

Key = tuple[str, int]


def pymavlink_rows(data: bytes, *, has_times: bool = True) -> dict[Key, list[tuple[float, Any]]]:
    """(time, fields; text as bytes) by message and sender, without BAD_DATA and unknown."""
    mavutil.set_dialect("all")
    found: dict[Key, list[tuple[float, Any]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.tlog"
        path.write_bytes(data)
        log = mavutil.mavlogfile(str(path), notimestamps=not has_times)
        while (message := log.recv_msg()) is not None:
            name = message.get_type()
            if name == "BAD_DATA" or name.startswith("UNKNOWN"):
                continue
            key = name, message.get_srcSystem() << 8 | message.get_srcComponent()
            said = {
                # Text as it was sent: pymavlink's own is ASCII with replacements.
                field: getattr(message, f"_{field}_raw", getattr(message, field))
                for field in message.fieldnames
            }
            found[key].append((message._timestamp, said))
        log.close()
    return dict(found)


def assert_equals_pymavlink(data: bytes, parsed: Parsed, *, has_times: bool = True) -> None:
    """Every message, sender, row and field, bit for bit, and the times."""
    expected = pymavlink_rows(data, has_times=has_times)
    found = {key: table.num_rows for key, table in parsed.rows.items()}
    assert found == {key: len(rows) for key, rows in expected.items()}
    for key, rows in expected.items():
        table, message = parsed.rows[key], definitions().by_name[key[0]]
        assert set(table["sysid"].to_pylist()) == {key[1] >> 8}
        assert set(table["compid"].to_pylist()) == {key[1] & 0xFF}
        for field in message.fields:
            values = [row[field.name] for _, row in rows]
            assert _bits(table, field) == _expected_bits(values, field), (key, field.name)
        stamps = [None if ts is None else epoch_us(ts) for ts in table["ts"].to_pylist()]
        if has_times:
            assert stamps == [round(stamp * 1e6) for stamp, _ in rows]
        else:
            assert set(stamps) == {None}


def assert_holds_pymavlink(data: bytes, parsed: Parsed) -> None:
    """Every row of pymavlink is there, in its order; there may be more of them."""
    for key, rows in pymavlink_rows(data).items():
        table, message = parsed.rows[key], definitions().by_name[key[0]]
        ours = zip(*(_bits(table, field) for field in message.fields), strict=True)
        columns = [
            _expected_bits([row[field.name] for _, row in rows], field) for field in message.fields
        ]
        for number, row in enumerate(zip(*columns, strict=True)):
            assert any(row == other for other in ours), (key, number)


def _bits(table: pa.Table, field: Field) -> list[Any]:
    """A field's values as bytes, text as text."""
    if field.is_text:
        return list(table[field.name].to_pylist())
    if not field.entries:
        column = table[field.name].to_numpy()
        assert column.dtype == np.dtype(NUMPY_TYPES[field.type])
        return [value.tobytes() for value in column]
    if field.entries > 16:
        assert table.schema.field(field.name).type == pa.list_(
            pa.from_numpy_dtype(NUMPY_TYPES[field.type])
        )
        rows = table[field.name].to_pylist()
        return [np.array(row, NUMPY_TYPES[field.type]).tobytes() for row in rows]
    entries = [table[f"{field.name}[{index}]"].to_numpy() for index in range(field.entries)]
    return [row.tobytes() for row in np.stack(entries, axis=1)]


def _expected_bits(values: list[Any], field: Field) -> list[Any]:
    if field.is_text:
        return [c_string(value) for value in values]
    if field.type == "float":
        return [struct.pack(f"<{max(field.entries, 1)}f", *np.atleast_1d(v)) for v in values]
    return [np.array(value, NUMPY_TYPES[field.type]).tobytes() for value in values]
