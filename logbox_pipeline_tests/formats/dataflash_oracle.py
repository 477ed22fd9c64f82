"""pymavlink as oracle: every message and field that DFReader reads stands in the parsed tables."""

import contextlib
import io
import struct
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from pymavlink import DFReader

from logbox_pipeline_tests.formats.parsing import Parsed


def messages(data: bytes, *, is_text: bool) -> list[dict[str, Any]]:
    """What pymavlink reads: one dict per message, in the order of the file."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        path = Path(folder) / ("log.log" if is_text else "log.bin")
        path.write_bytes(data)
        with contextlib.redirect_stdout(io.StringIO()):
            reader = (DFReader.DFReader_text if is_text else DFReader.DFReader_binary)(str(path))
            try:
                read = []
                while (message := reader.recv_msg()) is not None:
                    read.append(message.to_dict())
                return read
            finally:
                reader.close()


def counts(read: list[dict[str, Any]]) -> Counter[str]:
    return Counter(message["mavpackettype"] for message in read)


def rows_by_topic(parsed: Parsed) -> Counter[str]:
    found: Counter[str] = Counter()
    for (topic, _), table in parsed.rows.items():
        found[topic] += table.num_rows
    return found


def assert_equals_pymavlink(data: bytes, parsed: Parsed, *, is_text: bool) -> None:
    """Same messages, same fields, same bits.

    In text logs pymavlink drops a line whose last field is empty (UNIT `-`) and cuts a text at
    `, `; both are whole here.
    """
    read = messages(data, is_text=is_text)
    found_rows = rows_by_topic(parsed)
    if is_text:
        unnamed = (
            parsed.rows["UNIT", 0]["Label"].to_pylist().count("") if "UNIT" in found_rows else 0
        )
        found_rows["UNIT"] -= unnamed
    assert +found_rows == counts(read)
    expected = defaultdict(list)
    for message in read:
        expected[message.pop("mavpackettype")].append(message)
    for topic, rows in expected.items():
        instances = sorted(key for key in parsed.rows if key[0] == topic)
        tables = [parsed.rows[key] for key in instances]
        merged = pa.concat_tables(tables) if len(tables) > 1 else tables[0]
        for name in rows[0]:
            wanted = [_comparable(row[name]) for row in rows]
            found = [_comparable(value) for value in _column(merged, name, rows[0])]
            if is_text:
                found = [v.partition(", ")[0] if isinstance(v, str) else v for v in found]
                found = found[len(found) - len(wanted) :]
            if len(tables) > 1:
                wanted, found = sorted(wanted, key=repr), sorted(found, key=repr)
            assert found == wanted, (topic, name)
        if len(tables) > 1:
            _assert_instances_in_order(rows, instances, tables)


def _assert_instances_in_order(
    rows: list[dict[str, Any]], keys: list[tuple[str, int]], tables: list[pa.Table]
) -> None:
    """Within one instance, whole rows stand in the order of the file."""
    for (_, instance), table in zip(keys, tables, strict=True):
        names = [name for name in rows[0] if name in table.column_names]
        found = list(
            zip(*(map(_comparable, table[name].to_pylist()) for name in names), strict=True)
        )
        wanted = [tuple(_comparable(row[name]) for name in names) for row in rows]
        left = iter(wanted)
        assert all(row in left for row in found), instance


def _column(table: pa.Table, name: str, row: dict[str, Any]) -> list[Any]:
    if name in table.column_names:
        return list(table[name].to_pylist())
    assert name in ("TimeUS", "TimeMS", "T"), name
    divisor = 1 if name == "TimeUS" else 1000
    return [None if us is None else us // divisor for us in table["t_boot_us"].to_pylist()]


def _comparable(value: Any) -> Any:
    if isinstance(value, float):
        return struct.pack("<d", value) if value == value else b"nan"
    if isinstance(value, bytes):
        return list(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    return value
