"""`logbox inspect`: what Logbox would make of a file, shown to a person or as JSON."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import typer

from logbox_pipeline.adapters.spool import DAMAGE_SOURCE, Spooled, SpooledInstance, SpooledTopic
from logbox_pipeline.cli.say import print_json, print_json_line, print_table, printable, say, stdout
from logbox_pipeline.core.errors import UsageError, listed
from logbox_pipeline.settings import load_settings
from logbox_pipeline.steps.inspect import InspectedLog, Inspection
from logbox_pipeline.steps.inspect import inspect as open_file
from logbox_pipeline.steps.parse_worker import ParsedLog

LEVELS = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
EVENTS_TOPIC = "events"
_MOST_SHOWN = 10
_LONGEST_FACT = 100


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A log, or an archive of logs.")],
    topic: Annotated[
        str | None, typer.Option("--topic", help="Show the rows of this topic (or `events`).")
    ] = None,
    rows: Annotated[int, typer.Option(help="How many of them.", min=1)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> None:
    """What Logbox would make of a file, without any server; exit 1 when some of it is unread."""
    with open_file(load_settings(), file, datetime.now(UTC)) as found:
        if topic is not None:
            _show_topic(found, topic, rows, as_json=as_json)
        elif as_json:
            for log in described(found):
                print_json_line(log)
        else:
            _show(found)
    if any(_has_gap(log) for log in found.logs) or found.refused:
        raise typer.Exit(1)


def described(found: Inspection) -> list[dict[str, Any]]:
    """One object per log, as plain values: what `--json` prints."""
    refused = [asdict(one) for one in found.refused if one.member]
    of_file = {"file": str(found.path), "sha256": found.sha256, "wrapper": found.wrapper}
    return [of_file | _described_log(log) | {"refused_members": refused} for log in found.logs]


def _described_log(log: InspectedLog) -> dict[str, Any]:
    told: dict[str, Any] = {
        "member": log.member,
        "content_sha256": log.sha256,
        "size_bytes": log.size_bytes,
    }
    result = log.result
    if not isinstance(result, ParsedLog):
        return (
            told
            | _NOTHING_READ
            | {
                # An object without bytes never reaches the archive.
                "state": "unparsed" if log.size_bytes or log.member else "quarantined",
                "format": result.format,
                "reason": result.reason,
                "detail": result.detail,
            }
        )
    spooled, about = result.spooled, result.spooled.about
    return told | {
        "state": "loaded",
        "reason": None,
        "detail": None,
        "format": result.format,
        "parser_version": result.parser_version,
        "recognized_by": result.recognized_by,
        "vehicle_uid": about.vehicle_uid,
        "firmware": about.firmware,
        "hardware": about.hardware,
        "autopilot": result.track.autopilot if result.track else None,
        "airframe": result.track.airframe if result.track else None,
        "time_source": about.time_source,
        "time_error_ms": about.time_error_ms,
        "recorded_from": about.recorded_from,
        "recorded_to": about.recorded_to,
        "is_damaged": spooled.damaged_ranges > 0,
        "damaged_ranges": spooled.damaged_ranges,
        "damaged_bytes": spooled.damaged_bytes,
        "rows": spooled.telemetry_rows,
        "topics": {
            _topic_name(topic.topic, instance.instance): instance.rows
            for topic, instance in _instances(spooled)
        },
        "events": spooled.events,
        "events_by_level": _by_level(log),
        "parameters": spooled.parameters,
        "track_seconds": result.track.track.num_rows if result.track else 0,
        "flights": [asdict(one) for one in result.track.flights] if result.track else [],
        "info": about.info,
    }


_NOTHING_READ: dict[str, Any] = {
    "vehicle_uid": None,
    "firmware": None,
    "time_source": "none",
    "recorded_from": None,
    "recorded_to": None,
    "is_damaged": False,
    "damaged_bytes": 0,
    "rows": 0,
    "topics": {},
    "events": 0,
    "events_by_level": {},
    "parameters": 0,
}
"""Who asks for a count gets one, also of a log without rows."""


def _instances(spooled: Spooled) -> Iterator[tuple[SpooledTopic, SpooledInstance]]:
    for topic in sorted(spooled.topics, key=lambda one: one.topic):
        for instance in topic.instances:
            yield topic, instance


def _topic_name(topic: str, instance: int) -> str:
    return f"{topic}/{instance}" if instance else topic


def _by_level(log: InspectedLog) -> dict[str, int]:
    """Worst first; `none` counts the events whose source gives no level."""
    levels = log.events_by_level()
    known = {LEVELS[level]: levels[level] for level in range(8) if levels[level]}
    return known | ({"none": levels[None]} if levels[None] else {})


def _seconds(us: int | None) -> float | None:
    return None if us is None else round(us / 1e6, 3)


def _has_gap(log: InspectedLog) -> bool:
    return not isinstance(log.result, ParsedLog) or log.result.spooled.damaged_ranges > 0


_LISTS = ("topics", "flights", "info", "events_by_level", "refused_members", "file", "member")
_FIRST = ("state", "reason", "detail", "format")
_FLIGHT_COLUMNS = (
    "flight_no", "takeoff_at", "duration_s", "distance_m", "max_alt_m", "max_speed_m_s",
    "battery_used_pct", "end_state",
)  # fmt: skip


def _show(found: Inspection) -> None:
    for told, log in zip(described(found), found.logs, strict=True):
        title = f"{found.path}: {log.member}" if log.member else str(found.path)
        facts = {name: told[name] for name in _FIRST}
        facts |= {name: value for name, value in told.items() if name not in _LISTS}
        if facts["sha256"] == facts["content_sha256"]:
            del facts["content_sha256"]
        facts["time_error_ms"] = _span(told.get("time_error_ms"))
        levels = told["events_by_level"]
        facts["levels"] = ", ".join(f"{count:,} {name}" for name, count in levels.items())
        _facts(title, facts | told.get("info", {}))
        if isinstance(log.result, ParsedLog) and told["topics"]:
            rows = [_topic_row(*one) for one in _instances(log.result.spooled)]
            columns = ("topic", "instance", "rows", "rate_hz", "first_s", "last_s", "columns")
            print_table("topics", rows, columns)
        if told.get("flights"):
            print_table("flights", [_rounded(one) for one in told["flights"]], _FLIGHT_COLUMNS)
        if told["is_damaged"]:
            _show_damage(log)
    refused = [asdict(one) for one in found.refused if one.member]
    if refused:
        print_table("refused members", refused, ("member", "reason", "detail"))


def _topic_row(topic: SpooledTopic, instance: SpooledInstance) -> dict[str, Any]:
    return {
        "topic": topic.topic,
        "instance": instance.instance,
        "rows": instance.rows,
        "rate_hz": instance.rate_hz and round(instance.rate_hz, 2),
        "first_s": _seconds(instance.first_t_boot_us),
        "last_s": _seconds(instance.last_t_boot_us),
        "columns": len(topic.columns),
    }


def _facts(title: str, facts: dict[str, Any]) -> None:
    stdout.print(printable(title), style="bold", markup=False)
    for name, value in facts.items():
        if value not in (None, "", "{}", []):
            stdout.print(f"  {name.replace('_', ' '):<24} {_short(value)}", markup=False)


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f} UTC"
    text = " ".join(printable(f"{value:,}" if type(value) is int else str(value)).split())
    return text if len(text) <= _LONGEST_FACT else f"{text[:_LONGEST_FACT]}..."


def _span(ms: int | None) -> str | None:
    """Milliseconds as a person says them."""
    if ms is None or ms < 10_000:
        return None if ms is None else f"{ms:,}"
    for unit, size_ms in (("days", 86_400_000), ("hours", 3_600_000), ("seconds", 1_000)):
        if ms >= 2 * size_ms:
            return f"{ms:,} (about {round(ms / size_ms)} {unit})"
    return f"{ms:,}"


def _rounded(flight: dict[str, Any]) -> dict[str, Any]:
    return {k: round(v, 1) if isinstance(v, float) else v for k, v in flight.items()}


def _show_damage(log: InspectedLog) -> None:
    events = log.events()
    lost = events[events["source"] == DAMAGE_SOURCE]
    rows = [{"damage": message} for message in lost["message"].head(_MOST_SHOWN)]
    if len(lost) > _MOST_SHOWN:
        rows.append({"damage": f"and {len(lost) - _MOST_SHOWN} more"})
    print_table("damage", rows, ("damage",))


def _show_topic(found: Inspection, topic: str, rows: int, *, as_json: bool) -> None:
    readable = [log for log in found.logs if isinstance(log.result, ParsedLog)]
    if not readable:
        raise UsageError(
            f"nothing could be read in {found.path}", hint="inspect it without --topic"
        )
    having = [log for log in readable if topic == EVENTS_TOPIC or topic in log.topics]
    if not having:
        known = sorted({name for log in readable for name in log.topics})
        near = get_close_matches(topic, known, n=3)
        raise UsageError(
            f"{found.path} has no topic {topic}",
            hint=f"did you mean {' or '.join(near)}?"
            if near
            else f"it has {EVENTS_TOPIC} and: {listed(known)}",
        )
    for log in having:
        frame = log.events() if topic == EVENTS_TOPIC else log.frame(topic)
        shown = frame.head(rows)
        if as_json:
            print_json(shown.to_dict("records"))
            continue
        if log.member:
            say(log.member)
        # Wide rows are folded by columns, and texts cut: a terminal shows no more.
        stdout.print(
            printable(shown.to_string(index=False, line_width=stdout.width, max_colwidth=60)),
            markup=False,
        )
        say(f"{len(shown)} of {len(frame)} rows")
