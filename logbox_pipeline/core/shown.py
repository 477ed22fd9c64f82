"""Text that somebody else wrote, as people may be shown it. No I/O; markup is the shower's to
escape.

A drone names its files, and a log its topics, as they like: with line ends that forge a line of
their own, escapes that move a terminal's cursor, marks that turn the direction of writing round.
"""

REPLACEMENT = "\ufffd"


def printable(text: str) -> str:
    """`text` with line ends, and U+FFFD for every other character that is none to look at."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char == "\n" else REPLACEMENT for char in text)


def one_line(text: str) -> str:
    """The same without line ends."""
    return printable(text).replace("\n", REPLACEMENT)
