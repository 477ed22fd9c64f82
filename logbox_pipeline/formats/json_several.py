"""One JSON record that holds several: each becomes a record of its own, with what they share.

OpenTelemetry's OTLP/JSON (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding, as its
file exporter writes it) and CloudWatch's subscription messages. No rows here.
"""

import contextlib

import msgspec

from logbox_pipeline.formats.json_values import Record

_SHARED_TIMES = 4
_SHARED_BYTES = 1024 * 1024
"""What records share is given to each while that takes this much, then to the first only."""

_RECORDS = msgspec.json.Decoder(Record)
_RECORD_LISTS = msgspec.json.Decoder(list[Record])
_VALUES = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()
_NESTING = 64


def several(record: Record) -> list[Record]:
    """The records in `record`; only itself when it is one."""
    try:
        if "resourceLogs" in record:
            return _log_records(record) or [record]
        if "scopeLogs" in record:
            inner = msgspec.Raw(b"[" + _ENCODER.encode(record) + b"]")
            return _log_records({"resourceLogs": inner}) or [record]
        if "logEvents" in record:
            return _log_events(record) or [record]
    except (msgspec.DecodeError, RecursionError):
        pass  # the names mean something else here
    return [record]


def _log_events(record: Record) -> list[Record]:
    events = _RECORD_LISTS.decode(record["logEvents"])
    shared = {name: raw for name, raw in record.items() if name != "logEvents"}
    return _joined(events, shared, [_size(record)])


def _log_records(record: Record) -> list[Record]:
    others = {name: raw for name, raw in record.items() if name != "resourceLogs"}
    budget = [_size(record)]
    found: list[Record] = []
    for resource_logs in _RECORD_LISTS.decode(record["resourceLogs"]):
        scopes = _RECORD_LISTS.decode(resource_logs.pop("scopeLogs", b"[]"))
        of_resource = {**others, **_described(resource_logs, "resource")}
        if not scopes:
            return []
        for scope_logs in scopes:
            records = _RECORD_LISTS.decode(scope_logs.pop("logRecords", b"[]"))
            if not records:
                return []
            of_scope = {**of_resource, **_described(scope_logs, "scope")}
            for one in records:
                _plain_members(one)
            found += _joined(records, of_scope, budget)
    return found


def _size(record: Record) -> int:
    return _SHARED_BYTES + _SHARED_TIMES * sum(len(memoryview(raw)) for raw in record.values())


def _joined(records: list[Record], shared: Record, budget: list[int]) -> list[Record]:
    """Each with what is shared; a name that both have stays the record's."""
    size = sum(len(memoryview(raw)) for raw in shared.values())
    for number, record in enumerate(records):
        if number and size > budget[0]:
            break
        budget[0] -= size
        for name, raw in shared.items():
            record.setdefault(name if name not in record else f"shared.{name}", raw)
    return records


def _described(entry: Record, name: str) -> Record:
    """A resource or scope: its attributes as plain members, beside what else it says."""
    inner = _RECORDS.decode(entry.pop(name, b"{}"))
    plain = _plain_attributes(inner.get("attributes"))
    if plain is not None:
        del inner["attributes"]
        if plain.keys() & inner.keys() or name == "scope":
            inner.update({"attributes": _raw(plain)} if plain else {})
        else:
            inner.update({key: _raw(value) for key, value in plain.items()})
    described = {f"{name}.{key}": raw for key, raw in entry.items()}
    if inner:
        described[name] = _raw(inner)
    return described


def _plain_members(record: Record) -> None:
    """The body and the attributes of a log record as plain JSON."""
    plain = _plain_attributes(record.get("attributes"))
    if plain:
        record["attributes"] = _raw(plain)
    elif plain is not None:
        del record["attributes"]
    if "body" in record:
        body = _VALUES.decode(record["body"])
        with contextlib.suppress(_NotAnyValue):
            record["body"] = _raw(_plain(body, _NESTING))


class _NotAnyValue(Exception):
    """The value is no AnyValue: it stays as it is."""


def _plain_attributes(raw: msgspec.Raw | None) -> dict[str, object] | None:
    """KeyValues as an object; None when that would lose something."""
    if raw is None:
        return None
    try:
        return _plain_pairs(_VALUES.decode(raw), _NESTING)
    except _NotAnyValue:
        return None


def _plain_pairs(pairs: object, nesting: int) -> dict[str, object]:
    if not isinstance(pairs, list):
        raise _NotAnyValue
    plain: dict[str, object] = {}
    for pair in pairs:
        if not isinstance(pair, dict) or not pair.keys() <= {"key", "value"}:
            raise _NotAnyValue
        key = pair.get("key")
        if not isinstance(key, str) or key in plain:
            raise _NotAnyValue
        plain[key] = _plain(pair.get("value", {}), nesting)
    return plain


def _plain(value: object, nesting: int) -> object:
    """https://opentelemetry.io/docs/specs/otel/common/#anyvalue"""
    if not isinstance(value, dict) or len(value) > 1 or nesting == 0:
        raise _NotAnyValue
    if not value:
        return None
    ((kind, inner),) = value.items()
    if kind == "intValue" and isinstance(inner, str) and inner.lstrip("-").isdecimal():
        return int(inner) if len(inner) < 20 else inner
    if kind in ("stringValue", "boolValue", "intValue", "doubleValue", "bytesValue"):
        if isinstance(inner, str | int | float):
            return inner
    elif kind in ("kvlistValue", "arrayValue") and isinstance(inner, dict):
        values = inner.get("values", [])
        if inner.keys() <= {"values"} and isinstance(values, list):
            if kind == "kvlistValue":
                return _plain_pairs(values, nesting - 1)
            return [_plain(entry, nesting - 1) for entry in values]
    raise _NotAnyValue


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_ENCODER.encode(value))
