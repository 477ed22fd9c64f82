"""Formats that Logbox knows and does not read: what they are, and what would be needed.

Their logs are archived like any other and become `unparsed`. The reason is one word for the
class: `not_read` (a log of a format without a parser yet), `encrypted`, `archive` (must be
unpacked first), `media` (pictures, video, point clouds, documents), `program`. The table below is
all there is; wrappers that Logbox opens itself (gzip, zstd, zip) are not here.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from logbox_pipeline.formats.stream import Item, Likeness, Limits, Unreadable
from logbox_pipeline.formats.text import decode_text

PARSER_VERSION = 1

_ENCRYPTED, _NOT_READ, _ARCHIVE, _MEDIA = "encrypted", "not_read", "archive", "media"
_HEAD = 64 * 1024
_CONVERT = "convert it to CSV and upload that too"
_UNPACK = "unpack it and upload the logs in it"


@dataclass(frozen=True)
class Unread:
    """A format that is recognized only.

    magics: (offset, bytes) that must all be there. seen: a further test, given the head and the
    size of the log. detail: what it is and what would be needed; `{}` stands for what `says` finds
    in the head, where there is a `says`.
    """

    name: str
    reason: str
    magics: tuple[tuple[int, bytes], ...]
    detail: str
    seen: Callable[[bytes, int], bool] | None = None
    says: Callable[[bytes], str] | None = None

    def recognizes(self, head: memoryview, size: int) -> Likeness:
        for offset, magic in self.magics:
            if head[offset : offset + len(magic)] != magic:
                return Likeness.NO
        if self.seen is not None and not self.seen(bytes(head), size):
            return Likeness.NO
        return Likeness.SURE

    def parse(self, source: memoryview, limits: Limits) -> Iterator[Item]:
        says = self.says(bytes(source[:_HEAD])) if self.says else ""
        yield Unreadable(self.reason, self.detail.format(says).strip())


def _begins(*starts: bytes) -> Callable[[bytes, int], bool]:
    return lambda head, size: head.startswith(starts)


def _found(pattern: bytes, otherwise: str = "") -> Callable[[bytes], str]:
    """The first group of `pattern` in the head, as short text."""

    def says(head: bytes) -> str:
        match = re.search(pattern, head)
        text = decode_text(match[1][:80]) if match else otherwise
        return " ".join("".join(c if c.isprintable() else " " for c in text).split())

    return says


def _is_dji_dat(head: bytes, size: int) -> bool:
    """What DatCon looks for (`Files/DatFile.java` of https://github.com/BudWalkerJava/DatCon): the
    build's name, and the log's version. Here either is enough."""
    return head[16:21] == b"BUILD" or head[242:251] == b"DJI_LOG_V"


def _dji_dat_version(head: bytes) -> str:
    match = re.match(rb"DJI_LOG_V\d+", head[242:256])
    return f" ({match[0].decode()})" if match else ""


def _is_dji_txt(head: bytes, size: int) -> bool:
    """A little-endian prefix: where the details stand (uint64), their length (uint16), version
    (uint8); records follow from byte 12 or 100. From version 13 on byte 100 begins a block of kind
    0 with its length (uint16), and the offset may be missing (0).
    https://github.com/lvauvillier/dji-log-parser (`layout/prefix.rs`, `layout/auxiliary.rs`)"""
    if len(head) < 103:
        return False
    offset = int.from_bytes(head[:8], "little")
    length = int.from_bytes(head[8:10], "little")
    version = head[10]
    if not (offset < 2**31 and 1 <= version <= 20):
        return False
    if version < 13:
        return offset >= (12 if version < 6 else 100) and 64 <= length <= 4_096
    info_bytes = int.from_bytes(head[101:103], "little")
    return head[100] == 0 and 64 <= info_bytes <= 16_384 and (offset == 0 or offset > 103)


def _dji_txt_version(head: bytes) -> str:
    version = head[10]
    if version >= 13:
        return f"version {version}, encrypted; DJI's key service unlocks it, then"
    return f"version {version}, scrambled;"


def _has_tables(*names: bytes) -> Callable[[bytes, int], bool]:
    def seen(head: bytes, size: int) -> bool:
        return all(re.search(rb"(?i)create table\s+[\"'\[`]?" + n + rb"\b", head) for n in names)

    return seen


def _is_tar(head: bytes, size: int) -> bool:
    """`ustar` and a header checksum in octal digits (POSIX 1003.1, pax)."""
    return re.match(rb"[ 0-7]{6}[\0 ]{1,2}", head[148:156]) is not None


def _is_mp4(head: bytes, size: int) -> bool:
    return 8 <= int.from_bytes(head[:4], "big") <= 4_096


def _is_pe(head: bytes, size: int) -> bool:
    at = int.from_bytes(head[60:64], "little")
    return head[at : at + 4] == b"PE\0\0"


def _is_ubx(head: bytes, size: int) -> bool:
    """A whole first frame whose checksum is right (u-blox interface description: Fletcher-8)."""
    end = 6 + int.from_bytes(head[4:6], "little")
    if len(head) < end + 2:
        return False
    a = b = 0
    for octet in head[2:end]:
        a = (a + octet) & 255
        b = (b + a) & 255
    return head[end : end + 2] == bytes((a, b))


def _log(name: str, magic: bytes, detail: str, *, at: int = 0, **more: object) -> Unread:
    return Unread(name, _NOT_READ, ((at, magic),), detail, **more)  # type: ignore[arg-type]


UNREAD: tuple[Unread, ...] = (
    Unread(
        "ulog_encrypted", _ENCRYPTED, ((0, b"ULogEnc"),),
        "an encrypted ULog; decrypt it with its key and upload it again",
    ),
    Unread(
        "pgp", _ENCRYPTED, ((0, b"-----BEGIN PGP MESSAGE-----"),),
        "a message encrypted with PGP; decrypt it with its key and upload it again",
    ),
    Unread(
        "age", _ENCRYPTED, ((0, b"age-encryption.org/v1"),),
        "a file encrypted with age; decrypt it with its key and upload it again",
    ),
    Unread(
        "openssl_enc", _ENCRYPTED, ((0, b"Salted__"),),
        "a file encrypted by `openssl enc`; decrypt it with its password and upload it again",
    ),
    # Flight logs.
    Unread(
        "blackbox", _NOT_READ, ((0, b"H Product:Blackbox flight data recorder"),),
        "a Blackbox log of Betaflight, Cleanflight or INAV ({}); Logbox has no parser for it yet: "
        "decode it with blackbox_decode and upload the CSV",
        says=_found(rb"H Firmware revision:([^\n]*)", "firmware not said"),
    ),
    _log(
        "dji_dat", b"", "a DJI .DAT log{} of the flight controller; its records are scrambled and "
        f"undocumented: read it with DatCon, {_CONVERT}",
        seen=_is_dji_dat, says=_dji_dat_version,
    ),
    Unread(
        "dji_dat_encrypted", _ENCRYPTED, ((0, b"LOGH"),),
        f"an encrypted DJI .DAT log; only DJI's tools decrypt it: {_CONVERT}",
    ),
    _log("mcap", b"\x89MCAP0\r\n", "an MCAP recording{}; Logbox has no parser for MCAP yet",
         says=lambda head: _mcap_profile(head)),
    _log("ros1_bag", b"#ROSBAG V", "a ROS 1 bag (version {}); Logbox has no parser for bags yet: "
         "convert it to MCAP or CSV", says=_found(rb"#ROSBAG V([\d.]+)")),
    _log("ros2_bag_sqlite", b"SQLite format 3\0", "a ROS 2 bag in SQLite; Logbox has no parser for "
         "bags yet: convert it to MCAP or CSV", seen=_has_tables(b"topics", b"messages")),
    _log("sqlite", b"SQLite format 3\0", "an SQLite database; export its tables to CSV"),
    _log("fit", b".FIT", f"a Garmin FIT recording; {_CONVERT}", at=8),
    _log("ubx", b"\xb5\x62", "a raw u-blox GNSS recording; convert it to CSV or RINEX",
         seen=_is_ubx),
    _log("evtx", b"ElfFile\0", f"a Windows event log; {_CONVERT}"),
    _log("journald_binary", b"LPKSHHRH", "a systemd journal in its binary form; "
         "write it with `journalctl -o json` and upload that"),
    _log("pcap", b"", "a network capture (pcap); extract the MAVLink stream in it as .tlog",
         seen=_begins(b"\xd4\xc3\xb2\xa1", b"\xa1\xb2\xc3\xd4", b"\x4d\x3c\xb2\xa1",
                      b"\xa1\xb2\x3c\x4d")),
    _log("pcapng", b"\x0a\x0d\x0d\x0a", "a network capture (pcapng); extract the MAVLink stream in "
         "it as .tlog", seen=lambda head, size: head[8:12] in (b"\x4d\x3c\x2b\x1a",
                                                              b"\x1a\x2b\x3c\x4d")),
    # Tables.
    _log("parquet", b"PAR1", f"a Parquet file; {_CONVERT}"),
    _log("arrow", b"ARROW1", f"an Arrow IPC file; {_CONVERT}"),
    _log("avro", b"Obj\x01", f"an Avro file; {_CONVERT}"),
    _log("hdf5", b"\x89HDF\r\n\x1a\n", f"an HDF5 file; {_CONVERT}"),
    _log("matlab", b"MATLAB 5.0 MAT-file", f"a MATLAB file; {_CONVERT}"),
    _log("numpy", b"\x93NUMPY", f"a NumPy array; {_CONVERT}"),
    _log("ole", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Microsoft Office document; "
         "save its sheets as CSV"),
    # Archives that must be unpacked first.
    Unread("7z", _ARCHIVE, ((0, b"7z\xbc\xaf\x27\x1c"),), f"a 7-Zip archive; {_UNPACK}"),
    Unread("rar", _ARCHIVE, ((0, b"Rar!\x1a\x07"),), f"a RAR archive; {_UNPACK}"),
    Unread("xz", _ARCHIVE, ((0, b"\xfd7zXZ\0"),), f"compressed with xz; {_UNPACK}"),
    Unread("bzip2", _ARCHIVE, ((0, b"BZh"), (4, b"1AY&SY")), f"compressed with bzip2; {_UNPACK}"),
    Unread("lz4", _ARCHIVE, ((0, b"\x04\x22\x4d\x18"),), f"compressed with LZ4; {_UNPACK}"),
    Unread("snappy", _ARCHIVE, ((0, b"\xff\x06\0\0sNaPpY"),),
           f"compressed with Snappy; {_UNPACK}"),
    Unread("tar", _ARCHIVE, ((257, b"ustar"),), f"a tar archive; {_UNPACK}", seen=_is_tar),
    # Media and documents.
    Unread("las", _MEDIA, ((0, b"LASF"),), "a LAS or LAZ point cloud: no log"),
    Unread("jpeg", _MEDIA, ((0, b"\xff\xd8\xff"),), "a JPEG picture: no log"),
    Unread("png", _MEDIA, ((0, b"\x89PNG\r\n\x1a\n"),), "a PNG picture: no log"),
    Unread("gif", _MEDIA, ((0, b"GIF8"),), "a GIF picture: no log"),
    Unread("tiff", _MEDIA, (), "a TIFF or DNG picture: no log",
           seen=_begins(b"II*\0", b"MM\0*", b"II+\0\x08\0", b"MM\0+\0\x08")),
    Unread("webp", _MEDIA, ((0, b"RIFF"), (8, b"WEBP")), "a WebP picture: no log"),
    Unread("avi", _MEDIA, ((0, b"RIFF"), (8, b"AVI ")), "an AVI video: no log"),
    Unread("wav", _MEDIA, ((0, b"RIFF"), (8, b"WAVE")), "a WAV recording: no log"),
    Unread("mp4", _MEDIA, ((4, b"ftyp"),), "an MP4, MOV or HEIF file: no log", seen=_is_mp4),
    Unread("matroska", _MEDIA, ((0, b"\x1a\x45\xdf\xa3"),), "a Matroska or WebM video: no log"),
    Unread("ogg", _MEDIA, ((0, b"OggS"),), "an Ogg recording: no log"),
    Unread("pdf", _MEDIA, ((0, b"%PDF-"),), "a PDF document: no log"),
    Unread("elf", "program", ((0, b"\x7fELF"),), "a program or core dump (ELF): no log"),
    Unread("pe", "program", ((0, b"MZ"),), "a Windows program: no log", seen=_is_pe),
    # No magic: after all that have one.
    Unread(
        "dji_txt", _NOT_READ, (),
        "a DJI .txt flight record, {} "
        f"it needs a parser that Logbox does not have yet: {_CONVERT}",
        seen=_is_dji_txt, says=_dji_txt_version,
    ),
)  # fmt: skip
"""The more particular before the more general; the first that fits is it."""


def _mcap_profile(head: bytes) -> str:
    """The profile in the Header record, the first one (https://mcap.dev/spec#header-op0x01)."""
    length = int.from_bytes(head[17:21], "little")
    if head[8:9] != b"\x01" or not 0 < length <= 40:
        return ""
    return f" (profile {decode_text(head[21 : 21 + length])})"
