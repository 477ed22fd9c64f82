"""How lines of text logs begin: stamps, and what stands behind them. Patterns only.

A shape is a stamp and a tail. Group names are the roles: `date`, `year`, `time`, `frac`, `zone`,
`half`, `epoch`, `boot`, `level`, `early_level`, `pri`, `source`, `message`; `separator` is none;
every other group is an attribute of that name. Patterns never cross a newline and repeat nothing
ambiguous, so that each takes time linear in the line.
"""

import re
from dataclasses import dataclass, replace
from functools import cache

from logbox_pipeline.formats.text_levels import (
    BARE_LOWER_WORDS,
    BRACKETED,
    LOWER_WORDS,
    TITLE_WORDS,
    WORDS,
)
from logbox_pipeline.formats.text_times import ZONES

_MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_WEEKDAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_TIME = r"(?P<time>\d\d:\d\d:\d\d)"
_LOOSE_TIME = r"(?P<time>\d{1,2}:\d\d(?::\d\d)?)"
_FRAC = r"(?:[.,:](?P<frac>\d{1,9})(?!\d))?"
_HALF = r"(?: ?(?P<half>[AaPp]\.?[Mm]\b\.?))?"
_NAMES = "|".join(sorted((n for n in ZONES if len(n) > 1), key=len, reverse=True))
_ZONE = (
    rf"(?P<zone>Z\b| ?(?:UTC|GMT)[+-]\d\d?(?::?\d\d)?\b| ?(?:{_NAMES}|IST)\b"
    r"| ?[+-]\d\d:?\d\d(?![\d:])|[+-]\d\d(?![\d:-]))?"
)
_FACILITY = r"(?P<facility>[a-z]\w{1,8}) *:(?P<level>[a-z]{3,6}) *: "
_OPEN = (
    rf"(?:(?:[\[<(] ?(?P<early_level>{BRACKETED})[ ]{{0,5}}[\])>]"
    rf"|(?P<early_word>{WORDS})\b:?)[ \t:|,-]*+)?[\[({{<\"'|*#]?"
)
_CLOSE = r"(?:[\])}>\"'])?"


LEVEL_ROLES = ("level", "early_level", "early_word", "word", "lower_word", "title_word")


@dataclass(frozen=True, eq=False)
class Stamp:
    """How a time is written. key: the group that no match leaves empty. is_yearless: its dates have
    no year. is_ordered: they are three numbers in an order to be found out."""

    name: str
    pattern: str
    key: str = "time"
    is_yearless: bool = False
    is_ordered: bool = False
    tails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shape:
    """A stamp with a tail. `groups`: the roles of what `line` and `bulk` match, in order; `bulk`
    has one more group, for lines of another shape, and takes a newline with each line. key: the
    index of the stamp's key in `groups`. rank: the tail's place among the stamp's."""

    name: str
    stamp: Stamp
    line: re.Pattern[str]
    bulk: re.Pattern[str]
    groups: tuple[str, ...]
    key: int
    rank: int


