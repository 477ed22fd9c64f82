"""Logs that an attacker with a valid key would write: small files that ask for much. No tests here.

Each is made when it is asked for; none is kept.
"""

import json
import random
import string
import struct
from collections.abc import Iterable, Mapping

ULOG_HEAD = b"ULog\x01\x12\x35\x01" + struct.pack("<Q", 1_000)


def ulog_message(kind: str, payload: bytes) -> bytes:
    return struct.pack("<Hc", len(payload), kind.encode()) + payload


def ulog_of(formats: Mapping[str, str], data: Iterable[tuple[str, bytes]] = ()) -> bytes:
    """A ULog with these formats (name -> fields behind the timestamp) and rows."""
    parts = [ULOG_HEAD, ulog_message("B", bytes(40))]
    for name, fields in formats.items():
        parts.append(ulog_message("F", f"{name}:uint64_t timestamp;{fields}".encode()))
    rows = list(data)
    ids = {name: number for number, name in enumerate(dict.fromkeys(name for name, _ in rows))}
    for name, number in ids.items():
        parts.append(ulog_message("A", struct.pack("<BH", 0, number) + name.encode()))
    for place, (name, payload) in enumerate(rows):
        at = struct.pack("<HQ", ids[name], 1_000 + place)
        parts.append(ulog_message("D", at + payload))
    return b"".join(parts)


def letters(count: int, seed: int) -> str:
    """Random letters, which no index can compress."""
    return "".join(random.Random(seed).choices(string.ascii_letters, k=count))


def many_topics(count: int = 10_000, prefix: str = "t") -> bytes:
    """A topic of its own for every row."""
    names = [f"{prefix}{number}" for number in range(count)]
    return ulog_of(
        dict.fromkeys(names, "float x;"), [(name, struct.pack("<f", 1)) for name in names]
    )


def many_formats(count: int = 65_535) -> bytes:
    """Formats without a row, and one log row of the last."""
    names = [f"f{number}" for number in range(count)]
    return ulog_of(dict.fromkeys(names, "float x;"), [(names[-1], struct.pack("<f", 1))])


def wide_topic(fields: int = 5_000, rows: int = 3, prefix: str = "c") -> bytes:
    text = "".join(f"bool {prefix}{number};" for number in range(fields))
    return ulog_of({"wide": text}, [("wide", bytes(fields))] * rows)


def many_columns(topics: int = 20, arrays: int = 300) -> bytes:
    """Arrays of 16 become a column for each entry: most columns for a byte."""
    text = "".join(f"uint8_t[16] a{number};" for number in range(arrays))
    names = [f"m{number}" for number in range(topics)]
    return ulog_of(dict.fromkeys(names, text), [(name, bytes(16 * arrays)) for name in names])


def long_string() -> bytes:
    """A message of 65,535 bytes whose key says a string of 4 GB."""
    key = b"char[4294967295] sys_name"
    payload = bytes([len(key)]) + key + b"x" * (65_535 - 1 - len(key))
    return ulog_of({"a": "float x;char[4294967295] s;"}, [("a", bytes(8))]) + ulog_message(
        "I", payload
    )


def huge_arrays() -> bytes:
    return ulog_of(
        {
            "a": "float[2147483648] x;",
            "b": "double[99999999999999999999] y;",
            "c": "float[-1] z;",
            "d": "float[0] w;uint8_t[4294967295] v;",
        },
        [(name, bytes(64)) for name in "abcd"],
    )


def recursive_types() -> bytes:
    return ulog_of(
        {"a": "b x;", "b": "a y;", "self": "self me;", "ok": "float z;"},
        [("a", bytes(32)), ("self", bytes(32)), ("ok", struct.pack("<f", 1))],
    )


def doubling_types(depth: int = 40) -> bytes:
    """Each type holds the next twice: 2 to the power of `depth` fields."""
    formats = {f"n{level}": f"n{level + 1} a;n{level + 1} b;" for level in range(depth)}
    return ulog_of(formats | {f"n{depth}": "float x;"}, [("n0", bytes(4_096))])


def deep_types(depth: int = 5_000) -> bytes:
    formats = {f"n{level}": f"n{level + 1} a;" for level in range(depth)}
    return ulog_of(formats | {f"n{depth}": "float x;"}, [("n0", bytes(4_096))])


def long_nested_names(fields: int = 2_000) -> bytes:
    """A long name in front of every field of a nested type."""
    inner = "".join(f"uint8_t f{number};" for number in range(fields))
    return ulog_of(
        {"outer": f"inner {letters(30_000, 1)};", "inner": inner}, [("outer", bytes(fields + 8))]
    )


