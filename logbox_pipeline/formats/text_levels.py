"""The words that plain text uses for a level, and their severity. The table is `json_fields`'s.

What only text logs write (PostgreSQL's LOG, Android's A) is added here.
"""

from logbox_pipeline.formats.json_fields import LevelScale, level_of

WORDS = (
    "EMERGENCY|EMERG|PANIC|ALERT|CRITICAL|CRIT|CRI|FATAL|FTL|SEVERE|ERROR|ERR|FAILURE|WARNING|WARN|WRN"
    "|NOTICE|INFORMATION|INFO|INF|DEBUG\\d?|DBG|DBUG|TRACE|TRC|VERBOSE|FINEST|FINER|FINE|CONFIG"
)
"""Upper-case level words, as a regular expression's alternatives."""

LOWER_WORDS = WORDS.lower()
TITLE_WORDS = WORDS.title().replace("\\D", "\\d")
BARE_LOWER_WORDS = (
    "emerg|panic|alert|critical|crit|fatal|error|err|warning|warn|wrn|notice|information|info|inf"
    "|debug\\d?|dbg|trace|trc|verbose"
)
"""Those that may stand bare behind the stamp, in files where most lines have one there."""

BRACKETED = f"{WORDS}|[A-Z]|{LOWER_WORDS}|{TITLE_WORDS}"
"""The same as they stand between brackets or bars, where any spelling is a level."""

_ONLY_IN_TEXT = {
    "a": 2,
    "cri": 2,
    "ftl": 2,
    "config": 6,
    "dbug": 7,
    "log": 6,
    "note": 5,
    "system": 6,
    "detail": 6,
    "hint": 6,
    "statement": 6,
    "context": 6,
}
_SAID_IN_FULL = frozenset("DIWENC") | {"INF", "WRN", "DBG"}


def text_level(word: str) -> tuple[int | None, bool]:
    """The syslog severity (RFC 5424) of a level word, and whether it says all that the word said.

    An empty word is no level, said in full.
    """
    if not word:
        return None, True
    level, is_full = level_of(word, LevelScale.SYSLOG)
    if level is None:
        level = _ONLY_IN_TEXT.get(word.lower())
    return level, is_full or word in _SAID_IN_FULL