_SYSLOG_TAIL = (
    rf" +(?!(?:{BRACKETED})\b)"
    r"(?P<host>[^\s\[\]=(]{1,255}(?<!:)) (?:(?P<facility_level>[a-z]\w*\.[a-z]+) )?"
    r"(?P<source>[A-Za-z_(/<-][^\s\[:=]{0,127})"
    r"(?:\[(?P<pid>[^\]\n]{1,64})\])?: ?(?P<message>[^\n]*)"
)
_L = rf"(?P<level>{WORDS})"
_ANY = rf"(?P<level>{BRACKETED})"
_PLAIN = _CLOSE + r"[ \t:|,;-]*+(?P<message>[^\n]*)"
_TAILS = {
    "access": (
        r" ?\] \"(?P<message>[^\"\n\\]*+(?:\\.[^\"\n\\]*+)*+)\" (?P<status>\d{3}) (?P<bytes>\d+|-)"
        r"(?: \"(?P<referer>[^\"\n\\]*+(?:\\.[^\"\n\\]*+)*+)\" "
        r"\"(?P<agent>[^\"\n\\]*+(?:\\.[^\"\n\\]*+)*+)\")?(?P<more>[^\n]*)"
    ),
    "glog": r" +(?P<thread>\d+) (?P<source>[^\]:\n ]+):(?P<line>\d+)\] ?(?P<message>[^\n]*)",
    "logcat": (
        r" +(?:(?P<uid>\w+) +)?(?P<pid>\d+) +(?P<tid>\d+) (?P<level>[VDIWEFAS]) "
        r"(?P<source>[^:\n]*?) *: ?(?P<message>[^\n]*)"
    ),
    "logcat_time": (
        r" (?P<level>[VDIWEFAS])/(?P<source>[^(\n]*?) *\( *(?P<pid>\d+)\): ?(?P<message>[^\n]*)"
    ),
    "spring": (
        rf" +{_L} +(?P<pid>\d+) --- (?:\[(?P<application>[^\]\n]*)\] )?\[ *(?P<thread>[^\]\n]*)\] "
        r"(?P<source>\S+) *: (?P<message>[^\n]*)"
    ),
    "python": rf" - (?P<source>[\w.<>/-]+) - {_L} - (?P<message>[^\n]*)",
    "loguru": (
        rf" \| +?{_L} +\| (?P<source>[\w.<>/-]+):(?P<function>[\w.<>/-]+):(?P<line>\d+) - "
        r"(?P<message>[^\n]*)"
    ),
    "zap": (
        rf"\t(?P<level>{WORDS}|{LOWER_WORDS})\t(?:(?P<source>[\w.-]+)\t)?"
        r"(?P<caller>[\w./@-]+:\d+)\t(?P<message>[^\n]*)"
    ),
    "nginx": (
        rf" \[{_ANY}\] (?P<pid>\d+)#(?P<thread>\d+): (?:\*(?P<connection>\d+) )?(?P<message>[^\n]*)"
    ),
    "apache": (
        rf"\] \[(?:(?P<source>\w*):)?{_ANY}\] (?:\[pid (?P<pid>\d+)(?::tid (?P<thread>\d+))?\] )?"
        r"(?:\[client (?P<client>[^\]\n]+)\] )?(?P<message>[^\n]*)"
    ),
    "ros": r"\] \[(?P<source>[^\]\n]+)\]: (?P<message>[^\n]*)",
    "ros_process": (
        r" \[(?P<process>[A-Za-z_][\w.]{0,62}-\d{1,5})\] "
        rf"(?:\[ ?{_ANY}\] (?:\[\d{{9,10}}\.\d{{1,9}}\])?(?: ?\[(?P<source>[^\]\n]+)\])?: )?"
        r"(?P<message>[^\n]*)"
    ),
    "ros_launch": (rf" \[ ?{_ANY}\] \[(?P<source>[A-Za-z_][\w./-]*)\]: (?P<message>[^\n]*)"),
    "ros_simulated": r", (?P<simulated_s>\d{1,10}\.\d{1,9})\]: (?P<message>[^\n]*)",
    "rest": r"(?P<message>[^\n]*)",
    "postgres": (
        r" \[(?P<pid>\d+)(?:-\d+)?\] (?:(?P<user>[^\s@]+)@(?P<database>\S+) )?"
        r"(?P<level>LOG|ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|DEBUG\d?|DETAIL|HINT|STATEMENT"
        r"|CONTEXT): +(?P<message>[^\n]*)"
    ),
    "log4j_level_thread": (
        rf"(?: -)? +\[?{_L}\]? +[\[(](?P<thread>[^\n]*?)[\])] (?P<source>[A-Za-z_][\w.$/@-]*)"
        r"(?: -|:)+ (?P<message>[^\n]*)"
    ),
    "log4j_thread_level": (
        rf"(?: -)? +[\[(](?P<thread>[^\]\n]*)[\])] \[?{_L}\]? +(?P<source>[A-Za-z_][\w.$/@-]*)"
        r"(?: \[[^\]\n]*\])?(?: -|:)+ (?P<message>[^\n]*)"
    ),
    "pid_level_source": (
        rf" (?P<pid>\d+) {_L} (?P<source>[A-Za-z_][\w.$/*&-]*)"
        r"(?: \[(?P<context>[^\]\n]*)\]|:) (?P<message>[^\n]*)"
    ),
    "level_source": (
        rf"(?: -)? +{_L} +(?P<source>[A-Za-z_][\w.$/-]*[\w$])(?: -|:) (?P<message>[^\n]*)"
    ),
    "gunicorn": rf"\] \[(?P<pid>\d+)\] \[{_ANY} *\] (?P<message>[^\n]*)",
    "spdlog": (
        rf"\] \[(?P<source>[^\]\s]+)\] \[{_ANY}\] "
        r"(?:\[(?P<file>[\w./-]+):(?P<line>\d+)\] )?(?P<message>[^\n]*)"
    ),
    "laravel": rf"\] (?P<source>[\w-]+)\.{_L}: (?P<message>[^\n]*)",
    "mysql": (
        r" +(?:(?P<thread>\d+) )?\[(?P<level>Note|System|Warning|Error|ERROR)\] "
        r"(?:\[(?P<code>MY-\d+)\] )?(?:\[(?P<source>\w+)\] )?(?P<message>[^\n]*)"
    ),
    "tomcat": (
        rf" {_L} \[(?P<thread>[^\n]*?)\] (?P<source>[a-z]\w*(?:\.[\w$<>]+){{2,}})"
        r" (?P<message>[^\n]*)"
    ),
    "level_colon_source": rf":{_L}:(?P<source>[\w.-]+):(?P<message>[^\n]*)",
    "level": (
        rf"{_CLOSE}[ \t:|,-]*+(?:[\[<(] ?{_ANY} *[\])>]|(?P<word>{WORDS})(?![\w.=/])"
        rf"|(?P<lower_word>{LOWER_WORDS})(?=[ \t]*[:|\t])"
        rf"|(?P<title_word>{TITLE_WORDS})(?=[ \t]*[:|\t]|  ))[ \t:|,-]*+(?P<message>[^\n]*)"
    ),
    "lower_level_source": (
        rf"{_CLOSE}[ \t]+(?P<lower_word>{BARE_LOWER_WORDS})[ \t]+"
        r"(?P<source>[A-Za-z_][\w.-]*)\[(?P<pid>\d+)\]:? (?P<message>[^\n]*)"
    ),
    "lower_level": (
        rf"{_CLOSE}[ \t]++(?P<lower_word>{BARE_LOWER_WORDS})(?![^ \t\n])[ \t]*+(?P<message>[^\n]*)"
    ),
    "syslog": _SYSLOG_TAIL,
    "kernel": r" +(?P<host>[^\s\[\]:=]{1,255}) (?P<source>kernel): ?(?P<message>[^\n]*)",
    "plain": _PLAIN,
}
_GENERAL = (
    *("spring", "python", "loguru", "zap", "nginx", "apache", "ros", "postgres"),
    *("log4j_level_thread", "log4j_thread_level", "pid_level_source", "level_source"),
    *("level_colon_source", "tomcat", "gunicorn", "spdlog", "laravel", "mysql", "level", "plain"),
)