def dataflash_fmt_flood(count: int = 60_000) -> bytes:
    """FMT messages that define all types again and again."""
    parts = []
    for number in range(count):
        kind = number % 256
        name = f"{number % 9999:04d}".encode()[:4]
        parts.append(
            b"\xa3\x95\x80"
            + struct.pack(
                "<BB4s16s64s",
                kind,
                89 if kind == 128 else 11,
                b"FMT\0" if kind == 128 else name,
                b"BBnNZ" if kind == 128 else b"Q",
                b"Type,Length,Name,Format,Columns" if kind == 128 else b"TimeUS",
            )
        )
    return b"".join(parts)


def tlog_flood(size_bytes: int = 3_000_000) -> bytes:
    """Only beginnings of frames."""
    return (
        struct.pack(">Q", 1_795_510_800_000_000) + b"\xfd\xff\x00\x00\x01\x01\x01\x00\x00\x00"
    ) * (size_bytes // 18)


def deep_json(depth: int = 100_000) -> bytes:
    good = b'{"level":"info","msg":"before"}\n'
    deep = b'{"msg":"deep","a":' + b"[" * depth + b"]" * depth + b"}\n"
    objects = b'{"msg":"deep","a":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}\n"
    return good + deep + objects + b'{"level":"info","msg":"after"}\n'


def many_keys(count: int = 1_000_000) -> bytes:
    members = ",".join(f'"k{number}":{number}' for number in range(count))
    return (
        b'{"level":"info","msg":"before"}\n{"msg":"keys",' + members.encode() + b"}\n"
        b'{"level":"info","msg":"after"}\n'
    )


def one_long_line(size_bytes: int = 100_000_000) -> bytes:
    return (
        b'{"level":"info","msg":"before"}\n{"msg":"' + b"x" * size_bytes + b'"}\n'
        b'{"level":"info","msg":"after"}\n'
    )


def many_elements(count: int = 30_000_000) -> bytes:
    """One attribute of more elements than jsonb holds."""
    return (
        b'{"level":"info","msg":"before"}\n{"msg":"elements","a":[0' + b",0" * count + b"]}\n"
        b'{"level":"info","msg":"after"}\n'
    )


def odd_numbers_and_keys() -> bytes:
    return (
        b'{"level":"info","msg":"huge","n":' + b"9" * 1_000_000 + b"}\n"
        b'{"level":"info","msg":"exponent","n":1e999999999,"m":-1e-999999999}\n'
        b'{"level":"info","msg":"twice","msg":"second","a":1,"a":{"a":2,"a":3}}\n'
        b'{"level":"info","time":' + b"9" * 400 + b',"msg":"time"}\n'
    )


def wide_csv(columns: int = 100_000, rows: int = 2) -> bytes:
    head = ",".join(["time_ms", *(f"c{number}" for number in range(columns))])
    row = ",".join(["1"] * (columns + 1))
    return ("\n".join([head, *[row] * rows]) + "\n").encode()


def many_csv_headers(count: int = 20_000) -> bytes:
    return b"".join(f"time_ms,a{n},b{n}\n1,2,3\n".encode() for n in range(count))


def many_json_shapes(count: int = 20_000) -> bytes:
    return b"".join(
        json.dumps({"level": "info", "msg": "m", f"k{n}": {f"j{n}": n}}).encode() + b"\n"
        for n in range(count)
    )


def long_names() -> bytes:
    """Names longer than any index takes, two of them equal up to their last letter."""
    name, field = letters(20_000, 2), letters(20_000, 3)
    fields = f"float {field}a;float {field}b;"
    row = struct.pack("<2f", 1, 2)
    return ulog_of({name + "a": fields, name + "b": fields}, [(name + "a", row), (name + "b", row)])


def alike_names() -> bytes:
    """Fields that differ in case only, or beyond 63 bytes, and what they would be called then."""
    long = "x" * 70
    names = ["speed", "Speed", "SPEED", "sPeed", "speed_1", f"{long}a", f"{long}b", f"{long}A"]
    fields = "".join(f"float {name};" for name in names)
    topics = ("alike", "Alike", "ALIKE", "a" * 70, "a" * 71)
    row = struct.pack(f"<{len(names)}f", *range(len(names)))
    return ulog_of(dict.fromkeys(topics, fields), [(name, row) for name in topics])
