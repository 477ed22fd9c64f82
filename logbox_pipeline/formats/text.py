"""Bytes from a log to text that every store takes. Decided here once, for every format.

Postgres refuses NUL in text, so NUL becomes U+FFFD; so does what is not UTF-8, and a lone
surrogate. No parsing here.
"""

import re

REPLACEMENT = "\ufffd"
_SURROGATE = re.compile("[\ud800-\udfff]")


def decode_text(raw: bytes) -> str:
    """`raw` as text without NUL; never raises."""
    return raw.decode("utf-8", "replace").replace("\0", REPLACEMENT)


def clean_text(text: str) -> str:
    """`text` without NUL and without lone surrogates."""
    if not text.isascii():
        text = _SURROGATE.sub(REPLACEMENT, text)
    return text.replace("\0", REPLACEMENT)


def c_string(raw: bytes) -> str:
    """The text of a fixed char array: what stands before its first NUL."""
    return decode_text(raw.split(b"\0", 1)[0])


def excerpt(raw: bytes, characters: int = 200) -> str:
    """The beginning of `raw`, printable, to show a person what was there."""
    text = raw[: characters * 4].decode("utf-8", "replace")[:characters]
    return "".join(letter if letter.isprintable() else REPLACEMENT for letter in text)