_BOUNDARY = Stamp(
    "boundary",
    r"(?P<message>-- (?:Boot|Reboot|Logs begin|Journal begins|No entries)\b[^\n]*--"
    r"|-{9} (?:beginning of|switch to) \w+)",
    key="message",
    tails=("boundary",),
)
"""What journalctl and logcat write between entries."""

STAMPS = (
    Stamp(
        "access",
        r"(?P<host>\S{1,255}) (?P<ident>[^\s\[\]\"]+) (?P<user>[^\[\]\"\n]{1,255}?) "
        rf"\[(?P<date>\d\d/{_MONTH}/\d{{4}}):{_TIME}{_FRAC}{_ZONE}",
        tails=("access",),
    ),
    Stamp(
        "glog",
        rf"(?P<level>[IWEFDC])(?P<date>\d{{8}}|\d{{4}}) {_TIME}\.(?P<frac>\d{{1,9}})",
        is_yearless=True,
        tails=("glog",),
    ),
    Stamp(
        "logcat",
        rf"(?P<date>(?:\d{{4}}-)?\d\d-\d\d) {_TIME}\.(?P<frac>\d{{1,9}})(?P<zone> [+-]\d{{4}})?",
        is_yearless=True,
        tails=("logcat", "logcat_time"),
    ),
    Stamp(
        "iso",
        rf"{_OPEN}(?:{_WEEKDAY} )?(?P<date>\d{{4}}(?P<separator>[-/.])\d\d(?P=separator)\d\d)"
        rf"(?:[T_ ,]|  |, ){_TIME}{_FRAC}{_ZONE}",
        tails=(*_GENERAL[:-2], "iso_syslog", "level", "plain"),
    ),
    Stamp(
        "compact",
        rf"{_OPEN}(?P<date>\d{{8}})[T_ -](?P<time>\d{{6}}|\d\d:\d\d:\d\d){_FRAC}{_ZONE}(?![\d.])",
        tails=_GENERAL,
    ),
    Stamp(
        "short",
        rf"{_OPEN}(?P<date>\d{{6}})(?:[_-]|  ?)(?P<time>\d{{6}}|\d\d?:\d\d:\d\d)(?![\d:.])",
        tails=_GENERAL,
    ),
    Stamp(
        "named_month",
        rf"{_OPEN}(?:{_WEEKDAY},? )?(?P<date>\d{{1,2}}[ /-]{_MONTH}[ /-]\d{{4}})[: T,]{{1,2}}"
        rf"{_TIME}{_FRAC}{_ZONE}",
        tails=_GENERAL,
    ),
    Stamp(
        "ctime",
        rf"{_OPEN}(?:{_WEEKDAY} )(?P<date>{_MONTH} [ \d]?\d) {_TIME}{_FRAC}"
        rf"(?: (?P<zone>{_NAMES}))? (?P<year>\d{{4}})\b",
        tails=_GENERAL,
    ),
    Stamp(
        "month_year",
        rf"{_OPEN}(?:{_WEEKDAY},? )?(?P<date>{_MONTH} [ \d]?\d,? \d{{4}}),? "
        rf"{_LOOSE_TIME}{_FRAC}{_HALF}{_ZONE}",
        tails=("syslog", *_GENERAL),
    ),
    Stamp(
        "month",
        rf"{_OPEN}(?:{_WEEKDAY},? )?(?P<date>{_MONTH} [ \d]?\d) {_TIME}{_FRAC}{_ZONE}",
        is_yearless=True,
        tails=("kernel", "syslog", *_GENERAL),
    ),
    Stamp(
        "numbers",
        rf"{_OPEN}(?P<date>\d{{1,2}}(?P<separator>[/.-])\d{{1,2}}(?P=separator)(?:\d{{4}}|\d\d))"
        rf"(?:[, T_-]|, |  ){_LOOSE_TIME}{_FRAC}{_HALF}{_ZONE}",
        is_ordered=True,
        tails=_GENERAL,
    ),
    Stamp(
        "month_day",
        rf"{_OPEN}(?P<date>\d\d[-./]\d\d) {_TIME}{_FRAC}(?![\d:])",
        is_yearless=True,
        tails=_GENERAL,
    ),
    Stamp(
        "epoch",
        rf"{_OPEN}(?P<epoch>1\d{{9}}(?:\d{{3}}){{0,3}})"
        r"(?:[.,](?P<frac>\d{1,9}))?(?![\w.:/-])",
        key="epoch",
        tails=("ros_process", "ros_launch", "ros_simulated", *_GENERAL),
    ),
    Stamp(
        "boot",
        rf"(?:<(?P<pri>\d{{1,3}})>)?{_OPEN[:0]}\[ *(?P<boot>\d{{1,9}})\.(?P<frac>\d{{3,9}})\]",
        key="boot",
        tails=("boot_syslog", "boot", "plain"),
    ),
    Stamp(
        "dmesg",
        rf"{_FACILITY}\[ *(?P<boot>\d{{1,9}})\.(?P<frac>\d{{3,9}})\]",
        key="boot",
        tails=("boot", "plain"),
    ),
    Stamp(
        "dmesg_date",
        rf"{_FACILITY}\[{_WEEKDAY} (?P<date>{_MONTH} [ \d]?\d) {_TIME} (?P<year>\d{{4}})\]",
        tails=("boot", "plain"),
    ),
    Stamp(
        "candump",
        r" \((?P<epoch>\d{10})\.(?P<frac>\d{6})\)",
        key="epoch",
        tails=("plain",),
    ),
    Stamp(
        "alert",
        r"(?P<alert>-|[A-Z_]{2,32}) (?P<epoch>\d{9,10}) \d{4}\.\d\d\.\d\d (?P<host>\S{1,255})",
        key="epoch",
        tails=("plain",),
    ),
    Stamp(
        "file",
        r"(?P<file>[\w./-]{1,200}\.log[\w./-]{0,100}(?::\d{1,9})?)[ :] ?(?:[\w.:-]{0,60} )?"
        rf"(?P<date>\d{{4}}-\d\d-\d\d)[T ]{_TIME}{_FRAC}{_ZONE}",
        tails=_GENERAL,
    ),
    Stamp(
        "time",
        rf"{_OPEN}(?P<date>){_LOOSE_TIME}(?<=:\d\d:\d\d){_FRAC}{_HALF}(?![\w:/])",
        tails=_GENERAL,
    ),
    Stamp(
        "ros_launch",
        rf"\[ ?(?P<level>{WORDS})\] \[(?P<source>[A-Za-z_][\w./-]*)\]: ",
        key="level",
        tails=("rest",),
    ),
    Stamp(
        "python",
        r"(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?P<source>[A-Za-z_][\w.]*):(?!//)",
        key="level",
        tails=("rest",),
    ),
    _BOUNDARY,
)
"""The particular before the general: of all that match a line, the first counts."""

