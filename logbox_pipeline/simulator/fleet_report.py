"""What a fleet's run comes to in figures, and the page that shows them. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from logbox_pipeline.simulator.fleet_judge import Check
from logbox_pipeline.simulator.fleet_ledger import Fleet, Sent
from logbox_pipeline.simulator.fleet_look import Delivery, Found
from logbox_pipeline.simulator.page import Page, Section, Table, Tile, table_of
from logbox_pipeline.simulator.plot import Bar, Line, bar_plot, line_plot

IN_ORDER = "in order"
_PERCENTILES = (50, 90, 95, 99, 100)
_MOST_BINS = 120
_SHOWN_DIFFERENCES = 100


@dataclass(frozen=True)
class Summary:
    """Rates in files and megabytes (10^6 bytes) per second, times in seconds; None where nothing
    was. latency_s: received to loaded, by percentile."""

    uploads: int
    uploaded_bytes: int
    repeats: int
    kills: int
    uploading_s: float
    uploads_per_s: float | None
    uploaded_mb_per_s: float | None
    deliveries: int
    loaded: int
    rows: int
    loading_s: float
    loads_per_s: float | None
    busy_s: float
    rows_per_busy_s: float | None
    latency_s: Mapping[str, float]
    states: Mapping[str, int]
    faults: Sequence[Mapping[str, Any]]


def summarize(sent: Sequence[Sent], found: Found) -> Summary:
    """Times of the uploads are the drones', of everything else the catalog's."""
    answered = [one for one in sent if one.answer is not None]
    spans = [(one.answer.began_at, one.answer.ended_at) for one in answered if one.answer]
    uploading_s = _seconds(min(b for b, _ in spans), max(e for _, e in spans)) if spans else 0.0
    uploaded_bytes = sum(one.upload.size_bytes for one in answered if one.is_in)
    loaded = list(_loaded(found))
    loading_s = (
        _seconds(min(one.received_at for one in loaded), max(_ended(one) for one in loaded))
        if loaded
        else 0.0
    )
    rows = sum(found.postgres.values())
    return Summary(
        uploads=len(sent),
        uploaded_bytes=uploaded_bytes,
        repeats=sum(one.answer.repeats for one in answered if one.answer),
        kills=sum(one.answer.kills for one in answered if one.answer),
        uploading_s=round(uploading_s, 1),
        uploads_per_s=_rate(len(answered), uploading_s),
        uploaded_mb_per_s=_rate(uploaded_bytes / 1e6, uploading_s),
        deliveries=len(found.deliveries),
        loaded=len(loaded),
        rows=rows,
        loading_s=round(loading_s, 1),
        loads_per_s=_rate(len(loaded), loading_s),
        busy_s=round(found.busy_s, 1),
        rows_per_busy_s=_rate(rows, found.busy_s),
        latency_s={f"p{at}": round(value, 1) for at, value in _percentiles(loaded)},
        states=dict(sorted(Counter(_state(one) for one in found.deliveries).items())),
        faults=_faults(sent, found),
    )


def report(
    fleet: Fleet,
    sent: Sequence[Sent],
    found: Found,
    checks: Sequence[Check],
    summary: Summary,
    command: str,
) -> Page:
    """The page of one run. command: what made it."""
    wrong = sum(len(check.wrong) for check in checks)
    tiles = (
        Tile("all came out as it must", "yes" if not wrong else "no", not wrong),
        Tile("differences", f"{wrong:,}", not wrong),
        Tile("uploads", f"{summary.uploads:,}"),
        Tile("uploaded", f"{summary.uploaded_bytes / 1e6:,.1f} MB"),
        Tile("rows in Postgres", f"{summary.rows:,}"),
        Tile("received to loaded, p95", _text(summary.latency_s.get("p95"), "s")),
    )
    started = f"{fleet.started_at:%Y-%m-%d %H:%M} UTC"
    return Page(
        f"A fleet of {len(fleet.keys)} clients and "
        f"{len({one.upload.vehicle for one in sent})} drones",
        f"{started} · seed {fleet.seed} · {command}",
        tiles,
        (
            Section("How fast it went", figures=tuple(_figures(fleet, sent, found, summary))),
            Section(
                "What went wrong on purpose, and what came of it",
                tables=(table_of(summary.faults),),
            ),
            Section("Held against the ledger", tables=tuple(_check_tables(checks))),
        ),
    )


def _figures(fleet: Fleet, sent: Sequence[Sent], found: Found, summary: Summary) -> Iterator[Any]:
    begin = min((one.answer.began_at for one in sent if one.answer), default=fleet.started_at)
    sent_at = [_seconds(begin, one.answer.ended_at) for one in sent if one.answer]
    received = [_seconds(begin, one.received_at) for one in found.deliveries]
    ended = [_seconds(begin, one.ended_at) for one in found.deliveries if one.ended_at]
    loaded = [_seconds(begin, _ended(one)) for one in _loaded(found)]
    end = max([1.0, *sent_at, *ended])
    edges = np.linspace(0, end, int(min(_MOST_BINS, max(8, end // 2))) + 1)
    middles = ((edges[:-1] + edges[1:]) / 2).tolist()
    width_s = float(edges[1] - edges[0])

    def rate(times: Sequence[float]) -> list[float]:
        return [float(count) / width_s for count in np.histogram(times, edges)[0]]

    yield line_plot(
        "Uploads and loads",
        [Line("uploads", middles, rate(sent_at)), Line("logs loaded", middles, rate(loaded))],
        x_label="seconds after the first upload began",
        y_label="per second",
        is_filled=True,
    )
    at = edges.tolist()
    waiting = [
        sum(time <= edge for time in received) - sum(time <= edge for time in ended) for edge in at
    ]
    yield line_plot(
        "Backlog: in landing, neither loaded nor refused",
        [Line("", at, [max(0, one) for one in waiting])],
        x_label="seconds after the first upload began",
        y_label="deliveries",
        is_filled=True,
    )
    latencies = sorted(_latency_s(one) for one in _loaded(found))
    if latencies:
        shares = [100 * (place + 1) / len(latencies) for place in range(len(latencies))]
        yield line_plot(
            "From received to loaded",
            [Line("", shares, latencies)],
            x_label="per cent of the logs take at most so long",
            y_label="seconds",
        )
        yield bar_plot(
            "From received to loaded, percentiles",
            [Bar(name, value) for name, value in summary.latency_s.items()],
            x_label="seconds",
        )
    yield bar_plot(
        "What the deliveries became",
        [Bar(state, count) for state, count in summary.states.items()],
        x_label="deliveries",
    )


def _check_tables(checks: Sequence[Check]) -> Iterator[Table]:
    yield Table(
        ("", "check", "differences"),
        tuple(("✓" if check.passed else "✗", check.sentence, len(check.wrong)) for check in checks),
    )
    for check in checks:
        if not check.passed:
            shown = check.wrong[:_SHOWN_DIFFERENCES]
            more = len(check.wrong) - len(shown)
            rest = ((f"and {more:,} more",),) if more else ()
            yield Table((check.sentence,), (*((one,) for one in shown), *rest))


def _faults(sent: Sequence[Sent], found: Found) -> list[dict[str, Any]]:
    """One row for each fault, and what the deliveries of its uploads became."""
    by_place: dict[tuple[str, str | None], list[Delivery]] = {}
    for delivery in found.deliveries:
        by_place.setdefault((delivery.landing_key, delivery.sha256), []).append(delivery)
    names = dict.fromkeys(one.fault.value if one.fault else IN_ORDER for one in sent)
    rows = []
    for name in sorted(names, key=lambda name: (name != IN_ORDER, name)):
        own = [one for one in sent if (one.fault.value if one.fault else IN_ORDER) == name]
        answers = [one.answer for one in own if one.answer is not None]
        became = Counter(
            _state(delivery)
            for one in own
            for key in one.objects
            for delivery in by_place.get((key, one.upload.sha256), ())
        )
        became.update(f"refused {answer.status}" for answer in answers if answer.status >= 300)
        rows.append(
            {
                "uploads": name,
                "count": len(own),
                "mb": round(sum(one.upload.size_bytes for one in own) / 1e6, 1),
                "answered": len(answers),
                "sent again": sum(answer.repeats for answer in answers),
                "became": ", ".join(f"{count} {what}" for what, count in sorted(became.items()))
                or "nothing",
            }
        )
    return rows


def _state(delivery: Delivery) -> str:
    """As a person would say it: archived is told by what became of its logs."""
    if delivery.state != "archived":
        return f"{delivery.state} {delivery.reason}" if delivery.reason else delivery.state
    states = sorted({log.state for log in delivery.logs if log.log_id})
    return " and ".join(states) or delivery.state


def _loaded(found: Found) -> Iterator[Delivery]:
    for one in found.deliveries:
        if one.ended_at is not None and any(log.state == "loaded" for log in one.logs):
            yield one


def _ended(delivery: Delivery) -> datetime:
    assert delivery.ended_at is not None
    return delivery.ended_at


def _latency_s(delivery: Delivery) -> float:
    return _seconds(delivery.received_at, _ended(delivery))


def _percentiles(loaded: Sequence[Delivery]) -> Iterator[tuple[int, float]]:
    if loaded:
        values = [_latency_s(one) for one in loaded]
        yield from zip(_PERCENTILES, map(float, np.percentile(values, _PERCENTILES)), strict=True)


def _seconds(begin: datetime, end: datetime) -> float:
    return (end - begin).total_seconds()


def _rate(count: float, seconds: float) -> float | None:
    return round(count / seconds, 2) if seconds > 0 else None


def _text(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:g} {unit}"
