"""Formats that are known and not read: a minimal header of each says what it is and needs."""

import sqlite3
import struct
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from logbox_pipeline.formats.recognize import FORMATS, recognize
from logbox_pipeline.formats.stream import Limits, Unreadable
from logbox_pipeline.formats.unread import UNREAD
from logbox_pipeline_tests.formats.parsing import RECEIVED_AT

LIMITS = Limits(received_at=RECEIVED_AT)
REASONS = {"encrypted", "not_read", "archive", "media", "program"}


def tar() -> bytes:
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("flight.ulg"))
    return out.getvalue()


def ubx() -> bytes:
    body = b"\x01\x07\x04\x00" + b"\1\2\3\4"
    a = b = 0
    for octet in body:
        a = (a + octet) & 255
        b = (b + a) & 255
    return b"\xb5\x62" + body + bytes((a, b))


def dji_txt(version: int, details_at: int = 5_000) -> bytes:
    prefix = struct.pack("<QHB", details_at, 436, version) + bytes(89)
    info = b"\0" + struct.pack("<H", 700) if version >= 13 else b""
    return prefix + info + bytes(8_000)


HEADERS: dict[str, list[bytes]] = {
    "ulog_encrypted": [b"ULogEnc" + bytes(100)],
    "pgp": [b"-----BEGIN PGP MESSAGE-----\n\nabc\n"],
    "age": [b"age-encryption.org/v1\n-> X25519 abc\n"],
    "openssl_enc": [b"Salted__" + bytes(100)],
    "blackbox": [
        b"H Product:Blackbox flight data recorder by Nicholas Sherlock\nH Data version:2\n"
        b"H Firmware revision:Betaflight 4.4.0 (abc) STM32F7X2\n"
    ],
    "dji_dat": [
        bytes(16) + b"BUILD May  5 2017" + bytes(300),
        bytes(16) + b"BUILD May  5 2017".ljust(226, b"\0") + b"DJI_LOG_V3\0" + bytes(50),
    ],
    "dji_dat_encrypted": [b"LOGH" + bytes(100)],
    "mcap": [b"\x89MCAP0\r\n\x01" + struct.pack("<QI", 12, 4) + b"ros2" + bytes(20)],
    "ros1_bag": [b"#ROSBAG V2.0\n" + bytes(50)],
    "fit": [b"\x0e\x10\xd9\x07\0\0\0\0.FIT" + bytes(20)],
    "ubx": [ubx()],
    "evtx": [b"ElfFile\0" + bytes(100)],
    "journald_binary": [b"LPKSHHRH" + bytes(100)],
    "pcap": [b"\xd4\xc3\xb2\xa1\x02\0\x04\0" + bytes(50)],
    "pcapng": [b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a" + bytes(20)],
    "parquet": [b"PAR1" + bytes(20)],
    "arrow": [b"ARROW1\0\0" + bytes(20)],
    "avro": [b"Obj\x01" + bytes(20)],
    "hdf5": [b"\x89HDF\r\n\x1a\n" + bytes(20)],
    "matlab": [b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(100)],
    "numpy": [b"\x93NUMPY\x01\0" + bytes(20)],
    "ole": [b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(20)],
    "7z": [b"7z\xbc\xaf\x27\x1c" + bytes(20)],
    "rar": [b"Rar!\x1a\x07\x01\0" + bytes(20)],
    "xz": [b"\xfd7zXZ\0" + bytes(20)],
    "bzip2": [b"BZh91AY&SY" + bytes(20)],
    "lz4": [b"\x04\x22\x4d\x18" + bytes(20)],
    "snappy": [b"\xff\x06\0\0sNaPpY" + bytes(20)],
    "tar": [tar()],
    "las": [b"LASF" + bytes(400)],
    "jpeg": [b"\xff\xd8\xff\xe1" + bytes(20)],
    "png": [b"\x89PNG\r\n\x1a\n" + bytes(20)],
    "gif": [b"GIF89a" + bytes(20)],
    "tiff": [b"II*\0" + bytes(20), b"MM\0*" + bytes(20)],
    "webp": [b"RIFF\x10\0\0\0WEBP" + bytes(20)],
    "avi": [b"RIFF\x10\0\0\0AVI " + bytes(20)],
    "wav": [b"RIFF\x10\0\0\0WAVE" + bytes(20)],
    "mp4": [b"\0\0\0\x20ftypisom" + bytes(30)],
    "matroska": [b"\x1a\x45\xdf\xa3" + bytes(20)],
    "ogg": [b"OggS\0" + bytes(20)],
    "pdf": [b"%PDF-1.7\n" + bytes(20)],
    "elf": [b"\x7fELF\x02\x01" + bytes(20)],
    "pe": [b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(20)],
    "dji_txt": [dji_txt(6), dji_txt(12), dji_txt(14), dji_txt(14, details_at=0)],
}


def seen(data: bytes) -> tuple[str, Unreadable]:
    recognized = recognize(memoryview(data), LIMITS)
    assert recognized is not None, "not recognized"
    (item,) = recognized.format.parse(memoryview(data), LIMITS)
    assert isinstance(item, Unreadable)
    return recognized.format.name, item


def database(path: Path, *tables: str) -> bytes:
    with sqlite3.connect(path) as connection:
        for table in tables:
            connection.execute(f"create table {table} (id integer primary key, data blob)")
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "data"), [(name, data) for name, many in HEADERS.items() for data in many]
)
def test_a_header_is_known_and_says_what_it_would_need(name: str, data: bytes) -> None:
    found, item = seen(data)
    assert found == name
    assert item.reason in REASONS
    assert item.detail[:2] in ("a ", "an", "co")
    assert "{" not in item.detail
    assert item.detail.isprintable()