SYSLOG_STAMPS = (
    Stamp(
        "rfc5424",
        r"(?:\d{1,6} )?<(?P<pri>\d{1,3})>(?P<version>[1-9]\d{0,2}) "
        r"(?:(?P<date>\d{4}-\d\d-\d\d)T(?P<time>\d\d:\d\d:\d\d)(?:\.(?P<frac>\d{1,9}))?"
        r"(?P<zone>Z|[+-]\d\d:\d\d)|(?P<nil>-)) ",
        key="pri",
        tails=("rfc5424",),
    ),
    Stamp(
        "rfc3339",
        r"(?:<(?P<pri>\d{1,3})>)?(?P<date>\d{4}-\d\d-\d\d)T(?P<time>\d\d:\d\d:\d\d)"
        r"(?:[.,](?P<frac>\d{1,9}))?(?P<zone>Z| ?[+-]\d\d:?\d\d)?",
        tails=("rfc5424_body", "kernel", "syslog", "no_tag"),
    ),
    Stamp(
        "rfc3164",
        r"(?:<(?P<pri>\d{1,3})>)?(?:(?P<sequence>\d{1,10}): )?[*.]?"
        rf"(?P<date>{_MONTH} [ \d]?\d(?: \d{{4}})?),? {_TIME}(?:\.(?P<frac>\d{{1,9}}))?"
        rf"(?: (?P<year>(?:19|20)\d\d)(?= ))?(?: (?P<zone>{_NAMES}|IST)\b)?:?",
        is_yearless=True,
        tails=("kernel", "syslog", "cisco", "no_host", "no_tag"),
    ),
    _BOUNDARY,
)
_TAILS |= {
    "rfc5424": (
        r"(?P<host>\S{1,255}) (?P<source>\S{1,255}) (?P<pid>\S{1,255}) (?P<msgid>\S{1,255})"
        r" (?P<sd>-|(?:\[[^\s\]=\"]+(?: [^\s\]=\"]+=\"[^\"\\\n]*+(?:\\.[^\"\\\n]*+)*+\")*+ ?\])++)"
        r"(?: (?:\ufeff)?(?P<message>[^\n]*))?"
    ),
    "rfc5424_body": (
        r" (?P<host>[\w.:-]{2,255}) (?P<source>[\w./-]{1,128}) (?P<pid>\d+|-) (?P<msgid>\S{1,64})"
        r" (?P<sd>-|(?:\[[^\s\]=\"]+(?: [^\s\]=\"]+=\"[^\"\\\n]*+(?:\\.[^\"\\\n]*+)*+\")*+ ?\])++)"
        r"(?: (?P<message>[^\n]*))?"
    ),
    "cisco": (r" (?:(?P<host>[^\s:%]{1,255}) ?: )?(?P<source>%[A-Z0-9_-]+): ?(?P<message>[^\n]*)"),
    "no_tag": r" (?P<host>[^\s\[\]:=(]{1,255}) +(?P<message>[^\n]*)",
    "no_host": (r" (?P<source>[A-Za-z_][\w./-]{0,127})(?:\[(?P<pid>\d+)\])?: (?P<message>[^\n]*)"),
    "iso_syslog": _SYSLOG_TAIL,
    "boundary": "",
    "boot_syslog": (
        r" (?P<host>[A-Za-z0-9][\w.-]{0,255}) (?P<source>[A-Za-z_(][\w.()/-]{0,127})"
        r"\[(?P<pid>\d+)\]: (?P<message>[^\n]*)"
    ),
    "boot": (
        r" (?:(?P<source>[A-Za-z_][\w .:/-]{0,63}?)(?:\[(?P<pid>\d+)\])?: )?(?P<message>[^\n]*)"
    ),
}


