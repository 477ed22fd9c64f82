"""Names and texts that try to be something else: SQL, shell, markup, a terminal's commands. No
tests here."""

import gzip
import io
import json
import struct
import zipfile

from logbox_pipeline_tests.hostile.floods import ulog_message, ulog_of

HARMLESS_IN_A_KEY = {
    "sql": "Robert'); drop table logbox.logs; --",
    "sql_quoted": '"; drop schema telemetry cascade; --',
    "sql_tight": "x');truncate(logbox.logs)--",
    "shell": "$(touch owned) `touch owned`; touch owned | cat &",
    "option": "-rf",
    "home": "~root",
    "profile": ".bashrc",
    "device": "con",
    "script": "<script>alert(1)<",
    "image": "<img src=x onerror=alert(1)>",
    "markdown": "[open](javascript:alert(1)) ![x](https:example.invalid)",
    "formula": "=cmd|' !A0",
    "formula_at": "@SUM(1+1)*cmd",
    "percent": "%2e%2e%2f%00%0a",
    "format": "%s%n{0}{client!r}${jndi:ldap:x}",
    "rich": "[bold red]x[ :skull:",
    "slack": "<!channel> `x` *b*",
    "reversed": "gulp\u202egol.exe",
    "isolated": "a\u2066b\u2069c",
    "invisible": "a\u200bb\ufeffc\u00ad",
    "separator": "a\u2028b\u2029c",
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "wide": "\U0001f681" * 20,
    "case": "DROP",
    "sidecar_like": "a.sha256.log",
    "receipt_like": "receipts",
    "digest_like": "0" * 64,
}
"""What S3 and `core.keys` take as a name: it must reach the tables as it is, people harmless."""

CONTROLS = {
    "clear": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "return": "fine\r\x1b[Kforged",
    "line": "up\n2026-11-24 09:00:00 ERROR forged",
    "nul": "a\x00b",
    "c1": "a\x9b2Jb\x85c",
    "backspace": "secret\b\b\b\b\b\b",
}
"""What no key may have, and any text in a log."""

EVERYTHING = HARMLESS_IN_A_KEY | CONTROLS

NEVER_SHOWN = set("\x00\x07\x08\r\x1b\x85\x9b\u00ad\u200b\u2028\u2029\u202e\u2066\u2069\ufeff")


def jsonl_of(name: str) -> bytes:
    record = {"level": "warn", "msg": name, "logger": name, name: {name: name}, "time": name}
    return json.dumps(record).encode() + b"\n" + json.dumps({"msg": f"{name} again"}).encode()


def ulog_of_names() -> bytes:
    """All of them as topics, as fields, as parameters, as what the log says of itself."""
    texts = [text.replace(";", ",") for text in EVERYTHING.values()]
    row = struct.pack("<f", 1.0)
    fields = {f"field{number}": f"float {text};" for number, text in enumerate(texts)}
    topics = {text: "float x;" for text in texts if ":" not in text}
    data = ulog_of(fields | topics, [(name, row) for name in (*fields, *topics)])
    said = []
    for text in texts:
        name = f"float {text}".encode()
        said.append(ulog_message("P", bytes([len(name)]) + name + row))
        value = text.encode()
        key = f"char[{len(value)}] ver_sw".encode()
        said.append(ulog_message("I", bytes([len(key)]) + key + value))
        said.append(ulog_message("L", struct.pack("<BQ", ord("4"), 2_000) + value))
    return data + b"".join(said)


def dataflash_of_names() -> bytes:
    head = "FMT, 128, 89, FMT, BBnNZ, Type,Length,Name,Format,Columns\n"
    head += "FMT, 129, 75, MSG, QZ, TimeUS,Message\nFMT, 130, 31, PARM, QNf, TimeUS,Name,Value\n"
    lines = [f"MSG, {number}, {text}\n" for number, text in enumerate(EVERYTHING.values(), 1)]
    lines += [f"PARM, {number}, {text}, 1\n" for number, text in enumerate(EVERYTHING.values(), 1)]
    return (head + "".join(lines)).encode()


def csv_of_names() -> bytes:
    """As headers and as cells."""
    quoted = ['"' + text.replace('"', '""') + '"' for text in HARMLESS_IN_A_KEY.values()]
    rows = [",".join(["time_ms", *quoted])]
    rows += [",".join([str(1_000 * number), *quoted]) for number in (1, 2, 3)]
    return ("\n".join(rows) + "\n").encode()


def text_of_names() -> bytes:
    return "".join(
        f"2026-11-24 09:00:{number % 60:02} ERROR [{text}] {text}\n"
        for number, text in enumerate(EVERYTHING.values())
    ).encode()


def syslog_of_names() -> bytes:
    at = "<34>1 2026-11-24T09:00:00Z host"
    return "".join(
        f'{at} {"".join(text.split())} 1 - [a@1 b="{text}"] {text}\n'
        for text in EVERYTHING.values()
    ).encode()


def logfmt_of_names() -> bytes:
    return "".join(
        f"time=2026-11-24T09:00:00Z level=info msg={json.dumps(text, ensure_ascii=False)} "
        f"{''.join(text.split())}=1\n"
        for text in EVERYTHING.values()
    ).encode()


def zip_of_names() -> bytes:
    """Members with these names, those that try to leave the archive, and a pair told by form."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, text in enumerate(EVERYTHING.values()):
            info = zipfile.ZipInfo("x")
            info.filename = text
            archive.writestr(info, json.dumps({"msg": f"member {number}"}) + "\n")
        for name in ("../../landing/beta/x", "/etc/cron.d/x", "C:\\x", "..\\..\\x", "a/../../x"):
            archive.writestr(name, '{"msg":"out"}\n')
    return file.getvalue()


def logs_of_names() -> dict[str, bytes]:
    return {
        "names.ulg": ulog_of_names(),
        "names.log": dataflash_of_names(),
        "names.csv": csv_of_names(),
        "names.txt": text_of_names(),
        "names.syslog": syslog_of_names(),
        "names.logfmt": logfmt_of_names(),
        "names.zip": zip_of_names(),
        "names.gz": gzip.compress(b"".join(jsonl_of(text) + b"\n" for text in EVERYTHING.values())),
    }