def test_every_format_has_a_header_here() -> None:
    assert {each.name for each in UNREAD} == {*HEADERS, "sqlite", "ros2_bag_sqlite"}


def test_a_database_is_a_bag_when_it_has_a_bags_tables(tmp_path: Path) -> None:
    assert seen(database(tmp_path / "a.db", "topics", "messages"))[0] == "ros2_bag_sqlite"
    assert seen(database(tmp_path / "b.db", "flights"))[0] == "sqlite"


def test_versions_are_said_where_the_header_has_them() -> None:
    said = {name: [seen(data)[1].detail for data in many] for name, many in HEADERS.items()}
    assert "Betaflight 4.4.0" in said["blackbox"][0]
    assert "version 2.0" in said["ros1_bag"][0]
    assert "profile ros2" in said["mcap"][0]
    assert "DJI_LOG_V3" in said["dji_dat"][1]
    assert "version 6, scrambled" in said["dji_txt"][0]
    assert "version 14, encrypted" in said["dji_txt"][2]


def test_a_flight_record_needs_its_first_block() -> None:
    other = bytearray(dji_txt(14))
    other[100] = 7
    found = recognize(memoryview(bytes(other)), LIMITS)
    assert found is None or found.format.name != "dji_txt"


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_cut_short_never_raises(name: str) -> None:
    for data in HEADERS[name]:
        for length in range(1, min(len(data), 300)):
            for each in UNREAD:
                head = memoryview(data[:length])
                if each.recognizes(head, length):
                    assert len(list(each.parse(head, LIMITS))) == 1


def test_what_has_almost_a_magic_number_is_something_else() -> None:
    for data in (
        b"MZ but only text\n" * 9,
        b"BZh, a name\n" * 9,
        struct.pack("<QHB", 5_000, 436, 99) + bytes(8_000),
        b"\0\0\0\x05ftyp" + bytes(20),
        bytes(257) + b"ustar" + bytes(100),
    ):
        recognized = recognize(memoryview(data), LIMITS)
        assert recognized is None or recognized.format.name not in HEADERS


def test_names_are_told_apart_from_formats_that_are_read() -> None:
    names = [known.name for known in FORMATS]
    assert len(set(names)) == len(names)