_NUCLEUS = re.compile(r"\d(?::\d\d|\d{5}|\.\d)", re.ASCII)
"""What each stamp has somewhere (but for RFC 5424's nil, behind a PRI)."""

_UNTIMED = re.compile(r"\[ ?[A-Z]{4,8}\] \[|[A-Z]{4,8}:[A-Za-z_]|-- [A-Z]|-{9} [bs]", re.ASCII)
"""How a line without time begins that is an entry all the same."""

_STAMP_ENDS = 600


@cache
def shape_of(stamp: Stamp, tail: str) -> Shape:
    """The shape, compiled when it is first seen."""
    pattern = stamp.pattern + _TAILS[tail]
    line = re.compile(pattern, re.ASCII)
    bulk = re.compile(rf"(?:{pattern})\n|([^\n]*)\n", re.ASCII)
    names = {index: name for name, index in line.groupindex.items()}
    groups = tuple(names.get(index, "") for index in range(1, line.groups + 1))
    rank = stamp.tails.index(tail)
    name = stamp.name if tail in ("plain", stamp.name) else f"{stamp.name} {tail}"
    return Shape(name, stamp, line, bulk, groups, groups.index(stamp.key), rank)


@cache
def with_lower_words(stamps: tuple[Stamp, ...]) -> tuple[Stamp, ...]:
    """The same stamps, behind which a bare lower-case word is a level."""
    return tuple(
        replace(stamp, tails=(*stamp.tails[:-1], "lower_level_source", "lower_level", "plain"))
        if {"level", "plain"} <= set(stamp.tails)
        else stamp
        for stamp in stamps
    )


@cache
def stamp_pattern(stamp: Stamp) -> re.Pattern[str]:
    return re.compile(stamp.pattern, re.ASCII)


def match_of_line(
    line: str, stamps: tuple[Stamp, ...]
) -> tuple[Shape | None, re.Match[str] | None]:
    """The first shape that has this line, and its match; an indented one has none, but for
    candump's."""
    if line[:1] in " \t" and line[1:2] != "(":
        return None, None
    if line[0] != "<" and not (_NUCLEUS.search(line, 0, _STAMP_ENDS) or _UNTIMED.match(line)):
        return None, None
    for stamp in stamps:
        if stamp_pattern(stamp).match(line):
            for tail in stamp.tails:
                shape = shape_of(stamp, tail)
                if match := shape.line.fullmatch(line):
                    return shape, match
    return None, None


def shape_of_line(line: str, stamps: tuple[Stamp, ...]) -> Shape | None:
    return match_of_line(line, stamps)[0]
