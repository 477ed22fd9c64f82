"""The results as one HTML page that opens without network. No measuring here."""

from collections.abc import Iterator, Mapping, Sequence

from logbox_pipeline.benchmark.measured import Better, Measured
from logbox_pipeline.benchmark.results import Results
from logbox_pipeline.benchmark.rows import rows_of, where
from logbox_pipeline.simulator.page import Figure, Page, Section, Tile, render, table_of
from logbox_pipeline.simulator.plot import Bar, Line, bar_plot, line_plot

_GROWING = {
    "batch_s": "Seconds per batch",
    "tick_s": "Seconds of a tick with nothing new",
    "reconcile_s": "Seconds of a reconciliation by count",
    "batch_mib": "MiB of a batch's process",
    "tick_mib": "MiB of the sensor's process",
    "reconcile_mib": "MiB of reconciliation",
}
"""What is drawn over the catalog's size."""


def report(results: Results, earlier: Sequence[Results], last: Mapping[str, Measured]) -> str:
    """The page. earlier: saved runs, the oldest first; last: what figures are compared with."""
    return render(
        Page(
            "Logbox: benchmark",
            f"{results.measured_at:%Y-%m-%d %H:%M} UTC, {results.command}; {where(results)}",
            tuple(_tiles(results)),
            tuple(_sections(results, earlier, last)),
        )
    )


def _tiles(results: Results) -> Iterator[Tile]:
    barred = [one for one in results.measured if one.bar is not None]
    if results.is_quick:
        yield Tile("a quick look", "no bar is for it")
    else:
        met = len(barred) - len(results.missed)
        yield Tile("bars met", f"{met} of {len(barred)}", not results.missed)
    failed = len(results.failed)
    yield Tile("parts that failed", str(failed), failed == 0)
    yield Tile("commit", results.commit)
    yield Tile("minutes", f"{sum(part.seconds for part in results.parts) / 60:.0f}")


def _sections(
    results: Results, earlier: Sequence[Results], last: Mapping[str, Measured]
) -> Iterator[Section]:
    barred = [one for one in results.measured if one.bar]
    if barred and not results.is_quick:
        yield Section(
            "Against the bars",
            ("How far each figure is above its bar, or below: at 1 it is just met.",),
            figures=(_over_bars(barred),),
        )
    growing = tuple(_growth(results))
    if growing:
        yield Section("Growth of the catalog", figures=growing)
    for part in results.parts:
        rows = rows_of(part, last, is_quick=results.is_quick)
        took = f"{part.seconds:.0f} s"
        yield Section(
            part.part,
            (took,) if part.error is None else (took, f"Failed: {part.error}"),
            (table_of(rows),) if rows else (),
        )
    history = tuple(_history(results, earlier))
    if history:
        yield Section("Saved runs of this kind of machine", figures=history)


def _over_bars(barred: Sequence[Measured]) -> Figure:
    return bar_plot(
        "Times the bar, with the lowest and highest repetition",
        [_over_bar(one) for one in barred],
        x_label="times the bar",
        limit=1,
    )


def _over_bar(one: Measured) -> Bar:
    low, high = sorted((_times_bar(one, one.lowest), _times_bar(one, one.highest)))
    return Bar(one.key, _times_bar(one, one.value), low, high)


def _times_bar(one: Measured, value: float) -> float:
    assert one.bar is not None
    if one.better is Better.HIGHER:
        return value / one.bar
    return one.bar / value if value else 1.0


def _growth(results: Results) -> Iterator[Figure]:
    for name, title in _GROWING.items():
        found = sorted(
            (one for one in results.measured if one.name == name), key=lambda one: one.at or 0
        )
        if len(found) < 2:
            continue
        line = Line(
            "",
            [one.at or 0 for one in found],
            [one.value for one in found],
            [one.lowest for one in found],
            [one.highest for one in found],
        )
        yield line_plot(
            title,
            [line],
            x_label="logs in the catalog",
            y_label=found[0].unit,
            log_x=True,
            log_y=True,
            limit=found[-1].bar,
        )


def _history(results: Results, earlier: Sequence[Results]) -> Iterator[Figure]:
    """Each figure that has a bar, through the saved runs and this one."""
    runs = [
        one
        for one in earlier
        if one.machine.kind == results.machine.kind
        and one.is_quick == results.is_quick
        and one.measured_at < results.measured_at
    ]
    by_run = [{one.key: one for one in run.measured} for run in (*runs, results)]
    for one in results.measured:
        points = [
            (number, found[one.key]) for number, found in enumerate(by_run, 1) if one.key in found
        ]
        if one.bar is None or len(points) < 2:
            continue
        line = Line(
            "",
            [number for number, _ in points],
            [point.value for _, point in points],
            [point.lowest for _, point in points],
            [point.highest for _, point in points],
        )
        beside = f" beside {one.beside}" if one.beside else ""
        yield line_plot(
            f"{one.title}{beside}",
            [line],
            x_label="saved runs, the oldest first",
            y_label=one.unit,
            limit=one.bar,
        )
